//! The ways to ask a device: which dialect, on which address.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::{are_own, is_own};
use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::dialect::Dialect;
use crate::dialect::Native;
use crate::dialect::rrpc::aliyun;
use crate::dialect::rrpc::tencent;
use crate::error::ServeError;
use crate::gateway::call::{Call, CallError, Target};
use crate::gateway::config;
use crate::gateway::level::is_level;
use crate::gateway::products::Products;
use crate::link::Link;
use crate::requester::OneInFlight;
use crate::requester::Requester;
use crate::requester::RequesterBuilder;

/// How a device is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    AliyunSystem,
    AliyunCustom,
    AliyunService,
    AliyunServiceOverSystem,
    Tencent,
    TencentExplorer,
    /// The custom mode of IoT Explorer. Answers come on the topic of the request, or on one that the caller
    /// names, so a requester must subscribe to what devices say: it is made for one call, for the topics of
    /// one device.
    TencentClientToken,
    Native,
}

impl Way {
    /// The ways to ask devices of this dialect.
    fn all(dialect: config::Dialect) -> &'static [Self] {
        match dialect {
            // What comes is offered to the last first. Services over system topics are behind what is
            // paired by its topic alone, so that the payload of its answers is not read.
            config::Dialect::Aliyun => &[
                Self::AliyunServiceOverSystem,
                Self::AliyunSystem,
                Self::AliyunCustom,
                Self::AliyunService,
            ],
            config::Dialect::Tencent => &[Self::Tencent],
            config::Dialect::TencentExplorer => &[Self::TencentExplorer],
            config::Dialect::Native => &[Self::Native],
        }
    }

    /// The way to this target. `ext` says whether an Aliyun device has said `ext=1`: without it the vendor
    /// asks on system topics even if there is a topic.
    ///
    /// # Errors
    /// [`CallError::Invalid`] when devices of this dialect have no such target.
    pub(super) fn to(
        target: &Target,
        dialect: config::Dialect,
        ext: impl Fn() -> bool,
    ) -> Result<Self, CallError> {
        Ok(match (dialect, target) {
            (config::Dialect::Aliyun, Target::Topic(_)) if ext() => Self::AliyunCustom,
            (config::Dialect::Aliyun, Target::Device | Target::Topic(_)) => Self::AliyunSystem,
            (config::Dialect::Aliyun, Target::Service(_)) if ext() => Self::AliyunService,
            (config::Dialect::Aliyun, Target::Service(_)) => Self::AliyunServiceOverSystem,
            (config::Dialect::Tencent, Target::Device) => Self::Tencent,
            (config::Dialect::TencentExplorer, Target::Device) => Self::TencentExplorer,
            (config::Dialect::TencentExplorer, Target::Topic(_) | Target::Topics { .. }) => {
                Self::TencentClientToken
            }
            (_, Target::Topics { .. }) => {
                return Err(invalid("only devices of IoT Explorer answer on another topic"));
            }
            (config::Dialect::Native, Target::Device | Target::Topic(_) | Target::Service(_)) => {
                Self::Native
            }
            (config::Dialect::Tencent, Target::Topic(_)) => {
                return Err(invalid(
                    "devices of Tencent IoT Hub are not asked on topics of their own",
                ));
            }
            (config::Dialect::Tencent | config::Dialect::TencentExplorer, Target::Service(_)) => {
                return Err(invalid("devices of Tencent have no services"));
            }
        })
    }

    /// Where a call goes in this way's dialect.
    ///
    /// # Errors
    /// [`CallError::Invalid`] when the topic is not one of the device's own, or the service is no name.
    pub(super) fn address(
        self,
        call: &Call,
        dialect: config::Dialect,
    ) -> Result<TopicName, CallError> {
        let Call { product, device, target, .. } = call;
        let topic = |text: String| {
            TopicName::new(text).map_err(|error| CallError::Invalid(error.to_string().into()))
        };
        let prefix = if self == Self::Native { "devices/" } else { "" };
        match target {
            Target::Topic(own) if !is_own(dialect, product, device, own) => {
                Err(invalid("the topic is not one of the device's own"))
            }
            Target::Topics { request: own, replies } => {
                if is_own(dialect, product, device, own) && are_own(product, device, replies) {
                    return Ok(own.clone());
                }
                Err(invalid("the topics are not the device's own"))
            }
            Target::Topic(own) if self == Self::AliyunCustom => {
                topic(own.as_str().trim_start_matches('/').to_owned())
            }
            Target::Topic(own) if matches!(self, Self::Native | Self::TencentClientToken) => {
                Ok(own.clone())
            }
            Target::Device | Target::Topic(_) => topic(format!("{prefix}{product}/{device}")),
            Target::Service(service) if is_level(service) => {
                topic(format!("{prefix}{product}/{device}/{service}"))
            }
            Target::Service(_) => Err(invalid("the service is not a name")),
        }
    }
}

fn invalid(what: &str) -> CallError {
    CallError::Invalid(what.into())
}

/// Asks one way.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) requester: Requester,
    times: Times,
}

/// How long a call may take in a dialect.
#[derive(Debug, Clone)]
pub(super) struct Times {
    default: Duration,
    possible: RangeInclusive<Duration>,
}

/// No call waits longer.
const LONGEST: Duration = Duration::from_hours(24);

impl Times {
    fn of(dialect: &impl Dialect) -> Self {
        Self { default: dialect.default_timeout(), possible: dialect.timeouts() }
    }

    /// How long a call takes at most: what was asked for, but no longer than the dialect allows. What is
    /// shorter than it allows is shortened by the call's deadline.
    pub(super) fn fit(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or(self.default).min(*self.possible.end()).min(LONGEST)
    }

    /// What a request may say: one that the dialect allows.
    pub(super) fn timeout(&self, asked: Duration) -> Duration {
        asked.max(*self.possible.start())
    }
}

/// A requester for each way that a product needs, on one link.
///
/// Those of products that want one call in flight for each device are apart from the others. Not so
/// Tencent's: their ids are short, and two requesters would not know of each other's. There one product
/// that wants it decides for all of its dialect.
///
/// One call in flight is one for each way: what an Aliyun device is asked on system topics does not wait
/// for one of its services. The SDKs that mix up overlapping calls do so within one way.
#[derive(Debug)]
pub(super) struct Ways {
    link: Link,
    in_flight: usize,
    askers: HashMap<(Way, bool), Asker>,
    /// Whether calls to Tencent's devices wait for each other.
    tencent: HashMap<Way, bool>,
}

impl Ways {
    /// # Errors
    /// As [`RequesterBuilder::build`].
    pub(super) async fn open(
        link: &Link,
        products: &Products,
        in_flight: usize,
    ) -> Result<Self, ServeError> {
        let mut ways =
            Self { link: link.clone(), in_flight, askers: HashMap::new(), tencent: HashMap::new() };
        for product in products.iter() {
            for way in [Way::Tencent, Way::TencentExplorer] {
                if Way::all(product.dialect).contains(&way) {
                    *ways.tencent.entry(way).or_default() |= product.one_in_flight;
                }
            }
        }
        for product in products.iter() {
            for &way in Way::all(product.dialect) {
                let key = ways.key(way, product);
                if !ways.askers.contains_key(&key) {
                    let asker = ways.build(way, key.1).await?;
                    ways.askers.insert(key, asker);
                }
            }
        }
        Ok(ways)
    }

    /// How long calls of a product may take this way.
    pub(super) fn times(&self, way: Way, product: &config::Product) -> Option<Times> {
        if way == Way::TencentClientToken {
            return Some(Times::of(&tencent::client_token()));
        }
        self.askers.get(&self.key(way, product)).map(|asker| asker.times.clone())
    }

    /// Who asks a device of this product this way.
    ///
    /// # Errors
    /// As [`RequesterBuilder::build`] where it is made for the call; [`ServeError::Closed`] when there
    /// is none.
    pub(super) async fn asker(
        &self,
        way: Way,
        product: &config::Product,
        device: &str,
        target: &Target,
    ) -> Result<Asker, ServeError> {
        if way == Way::TencentClientToken {
            // It would wait for a connection in order to subscribe.
            if !self.link.is_connected() {
                return Err(ServeError::Disconnected);
            }
            let builder = self.builder(false);
            if let Target::Topics { replies, .. } = target {
                let dialect = tencent::client_token().replies_on(replies.clone());
                return build(builder, dialect).await;
            }
            // Not the topic alone: a requester takes what comes on one topic for its own, and there may
            // be another call to it.
            let topics = TopicFilter::new(format!("{}/{device}/#", product.id));
            let topics = topics.map_err(|e| ServeError::Configuration(e.to_string().into()))?;
            return build(builder.peers(topics), tencent::client_token()).await;
        }
        self.askers.get(&self.key(way, product)).cloned().ok_or(ServeError::Closed)
    }

    fn key(&self, way: Way, product: &config::Product) -> (Way, bool) {
        (way, self.tencent.get(&way).copied().unwrap_or(product.one_in_flight))
    }

    fn builder(&self, one_in_flight: bool) -> RequesterBuilder {
        // A call that was given up is counted for a moment longer here than by the gateway.
        let in_flight = self.in_flight.saturating_mul(2);
        let builder = Requester::builder(self.link.clone()).max_in_flight(in_flight);
        if one_in_flight { builder.one_in_flight(OneInFlight::PerDevice) } else { builder }
    }

    async fn build(&self, way: Way, one_in_flight: bool) -> Result<Asker, ServeError> {
        let builder = self.builder(one_in_flight);
        match way {
            Way::AliyunSystem => build(builder, aliyun::system()).await,
            Way::AliyunCustom => build(builder, aliyun::custom()).await,
            Way::AliyunService => build(builder, aliyun::thing_service()).await,
            Way::AliyunServiceOverSystem => {
                build(builder, aliyun::thing_service().over_system_topics()).await
            }
            Way::Tencent => build(builder, tencent::rrpc()).await,
            Way::TencentExplorer => build(builder, tencent::explorer()).await,
            Way::TencentClientToken => build(builder, tencent::client_token()).await,
            Way::Native => build(builder, Native::new()).await,
        }
    }
}

impl Asker {
    pub(super) fn times(&self) -> &Times {
        &self.times
    }
}

async fn build(builder: RequesterBuilder, dialect: impl Dialect) -> Result<Asker, ServeError> {
    let times = Times::of(&dialect);
    let requester = builder.dialect(dialect).build().await?;
    Ok(Asker { requester, times })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn call(target: Target) -> Call {
        Call {
            product: "p".into(),
            device: "d".into(),
            target,
            payload: Bytes::new(),
            content_type: None,
            timeout: None,
            key: None,
            api: "plain",
        }
    }

    fn topic(text: &str) -> Target {
        Target::Topic(TopicName::new(text).unwrap())
    }

    fn topics(request: &str, replies: &str) -> Target {
        let replies = TopicFilter::new(replies).unwrap();
        Target::Topics { request: TopicName::new(request).unwrap(), replies }
    }

    fn service(name: &str) -> Target {
        Target::Service(name.into())
    }

    fn address(
        target: Target,
        dialect: config::Dialect,
        ext: bool,
    ) -> Result<(Way, String), CallError> {
        let way = Way::to(&target, dialect, || ext)?;
        Ok((way, way.address(&call(target), dialect)?.to_string()))
    }

    #[test]
    fn every_target_has_its_way_and_its_address() {
        use config::Dialect::{Aliyun, Native, Tencent, TencentExplorer};
        for (target, dialect, ext, way, expected) in [
            (Target::Device, Aliyun, true, Way::AliyunSystem, "p/d"),
            (topic("/p/d/user/get"), Aliyun, true, Way::AliyunCustom, "p/d/user/get"),
            (topic("/p/d/user/get"), Aliyun, false, Way::AliyunSystem, "p/d"),
            (service("get"), Aliyun, true, Way::AliyunService, "p/d/get"),
            (service("m:get"), Aliyun, false, Way::AliyunServiceOverSystem, "p/d/m:get"),
            (Target::Device, Tencent, false, Way::Tencent, "p/d"),
            (Target::Device, TencentExplorer, false, Way::TencentExplorer, "p/d"),
            (topic("p/d/control"), TencentExplorer, false, Way::TencentClientToken, "p/d/control"),
            (topics("p/d/a", "p/d/+"), TencentExplorer, false, Way::TencentClientToken, "p/d/a"),
            (Target::Device, Native, false, Way::Native, "devices/p/d"),
            (service("get"), Native, false, Way::Native, "devices/p/d/get"),
            (topic("devices/p/d/a/b"), Native, false, Way::Native, "devices/p/d/a/b"),
        ] {
            assert_eq!(address(target, dialect, ext), Ok((way, expected.to_owned())));
        }
    }

    #[test]
    fn an_answer_on_system_topics_is_looked_for_by_its_topic_before_it_is_read() {
        let all = Way::all(config::Dialect::Aliyun);
        let built = |way| all.iter().position(|other| *other == way);
        // The last that is built is offered messages first.
        assert!(built(Way::AliyunSystem) > built(Way::AliyunServiceOverSystem));
    }

    #[test]
    fn nothing_reaches_the_topic_of_another() {
        use config::Dialect::{Aliyun, Native, Tencent, TencentExplorer};
        for (target, dialect) in [
            (topic("/p/other/user/get"), Aliyun),
            (topic("p/other/control"), TencentExplorer),
            (topic("devices/p/other"), Native),
            (topic("p/d/control"), Tencent),
            (topics("p/d/a", "p/other/b"), TencentExplorer),
            (topics("p/d/a", "p/+/b"), TencentExplorer),
            (topics("p/d/a", "p/d"), TencentExplorer),
            (topics("p/d/a", "#"), TencentExplorer),
            (topics("p/d/a", "$share/x/p/d/b"), TencentExplorer),
            (topics("p/other/a", "p/d/b"), TencentExplorer),
            (topics("p/d/a", "p/d/b"), Tencent),
            (topics("/p/d/a", "/p/d/b"), Aliyun),
            (topics("devices/p/d/a", "devices/p/d/b"), Native),
            (service("get"), Tencent),
            (service("get"), TencentExplorer),
            (service("a/b"), Aliyun),
            (service("../other"), Native),
            (service("+"), Native),
        ] {
            for ext in [false, true] {
                let refused = address(target.clone(), dialect, ext);
                assert!(matches!(refused, Err(CallError::Invalid(_))), "{target:?} {dialect:?}");
            }
        }
    }

    #[test]
    fn a_call_takes_what_was_asked_for_within_what_the_dialect_allows() {
        let seconds = Duration::from_secs;
        let aliyun = Times::of(&aliyun::system());
        assert_eq!(aliyun.fit(None), seconds(8));
        assert_eq!(aliyun.fit(Some(seconds(3))), seconds(3));
        assert_eq!(aliyun.fit(Some(seconds(20))), seconds(8));
        let short = Duration::from_millis(10);
        assert_eq!((aliyun.fit(Some(short)), aliyun.timeout(short)), (short, seconds(1)));
        let tencent = Times::of(&tencent::rrpc());
        assert_eq!((tencent.fit(None), tencent.fit(Some(seconds(20)))), (seconds(4), seconds(20)));
        assert_eq!(tencent.fit(Some(Duration::MAX)), LONGEST);
    }
}

//! Who asks and who answers, and how.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{
    CatchPanicLayer, ConcurrencyLimitLayer, DedupLayer, PayloadLimitLayer, RateLimitLayer,
    RetryLayer, TimeoutLayer,
};
use tower_mqtt::link::ClientBuilder;
use tower_mqtt::requester::{OnDisconnect, OneInFlight, RequesterBuilder};
use tower_mqtt::responder::{Acknowledge, ResponderBuilder};
use tower_mqtt::{Link, Request, RequestError, Requester, Responder, Response, Router};

use super::history::Expected;
use super::question::{answer, id_in, work};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Native,
    AliyunSystem,
    AliyunCustom,
    Tencent,
}

/// A requester, and those who answer it.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    pub(crate) speech: Speech,
    /// Where it is asked; its route as well.
    pub(crate) address: &'static str,
    /// In milliseconds.
    pub(crate) timeouts: RangeInclusive<u64>,
    pub(crate) on_disconnect: OnDisconnect,
    /// The server keeps the sessions.
    pub(crate) keeps_session: bool,
    pub(crate) layers: bool,
    pub(crate) deduplicates: bool,
    /// More than one share the requests.
    pub(crate) responders: usize,
    /// They are in a process of their own.
    pub(crate) apart: bool,
    pub(crate) one_in_flight: bool,
    /// They are links of the hub's process, where there is a hub.
    pub(crate) inside: bool,
    pub(crate) acknowledge: Acknowledge,
}

impl Pair {
    const fn new(name: &'static str, speech: Speech, address: &'static str) -> Self {
        Self {
            name,
            speech,
            address,
            timeouts: 200..=2_500,
            on_disconnect: OnDisconnect::FailFast,
            keeps_session: false,
            layers: false,
            deduplicates: true,
            responders: 1,
            apart: false,
            one_in_flight: false,
            inside: false,
            acknowledge: Acknowledge::OnReceipt,
        }
    }

    pub(crate) fn all() -> Vec<Self> {
        const RIDE: OnDisconnect = OnDisconnect::RideThrough;
        vec![
            Self {
                layers: true,
                responders: 2,
                ..Self::new("layers", Speech::Native, "layers/ask")
            },
            Self {
                on_disconnect: RIDE,
                keeps_session: true,
                ..Self::new("session", Speech::Native, "session/ask")
            },
            Self {
                on_disconnect: RIDE,
                deduplicates: false,
                ..Self::new("bare", Speech::Native, "bare/ask")
            },
            Self {
                on_disconnect: RIDE,
                keeps_session: true,
                acknowledge: Acknowledge::AfterAnswer,
                ..Self::new("held", Speech::Native, "held/ask")
            },
            Self { inside: true, ..Self::new("inside", Speech::Native, "inside/ask") },
            Self { apart: true, ..Self::new("apart", Speech::Native, "apart/ask") },
            Self {
                on_disconnect: RIDE,
                timeouts: 1_000..=2_500,
                ..Self::new("system", Speech::AliyunSystem, "pk/system")
            },
            Self {
                timeouts: 1_000..=2_500,
                ..Self::new("custom", Speech::AliyunCustom, "pk/custom/user/get")
            },
            Self { one_in_flight: true, ..Self::new("tencent", Speech::Tencent, "pk/tencent") },
        ]
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::all().into_iter().find(|pair| pair.name == name).expect("there is such a pair")
    }

    pub(crate) fn expected(&self) -> Expected {
        Expected { deduplicates: self.deduplicates, retries: self.layers }
    }

    pub(crate) fn client(&self, client: ClientBuilder) -> ClientBuilder {
        let expiry = if self.keeps_session { 30 } else { 0 };
        client.session_expiry(Duration::from_secs(expiry))
    }

    pub(crate) fn requester(&self, link: Link) -> RequesterBuilder {
        let builder = Requester::builder(link).max_in_flight(64).on_disconnect(self.on_disconnect);
        let builder = if self.one_in_flight {
            builder.one_in_flight(OneInFlight::PerDevice).rest(Duration::from_millis(300))
        } else {
            builder
        };
        match self.speech {
            Speech::Native => builder,
            Speech::AliyunSystem => builder.dialect(aliyun::system()),
            Speech::AliyunCustom => builder.dialect(aliyun::custom()),
            Speech::Tencent => builder.dialect(tencent::rrpc()),
        }
    }

    pub(crate) fn service(
        &self,
        requester: Requester,
    ) -> BoxCloneSyncService<Request, Response, RequestError> {
        if !self.layers {
            return BoxCloneSyncService::new(requester);
        }
        let millis = Duration::from_millis;
        let policy = RetryPolicy::default()
            .max_attempts(6)
            .backoff(millis(10), millis(200))
            .responder_deduplicates();
        BoxCloneSyncService::new(
            ServiceBuilder::new()
                .layer(TimeoutLayer::new(millis(2_500)))
                .layer(RetryLayer::new(policy))
                .layer(PayloadLimitLayer::new(100_000))
                .layer(TimeoutLayer::new(millis(600)))
                .service(requester),
        )
    }

    pub(crate) fn responder(&self, link: Link) -> ResponderBuilder {
        let builder = Responder::builder(link).acknowledge(self.acknowledge);
        let builder = if self.responders > 1 { builder.share("kitchen") } else { builder };
        match self.speech {
            Speech::Native => builder,
            Speech::AliyunSystem => builder.dialect(aliyun::system()),
            Speech::AliyunCustom => builder.dialect(aliyun::custom()),
            Speech::Tencent => builder.dialect(tencent::rrpc()),
        }
    }

    /// What answers, in this process as long as it lives: its memory is that of the process, not
    /// that of a connection.
    pub(crate) fn router(&self, ran: Arc<dyn Fn(u64) + Send + Sync>) -> Router {
        let handler = move |payload: Bytes| {
            let id = id_in(&payload).unwrap_or_default();
            ran(id);
            async move {
                tokio::time::sleep(work(id)).await;
                answer(id)
            }
        };
        let router = Router::new().route(self.address, handler).layer(CatchPanicLayer::new());
        let router = if self.layers {
            let limit = TimeoutLayer::new(Duration::from_secs(1));
            router.layer(ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(64)).layer(limit))
        } else {
            router
        };
        let router = if self.deduplicates { router.layer(DedupLayer::default()) } else { router };
        if self.layers {
            router.layer(RateLimitLayer::new(1_000, Duration::from_secs(1)))
        } else {
            router
        }
    }
}

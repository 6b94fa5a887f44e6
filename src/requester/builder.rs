//! How a [`Requester`] is configured.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::PollSemaphore;

use super::endpoint::{Endpoint, Settings};
use super::loan::Lender;
use super::relay::Relay;
use super::stats::Counters;
use super::turns::{OneInFlight, Turns};
use super::{Requester, Shared};
use crate::core::topic::{TopicFilter, TopicName};
use crate::dialect::{Dialect, IdFormat, Native};
use crate::error::ServeError;
use crate::link::{Link, Role};

/// No call waits longer: about 30 years.
pub(super) const LONGEST: Duration = Duration::from_hours(30 * 365 * 24);

/// What becomes of calls in flight when the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDisconnect {
    /// They fail at once with [`Disconnected`](crate::RequestError::Disconnected), and so do calls
    /// made before the connection is back. They are not sent again either, not even in a session that
    /// the server kept. The default: the caller knows best what to do.
    #[default]
    FailFast,
    /// They wait for the connection until their deadline.
    ///
    /// With a session that the server kept, what was not acknowledged is sent again with the same
    /// correlation data and packet identifier, and what was acknowledged goes on waiting. Without it, only requests at QoS 1
    /// that are declared [`idempotent`](crate::Request::idempotent) are sent again, and the others
    /// fail with `Disconnected(Unknown)`. What was never sent waits in either case.
    ///
    /// They wait in their in-flight slots, with their messages: [`max_in_flight`](RequesterBuilder::max_in_flight)
    /// is what bounds them, and [`OutgoingLimits`](crate::link::OutgoingLimits) do not fail them when the connection is back.
    RideThrough,
}

/// Configures a [`Requester`].
#[derive(Debug, Clone)]
#[must_use = "nothing is asked before `build`"]
pub struct RequesterBuilder {
    link: Link,
    dialect: Arc<dyn Dialect>,
    max_in_flight: usize,
    timeout: Option<Duration>,
    on_disconnect: OnDisconnect,
    one_in_flight: Option<OneInFlight>,
    rest: Option<Duration>,
    response_topic: Option<TopicName>,
    peers: TopicFilter,
}

impl RequesterBuilder {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            dialect: Arc::new(Native::new()),
            max_in_flight: 1024,
            timeout: None,
            on_disconnect: OnDisconnect::default(),
            one_in_flight: None,
            rest: None,
            response_topic: None,
            peers: TopicFilter::everything(),
        }
    }

    /// How requests are written on topics. [`Native`] by default.
    pub fn dialect(mut self, dialect: impl Dialect) -> Self {
        self.dialect = Arc::new(dialect);
        self
    }

    /// How many calls may be in flight at once, at least 1; further ones wait in `poll_ready`.
    ///
    /// 1,024 by default: it keeps a fast link busy and bounds the table at well under a megabyte.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a call waits for its answer when the request does not say.
    ///
    /// The dialect's by default; 10 s for the native one. One that the dialect does not
    /// [allow](Dialect::timeouts) makes [`build`](Self::build) fail.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What becomes of calls in flight when the connection is lost. Fail fast by default.
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.on_disconnect = choice;
        self
    }

    /// Lets one call at a time go to each device (or address). Off by default.
    ///
    /// For devices that answer overlapping calls on the id of the last one only, as several vendors'
    /// device SDKs do. A call to a device that is busy waits for its turn, first come, first served.
    /// It waits at the cost of its deadline, and in its in-flight slot: calls to one slow device can
    /// take all the slots. At most 65,536 devices are busy at once; a call to one more fails with
    /// [`Overloaded`](crate::RequestError::Overloaded).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::ServiceExt;
    /// use tower_mqtt::requester::OneInFlight;
    /// use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (office, door) = memory::pair();
    /// # let router = Router::new().route("doors/front/open", async || ());
    /// # let _responder = Responder::builder(door).serve(router).await?;
    /// let requester = Requester::builder(office)
    ///     .one_in_flight(OneInFlight::PerDevice)
    ///     .rest(Duration::from_secs(2))
    ///     .build()
    ///     .await?;
    /// let open = || requester.clone().oneshot(Request::new("doors/front/open", "").unwrap());
    /// let (first, second) = tokio::join!(open(), open()); // the second leaves after the first
    /// # (first?, second?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn one_in_flight(mut self, of: OneInFlight) -> Self {
        self.one_in_flight = Some(of);
        self
    }

    /// How long a device of [`one_in_flight`](Self::one_in_flight) stays busy after a call that ended
    /// without its answer: it timed out, or was given up. When the answer comes late, the rest is over.
    ///
    /// The dialect's [default timeout](Dialect::default_timeout) by default: a device that has not
    /// answered by then hardly will. A shorter rest lets the next call go earlier, and risks that the
    /// device gives it the answer to the one before. A longer one costs a device that has lost
    /// a request, and will not answer it at all, as much time.
    pub fn rest(mut self, time: Duration) -> Self {
        self.rest = Some(time);
        self
    }

    /// Where the answers go.
    ///
    /// By default that is what the server's CONNACK says (Response Information), else
    /// `clients/{client id}/responses`, with a level more for every requester of the link but the
    /// first. Choose another when a machine wants its answers sorted, or when the broker's rules
    /// leave it other topics. No two requesters of one link may have the same: each would take the
    /// other's answers for strays.
    ///
    /// ```
    /// # use tower::{Service, ServiceExt};
    /// # use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
    /// use tower_mqtt::TopicName;
    /// use tower_mqtt::message::Parts;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (machine, kitchen) = memory::pair();
    /// # let tell = async |parts: Parts| parts.response_topic.map(|topic| topic.to_string());
    /// # let _responder = Responder::builder(kitchen).serve(Router::new().route("tell", tell)).await?;
    /// let topic = TopicName::new("machines/M7/recipes/soup")?;
    /// let mut requester = Requester::builder(machine).response_topic(topic).build().await?;
    ///
    /// // The handler of `tell` says where its answer goes.
    /// let response = requester.ready().await?.call(Request::new("tell", "")?).await?;
    /// assert_eq!(response.payload(), "machines/M7/recipes/soup");
    /// # Ok(())
    /// # }
    /// ```
    pub fn response_topic(mut self, topic: TopicName) -> Self {
        self.response_topic = Some(topic);
        self
    }

    /// Whom this requester asks, as a filter of addresses; everybody by default.
    ///
    /// Where the answers of every device have a topic of their own, as in the RRPC dialects, it
    /// subscribes to theirs only: it needs no more rights on the broker than that, and does not see
    /// the answers to others. A call to somebody else is an
    /// [`InvalidRequest`](crate::InvalidRequest).
    pub fn peers(mut self, addresses: TopicFilter) -> Self {
        self.peers = addresses;
        self
    }

    /// Subscribes to the answers and returns when that is acknowledged.
    ///
    /// # Errors
    /// [`ServeError::Subscribe`] when the broker refuses the subscription,
    /// [`ServeError::Disconnected`] when the connection is lost meanwhile, [`ServeError::Closed`]
    /// when the link is closed, [`ServeError::Configuration`] when a responder on the link
    /// acknowledges after its answers (see [`Acknowledge`](crate::responder::Acknowledge)), when no
    /// address of the dialect is one of its [`peers`](Self::peers), when another requester on the link
    /// lends [short ids](IdFormat::Short) to the same peers (use a clone of it), when the dialect does
    /// not allow the [`timeout`](Self::timeout), or when its short ids are not of one width.
    ///
    /// # Cancel safety
    /// Dropping the future undoes everything.
    pub async fn build(self) -> Result<Requester, ServeError> {
        let timeouts = self.dialect.timeouts();
        if let Some(timeout) = self.timeout.filter(|timeout| !timeouts.contains(timeout)) {
            let (name, possible) = (self.dialect.name(), &timeouts);
            let text = format!("a timeout of {timeout:?}: {name} allows {possible:?}");
            return Err(ServeError::Configuration(text.into()));
        }
        let lender = match self.dialect.id_format() {
            IdFormat::Short { first, last, quarantine } => {
                Some(Arc::new(Lender::new(first, last, quarantine)?))
            }
            _ => None,
        };
        let (commands, queue) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let slots = Arc::new(Semaphore::new(self.max_in_flight));
        let rest = self.rest.unwrap_or_else(|| self.dialect.default_timeout());
        let peers = self.peers;
        let claim = lender.is_some().then(|| self.link.claim(self.dialect.name(), &peers));
        let claim = claim.transpose()?;
        let settings = Settings {
            _occupant: self.link.enter(Role::Requester)?,
            _claim: claim,
            dialect: Arc::clone(&self.dialect),
            max_in_flight: self.max_in_flight,
            on_disconnect: self.on_disconnect,
            response_topic: self.response_topic,
            peers: peers.clone(),
        };
        let turns = self.one_in_flight.map(|of| Turns::new(of, rest));
        let (relay, relayed) = Handle::try_current().ok().and_then(|r| Relay::to(&r)).unzip();
        let (counting, limiting) = (Arc::clone(&counters), Arc::clone(&slots));
        let endpoint = Endpoint::new(settings, turns, queue, relay, counting, limiting, ready);
        self.link.attach(Box::new(endpoint)).await.map_err(|_| ServeError::Closed)?;
        is_ready.await.map_err(|_| ServeError::Closed)??;
        let shared = Shared {
            commands,
            timeout: self.timeout.unwrap_or_else(|| self.dialect.default_timeout()),
            timeouts,
            peers: (peers != TopicFilter::everything()).then_some(peers),
            relayed,
            lender,
            dialect: self.dialect,
            counters,
            slots: Arc::clone(&slots),
            max_in_flight: self.max_in_flight,
            link: self.link,
        };
        Ok(Requester { shared: Arc::new(shared), slots: PollSemaphore::new(slots), slot: None })
    }
}

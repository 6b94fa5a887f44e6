//! How a [`Hub`] is configured.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::Hub;
use super::access::{Access, Authenticate, Authorize, Credentials, Identity};
use super::devices::known_dialects;
use super::listener::{self, Listener};
use super::worker::Workers;
use crate::bridge::{self, Translation, TranslationError};
use crate::core::packet::ReasonCode;
use crate::dialect::Dialect;

/// What one client may use, and how many there may be. Every queue of the hub is bounded by one of
/// these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubLimits {
    /// Clients that are connected over all listeners. 20,000 by default, the usual limit of open
    /// files.
    pub connections: usize,
    /// How long each step of the handshake may take: TLS, the WebSocket upgrade, the first bytes, the
    /// rest of CONNECT, and the authentication hook. That of CONNECT is in whole seconds, rounded up,
    /// for MQTT 3.1.1. 10 s by default.
    pub handshake: Duration,
    /// How long a client may take nothing at all of what is written to it, once 64 KiB wait for it;
    /// before that its keep-alive is what counts. 60 s by default: a mobile device comes back from a
    /// dead spot within that.
    pub stalled: Duration,
    /// Bytes of a packet that a client sends. 1 MiB by default.
    pub packet: u32,
    /// Messages of a client that are not acknowledged: the Receive Maximum of CONNACK. 1,024 by
    /// default.
    pub receive_maximum: u16,
    /// Subscriptions of a client. 1,024 by default.
    pub subscriptions: usize,
    /// [Bytes](crate::core::subscriptions::bytes) of the topic filters of a client: 32 for each level are
    /// added to those of its text. 256 KiB by default: as many filters as a client may have can have
    /// five levels and 96 bytes each.
    pub subscription_bytes: usize,
    /// Levels of a topic filter: the routing table has a node for each. 128 by default.
    pub filter_levels: usize,
    /// Messages that wait for a client. 1,024 by default.
    pub queued_messages: usize,
    /// Bytes of the messages that wait for a client, exceeded by one message at most. 4 MiB by
    /// default.
    pub queued_bytes: usize,
    /// Messages on their way to another worker. 16,384 by default.
    pub between_workers: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            handshake: Duration::from_secs(10),
            stalled: Duration::from_mins(1),
            packet: 1024 * 1024,
            receive_maximum: 1024,
            subscriptions: 1024,
            subscription_bytes: 256 * 1024,
            filter_levels: 128,
            queued_messages: 1024,
            queued_bytes: 4 * 1024 * 1024,
            between_workers: 16_384,
        }
    }
}

/// Why a hub could not be started.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum HubError {
    /// A listener could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As it was given.
        address: Box<str>,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A translation could not be started.
    #[error("translation: {0}")]
    Translation(#[from] TranslationError),
    /// A worker's thread could not be started.
    #[error("cannot start a worker: {0}")]
    Thread(Arc<io::Error>),
}

/// Configures a [`Hub`].
#[derive(Clone)]
#[must_use = "nothing runs before `start`"]
pub struct HubBuilder {
    listeners: Vec<Listener>,
    workers: usize,
    pub(super) limits: HubLimits,
    pub(super) authenticate: Option<Authenticate>,
    pub(super) authorize: Option<Authorize>,
    translations: Vec<Translation>,
    pub(super) dialects: Vec<Arc<dyn Dialect>>,
}

impl HubBuilder {
    pub(super) fn new() -> Self {
        Self {
            listeners: Vec::new(),
            workers: 1,
            limits: HubLimits::default(),
            authenticate: None,
            authorize: None,
            translations: Vec::new(),
            dialects: known_dialects(),
        }
    }

    /// Listens on `HOST:PORT`, for MQTT over TCP. Call it again for more listeners, and
    /// [`listen`](Self::listen) for others. Without any, the hub serves links of this process only.
    pub fn bind(self, address: impl Into<String>) -> Self {
        self.listen(Listener::tcp(address))
    }

    /// Listens at one more place: see [`Listener`].
    pub fn listen(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// How many threads serve connections, at least 1.
    ///
    /// 1 by default: then no message crosses threads. More help when one is busy.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Changes the limits.
    pub fn limits(mut self, change: impl FnOnce(&mut HubLimits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Decides who may connect, and as whom, over every listener that has no
    /// [hook of its own](Listener::authenticate). Without it a client with a verified certificate is who
    /// its common name says (one without exactly one is refused, CONNACK 0x87), and everybody else may
    /// connect as its client identifier.
    ///
    /// It runs on a worker: it may wait, but must not block. The reason code of a refusal goes into
    /// CONNACK.
    pub fn authenticate<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Credentials) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Identity, ReasonCode>> + Send + 'static,
    {
        self.authenticate = Some(Arc::new(move |credentials| Box::pin(hook(credentials))));
        self
    }

    /// Decides what a client may publish and subscribe to, by its identity and client identifier.
    /// Without it: everything but the response topics of others. It is asked for every message, so
    /// it must be quick; links of this process are not asked. A message that is
    /// [pushed](crate::hub#devices) to a device asks whether the device may subscribe to its topic.
    ///
    /// ```
    /// use tower::ServiceExt;
    /// use tower_mqtt::hub::Access;
    /// use tower_mqtt::{Client, Hub, ReasonCode, Request, RequestError, Requester, TopicName};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Clients may ask for the menu and read their own answers; who answers is in this process.
    /// let menu = TopicName::new("recipes/menu")?;
    /// let hub = Hub::builder()
    ///     .bind("127.0.0.1:0")
    ///     .authorize(move |_, client_id, access| match access {
    ///         Access::Publish(topic) => *topic == menu,
    ///         Access::Subscribe(filter) => filter.as_str() == format!("clients/{client_id}/responses"),
    ///         _ => false,
    ///     })
    ///     .start()
    ///     .await?;
    ///
    /// let address = format!("mqtt://{}?client_id=M7", hub.local_addr().expect("it was bound"));
    /// let machine = Requester::builder(Client::connect(&address).await?).build().await?;
    /// let refused = machine.oneshot(Request::new("oven/heat", "")?).await;
    /// assert_eq!(refused.unwrap_err(), RequestError::Rejected(ReasonCode::NOT_AUTHORIZED));
    /// # hub.shutdown(std::time::Duration::from_secs(1)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn authorize(
        mut self,
        hook: impl Fn(&Identity, &str, Access<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.authorize = Some(Arc::new(hook));
        self
    }

    /// Answers requests in one dialect by asking in another: see [`bridge`](crate::bridge). Call it
    /// again for more.
    ///
    /// It is a client of the hub, `hub-translation-1` and so on, in the hub's process.
    ///
    /// ```
    /// use tower::ServiceExt;
    /// use tower_mqtt::bridge::Translation;
    /// use tower_mqtt::dialect::{Native, rrpc::aliyun};
    /// use tower_mqtt::{Hub, Request, Requester, Responder, Router};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let translation = Translation::new(Native::new(), aliyun::system())
    ///     .route("devices/{product}/{device}", "{product}/{device}");
    /// let hub = Hub::builder().translate(translation).start().await?;
    ///
    /// let firmware = Router::new().route("lamps/lamp7", async |order: String| format!("{order}: ok"));
    /// let device = Responder::builder(hub.link("lamp7")).dialect(aliyun::system());
    /// let device = device.serve(firmware).await?;
    ///
    /// let caller = Requester::builder(hub.link("caller")).build().await?;
    /// let answer = caller.oneshot(Request::new("devices/lamps/lamp7", "on")?).await?;
    /// assert_eq!(answer.payload(), "on: ok");
    /// # drop(device);
    /// # hub.shutdown(std::time::Duration::from_secs(1)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn translate(mut self, translation: Translation) -> Self {
        self.translations.push(translation);
        self
    }

    /// Tells the hub of a dialect whose topics name the device that a request is for. Call it again
    /// for more. What the hub does with it is said in [Devices](crate::hub#devices).
    ///
    /// Those of [`rrpc`](crate::dialect::rrpc) are known without being told. Where several know a topic
    /// the one that was told of last is asked.
    pub fn dialect(mut self, dialect: impl Dialect) -> Self {
        self.dialects.insert(0, Arc::new(dialect));
        self
    }

    /// Starts the workers and the listeners.
    ///
    /// # Errors
    /// [`HubError::Bind`] when an address cannot be listened on or a listener has an option that its
    /// transport does not, [`HubError::Thread`] when a thread
    /// cannot be started, [`HubError::Translation`] when a translation is not possible.
    ///
    /// # Cancel safety
    /// Dropping the future stops what was started.
    pub async fn start(mut self) -> Result<Hub, HubError> {
        let mut bound = Vec::new();
        let mut listening = Vec::new();
        for listener in std::mem::take(&mut self.listeners) {
            let (open, place) =
                listener::bind(&listener).await.map_err(|source| HubError::Bind {
                    address: listener.address.to_string().into(),
                    source: Arc::new(source),
                })?;
            bound.push((listener, open));
            listening.push(place);
        }
        let count = self.workers;
        let translations = std::mem::take(&mut self.translations);
        bridge::check_for_loops(&translations)?;
        let (shared, workers) = Workers::start(self, count, bound)
            .await
            .map_err(|error| HubError::Thread(Arc::new(error)))?;
        let mut hub = Hub::new(shared, listening, workers);
        for (number, translation) in translations.iter().enumerate() {
            let link = hub.link(&format!("hub-translation-{}", number + 1));
            hub.translations.push(translation.start(&link).await?);
        }
        Ok(hub)
    }
}

impl fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("listeners", &self.listeners)
            .field("workers", &self.workers)
            .field("limits", &self.limits)
            .field("translations", &self.translations)
            .field("dialects", &self.dialects)
            .finish_non_exhaustive()
    }
}

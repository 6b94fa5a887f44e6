//! Links inside one process, with switches for what a network does to messages. Documentation and
//! tests run on them; a program can use them to try its handlers without a broker.
//!
//! A [`Network`] behaves as a small MQTT 5 broker: topic filters, share names, No Local, PUBACK 0x10
//! when nobody is subscribed. It keeps no sessions unless told so, and retains no messages.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceExt};
//! use tower_mqtt::{Request, RequestError, Requester, Responder, Router};
//! use tower_mqtt::link::memory::{Fate, Network};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new();
//! let router = Router::new().route("ping", async || "pong");
//! let _responder = Responder::builder(network.link("b")).serve(router).await?;
//! let mut requester = Requester::builder(network.link("a")).build().await?;
//!
//! network.on_message(|message| match message.topic.as_str() {
//!     "ping" => Fate::Lose,
//!     _ => Fate::Deliver,
//! });
//! let request = Request::new("ping", "")?.timeout(Duration::from_millis(20));
//! let error = requester.ready().await?.call(request).await.unwrap_err();
//! assert_eq!(error, RequestError::Timeout);
//! # Ok(())
//! # }
//! ```

mod state;
mod transport;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::state::State;
use self::transport::{MemoryTransport, drive};
use super::{Connecting, Event, Host, Link, LinkParts, OutgoingLimits};
use crate::core::packet::{Message, ReasonCode};
use crate::core::topic::{TopicFilter, TopicName};

/// Two links of a new [`Network`], called `a` and `b`.
///
/// # Panics
/// Outside a tokio runtime: each link is a task.
pub fn pair() -> (Link, Link) {
    let network = Network::new();
    (network.link("a"), network.link("b"))
}

/// What becomes of a message after the network has accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It arrives.
    Deliver,
    /// It is lost.
    Lose,
    /// It arrives so much later, with a Message Expiry Interval that is shorter by as much, or not
    /// at all when that has passed. Messages that are not delayed overtake it.
    Delay(Duration),
    /// It arrives so many times, without delay.
    Repeat(usize),
}

/// A network that joins links in one process. A clone is the same network.
#[derive(Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

impl Network {
    /// A network without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects a link under this client identifier. A second one with the same identifier takes
    /// the place of the first, which is closed.
    ///
    /// # Panics
    /// Outside a tokio runtime: the link is a task.
    pub fn link(&self, client_id: &str) -> Link {
        self.link_with(client_id, OutgoingLimits::default())
    }

    /// As [`link`](Self::link), with other limits for what may wait to be sent.
    ///
    /// # Panics
    /// Outside a tokio runtime: the link is a task.
    pub fn link_with(&self, client_id: &str, limits: OutgoingLimits) -> Link {
        let client_id: Arc<str> = client_id.into();
        let number = self.lock().admit(&client_id);
        let transport = MemoryTransport {
            network: self.clone(),
            number,
            client_id: Arc::clone(&client_id),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        let (link, seat) = LinkParts::new(limits).into_link(client_id, Box::new(self.clone()));
        tokio::spawn(drive(transport, seat));
        self.lock().connect(number);
        link
    }

    /// Decides what becomes of each message that is accepted from now on. Called with the network
    /// locked: `oracle` must not use it.
    pub fn on_message(&self, oracle: impl FnMut(&Message) -> Fate + Send + 'static) {
        self.lock().oracle = Some(Box::new(oracle));
    }

    /// Refuses subscriptions to exactly this filter from now on.
    pub fn refuse_subscription(&self, filter: TopicFilter, reason: ReasonCode) {
        self.lock().refused_subscriptions.push((filter, reason));
    }

    /// Refuses messages to topics that match from now on: with a PUBACK at QoS 1, silently at 0.
    pub fn refuse_messages(&self, filter: TopicFilter, reason: ReasonCode) {
        self.lock().refused_messages.push((filter, reason));
    }

    /// Whether the session of a client outlives its connection: its subscriptions, and what it has
    /// not acknowledged at QoS 1. No by default.
    pub fn keep_sessions(&self, keep: bool) {
        self.lock().keeps_sessions = keep;
    }

    /// Whether subscriptions with No Local are honoured, as MQTT 5 has it. Yes by default; no makes
    /// the network like a server of MQTT 3.1.1.
    pub fn honour_no_local(&self, honour: bool) {
        self.lock().ignores_no_local = !honour;
    }

    /// What links may send at most from now on: bytes of a message.
    pub fn maximum_packet_size(&self, bytes: u32) {
        self.lock().maximum_packet_size = Some(bytes);
    }

    /// How many unacknowledged messages links that connect from now on may have. 65,535 by default.
    pub fn receive_maximum(&self, messages: u16) {
        self.lock().receive_maximum = Some(messages);
    }

    /// Holds back acknowledgements of messages, or gives out what was held back.
    pub fn hold_acknowledgements(&self, hold: bool) {
        let mut state = self.lock();
        state.holds_acknowledgements = hold;
        if !hold {
            let all = state.clients.iter_mut();
            let given_out: Vec<(usize, Event)> = all
                .flat_map(|(number, client)| client.held.drain(..).map(|event| (*number, event)))
                .collect();
            for (number, event) in given_out {
                state.push(number, event, Duration::ZERO);
            }
        }
    }

    /// Cuts the connection of a client. It stays down until [`reconnect`](Self::reconnect).
    pub fn disconnect(&self, client_id: &str) {
        let mut state = self.lock();
        if let Some(&number) = state.names.get(client_id) {
            state.disconnect(number);
        }
    }

    /// Brings the connection of a client back.
    pub fn reconnect(&self, client_id: &str) {
        let mut state = self.lock();
        if let Some(&number) = state.names.get(client_id) {
            state.connect(number);
        }
    }

    /// Whether anybody is subscribed to this topic.
    pub fn has_subscriber(&self, topic: &TopicName) -> bool {
        let mut deliveries = Vec::new();
        self.lock().subscriptions.route(topic.as_str(), None, &mut deliveries);
        !deliveries.is_empty()
    }

    /// How many QoS 1 messages are on their way to a client or wait for its acknowledgement.
    pub fn unacknowledged(&self, client_id: &str) -> usize {
        let state = self.lock();
        let client = state.names.get(client_id).and_then(|number| state.clients.get(number));
        client.map_or(0, |client| client.unacknowledged.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the user's oracle leaves the tables as they were before its message.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("clients", &self.lock().names).finish_non_exhaustive()
    }
}

impl Host for Network {
    fn connect_as(&self, client_id: String) -> Connecting {
        let network = self.clone();
        Box::pin(async move { Ok(network.link(&client_id)) })
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

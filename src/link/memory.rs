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

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::{
    AckId, Connecting, Connection, Driver, Event, Host, Link, LinkParts, LinkSeat, OutgoingLimits,
    SendError, SendId, Transport,
};
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::core::subscriptions::{Recipient, SubscribeOptions, Subscriptions};
use crate::core::topic::{TopicFilter, TopicName, encode_level};

/// Events that wait for one link. When full, a message to it is refused with 0x97 at QoS 1 and
/// dropped at QoS 0.
const INBOX: usize = 65_536;

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

type Oracle = Box<dyn FnMut(&Message) -> Fate + Send>;

/// A network that joins links in one process. A clone is the same network.
#[derive(Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    clients: HashMap<usize, Client>,
    names: HashMap<Arc<str>, usize>,
    subscriptions: Subscriptions<usize, Qos>,
    oracle: Option<Oracle>,
    refused_subscriptions: Vec<(TopicFilter, ReasonCode)>,
    refused_messages: Vec<(TopicFilter, ReasonCode)>,
    keeps_sessions: bool,
    maximum_packet_size: Option<u32>,
    receive_maximum: Option<u16>,
    holds_acknowledgements: bool,
    next_client: usize,
    next_event: u64,
    next_ack: AckId,
}

#[derive(Default)]
struct Client {
    connected: bool,
    /// There is a session, kept from an earlier connection.
    session: bool,
    /// By the time at which they happen, then by their order.
    inbox: BTreeMap<(Instant, u64), Event>,
    waker: Option<Waker>,
    /// Acknowledgements that are held back.
    held: Vec<Event>,
    /// On their way to the client at QoS 1, or not acknowledged by it.
    unacknowledged: BTreeMap<AckId, Message>,
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

/// Counts the Message Expiry Interval down [MQTT-3.3.2-6]. `false`: it has passed [MQTT-3.3.2-5].
fn grow_older(message: &mut Message, by: Duration) -> bool {
    let Some(expiry) = &mut message.properties.message_expiry else { return true };
    let by = u32::try_from(by.as_secs()).unwrap_or(u32::MAX);
    *expiry = expiry.saturating_sub(by);
    *expiry > 0
}

impl Host for Network {
    fn connect_as(&self, client_id: String) -> Connecting {
        let network = self.clone();
        Box::pin(async move { Ok(network.link(&client_id)) })
    }
}

async fn drive(transport: MemoryTransport, seat: LinkSeat) {
    let mut driver = Driver::new(transport, seat);
    poll_fn(|cx| driver.poll(cx)).await;
}

impl State {
    fn admit(&mut self, client_id: &Arc<str>) -> usize {
        self.next_client += 1;
        let number = self.next_client;
        if let Some(earlier) = self.names.insert(Arc::clone(client_id), number) {
            self.subscriptions.remove_client(earlier);
            self.push(earlier, Event::Closed, Duration::ZERO);
        }
        self.clients.insert(number, Client::default());
        number
    }

    fn connect(&mut self, number: usize) {
        let Some(client_id) =
            self.names.iter().find_map(|(name, n)| (*n == number).then(|| Arc::clone(name)))
        else {
            return;
        };
        let Some(client) = self.clients.get_mut(&number) else { return };
        if std::mem::replace(&mut client.connected, true) {
            return;
        }
        let session_present = client.session;
        let again = client.unacknowledged.clone();
        let response_base =
            TopicName::new(format!("clients/{}/responses", encode_level(&client_id)))
                .expect("an encoded level of at most 64 KiB makes a topic name");
        let connection = Connection {
            session_present,
            response_base,
            receive_maximum: self.receive_maximum.unwrap_or(u16::MAX),
        };
        self.push(number, Event::Connected(connection), Duration::ZERO);
        for (ack, message) in again {
            let message = Message { dup: true, ..message };
            self.push(number, Event::Message(message, Some(ack)), Duration::ZERO);
        }
    }

    fn disconnect(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if !std::mem::replace(&mut client.connected, false) {
            return;
        }
        client.inbox.clear();
        client.held.clear();
        client.session = self.keeps_sessions;
        if !client.session {
            client.unacknowledged.clear();
            self.subscriptions.remove_client(number);
        }
        self.push(number, Event::Disconnected, Duration::ZERO);
    }

    /// Lets something happen to a client, now or later.
    fn push(&mut self, number: usize, event: Event, after: Duration) {
        self.next_event += 1;
        let at = now() + after;
        if let Some(client) = self.clients.get_mut(&number) {
            client.inbox.insert((at, self.next_event), event);
            if let Some(waker) = client.waker.take() {
                waker.wake();
            }
        }
    }

    fn publish(&mut self, from: usize, message: &Message, id: SendId) -> Result<(), SendError> {
        let client = self.clients.get(&from).filter(|client| client.connected);
        client.ok_or(SendError::Disconnected)?;
        let size = message.size();
        if let Some(limit) = self.maximum_packet_size.map(|limit| limit as usize)
            && size > limit
        {
            return Err(SendError::TooLarge { size, limit });
        }
        let refused =
            self.refused_messages.iter().find(|(filter, _)| filter.matches(&message.topic));
        let reason = match refused {
            Some((_, reason)) => *reason,
            None => self.forward(from, message),
        };
        if message.qos == Qos::AtLeastOnce {
            self.acknowledge(from, Event::Acknowledged(id, reason));
        }
        Ok(())
    }

    fn acknowledge(&mut self, to: usize, event: Event) {
        if self.holds_acknowledgements {
            if let Some(client) = self.clients.get_mut(&to) {
                client.held.push(event);
            }
        } else {
            self.push(to, event, Duration::ZERO);
        }
    }

    fn forward(&mut self, from: usize, message: &Message) -> ReasonCode {
        let mut deliveries: Vec<Recipient<usize, Qos>> = Vec::new();
        self.subscriptions.route(message.topic.as_str(), Some(from), &mut deliveries);
        if deliveries.is_empty() {
            return ReasonCode::NO_MATCHING_SUBSCRIBERS;
        }
        let fate = self.oracle.as_mut().map_or(Fate::Deliver, |oracle| oracle(message));
        let mut message = message.clone();
        let (copies, after) = match fate {
            Fate::Deliver => (1, Duration::ZERO),
            Fate::Lose => (0, Duration::ZERO),
            Fate::Delay(after) => (usize::from(grow_older(&mut message, after)), after),
            Fate::Repeat(copies) => (copies, Duration::ZERO),
        };
        let mut taken = false;
        for Recipient { client, qos, .. } in deliveries {
            let qos = message.qos.min(qos);
            taken |= self.deliver(client, &Message { qos, ..message.clone() }, copies, after);
        }
        if taken { ReasonCode::SUCCESS } else { ReasonCode::QUOTA_EXCEEDED }
    }

    /// `false`: the client can take no more.
    fn deliver(&mut self, to: usize, message: &Message, copies: usize, after: Duration) -> bool {
        let Some(client) = self.clients.get(&to) else { return false };
        let waiting = client.inbox.len().max(client.unacknowledged.len());
        let (connected, stored) = (client.connected, message.qos == Qos::AtLeastOnce);
        if waiting + copies > INBOX || !(connected || stored) {
            return false;
        }
        for _ in 0..copies {
            self.next_ack += 1;
            let ack = self.next_ack;
            if stored && let Some(client) = self.clients.get_mut(&to) {
                client.unacknowledged.insert(ack, message.clone());
            }
            if connected {
                self.push(to, Event::Message(message.clone(), stored.then_some(ack)), after);
            }
        }
        true
    }

    fn subscribe(&mut self, number: usize, subscriptions: &[Subscription], id: SendId) {
        let reasons = subscriptions
            .iter()
            .map(|subscription| {
                let Subscription { filter, qos, no_local } = subscription;
                let refused = self.refused_subscriptions.iter().find(|(f, _)| f == filter);
                if let Some((_, reason)) = refused {
                    return *reason;
                }
                let options = SubscribeOptions { qos: *qos, no_local: *no_local };
                self.subscriptions.subscribe(number, filter, options);
                match qos {
                    Qos::AtMostOnce => ReasonCode::SUCCESS,
                    Qos::AtLeastOnce => ReasonCode::GRANTED_QOS_1,
                }
            })
            .collect();
        self.push(number, Event::Subscribed(id, reasons), Duration::ZERO);
    }

    fn unsubscribe(&mut self, number: usize, subscriptions: &[Subscription], id: SendId) {
        let reasons = subscriptions
            .iter()
            .map(|subscription| {
                if self.subscriptions.unsubscribe(number, &subscription.filter) {
                    ReasonCode::SUCCESS
                } else {
                    ReasonCode::NO_SUBSCRIPTION_EXISTED
                }
            })
            .collect();
        self.push(number, Event::Subscribed(id, reasons), Duration::ZERO);
    }

    fn remove(&mut self, number: usize, client_id: &str) {
        self.subscriptions.remove_client(number);
        self.clients.remove(&number);
        if self.names.get(client_id) == Some(&number) {
            self.names.remove(client_id);
        }
    }
}

struct MemoryTransport {
    network: Network,
    number: usize,
    client_id: Arc<str>,
    /// Wakes the driver for what happens later.
    timer: Pin<Box<Sleep>>,
}

impl MemoryTransport {
    /// The next event that is due, or when the first that is not will be.
    fn next(&self, waker: Option<&Waker>) -> Result<Event, Option<Instant>> {
        let mut state = self.network.lock();
        let Some(client) = state.clients.get_mut(&self.number) else { return Ok(Event::Closed) };
        match client.inbox.first_entry() {
            Some(entry) if entry.key().0 <= now() => Ok(entry.remove()),
            entry => {
                let due = entry.map(|entry| entry.key().0);
                if let Some(waker) = waker {
                    client.waker = Some(waker.clone());
                }
                Err(due)
            }
        }
    }
}

impl Transport for MemoryTransport {
    fn publish(&mut self, message: &Message, id: SendId) -> Result<(), SendError> {
        self.network.lock().publish(self.number, message, id)
    }

    fn subscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        self.network.lock().subscribe(self.number, subscriptions, id);
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        self.network.lock().unsubscribe(self.number, subscriptions, id);
    }

    fn acknowledge(&mut self, ack: AckId, _: ReasonCode) {
        if let Some(client) = self.network.lock().clients.get_mut(&self.number) {
            client.unacknowledged.remove(&ack);
        }
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn try_event(&mut self) -> Option<Event> {
        self.next(None).ok()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let due = match self.next(Some(cx.waker())) {
                Ok(event) => return Poll::Ready(event),
                Err(None) => return Poll::Pending,
                Err(Some(due)) => due,
            };
            self.timer.as_mut().reset(tokio::time::Instant::from_std(due));
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn disconnect(&mut self) {
        self.network.lock().remove(self.number, &self.client_id);
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

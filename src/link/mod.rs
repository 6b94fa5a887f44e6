//! The boundary to the network: what a connection is, for those who ask and answer over it.
//!
//! A [`Link`] is a handle, `Clone + Send + Sync`. Behind it one task or thread owns the connection
//! and everything that belongs to it: the subscriptions, the in-flight window, the tables of the
//! requesters and responders that are attached. Handles talk to it through channels.
//!
//! | link | made by | runs on |
//! |---|---|---|
//! | in-memory | [`memory::pair`], [`memory::Network::link`] | a tokio task |
#![cfg_attr(
    feature = "ntex",
    doc = "| client of a broker | `Client::connect` | a thread of its own |"
)]
#![cfg_attr(
    feature = "ntex",
    doc = "| inside the embedded hub | `Hub::link` | a worker of the hub |"
)]
//!
//! # Bounds
//!
//! | what | default | when full |
//! |---|---|---|
//! | messages waiting to be sent ([`OutgoingLimits`]) | 16,384 messages, 8 MiB | a request fails with [`Overloaded`](crate::RequestError::Overloaded); an answer is dropped and counted |
//! | QoS 1 messages not acknowledged | the server's Receive Maximum | further ones wait in the queue above |
//! | endpoints being attached, futures being [handed over](Link::run_local) | 64 | who asks for it waits |

#![expect(clippy::result_large_err, reason = "a message that is not taken is given back whole")]

mod acknowledgement;
mod driver;
#[cfg(test)]
pub(crate) mod fake;
pub mod memory;
#[cfg(feature = "ntex")]
pub(crate) mod ntex;
mod occupancy;
mod outgoing;

use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "ntex")]
pub(crate) use self::acknowledgement::Absence;
pub(crate) use self::acknowledgement::{Acknowledgement, is_refusal};
pub(crate) use self::driver::{Driver, Outbox};
#[cfg(feature = "ntex")]
pub use self::ntex::{Client, ClientBuilder, Reconnect};
pub(crate) use self::occupancy::{Claim, Occupant, Role};
use self::occupancy::{Claimed, Occupancy, WouldStarve};
pub use self::outgoing::OutgoingLimits;
pub(crate) use self::outgoing::{PublishError, Published};
use crate::core::packet::{Message, ReasonCode, Subscription};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::ConnectError;

/// Endpoints and tasks that wait to be taken in by the connection.
const ORDER_QUEUE: usize = 64;

/// A connection: what requesters and responders are built on.
///
/// A clone is another handle to the same connection. The connection ends when the last handle is
/// gone and with it every [`Requester`](crate::Requester) and [`Responder`](crate::Responder) on it.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    client_id: Arc<str>,
    orders: mpsc::Sender<Order>,
    connected: watch::Receiver<bool>,
    close: CancellationToken,
    occupancy: Occupancy,
    siblings: AtomicUsize,
    host: Box<dyn Host>,
}

/// What a link belongs to. Dropped with the last handle: it joins what runs the connection.
pub(crate) trait Host: Send + Sync {
    /// Connects once more, with the same settings but under this client identifier.
    fn connect_as(&self, client_id: String) -> Connecting;
}

pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

impl Link {
    /// The client identifier, as the server knows it.
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    /// Whether the connection is up at this moment.
    pub fn is_connected(&self) -> bool {
        *self.shared.connected.borrow()
    }

    /// Resolves when the connection is up and its subscriptions are made.
    ///
    /// `false`: the link was closed and will not come up again.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn connected(&self) -> bool {
        self.shared.connected.clone().wait_for(|connected| *connected).await.is_ok()
    }

    /// Resolves when the connection is down, or the link is closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn disconnected(&self) {
        let _ = self.shared.connected.clone().wait_for(|connected| !*connected).await;
    }

    /// Closes the connection with a DISCONNECT. Calls in flight fail with
    /// [`Closed`](crate::RequestError::Closed); responders stop without a grace period.
    pub fn close(&self) {
        self.shared.close.cancel();
    }

    /// Makes another connection with the same settings, under a client identifier of its own: that
    /// of this link and a number (`kitchen~2`).
    ///
    /// # Errors
    /// As for the first connection; a [`ConnectError::Refused`] when the server's rules do not know
    /// the other client identifier.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn sibling(&self) -> Result<Self, ConnectError> {
        let number = self.shared.siblings.fetch_add(1, Ordering::Relaxed) + 2;
        self.shared.host.connect_as(format!("{}~{number}", self.client_id())).await
    }

    /// Runs a future where the connection runs, and returns what it returns.
    ///
    /// Calls that are made there need no other thread to be woken, neither for the request nor for
    /// the answer: with many small calls that is the greater part of their cost. It is the
    /// counterpart of [`inline`](crate::responder::ResponderBuilder::inline), and the same holds: a
    /// future that waits holds up nobody; one that computes for long, or blocks, holds up everything
    /// on the connection.
    ///
    /// ```
    /// # use tower_mqtt::{Request, RequestError, Requester, Responder, Router, link::memory};
    /// use tower::{Service, ServiceExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (link, other) = memory::pair();
    /// # let router = Router::new().route("temperature", async || "21");
    /// # let _responder = Responder::builder(other).serve(router).await?;
    /// let mut requester = Requester::builder(link.clone()).build().await?;
    /// let readings = link.run_local(async move {
    ///     let mut readings = Vec::new();
    ///     for _ in 0..100 {
    ///         let request = Request::new("temperature", "")?;
    ///         readings.push(requester.ready().await?.call(request).await?.into_payload());
    ///     }
    ///     Ok::<_, RequestError>(readings)
    /// });
    /// assert_eq!(readings.await??.len(), 100);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`LinkClosed`]: the link was closed before the future was done.
    ///
    /// # Cancel safety
    /// Dropping the future that this returns drops the one that it runs.
    ///
    /// # Panics
    /// When the future panics.
    pub async fn run_local<F>(&self, future: F) -> Result<F::Output, LinkClosed>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (mut reply, output) = oneshot::channel();
        let task = async move {
            let running = pin!(AssertUnwindSafe(future).catch_unwind());
            let output = match select(running, pin!(reply.closed())).await {
                Either::Left((output, _)) => output,
                Either::Right(((), _)) => return,
            };
            let _ = reply.send(output);
        };
        self.order(Order::Run(Box::pin(task))).await?;
        output.await.map_err(|_| LinkClosed)?.or_else(|panic| resume_unwind(panic))
    }

    /// Counts an endpoint in, unless it and those that are there would wait for each other.
    pub(crate) fn enter(&self, role: Role) -> Result<Occupant, WouldStarve> {
        self.shared.occupancy.enter(role)
    }

    /// Takes the short ids of a requester's peers, unless another requester has them.
    pub(crate) fn claim(
        &self,
        dialect: &'static str,
        peers: &TopicFilter,
    ) -> Result<Claim, Claimed> {
        self.shared.occupancy.claim(dialect, peers)
    }

    pub(crate) async fn attach(&self, endpoint: Box<dyn Endpoint>) -> Result<(), LinkClosed> {
        self.order(Order::Attach(endpoint)).await
    }

    async fn order(&self, order: Order) -> Result<(), LinkClosed> {
        self.shared.orders.send(order).await.map_err(|_| LinkClosed)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("client_id", &self.client_id())
            .field("connected", &self.is_connected())
            .finish()
    }
}

/// The link was closed before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link was closed")]
pub struct LinkClosed;

/// What handles ask the connection for.
enum Order {
    Attach(Box<dyn Endpoint>),
    Run(Task),
}

/// A future of a user's that runs where the connection runs.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The connection's side of a [`Link`]: what a [`Driver`] is made from.
pub(crate) struct LinkSeat {
    orders: mpsc::Receiver<Order>,
    connected: watch::Sender<bool>,
    close: CancellationToken,
    limits: OutgoingLimits,
}

/// A handle whose host is not known yet, and the seat for whoever drives it.
pub(crate) struct LinkParts {
    pub(crate) seat: LinkSeat,
    orders: mpsc::Sender<Order>,
    connected: watch::Receiver<bool>,
    close: CancellationToken,
}

impl LinkParts {
    pub(crate) fn new(limits: OutgoingLimits) -> Self {
        let (orders, orders_rx) = mpsc::channel(ORDER_QUEUE);
        let (connected_tx, connected) = watch::channel(false);
        let close = CancellationToken::new();
        let seat =
            LinkSeat { orders: orders_rx, connected: connected_tx, close: close.clone(), limits };
        Self { seat, orders, connected, close }
    }

    /// `host` is dropped with the last handle.
    pub(crate) fn into_link(self, client_id: Arc<str>, host: Box<dyn Host>) -> (Link, LinkSeat) {
        let Self { seat, orders, connected, close } = self;
        let occupancy = Occupancy::default();
        let siblings = AtomicUsize::new(0);
        let shared = Shared { client_id, orders, connected, close, occupancy, siblings, host };
        (Link { shared: Arc::new(shared) }, seat)
    }
}

/// What an endpoint calls its own messages and subscriptions, to recognise their outcome.
pub(crate) type Token = (u64, u64);

/// Names a message that arrived at QoS 1 and is not acknowledged yet.
pub(crate) type AckId = u64;

/// A requester or a responder as the connection sees it: a state machine that the connection's
/// [`Driver`] calls. It never blocks, and writes through the [`Outbox`].
pub(crate) trait Endpoint: Send {
    /// Answers are offered to requesters before responders see them as requests: a responder may
    /// be subscribed to everything.
    fn is_requester(&self) -> bool;

    /// The connection is up. Called again after every reconnect; subscribe here. Nothing is
    /// published before these subscriptions are acknowledged.
    fn connected(&mut self, out: &mut Outbox<'_>);

    /// The connection is lost; outcomes of everything that was sent have been reported before.
    fn disconnected(&mut self, out: &mut Outbox<'_>);

    /// A message arrived. Gives it back when it is not for this endpoint.
    fn message(
        &mut self,
        message: Message,
        ack: Option<AckId>,
        out: &mut Outbox<'_>,
    ) -> Result<Verdict, Message>;

    /// A message that had to wait is about to be written. `false`: nobody wants it any more; it is
    /// dropped, and no outcome follows.
    fn still_wanted(&mut self, token: Token, message: &mut Message, now: Instant) -> bool;

    /// What became of a message that this endpoint published.
    fn outcome(&mut self, token: Token, outcome: Outcome, message: Message, out: &mut Outbox<'_>);

    /// What became of a subscription.
    fn subscribed(&mut self, token: Token, reasons: &[ReasonCode], out: &mut Outbox<'_>);

    /// Takes commands from the handles and expires what is due. Ready: this endpoint is done and
    /// is detached.
    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox<'_>) -> Poll<()>;

    /// Whether [`poll`](Self::poll) must be called even if no command and no deadline asks for it.
    fn needs_poll(&self) -> bool {
        false
    }

    /// Requests that are asked, or worked on, at this moment.
    fn in_flight(&self) -> usize;

    /// When [`poll`](Self::poll) must be called again at the latest.
    fn next_deadline(&self) -> Option<Instant>;

    /// The link is closed for good: fail everything that waits.
    fn closed(&mut self);
}

/// What becomes of a message that an endpoint took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Acknowledge it now.
    Taken,
    /// The endpoint acknowledges it itself, through [`Outbox::acknowledge`].
    Held,
}

/// What became of a message that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server acknowledged it. Only at QoS 1.
    Acknowledged(Acknowledgement),
    /// It had to wait, and is larger than the server accepts.
    TooLarge { size: usize, limit: usize },
    /// The connection was lost before it was written.
    NotSent,
    /// It was written, and the connection was lost before it was acknowledged. Only at QoS 1.
    Lost,
}

/// What the endpoint learns about the connection when it comes up.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The server kept the session: its subscriptions and what it owes us.
    pub(crate) session_present: bool,
    /// Under which topic this client's answers go.
    pub(crate) response_base: TopicName,
    /// QoS 1 messages that the server takes without acknowledging them.
    pub(crate) receive_maximum: u16,
}

/// What a connection physically does. Answers come as [`Event`]s.
pub(crate) trait Transport {
    /// Writes a message. At QoS 1 an [`Event::Acknowledged`] follows, in order of sending.
    fn publish(&mut self, message: &Message, id: SendId) -> Result<(), SendError>;

    /// Writes a message at QoS 0, of which nothing more is heard. Gives it back when it cannot.
    fn publish_once(&mut self, message: Message, id: SendId) -> Result<(), (SendError, Message)> {
        self.publish(&message, id).map_err(|error| (error, message))
    }

    /// Writes a SUBSCRIBE. An [`Event::Subscribed`] follows.
    fn subscribe(&mut self, subscriptions: &[Subscription], id: SendId);

    /// Writes an UNSUBSCRIBE. An [`Event::Subscribed`] follows.
    fn unsubscribe(&mut self, subscriptions: &[Subscription], id: SendId);

    /// Acknowledges a message that arrived on this connection.
    fn acknowledge(&mut self, ack: AckId, reason: ReasonCode);

    /// Whether the write buffer has room; when it has again, an [`Event::Writable`] follows.
    fn is_writable(&self) -> bool;

    /// The next thing that happened, if anything did.
    fn try_event(&mut self) -> Option<Event>;

    /// The next thing that happened. Pending: the task of `cx` is woken when there is one.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event>;

    /// Ends the connection with a DISCONNECT. No event follows.
    fn disconnect(&mut self);

    /// Everything that has happened is dealt with, and so many exchanges are in flight.
    fn turn_is_over(&mut self, in_flight: usize) {
        let _ = in_flight;
    }

    /// Starts a task on the thread of this connection.
    fn spawn(&self, task: Task, tasks: &mut JoinSet<()>) {
        tasks.spawn(task);
    }
}

/// Numbers what is sent, in order.
pub(crate) type SendId = u64;

/// Why a message could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// It is larger than the server accepts.
    TooLarge { size: usize, limit: usize },
    /// The connection is gone and nothing was written; an [`Event::Disconnected`] follows.
    Disconnected,
}

/// What happens on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    Connected(Connection),
    Disconnected,
    Message(Message, Option<AckId>),
    Acknowledged(SendId, Acknowledgement),
    Subscribed(SendId, Vec<ReasonCode>),
    #[cfg_attr(not(feature = "ntex"), expect(dead_code, reason = "the memory link has none"))]
    Writable,
    /// The connection will not come up again.
    Closed,
}

//! What the workers of one hub share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::access::{Access, Authenticate, Authorize, Identity};
use super::builder::HubLimits;
use super::devices::Devices;
use super::listener::{Accepted, Count, Entrance, Listener};
use super::presence::Roll;
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::core::topic::TopicFilter;
use crate::dialect::Dialect;
use crate::link::LinkSeat;

/// Names a client on every worker. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    pub(super) worker: usize,
    pub(super) serial: u64,
    /// A link of the hub's process.
    pub(super) in_process: bool,
}

/// What workers are told. Bounded by what causes it: one for each connection, subscription or call
/// of the hub's methods.
pub(super) enum Order {
    /// Serve a connection.
    Accept(Accepted),
    /// Drive a link of this process.
    Attach(LinkSeat, Arc<str>),
    /// A client of another worker subscribed or unsubscribed. Dropping `Acknowledge` confirms.
    Subscribe(ClientKey, Subscription, Acknowledge),
    Unsubscribe(ClientKey, TopicFilter),
    /// A client of another worker is gone.
    Forget(ClientKey),
    /// Close a session whose client connected again. The sender is dropped when it is closed.
    TakeOver(ClientKey, oneshot::Sender<()>),
    /// Tell every client that the hub is stopping.
    Dismiss,
}

/// Dropped when a worker has seen a route, or will never see one again.
pub(super) type Acknowledge = mpsc::Sender<()>;

/// A message for a client of another worker.
pub(super) struct Mail {
    pub(super) to: ClientKey,
    /// That of the subscription.
    pub(super) qos: Qos,
    pub(super) message: Message,
    /// Nobody else gets it.
    pub(super) alone: bool,
}

/// How one worker is reached from the others.
#[derive(Clone)]
pub(super) struct Mailbox {
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// Messages for clients of this worker. Bounded.
    pub(super) messages: mpsc::Sender<Mail>,
}

/// Who has a client identifier.
struct Holder {
    key: ClientKey,
    identity: Identity,
}

pub(super) struct Shared {
    pub(super) limits: HubLimits,
    pub(super) entrances: Vec<Arc<Entrance>>,
    /// Whether the hub knows of some clients more than they say themselves.
    pub(super) identifies: bool,
    pub(super) authorize: Option<Authorize>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) presence: Arc<Roll>,
    pub(super) devices: Devices,
    /// Which session a client identifier belongs to. Locked when a client comes or goes, never for
    /// a message.
    sessions: Mutex<HashMap<Arc<str>, Holder>>,
    /// Connections over all listeners.
    count: Arc<Count>,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
    /// Cancelled when nobody new is let in any more, at the latest with `stop`.
    pub(super) accepting: CancellationToken,
    next_serial: AtomicU64,
    next_worker: AtomicUsize,
}

impl Shared {
    pub(super) fn new(
        limits: HubLimits,
        authenticate: Option<&Authenticate>,
        authorize: Option<Authorize>,
        dialects: Vec<Arc<dyn Dialect>>,
        listeners: Vec<Listener>,
        mailboxes: Vec<Mailbox>,
    ) -> Self {
        let stop = CancellationToken::new();
        let count = Arc::new(Count::new(limits.connections));
        let open = |listener| Arc::new(Entrance::new(listener, authenticate, &limits, &count));
        let entrances: Vec<_> = listeners.into_iter().map(open).collect();
        let identifies =
            authenticate.is_some() || entrances.iter().any(|entrance| entrance.identifies());
        Self {
            limits,
            entrances,
            identifies,
            authorize,
            mailboxes,
            presence: Arc::new(Roll::new()),
            devices: Devices::new(dialects),
            sessions: Mutex::default(),
            count,
            counters: Counters::default(),
            accepting: stop.child_token(),
            stop,
            next_serial: AtomicU64::new(0),
            next_worker: AtomicUsize::new(0),
        }
    }

    /// A key for a client of this worker.
    pub(super) fn new_key(&self, worker: usize, in_process: bool) -> ClientKey {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        ClientKey { worker, serial, in_process }
    }

    /// Workers in turn.
    pub(super) fn pick(&self) -> &Mailbox {
        let turn = self.next_worker.fetch_add(1, Ordering::Relaxed);
        &self.mailboxes[turn % self.mailboxes.len()]
    }

    /// Gives the client identifier to this session; returns the one that had it.
    ///
    /// # Errors
    /// A link of this process, which would not come back, does not give its identifier to a client
    /// from the network, and nobody whose identity is verified to another.
    pub(super) fn claim(
        &self,
        client_id: &Arc<str>,
        key: ClientKey,
        identity: &Identity,
    ) -> Result<Option<ClientKey>, ReasonCode> {
        let mut sessions = self.sessions();
        let keeps =
            |earlier: &Holder| earlier.key.in_process || !earlier.identity.yields_to(identity);
        if !key.in_process && sessions.get(client_id).is_some_and(keeps) {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
        let holder = Holder { key, identity: identity.clone() };
        Ok(sessions.insert(Arc::clone(client_id), holder).map(|earlier| earlier.key))
    }

    /// Whether the client identifier belongs to this session.
    pub(super) fn holds(&self, client_id: &str, key: ClientKey) -> bool {
        self.sessions().get(client_id).is_some_and(|holder| holder.key == key)
    }

    /// Gives the client identifier back, unless another session has taken it since.
    pub(super) fn release(&self, client_id: &str, key: ClientKey) {
        let mut sessions = self.sessions();
        if sessions.get(client_id).is_some_and(|holder| holder.key == key) {
            sessions.remove(client_id);
        }
    }

    /// What the authorization hook says.
    pub(super) fn allows(
        &self,
        key: ClientKey,
        identity: &Identity,
        client_id: &str,
        access: Access<'_>,
    ) -> bool {
        let hook = self.authorize.as_ref().filter(|_| !key.in_process);
        hook.is_none_or(|hook| hook(identity, client_id, access))
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Arc<str>, Holder>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> HubStats {
        HubStats {
            connections: self.count.sockets(),
            forwarded: self.counters.forwarded.get(),
            unmatched: self.counters.unmatched.get(),
            refused: self.counters.refused.get(),
            overflowed: self.counters.overflowed.get(),
            expired: self.counters.expired.get(),
            looped: self.counters.looped.get(),
        }
    }
}

/// What a [`Hub`](super::Hub) has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HubStats {
    /// Network connections at this moment, those in the handshake included.
    pub connections: usize,
    /// Messages that at least one subscriber's queue took, or that of the device that they are for.
    pub forwarded: u64,
    /// Messages that nobody was subscribed to, and that were not pushed to a device either.
    pub unmatched: u64,
    /// Messages and subscriptions that were not allowed.
    pub refused: u64,
    /// Copies of messages that a subscriber's queue had no room for, or that it could not take.
    pub overflowed: u64,
    /// Copies of messages whose Message Expiry Interval passed while they waited for a subscriber.
    pub expired: u64,
    /// Messages that were too many on a topic which a request shares with its answer: devices that
    /// answer each other's answers.
    pub looped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) forwarded: Counter,
    pub(super) unmatched: Counter,
    pub(super) refused: Counter,
    pub(super) overflowed: Counter,
    pub(super) expired: Counter,
    pub(super) looped: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

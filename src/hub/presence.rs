//! Who is connected, and who comes and goes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::access::{Identity, Protocol};
use super::listener::Transport;

/// Changes that a reader may be behind.
const BACKLOG: usize = 1024;

/// A client that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Its client identifier.
    pub client_id: Arc<str>,
    /// Who it is, as the authentication hook found.
    pub identity: Identity,
    /// Where it connects from; `None` over a Unix socket, and for a link of this process.
    pub peer: Option<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// What that goes over.
    pub transport: Transport,
    /// Since when.
    pub since: SystemTime,
    /// The Keep Alive of its CONNECT: it is lost when it is silent for one and a half of them. Zero when
    /// it is not watched, and for a link of this process.
    pub keep_alive: Duration,
    /// It has left with a DISCONNECT of its own. `false` while it is connected, and for one that is lost,
    /// closed, or replaced by its next connection.
    pub has_left: bool,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A client connected.
    Connected(ClientInfo),
    /// A client is gone.
    Disconnected(ClientInfo),
    /// So many changes were not read in time and are lost: [catch up](Presence::catch_up).
    Missed(u64),
}

/// A stream of changes.
#[derive(Debug)]
pub struct Presence {
    changes: broadcast::Receiver<Change>,
    /// Does not keep a hub alive that has stopped.
    roll: Weak<Roll>,
}

impl Presence {
    /// The next change; `None` when the hub has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<Change> {
        match self.changes.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(missed)) => Some(Change::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// Who is connected now. What changes from then on comes next; what was not read yet is forgotten.
    /// Nobody, when the hub has stopped.
    pub fn catch_up(&mut self) -> Vec<ClientInfo> {
        let Some(roll) = self.roll.upgrade() else { return Vec::new() };
        let (present, presence) = roll.watch();
        *self = presence;
        present
    }
}

/// The list of those who are connected.
#[derive(Debug)]
pub(super) struct Roll {
    present: Mutex<HashMap<u64, ClientInfo>>,
    changes: broadcast::Sender<Change>,
}

impl Roll {
    pub(super) fn new() -> Self {
        Self { present: Mutex::default(), changes: broadcast::Sender::new(BACKLOG) }
    }

    pub(super) fn watch(self: &Arc<Self>) -> (Vec<ClientInfo>, Presence) {
        // Under one lock, so that the stream begins exactly where the list ends.
        let present = self.lock();
        let changes = self.changes.subscribe();
        let roll = Arc::downgrade(self);
        (present.values().cloned().collect(), Presence { changes, roll })
    }

    pub(super) fn arrive(&self, serial: u64, client: ClientInfo) {
        let mut present = self.lock();
        present.insert(serial, client.clone());
        let _ = self.changes.send(Change::Connected(client));
    }

    pub(super) fn leave(&self, serial: u64, has_left: bool) {
        let mut present = self.lock();
        if let Some(client) = present.remove(&serial) {
            let _ = self.changes.send(Change::Disconnected(ClientInfo { has_left, ..client }));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, ClientInfo>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What the connections of one listener have in common while the hub runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Listener, Transport};
use crate::hub::access::Authenticate;
use crate::hub::builder::HubLimits;
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// Connections beyond the limit that are let in, to have their CONNECT refused politely.
const IN_HANDSHAKE: usize = 256;

/// A listener of a running hub.
pub(in crate::hub) struct Entrance {
    pub(in crate::hub) transport: Transport,
    #[cfg(feature = "tls")]
    pub(in crate::hub) tls: Option<ServerTls>,
    /// The path of its WebSocket.
    #[cfg(feature = "ws")]
    pub(in crate::hub) path: Option<Box<str>>,
    /// Its own hook, or that of the hub.
    pub(in crate::hub) authenticate: Option<Authenticate>,
    pub(in crate::hub) handshake: Duration,
    /// The greatest Remaining Length; never 0, which would be no limit.
    pub(in crate::hub) longest_packet: u32,
    count: Count,
    /// All those of the hub.
    hub: Arc<Count>,
}

/// Connections, and how many there may be.
pub(in crate::hub) struct Count {
    limit: usize,
    /// Sockets, those in the handshake included.
    sockets: AtomicUsize,
    /// Clients whose handshake is over.
    clients: AtomicUsize,
}

impl Count {
    pub(in crate::hub) fn new(limit: usize) -> Self {
        Self { limit, sockets: AtomicUsize::new(0), clients: AtomicUsize::new(0) }
    }

    pub(in crate::hub) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }
}

/// One more; `false`: there are as many as allowed.
fn take(taken: &AtomicUsize, limit: usize) -> bool {
    let more = |taken: usize| (taken < limit).then_some(taken + 1);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

/// A socket that is counted until this is dropped.
pub(in crate::hub) struct Counted(Arc<Entrance>);

/// The place of a client whose handshake is over; free again when it is dropped.
pub(in crate::hub) struct Place(Arc<Entrance>);

impl Entrance {
    pub(in crate::hub) fn new(
        listener: Listener,
        authenticate: Option<&Authenticate>,
        limits: &HubLimits,
        hub: &Arc<Count>,
    ) -> Self {
        let own = listener.limits;
        Self {
            transport: listener.transport(),
            #[cfg(feature = "tls")]
            tls: listener.tls,
            #[cfg(feature = "ws")]
            path: listener.path,
            authenticate: listener.authenticate.or_else(|| authenticate.cloned()),
            handshake: own.handshake.unwrap_or(limits.handshake),
            longest_packet: own.packet.unwrap_or(limits.packet).max(1),
            count: Count::new(own.connections.unwrap_or(usize::MAX)),
            hub: Arc::clone(hub),
        }
    }

    /// Whether MQTT goes over WebSocket here.
    #[cfg(feature = "tls")]
    pub(in crate::hub) fn is_websocket(&self) -> bool {
        matches!(self.transport, Transport::WebSocket | Transport::SecureWebSocket)
    }

    /// Whether it knows of a client more than that says itself.
    pub(in crate::hub) fn identifies(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(ServerTls::verifies_clients) {
            return true;
        }
        self.authenticate.is_some()
    }

    /// Counts one more socket; `None`: there are as many as allowed.
    pub(in crate::hub) fn admit_socket(self: &Arc<Self>) -> Option<Counted> {
        let limit = |count: &Count| count.limit.saturating_add(IN_HANDSHAKE);
        if !take(&self.hub.sockets, limit(&self.hub)) {
            return None;
        }
        if !take(&self.count.sockets, limit(&self.count)) {
            self.hub.sockets.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Counted(Arc::clone(self)))
    }

    /// Counts one more client; `None`: there are as many as allowed.
    pub(in crate::hub) fn take_place(self: &Arc<Self>) -> Option<Place> {
        if !take(&self.hub.clients, self.hub.limit) {
            return None;
        }
        if !take(&self.count.clients, self.count.limit) {
            self.hub.clients.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for count in [&self.0.count, &*self.0.hub] {
            count.sockets.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for count in [&self.0.count, &*self.0.hub] {
            count.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

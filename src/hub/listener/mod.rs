//! Where a hub listens, and what holds for the clients that come in there.

mod accept;
mod bound;
mod entrance;
#[cfg(unix)]
mod unix;

use std::fmt;
use std::future::Future;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "gateway")]
pub(crate) use self::accept::is_exhausted;
pub(super) use self::accept::{Accepted, Socket, accept};
pub use self::bound::Listening;
pub(super) use self::bound::{Bound, bind};
pub(super) use self::entrance::{Count, Entrance, Place};
use super::access::{Authenticate, Credentials, Identity};
use crate::core::packet::ReasonCode;
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// The path that a WebSocket listener serves, as most MQTT servers and clients have it.
#[cfg(feature = "ws")]
const WEBSOCKET_PATH: &str = "/mqtt";

/// Who may open a Unix socket: its owner.
#[cfg(unix)]
const MODE: u32 = 0o600;

/// What MQTT goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// TCP: `mqtt://`.
    Tcp,
    /// TLS: `mqtts://`.
    Tls,
    /// WebSocket: `ws://`.
    WebSocket,
    /// WebSocket over TLS: `wss://`.
    SecureWebSocket,
    /// A Unix socket: `unix:`.
    Unix,
    /// None: a link of the hub's process.
    InProcess,
}

/// What holds for one listener in the place of the [limits of the hub](super::HubLimits), where it is
/// said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ListenerLimits {
    /// Clients that are connected over this listener. None of its own by default: those of the hub,
    /// which count the clients of all listeners, hold as well in any case.
    pub connections: Option<usize>,
    /// How long each step of the handshake may take, as in [`HubLimits`](super::HubLimits::handshake):
    /// TLS and the WebSocket upgrade are steps too.
    pub handshake: Option<Duration>,
    /// Bytes of a packet that a client sends.
    pub packet: Option<u32>,
}

/// One place where a hub listens. Give it to [`HubBuilder::listen`](super::HubBuilder::listen).
///
/// ```
/// use tower_mqtt::Hub;
/// use tower_mqtt::core::packet::ReasonCode;
/// use tower_mqtt::hub::{Identity, Listener};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let guests = Listener::tcp("127.0.0.1:0")
///     .authenticate(async |_| Ok(Identity::new("guest")))
///     .limits(|limits| limits.connections = Some(100));
/// let hub = Hub::builder()
///     .bind("127.0.0.1:0")
///     .listen(guests)
///     .authenticate(async |credentials| match credentials.password.as_deref() {
///         Some(b"open sesame") => Ok(Identity::new("anna")),
///         _ => Err(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
///     })
///     .start()
///     .await?;
/// for listening in hub.listeners() {
///     println!("{listening}"); // mqtt://127.0.0.1:41883
/// }
/// # assert_eq!(hub.listeners().len(), 2);
/// # hub.shutdown(std::time::Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Listener {
    pub(super) address: Address,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ServerTls>,
    /// The path of its WebSocket.
    pub(super) path: Option<Box<str>>,
    pub(super) authenticate: Option<Authenticate>,
    pub(super) limits: ListenerLimits,
    /// An option that its transport does not have.
    pub(super) misplaced: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(super) enum Address {
    Tcp(Box<str>),
    #[cfg(unix)]
    Unix {
        path: PathBuf,
        mode: u32,
    },
}

impl Listener {
    fn new(address: Address) -> Self {
        Self {
            address,
            #[cfg(feature = "tls")]
            tls: None,
            path: None,
            authenticate: None,
            limits: ListenerLimits::default(),
            misplaced: None,
        }
    }

    /// MQTT over TCP on `HOST:PORT`; with port 0 the system chooses one.
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::new(Address::Tcp(address.into().into()))
    }

    /// MQTT over TLS on `HOST:PORT`. The port for it is 8883.
    #[cfg(feature = "tls")]
    pub fn tls(address: impl Into<String>, tls: ServerTls) -> Self {
        Self { tls: Some(tls), ..Self::tcp(address) }
    }

    /// MQTT over WebSocket on `HOST:PORT` (MQTT 5 §6): a GET of the [path](Self::path), with the
    /// subprotocol `mqtt`.
    #[cfg(feature = "ws")]
    pub fn ws(address: impl Into<String>) -> Self {
        Self { path: Some(WEBSOCKET_PATH.into()), ..Self::tcp(address) }
    }

    /// MQTT over WebSocket over TLS on `HOST:PORT`.
    #[cfg(all(feature = "tls", feature = "ws"))]
    pub fn wss(address: impl Into<String>, tls: ServerTls) -> Self {
        Self { tls: Some(tls), ..Self::ws(address) }
    }

    /// MQTT over a Unix socket, which the hub's user alone may open unless its [mode](Self::mode) says
    /// otherwise.
    ///
    /// A socket that is there already and that nobody listens on, as a crash leaves it, is replaced.
    /// Anything else at the path stays, and the hub does not start. The socket is removed when the hub
    /// stops, unless another one has taken its place.
    #[cfg(unix)]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Address::Unix { path: path.into(), mode: MODE })
    }

    /// The path at which a WebSocket listener is found, without a query. `/mqtt` by default. Other paths
    /// are answered with 404. A hub with a path for another transport does not start.
    #[cfg(feature = "ws")]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        match &mut self.path {
            Some(own) => *own = path.into().into(),
            None => self.misplaced = Some("only a WebSocket has a path"),
        }
        self
    }

    /// The permissions of a Unix socket: who can write to it may connect. `0o600` by default, its owner.
    /// A hub with a mode for another transport does not start.
    #[cfg(unix)]
    pub fn mode(mut self, permissions: u32) -> Self {
        match &mut self.address {
            Address::Unix { mode, .. } => *mode = permissions,
            Address::Tcp(_) => self.misplaced = Some("only a Unix socket has a mode"),
        }
        self
    }

    /// Decides who may connect here, and as whom, in the place of the
    /// [hub's hook](super::HubBuilder::authenticate).
    pub fn authenticate<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Credentials) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Identity, ReasonCode>> + Send + 'static,
    {
        self.authenticate = Some(Arc::new(move |credentials| Box::pin(hook(credentials))));
        self
    }

    /// Changes the limits.
    pub fn limits(mut self, change: impl FnOnce(&mut ListenerLimits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub(super) fn transport(&self) -> Transport {
        #[cfg(feature = "tls")]
        let secure = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let secure = false;
        match (&self.address, secure, &self.path) {
            (Address::Tcp(_), false, None) => Transport::Tcp,
            (Address::Tcp(_), true, None) => Transport::Tls,
            (Address::Tcp(_), false, Some(_)) => Transport::WebSocket,
            (Address::Tcp(_), true, Some(_)) => Transport::SecureWebSocket,
            #[cfg(unix)]
            (Address::Unix { .. }, ..) => Transport::Unix,
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("transport", &self.transport())
            .field("address", &self.address)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

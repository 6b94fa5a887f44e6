//! The client of a broker, over ntex: a [`Link`] whose connection runs on a thread of its own.

mod address;
mod connect;
pub(crate) mod convert;
mod framing;
mod keep_alive;
mod options;
pub(crate) mod publish;
mod quick_ack;
mod reconnect;
mod session;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod thread;
mod transport;

use std::cell::RefCell;
use std::io;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::options::{Options, Secret};
pub use self::reconnect::Reconnect;
use self::thread::Thread;
use super::{Connecting, Driver, Host, Link, LinkParts, LinkSeat, OutgoingLimits};
use crate::error::ConnectError;
#[cfg(feature = "tls")]
use crate::tls::ClientTls;

/// Connects to an MQTT 5 broker.
///
/// The address is `scheme://user:password@host:port?key=value&…`:
///
/// | scheme | what | default port | feature |
/// |---|---|---|---|
/// | `mqtt://` | plain TCP | 1883 | |
/// | `mqtts://` | TLS; see `tls::ClientTls` | 8883 | `tls` |
/// | `ws://` | WebSocket | 80 | `ws` |
/// | `wss://` | WebSocket over TLS | 443 | `tls` and `ws` |
/// | `unix:/path` or `unix:///path` | a Unix socket; user and password by [`credentials`](ClientBuilder::credentials) | | |
///
/// A WebSocket address may have a path; without one it is `/mqtt`, as EMQX has it
/// (Mosquitto takes any; `/` is the root). User name and password may be percent-encoded, and are
/// those of CONNECT for each scheme. The keys are `client_id`, `keep_alive`, `clean_start`,
/// `session_expiry`, `connect_timeout` (all times in seconds), `maximum_packet_size` and
/// `receive_maximum`; the methods of [`ClientBuilder`] with the same names explain them; and `ca`,
/// the path of a CA file (`ClientTls::ca_file`).
///
/// The connection lives on a thread of its own, which ends with the last handle of the link. When
/// it is lost it is made again, for ever; see [`Reconnect`]. Only the first attempt is given back
/// as an error, so that a wrong address or password is seen at once. When another client connects
/// under the same client id, and the server says so, the link is closed: two that take it from each
/// other in turn would help nobody.
///
/// # Bounds
///
/// | what | default | when full |
/// |---|---|---|
/// | write buffer | 256 KiB and one packet | messages wait in the queue of [`OutgoingLimits`] |
/// | acknowledgements in it beside these | 768 KiB | nothing more is read from a server that does not read |
/// | read buffer | 64 KiB, or one packet | nothing more is read from the socket |
/// | a WebSocket frame that arrives | the largest packet, 64 KiB at least | the connection is closed |
/// | a packet that arrives | 1 MiB | the server does not send it; if it does, the connection is closed |
/// | messages held without an acknowledgement | 65,535 | the connection is closed; [`receive_maximum`](ClientBuilder::receive_maximum) asks the server for fewer |
#[derive(Debug)]
pub struct Client;

impl Client {
    /// Connects with what the address says; the rest as in [`ClientBuilder`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use tower_mqtt::{ConnectError, link::Client};
    ///
    /// // Nobody listens on this port.
    /// let refused = Client::connect("mqtt://127.0.0.1:9?client_id=M7").await;
    /// assert!(matches!(refused, Err(ConnectError::Unreachable { .. })));
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn connect(address: &str) -> Result<Link, ConnectError> {
        Self::builder(address).connect().await
    }

    /// Configures a connection. What is wrong with the address is told by
    /// [`connect`](ClientBuilder::connect).
    pub fn builder(address: &str) -> ClientBuilder {
        ClientBuilder { options: Options::parse(address) }
    }

    /// Whether a connection to this address has TLS.
    ///
    /// # Errors
    /// [`ConnectError::Address`], as [`ClientBuilder::connect`].
    #[cfg(feature = "gateway")]
    pub(crate) fn has_tls(address: &str) -> Result<bool, ConnectError> {
        let options = Options::parse(address)?;
        options.check()?;
        Ok(options.address.scheme.has_tls())
    }
}

/// Configures a connection; [`connect`](Self::connect) makes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// use tower_mqtt::{ConnectError, link::Client};
///
/// let refused = Client::builder("mqtt://127.0.0.1:9")
///     .client_id("M7")
///     .credentials("machine", "secret")
///     .keep_alive(Duration::from_secs(10))
///     .connect()
///     .await;
/// assert!(matches!(refused, Err(ConnectError::Unreachable { .. })));
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing happens until `connect`"]
pub struct ClientBuilder {
    options: Result<Options, ConnectError>,
}

impl ClientBuilder {
    fn set(mut self, set: impl FnOnce(&mut Options)) -> Self {
        if let Ok(options) = &mut self.options {
            set(options);
        }
        self
    }

    /// The client identifier, not empty. The same one is used after a reconnect.
    ///
    /// A random one by default: `tower-mqtt-` and a ULID.
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        self.set(|options| options.client_id = client_id.into())
    }

    /// Whom `mqtts://` and `wss://` trust, and what they show. In place of what the address says with
    /// `ca`. The authorities that the system trusts by default.
    ///
    /// ```
    /// use tower_mqtt::link::Client;
    /// use tower_mqtt::tls::ClientTls;
    ///
    /// let tls = ClientTls::new().ca_file("/etc/kitchen/ca.pem");
    /// let client = Client::builder("mqtts://broker.local").tls(tls);
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: ClientTls) -> Self {
        self.set(|options| options.tls = Some(tls))
    }

    /// A header of the HTTP request that opens a WebSocket, in place of an earlier one of this name:
    /// `Authorization`, `Origin`, or what else a proxy in front of the broker wants. None by default.
    /// The value is never logged.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use tower_mqtt::{ConnectError, link::Client};
    ///
    /// let refused = Client::builder("ws://127.0.0.1:9/broker")
    ///     .web_socket_header("Authorization", "Bearer 2YotnFZFEjr1zCsicMWpAA")
    ///     .connect()
    ///     .await;
    /// assert!(matches!(refused, Err(ConnectError::Unreachable { .. })));
    /// # }
    /// ```
    #[cfg(feature = "ws")]
    pub fn web_socket_header(self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.set(|options| options.headers.push((name.into(), Secret(value.into()))))
    }

    /// User name and password. None by default.
    pub fn credentials(self, user: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        self.set(|options| {
            options.user = Some(user.into());
            options.password = Some(Secret(password.into()));
        })
    }

    /// How often a PINGREQ is sent, in whole seconds, rounded up, 65,535 at most. A server that is
    /// gone without closing the connection is noticed after one and a half times as long. Zero
    /// switches both off. The server may set another value.
    ///
    /// 30 s by default: home routers forget a silent connection after a minute or more.
    pub fn keep_alive(self, keep_alive: Duration) -> Self {
        let seconds = whole_seconds(keep_alive);
        self.set(|options| options.keep_alive = u16::try_from(seconds).unwrap_or(u16::MAX))
    }

    /// Whether the first connection gives up a session that the server may have kept from an
    /// earlier run. `true` by default: answers to an earlier run's requests are of no use.
    ///
    /// Reconnects of this link keep the session when [`session_expiry`](Self::session_expiry) is
    /// not zero.
    pub fn clean_start(self, clean_start: bool) -> Self {
        self.set(|options| options.clean_start = clean_start)
    }

    /// How long the server keeps the session without a connection, in whole seconds, rounded up.
    /// `Duration::MAX`: for ever.
    ///
    /// Zero by default: a requester asks again by itself, and a responder that was away should not
    /// find requests whose callers are long gone.
    pub fn session_expiry(self, session_expiry: Duration) -> Self {
        let seconds = whole_seconds(session_expiry);
        self.set(|options| options.session_expiry = u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// How long one attempt may take, from the look-up of the name to the CONNACK. 10 s by default.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.set(|options| options.connect_timeout = timeout)
    }

    /// The largest packet that is accepted, in bytes; the server does not send larger ones. 1 MiB
    /// by default.
    pub fn maximum_packet_size(self, bytes: NonZeroU32) -> Self {
        self.set(|options| options.maximum_packet_size = bytes)
    }

    /// How many messages at QoS 1 the server may send without an acknowledgement.
    ///
    /// 65,535 by default, the greatest: messages are acknowledged at once, unless a responder
    /// acknowledges after its answer, and then a small window would let its slowest requests hold
    /// up everything else on the link.
    pub fn receive_maximum(self, messages: NonZeroU16) -> Self {
        self.set(|options| options.receive_maximum = messages)
    }

    /// How much may wait to be sent. See [`OutgoingLimits`] for the defaults.
    pub fn outgoing_limits(self, limits: OutgoingLimits) -> Self {
        self.set(|options| options.outgoing = limits)
    }

    /// How the client comes back after the connection was lost. See [`Reconnect`] for the defaults.
    pub fn reconnect(self, reconnect: Reconnect) -> Self {
        self.set(|options| options.reconnect = reconnect)
    }

    /// Connects, and returns when the server has accepted.
    ///
    /// # Errors
    /// - [`ConnectError::Address`]: the address or a setting is not possible; nothing was tried.
    /// - [`ConnectError::Unreachable`]: the name is unknown, or nobody listens there.
    /// - `ConnectError::Tls` (feature `tls`): the server's certificate cannot be trusted, or TLS
    ///   could not be agreed on; its `reason` says why.
    /// - `ConnectError::WebSocket` (feature `ws`): the server opens no WebSocket for MQTT there.
    /// - [`ConnectError::Timeout`]: no CONNACK came within the connect timeout.
    /// - [`ConnectError::Refused`]: the server said no, with its reason.
    /// - [`ConnectError::Protocol`]: what answers does not speak MQTT 5.
    /// - [`ConnectError::Thread`]: the operating system gives no further thread.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn connect(self) -> Result<Link, ConnectError> {
        let options = Arc::new(self.options?);
        options.check()?;
        let parts = LinkParts::new(options.outgoing);
        let (ready, is_ready) = oneshot::channel();
        let (seat_giver, seat) = oneshot::channel();
        let name = format!("tower-mqtt-{}", options.client_id);
        let settings = Arc::clone(&options);
        let thread = Thread::start(&name, move || live(settings, ready, seat))
            .map_err(|error| ConnectError::Thread(Arc::new(error)))?;
        // Dropped before `thread` when this future is given up, which ends what is joined then.
        let (is_ready, seat_giver) = (is_ready, seat_giver);
        let client_id = is_ready.await.map_err(|_| panicked())??;
        let host = ClientHost { options, _thread: thread };
        let (link, seat) = parts.into_link(client_id.into(), Box::new(host));
        // So that the link is up when it is handed out, and not some time after.
        seat.connected.send_replace(true);
        // Fails only after a panic there, and then the link is closed.
        let _ = seat_giver.send(seat);
        Ok(link)
    }
}

struct ClientHost {
    options: Arc<Options>,
    /// Joined when it is dropped.
    _thread: Thread,
}

impl Host for ClientHost {
    fn connect_as(&self, client_id: String) -> Connecting {
        let options = Options { client_id, ..(*self.options).clone() };
        Box::pin(ClientBuilder { options: Ok(options) }.connect())
    }
}

/// What happens on the thread of a client.
async fn live(
    options: Arc<Options>,
    mut ready: oneshot::Sender<Result<String, ConnectError>>,
    seat: oneshot::Receiver<LinkSeat>,
) {
    let buffers = connect::buffers();
    let connecting = connect::connect(Arc::clone(&options), buffers.clone(), options.clean_start);
    let connected = tokio::select! {
        connected = connecting => connected,
        () = ready.closed() => return,
    };
    let accepted = match connected {
        Ok(accepted) => accepted,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(accepted.client_id.clone()));
    let mut client = transport::Client::new(options, buffers, accepted);
    let farewell = client.farewell();
    match seat.await {
        Ok(seat) => thread::run(&RefCell::new(Driver::new(client, seat))).await,
        Err(_) => super::Transport::disconnect(&mut client),
    }
    farewell.finish().await;
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn panicked() -> ConnectError {
    ConnectError::Thread(Arc::new(io::Error::other("it panicked")))
}

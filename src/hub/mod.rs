//! An embedded server for requests and responses: devices connect to it directly, and nothing is
//! installed.
//!
//! It speaks MQTT 5, 3.1.1 and 3.1 on one port, over TCP, TLS, WebSocket and Unix sockets ([`Listener`]),
//! QoS 0 and 1, and forwards what its clients publish to those that are subscribed. It is a request-response hub, not a general broker: it retains no
//! messages and keeps none for clients that are not connected, and its CONNACK says so.
//!
//! ```
//! use tower::{Service, ServiceExt};
//! use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Hub::builder().bind("127.0.0.1:0").start().await?;
//! let router = Router::new().route("ping", async || "pong");
//! let responder = Responder::builder(hub.link("kitchen")).serve(router).await?;
//!
//! let address = hub.local_addr().expect("it was bound");
//! let link = Client::connect(&format!("mqtt://{address}")).await?;
//! let mut requester = Requester::builder(link).build().await?;
//! let response = requester.ready().await?.call(Request::new("ping", "")?).await?;
//! assert_eq!(response.payload(), "pong");
//! # drop((requester, responder));
//! # hub.shutdown(std::time::Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Listeners
//!
//! A hub listens at any number of places, each with what MQTT goes over, and if wanted with
//! [a hook](Listener::authenticate) and [limits](Listener::limits) of its own. Clients of all of them
//! talk to each other; client identifiers are those of the whole hub.
//!
//! | listener | clients use | feature |
//! |---|---|---|
//! | [`Listener::tcp`], [`HubBuilder::bind`] | `mqtt://` | |
//! | `Listener::tls` | `mqtts://` | `tls` |
//! | `Listener::ws` | `ws://`, path `/mqtt` unless [another](Listener) is said | `ws` |
//! | `Listener::wss` | `wss://`, the same | `tls` and `ws` |
//! | `Listener::unix` | `unix:/path` | |
//!
//! Who a client is, in the hook's eyes and in those of the [handlers](crate::layer::authorize::hub_identity):
//!
//! | the listener, or else the hub, has a hook | the client has a verified certificate | identity |
//! |---|---|---|
//! | yes | either | what the hook says; it sees the certificate |
//! | no | yes | its common name; without exactly one it is refused, CONNACK 0x87 |
//! | no | no | the client identifier, [not verified](Identity::is_verified): handlers are told nothing |
//!
//! A client that connects under a client identifier that is in use takes the place of the one that has it,
//! if it is the same: one whose identity is verified gives its place to nobody else, and the other is refused,
//! CONNACK 0x85. So no client can end the session of another by its choice of an identifier, or hear its
//! answers.
//!
//! # Who gets what
//!
//! - A message at QoS 1 that nobody is subscribed to is acknowledged with 0x10, and a requester
//!   fails at once with [`NoResponder`](crate::RequestError::NoResponder). A client that is
//!   subscribed to `#` hides that: it is a subscriber.
//! - When the queue of every subscriber is full, the acknowledgement is 0x97. When that turns out
//!   only later (on another worker, or because the subscriber left before it took the message) and
//!   at QoS 0, the hub answers the request with 503 itself, unless it had others to give it to.
//! - The response topic that CONNACK gives a client (`clients/{client id}/responses`, and everything
//!   below) belongs to it: no other client may subscribe to it, and wildcard subscriptions of others
//!   do not see what goes there.
//! - A hub writes into every message of a client that it has authenticated from whom it is,
//!   as the user properties `hub-client-id` and `hub-identity`. What a sender writes there itself is
//!   removed, with and without authentication; so a responder can
//!   [believe it](crate::layer::authorize::hub_identity).
//!
//! # Devices
//!
//! Where a [dialect](HubBuilder::dialect) says from a topic
//! [which device a message is for](crate::dialect::Dialect::addressee), the hub can say more than
//! that nobody is subscribed. A client is a device by any of these names, if it has at most 1,024
//! bytes: its client identifier, that up to the first `|` (Aliyun writes parameters behind it), its
//! user name, that up to the first `;` (Tencent), and those that the authentication hook
//! [adds](Identity::device) for a gateway. Names are worth what the authentication hook checks of
//! them; where it does not check them all, it [lets only its own count](Identity::without_claimed_names).
//! When several clients have a name, the one that connected last is meant, of those that may get
//! the message.
//!
//! | a message that nobody is subscribed to | PUBACK | a requester gets |
//! |---|---|---|
//! | no client has the device's name | 0x10, user property `device` = `offline` | [`Offline`](crate::RequestError::Offline) |
//! | one has it | 0x10, user property `device` = `not-subscribed` | [`NotSubscribed`](crate::RequestError::NotSubscribed) |
//! | one has it, and the dialect says that such devices do not subscribe | 0x00; the message is pushed to the device | the answer |
//! | the sender has it, or no dialect knows the topic | 0x10 | [`NoResponder`](crate::RequestError::NoResponder) |
//!
//! - MQTT 3.1.1 and 3.1 have no reason codes, and QoS 0 no PUBACK: there the sender is told nothing.
//! - A message is pushed at its own QoS, and has the same bounds as for a subscriber. With an
//!   [authorization hook](HubBuilder::authorize) the device must be allowed to subscribe to exactly
//!   this topic; else it counts as one that has not subscribed.
//! - Where the answer goes to the [topic of the request](crate::dialect::Dialect::answers_on_request_topic),
//!   a message never goes back to the session that sent it, whatever it subscribed with: a device that
//!   answers all that it hears would answer itself for ever, and MQTT 3.1.1 has no No Local. The
//!   dialects are asked when a sender would get its own message, so that it costs others nothing; what
//!   such a client sends to other topics still comes back to it. Two devices that hear each other there
//!   are cut short: of the messages on one such topic the ninth within ten seconds is refused.
//! - There, those who ask are subscribed to the topics of requests. One who is, and asks, does not keep
//!   its request from being pushed, even when others are subscribed; but these others hide that a device
//!   is offline, as every subscriber does: with several who ask, such a call runs into its deadline.
//! - A worker that has not yet heard of the end of another worker's client takes its subscriptions for
//!   good for a moment, and the message is lost as if it had been under way.
//!
//! # Bounds
//!
//! | what | default ([`HubLimits`]) | when full |
//! |---|---|---|
//! | connections; a listener may have [fewer](ListenerLimits) | 20,000 | CONNACK 0x97 (3.1.1: server unavailable) |
//! | connections in the handshake, TLS and WebSocket included | 256 beyond the limit of connections | closed |
//! | time for each step of the handshake | 10 s | closed; CONNACK 0x89 when it is the authentication hook's |
//! | time without any progress while 64 KiB or more wait to be written | 60 s | closed |
//! | packet from a client | 1 MiB | DISCONNECT 0x95 |
//! | request to upgrade to WebSocket | 16 KiB | answered 431 |
//! | WebSocket frame | the longest packet, at least 64 KiB | closed, 1009 |
//! | bytes that wait to be written while WebSocket pings are answered | 64 KiB | no Pong |
//! | unacknowledged messages from a client | 1,024 | does not happen: each is acknowledged before the next is taken |
//! | topic aliases of a client | 16 | DISCONNECT 0x94 |
//! | CONNACK, when the client has set a Maximum Packet Size | that | CONNACK 0x95 if that fits, and closed |
//! | SUBACK and UNSUBACK, when it has | that | DISCONNECT 0x95 |
//! | subscriptions of a client | 1,024, with 256 KiB of filters, where each level counts for 32 bytes more | SUBACK 0x97 |
//! | bytes of a device's name | 1,024 | the client does not have this name |
//! | levels of a topic filter | 128 | SUBACK 0x8F |
//! | messages waiting for a client | 1,024 messages, 4 MiB | PUBACK 0x97 when nobody else takes it, or 503 to the requester |
//! | time that a message waits for a client | its Message Expiry Interval | dropped and counted |
//! | messages between workers | 16,384 for each worker | the same |
//! | messages within 10 s on a topic that a request shares with its answer | 8 | PUBACK 0x97 |
//! | such topics that are counted at once, for each worker | 32,768 | the oldest are forgotten |
//! | connections that wait to be accepted on a Unix socket | 1,024, or less if the system says so | the client waits |
//! | presence changes not read | 1,024 for each reader | the reader gets [`Change::Missed`] |

mod access;
mod admission;
mod builder;
mod client;
mod convert;
mod devices;
mod forward;
mod identity;
mod in_process;
mod listener;
mod loops;
mod presence;
mod session;
mod shared;
mod transport;
mod worker;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::access::{Access, Credentials, Identity, Protocol};
pub use self::builder::{HubBuilder, HubError, HubLimits};
#[cfg(feature = "gateway")]
pub(crate) use self::listener::is_exhausted;
pub use self::listener::{Listener, ListenerLimits, Listening, Transport};
pub use self::presence::{Change, ClientInfo, Presence};
pub use self::shared::HubStats;
use self::shared::Shared;
use self::worker::Workers;
use crate::link::Link;
use crate::responder::Responder;

/// The embedded server. Dropping it stops it at once; [`shutdown`](Self::shutdown) is polite.
#[must_use = "a hub stops when it is dropped"]
pub struct Hub {
    shared: Arc<Shared>,
    listeners: Vec<Listening>,
    /// Those of them that are on a network.
    addresses: Vec<SocketAddr>,
    translations: Vec<Responder>,
    /// Stops and joins the threads when dropped.
    workers: Workers,
}

impl Hub {
    /// Configures a hub.
    pub fn builder() -> HubBuilder {
        HubBuilder::new()
    }

    fn new(shared: Arc<Shared>, listeners: Vec<Listening>, workers: Workers) -> Self {
        let addresses = listeners.iter().filter_map(Listening::local_addr).collect();
        Self { shared, listeners, addresses, translations: Vec::new(), workers }
    }

    /// Connects a requester or a responder of this process to the hub, under this client
    /// identifier. It takes the place of a client with the same one; a client from the network cannot
    /// take its place (CONNACK 0x85).
    ///
    /// What it sends and receives passes no socket and no codec.
    pub fn link(&self, client_id: &str) -> Link {
        in_process::link(&self.shared, client_id)
    }

    /// The address of the first listener that has one; with port 0, the port that the system chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Where the hub listens, in the order of [`HubBuilder::listen`] and [`HubBuilder::bind`].
    pub fn listeners(&self) -> &[Listening] {
        &self.listeners
    }

    /// The addresses of all listeners but Unix sockets, in the order of [`HubBuilder::listen`] and
    /// [`HubBuilder::bind`].
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Who is connected, and a stream of what changes from then on.
    pub fn presence(&self) -> (Vec<ClientInfo>, Presence) {
        self.shared.presence.watch()
    }

    /// What happened so far.
    pub fn stats(&self) -> HubStats {
        self.shared.stats()
    }

    /// [`stats`](Self::stats), for who does not have the hub: after its end, all zero.
    #[cfg(feature = "gateway")]
    pub(crate) fn observer(&self) -> impl Fn() -> HubStats + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || shared.upgrade().map(|shared| shared.stats()).unwrap_or_default()
    }

    /// Lets the requests that are being translated finish, for at most `grace`. Then stops accepting,
    /// tells every client (DISCONNECT 0x8B), waits for at most `grace` until they
    /// are gone, and joins the threads.
    ///
    /// # Cancel safety
    /// Dropping the future stops the hub at once.
    pub async fn shutdown(mut self, grace: Duration) {
        let translations = self.translations.drain(..).map(|responder| responder.shutdown(grace));
        futures_util::future::join_all(translations).await;
        self.workers.shutdown(grace).await;
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

//! An embedded server for requests and responses: devices connect to it directly, and nothing is
//! installed.
//!
//! It speaks MQTT 5 and 3.1.1 on one port, QoS 0 and 1, and forwards what its clients publish to
//! those that are subscribed. It is a request-response hub, not a general broker: it retains no
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
//! # Who gets what
//!
//! - A message at QoS 1 that nobody is subscribed to is acknowledged with 0x10, and a requester
//!   fails at once with [`NoResponder`](crate::RequestError::NoResponder). A client that is
//!   subscribed to `#` hides that: it is a subscriber.
//! - When the queue of every subscriber is full, the acknowledgement is 0x97. When that turns out
//!   only later (on another worker, or because the subscriber left before it took the message) and
//!   at QoS 0, the hub answers the request with 503 itself.
//! - The response topic that CONNACK gives a client (`clients/{client id}/responses`, and everything
//!   below) belongs to it: no other client may subscribe to it, and wildcard subscriptions of others
//!   do not see what goes there.
//! - A hub that [authenticates](HubBuilder::authenticate) writes into every message from whom it is,
//!   as the user properties `hub-client-id` and `hub-identity`. What a sender writes there itself is
//!   removed, with and without authentication; so a responder can
//!   [believe it](crate::layer::authorize::hub_identity).
//!
//! # Bounds
//!
//! | what | default ([`HubLimits`]) | when full |
//! |---|---|---|
//! | connections | 20,000 | CONNACK 0x97 (3.1.1: server unavailable) |
//! | connections in the handshake | 256 beyond the limit of connections | closed |
//! | time for each step of the handshake | 10 s | closed; CONNACK 0x89 when it is the authentication hook's |
//! | time without any progress while something waits to be written | 60 s | closed |
//! | packet from a client | 1 MiB | DISCONNECT 0x95 |
//! | unacknowledged messages from a client | 1,024 | DISCONNECT 0x93 |
//! | subscriptions of a client | 1,024 | SUBACK 0x97 |
//! | levels of a topic filter | 128 | SUBACK 0x8F |
//! | messages waiting for a client | 1,024 messages, 4 MiB | PUBACK 0x97 when nobody else takes it, or 503 to the requester |
//! | time that a message waits for a client | its Message Expiry Interval | dropped and counted |
//! | messages between workers | 16,384 for each worker | the same |
//! | presence changes not read | 1,024 for each reader | the reader gets [`Change::Missed`] |

mod access;
mod admission;
mod builder;
mod client;
mod convert;
mod forward;
mod identity;
mod in_process;
mod listener;
mod presence;
mod session;
mod shared;
mod worker;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::access::{Access, Credentials, Identity, Protocol};
pub use self::builder::{HubBuilder, HubError, HubLimits};
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

    /// Connects a requester or a responder of this process to the hub, under this client
    /// identifier. It takes the place of a client with the same one; a client from the network cannot
    /// take its place (CONNACK 0x85).
    ///
    /// What it sends and receives passes no socket and no codec.
    pub fn link(&self, client_id: &str) -> Link {
        in_process::link(&self.shared, client_id)
    }

    /// The address of the first listener; with port 0, the port that the system chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// The addresses of all listeners, in the order of [`HubBuilder::bind`].
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
        f.debug_struct("Hub").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

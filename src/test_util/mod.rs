//! For tests of services: a network that fails when the test says so (feature `test-util`).
//!
//! A [`FaultProxy`] stands between MQTT clients and a broker (or the hub) on a port of 127.0.0.1.
//! Without rules it forwards everything. It reads MQTT 3.1, 3.1.1 and 5 as it passes, so that a
//! test can name the packet that shall be lost, repeated or held, and can *wait for* packets
//! instead of for time. [`memory::Network`](crate::link::memory::Network) does the same for
//! messages inside a process, without sockets.
//!
//! ```
//! # #[cfg(feature = "ntex")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower::ServiceExt;
//! use tower_mqtt::requester::OnDisconnect;
//! use tower_mqtt::test_util::{Cut, Fault, FaultProxy, Packets};
//! use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};
//!
//! let hub = Hub::builder().bind("127.0.0.1:0").start().await?;
//! let router = Router::new().route("oven/temperature", async || "180");
//! let _responder = Responder::builder(hub.link("kitchen")).serve(router).await?;
//!
//! let proxy = FaultProxy::start(hub.local_addr().expect("it was bound")).await?;
//! let link = Client::connect(&format!("mqtt://{}?client_id=M7", proxy.addr())).await?;
//! let requester = Requester::builder(link).on_disconnect(OnDisconnect::RideThrough).build().await?;
//!
//! // The first request gets lost with its connection, and the call rides through.
//! let requests = Packets::to_server().publish("oven/#");
//! let rule = proxy.rule(requests.clone().first(1), Fault::Cut(Cut::Reset));
//! let passed = proxy.watch(requests);
//! let answer = requester.oneshot(Request::new("oven/temperature", "")?.idempotent()).await?;
//! assert_eq!(answer.payload(), "180");
//! assert_eq!(rule.hits(), 1);
//! assert!(passed.reached(1).await);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "ntex"))]
//! # fn main() {}
//! ```
//!
//! # Faults
//!
//! | fault | how |
//! |---|---|
//! | a connection is lost, with RST or FIN | [`cut_all`](FaultProxy::cut_all), [`Connection::cut`], [`Fault::Cut`], [`Fault::CutAfter`] |
//! | half-open: a peer is gone without a word | [`blackhole`](FaultProxy::blackhole), in one direction or both |
//! | nothing passes for a while | [`pause`](FaultProxy::pause), [`heal`](FaultProxy::heal) |
//! | the broker does not accept connections | [`refuse`](FaultProxy::refuse) |
//! | latency, jitter, few bytes per second | [`conditions`](FaultProxy::conditions) |
//! | packets in many pieces, or many in one | [`Chunks`] |
//! | a chosen packet is lost, repeated, late | [`rule`](FaultProxy::rule) with [`Fault`] |
//! | acknowledgements are held back | [`Fault::Hold`], [`Rule::release`] |
//! | packets of two connections change places | [`Fault::HoldUntil`] |
//!
//! The packet that a rule means is taken out of its stream whole, or put into it again whole, so
//! that what arrives is well-formed MQTT, but may not be lawful MQTT: the proxy does not mend
//! packet identifiers, the order of acknowledgements, or topic aliases whose first use is lost.
//!
//! # Waiting
//!
//! [`watch`](FaultProxy::watch) counts what passed, [`Rule::hit`] waits for what a rule has caught,
//! and [`until`](FaultProxy::until) for connections. A test that waits for these needs no pauses:
//!
//! ```
//! # #[cfg(feature = "ntex")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tower::ServiceExt;
//! # use tower_mqtt::test_util::{Fault, FaultProxy, Kind, Packets};
//! # use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};
//! # let hub = Hub::builder().bind("127.0.0.1:0").start().await?;
//! # let router = Router::new().route("ping", async || "pong");
//! # let _responder = Responder::builder(hub.link("kitchen")).serve(router).await?;
//! # let proxy = FaultProxy::start(hub.local_addr().expect("it was bound")).await?;
//! # let link = Client::connect(&format!("mqtt://{}", proxy.addr())).await?;
//! # let requester = Requester::builder(link).build().await?;
//! let acknowledgements = proxy.rule(Packets::to_client().kind(Kind::PubAck), Fault::Hold);
//! let call = tokio::spawn(requester.oneshot(Request::new("ping", "")?));
//! assert!(acknowledgements.hit(1).await);
//!
//! // The answer comes, whether or not the request was acknowledged.
//! assert_eq!(call.await??.payload(), "pong");
//! acknowledgements.release();
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "ntex"))]
//! # fn main() {}
//! ```
//!
//! # Chance
//!
//! Nothing is random but [jitter](Conditions::jitter) and [`Packets::one_in`], and these are
//! decided by [one seed](FaultProxy::start_with_seed): the same packet of the same connection has
//! the same fate, however tasks and connections are scheduled.
//!
//! # What is no MQTT
//!
//! TLS, WebSocket and anything else passes unchanged, as packets of [`Kind::Raw`], one for each
//! read. So do malformed packets and all that follows them in their direction, and a packet of more
//! than 1 MiB. A packet is forwarded when it is complete, and what is left of one when its sender
//! closes.
//!
//! # Bounds
//!
//! | what | bound | when full |
//! |---|---|---|
//! | connections | 4,096 | a new one is refused |
//! | packets that wait or are held in a direction of a connection | 1 MiB or 16,384, exceeded by what one read brings and by copies of a rule | nothing more is read from the sender |
//! | an incomplete packet | 1 MiB, and 16 KiB of what follows | passes in pieces |
//! | topic aliases of a direction | 1,024 | packets that use others have no topic |
//! | packets that a [`Watch`] keeps | 1,024 and 1 MiB | the oldest are forgotten; all are counted |
//!
//! Rules, and watches that are in use, are as many as the test makes.

mod connection;
mod frames;
mod lane;
mod packet;
mod proxy;
mod random;
mod rule;
mod state;
mod watch;

pub use self::lane::{Chunks, Conditions};
pub use self::packet::{Direction, Kind, Packet};
pub use self::proxy::{Connection, FaultProxy, Rule};
pub use self::rule::{Cut, Fault, Packets};
pub use self::state::ProxyStats;
pub use self::watch::Watch;

//! MQTT 5.0 request-response as [tower](https://docs.rs/tower) services.
//!
//! MQTT 5 has what a request and its answer need: a request names the topic for the answer (Response
//! Topic), and the answer repeats what pairs them (Correlation Data). This crate makes them a
//! [`tower::Service`] on both sides. A [`Requester`] asks; a [`Router`] of plain async handlers, run
//! by a [`Responder`], answers. Any MQTT 5 client that sets these two properties is a full peer.
//!
//! ```
//! use tower::{Service, ServiceExt};
//! use tower_mqtt::responder::extract::Path;
//! use tower_mqtt::{Request, Requester, Responder, Router, Status, link::memory};
//!
//! async fn list(Path(category): Path<String>) -> Result<&'static str, Status> {
//!     match &*category {
//!         "soup" => Ok("miso soup, gazpacho"),
//!         _ => Err(Status::NOT_FOUND.with_message("no such category")),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (machine, kitchen) = memory::pair();
//! let router = Router::new().route("recipes/{category}/list", list);
//! let responder = Responder::builder(kitchen).serve(router).await?;
//!
//! let mut requester = Requester::builder(machine).build().await?;
//! let response = requester.ready().await?.call(Request::new("recipes/soup/list", "")?).await?;
//! assert_eq!(response.payload(), "miso soup, gazpacho");
//!
//! let response = requester.ready().await?.call(Request::new("recipes/cake/list", "")?).await?;
//! assert_eq!(response.status().to_string(), "404 not found: no such category");
//! # drop(responder);
//! # Ok(())
//! # }
//! ```
//!
//! # The path of a request
//!
//! ```text
//!  Requester            poll_ready takes a slot; call stamps deadline and correlation data
//!      │ channel
//!  Link                 encodes by the dialect, remembers the call, publishes
//!      │ network        broker or hub: forwards, or says at once that nobody is subscribed
//!  Link                 the responder's: refuses what is malformed, expired or too much
//!      │ new task
//!  Router ─ handler     extractors, your code, IntoResponse
//!      │ channel
//!  Link                 publishes the answer to the response topic
//!      │ network
//!  Link                 the requester's: finds the call by its correlation data
//!      │ channel
//!  ResponseFuture       an answer that is there beats a clock that has run out
//! ```
//!
//! Behind every [`Link`] one thread or task owns the connection and all its tables, so that over a
//! network nothing is locked for a request. Handlers run as tasks on the runtime where
//! [`serve`](responder::ResponderBuilder::serve) was called.
//!
//! # What lives where
//!
//! | module | what |
//! |---|---|
//! | [`message`] | [`Request`], [`Response`], [`Status`]: what services exchange |
//! | [`requester`] | asking |
//! | [`responder`] | answering: router, handlers, [extractors](responder::extract) |
#![cfg_attr(
    feature = "ntex",
    doc = "| [`link`] | connections: [`Client`] to a broker, [in memory](link::memory) |\n| [`hub`] | the embedded server, for when there is no broker |"
)]
#![cfg_attr(not(feature = "ntex"), doc = "| [`link`] | connections: [in memory](link::memory) |")]
//! | [`layer`] | middleware for both sides: timeout, retry, dedup, limits, catch-panic, authorize, trace, metrics |
//! | [`bridge`] | answering in one dialect by asking in another |
//! | [`dialect`] | how requests and responses are written on topics, and how to add another way |
//! | [`error`] | what can go wrong, sorted by whether the request may have been executed |
//! | [`core`] | the protocol without clock, network or tasks: topics, templates, tables |
#![cfg_attr(
    feature = "tls",
    doc = "| [`tls`] | certificates, keys and authorities, for clients and the hub |"
)]
#![cfg_attr(
    feature = "gateway",
    doc = "| [`gateway`] | an HTTP front in which servers call devices; [how to run it](deploying), [how a fleet moves to it](moving_a_fleet) |"
)]
#![cfg_attr(feature = "test-util", doc = "| [`test_util`] | a proxy for tests, with faults |")]
//! | [`threat_model`], [`trials`] | who is trusted with what; how the promises were attacked |
//!
//! # What is promised
//!
//! 1. Every call ends once, at its deadline at the latest, with a response or a [`RequestError`].
//! 2. No call is given another's answer. Response topic and correlation data must both match; late,
//!    duplicate, foreign and malformed answers are dropped and
//!    [counted](requester::RequesterStats).
//! 3. One deadline from end to end: the responder drops what has expired, drops the handler's future
//!    at the deadline and triggers its [`Cancellation`]; calls made by the handler inherit
//!    [what is left](current_deadline).
//! 4. Every failure is answered: a payload that cannot be read, an unknown route, a panic, an
//!    overload. The caller need not wait for a timeout to learn it.
//! 5. [`NoResponder`](RequestError::NoResponder) at once where the broker says so (see below); a
//!    refused PUBLISH or SUBSCRIBE is an error at once.
//! 6. After a lost connection: reconnect with back-off and jitter, subscribe again, then publish.
//!    Calls in flight [fail fast or ride through](requester::OnDisconnect).
//! 7. A peer that is gone without a word is noticed within one and a half keep-alives.
//! 8. A responder publishes only to a response topic that its
//!    [policy](responder::ResponderBuilder::allow_response_topic) allows.
//! 9. Every queue and table has a bound. The tables of them, with what happens when one is full, are
#![cfg_attr(feature = "ntex", doc = "   in [`link`](link#bounds) and [`hub`](hub#bounds),")]
#![cfg_attr(not(feature = "ntex"), doc = "   in [`link`](link#bounds),")]
//!    and here:
//!
//!    | what | default | when full |
//!    |---|---|---|
//!    | [calls in flight](requester::RequesterBuilder::max_in_flight) | 1,024 | `poll_ready` waits |
//!    | [busy devices](requester::RequesterBuilder::one_in_flight) | 65,536 | `Overloaded` |
//!    | [requests being handled](responder::ResponderBuilder::concurrency) | 256 | answered 503 |
//! 10. With a [`DedupLayer`](layer::DedupLayer) a request is executed at most once per process
//!     while it is remembered. Its memory is bounded; when it is full of requests that are running,
//!     a new one is refused, and none of them is forgotten.
//! 11. A handler that makes calls does not wait for itself. When requests are
//!     [acknowledged on receipt](responder::Acknowledge), the default, it may call over the link
//!     that it is served on; when after the answer, over
//!     [another one](responder::ResponderBuilder::link_for_calls).
//! 12. [`shutdown`](Responder::shutdown) lets handlers finish and leaves no thread and no task.
//!
//! Not promised without a dedup layer: at most one execution. QoS 1 delivers at least once.
//!
//! Who is trusted with what, which access rules a broker must have, and what no library can promise, is
//! in the [threat model](threat_model). How the promises were attacked, and what that has found, is in
//! the [trials](trials).
//!
//! # Brokers, and what they say when nobody is subscribed
//!
//! | server | PUBACK for a request at QoS 1 | the call ends with |
//! |---|---|---|
//! | the hub, the in-memory link | 0x10 | [`NoResponder`](RequestError::NoResponder) at once |
//! | Mosquitto 2 | 0x10 | `NoResponder` at once |
//! | a broker that says Success, as MQTT 5 §3.4.2.1 allows | 0x00 | [`Timeout`](RequestError::Timeout) at the deadline |
//!
//! At QoS 0 there is no PUBACK, so no server says it. A client that is subscribed to `#` counts as
//! a subscriber, and hides it; so does a requester in a dialect that has one topic for request and
//! answer, as it listens there. The hub also knows which devices are connected: see
//! [`Offline`](RequestError::Offline) and [`NotSubscribed`](RequestError::NotSubscribed).
//!
//! # Features
//!
//! | feature | default | what |
//! |---|---|---|
//! | `ntex` | yes | the network: the client for brokers and the hub |
//! | `json` | yes | JSON payloads: `json_from` and `json` of `Request` and `Response`, the `Json` extractor; the dialects that are JSON |
//! | `tls` | no | `tls`: `mqtts://` for the `Client` and the `Hub`, with rustls |
//! | `ws` | no | `ws://` for the `Client` and the `Hub`, and with `tls` `wss://` |
//! | `auth` | no | bearer tokens, HMAC signatures and device proofs for [`layer::authorize`] |
//! | `gateway` | no | `gateway` and the binary `rrpc-gateway`: an HTTP front in which servers call devices, as in the vendors' clouds |
//! | `metrics` | no | `layer::metrics`: counters and histograms through the `metrics` facade |
//! | `test-util` | no | `test_util`: a proxy for tests that loses, holds, repeats and delays packets, and cuts connections |
//!
//! A feature adds; it never changes how the rest behaves.
//!
//! # What another version may change
//!
//! Some structs are written as literals by their users, and so are not `#[non_exhaustive]`:
//! [`OutgoingLimits`](link::OutgoingLimits), [`InboxLimits`](layer::dedup::InboxLimits) and `Reconnect`; for those
//! who add a dialect, [`Message`](core::packet::Message), [`Properties`](core::packet::Properties),
//! [`Subscription`](core::packet::Subscription), [`IncomingRequest`](dialect::IncomingRequest) and
//! [`OutgoingRequest`](dialect::OutgoingRequest). A new field comes with a version that may break something; it does not
//! break a literal that ends with `..Default::default()`, where there is a default. Parts of [`core`] are
//! [not covered](core) at all.

pub mod bridge;
pub mod core;
pub mod dialect;
pub mod error;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "ntex")]
pub mod hub;
mod id;
pub mod layer;
pub mod link;
pub mod message;
pub mod requester;
pub mod responder;
mod scope;
#[cfg(feature = "test-util")]
pub mod test_util;
#[cfg(feature = "tls")]
pub mod tls;

pub use core::packet::{Qos, ReasonCode};
pub use core::topic::{TopicFilter, TopicName};
pub use error::{ConnectError, Delivery, InvalidRequest, RequestError, ServeError};
#[cfg(feature = "ntex")]
pub use hub::Hub;
#[cfg(feature = "ntex")]
pub use link::Client;
pub use link::Link;
pub use message::{Extensions, Request, Response, Status};
pub use requester::Requester;
pub use responder::{Responder, Router};
pub use scope::{Cancellation, current_deadline};

#[cfg(feature = "gateway")]
#[doc = include_str!("docs/deploying.md")]
pub mod deploying {}

#[cfg(feature = "gateway")]
#[doc = include_str!("docs/moving_a_fleet.md")]
pub mod moving_a_fleet {}

#[doc = include_str!("docs/threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("docs/trials.md")]
pub mod trials {}

/// Compiles and runs the code of the README.
#[cfg(all(doctest, feature = "ntex", feature = "json"))]
#[doc = include_str!("../README.md")]
struct Readme;

//! The HTTP side: the plain API, what operators look at, and the place of the vendors' APIs.
//!
//! | route | key | what |
//! |---|---|---|
//! | `POST /`, `GET /?…Action=…` | signature | the [vendors' APIs](vendor) |
//! | `POST /v1/devices/{product}/{device}/call` | bearer | [calls a device](plain) |
//! | `GET /v1/devices` | bearer | [lists devices](devices) |
//! | `GET /v1/calls` | bearer | [tells of calls](calls) as they end |
//! | `GET /`, `GET /console/{file}` | none | the [console](console): a page for people, which asks them for a bearer key |
//! | `GET /metrics` | bearer, of a key for all products | [numbers](metrics) and [more](observed) for Prometheus: they name all products |
//! | `GET /healthz` | none | whether calls can be made |
//! | `GET /openapi.json` | none | describes all of this |
//!
//! # Bounds
//!
//! | what | bound | one more |
//! |---|---|---|
//! | connections | [`Http::connections`](super::config::Http::connections) | waits in the listener's backlog; an idle connection goes after 10 s |
//! | TLS handshake | 10 s | the connection is closed |
//! | request line and headers | 128 KiB, 100 headers, 10 s | 431, or the connection is closed |
//! | path and query | 65,534 bytes | 414 |
//! | request body | [`Http::body`](super::config::Http::body), 30 s | 413, 408 |
//! | a last request of who is connected when it stops | 1 s | the connection is closed |
//! | writing without progress | 30 s | the connection is closed, and its call cancelled |
//! | nonces of one key that are remembered | 1,000,000, for [`Http::replay_window`](super::config::Http::replay_window) after the time that was signed | 429, in Aliyun's words |
//! | those that other gateways of a cluster have told of | as many besides | is dropped: here it could be taken once more |
//! | devices in one list | 1,000 | the next page |
//! | streams of ended calls | 64, and no more than half of the connections | 503 |
//! | calls that such a stream has not taken yet | 1,024 | it is told how many it has missed |
//!
//! So bodies take at most `connections` times `body` bytes of memory, and a few times that while the
//! parameters of the vendors' APIs are read.

mod accept;
mod body;
mod caller;
mod calls;
mod connection;
mod console;
mod devices;
mod health;
mod metrics;
mod observed;
mod openapi;
mod outcome;
mod patient;
mod plain;
mod problem;
mod rfc3339;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod vendor;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::call::{Calls, Publisher};
use super::ended::EndedCalls;
use super::keys::Keys;
use super::listing::{Listed, Wanted};
use super::products::Products;
use super::replay::Replay;
use crate::hub::HubStats;

pub(crate) use self::server::Server;

/// What the HTTP side needs of the rest of the gateway.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) keys: Arc<Keys>,
    pub(crate) products: Arc<Products>,
    pub(crate) calls: Calls,
    pub(crate) publisher: Publisher,
    /// The devices that are known, as far as they are wanted.
    pub(crate) devices: Arc<dyn Fn(&Wanted<'_>) -> Listed + Send + Sync>,
    pub(crate) ended: EndedCalls,
    /// What signed requests have used.
    pub(crate) replay: Arc<Replay>,
    /// The clock that signed times are compared with.
    pub(crate) now: fn() -> SystemTime,
    /// Whether the link to the broker is up.
    pub(crate) ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The embedded hub; `None` beside a broker.
    pub(crate) hub: Option<HubFigures>,
}

/// What is told of the embedded hub.
#[derive(Clone)]
pub(crate) struct HubFigures {
    pub(crate) stats: Arc<dyn Fn() -> HubStats + Send + Sync>,
    /// How many devices are connected.
    pub(crate) devices: Arc<dyn Fn() -> usize + Send + Sync>,
    /// As many as there may be.
    pub(crate) connections: usize,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

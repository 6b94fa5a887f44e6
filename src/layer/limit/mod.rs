//! Limits that shed what is too much: with a status and a reason, never by silence, never by
//! waiting.
//!
//! | layer | limits | refuses with |
//! |---|---|---|
//! | [`ConcurrencyLimitLayer`] | requests at once, in all and per caller | 503 in all, 429 per caller |
//! | [`RateLimitLayer`] | requests per time and caller | 429; 503 when too many callers are known |
//! | [`PayloadLimitLayer`] | bytes of a request's payload | 413 |
//!
//! A limit belongs to its layer: what one layer and its clones wrap (all routes of a router) shares
//! it. On a requester a refusal is [`RequestError::Refused`](crate::RequestError::Refused) before
//! anything is sent.
//!
//! # Who is a caller
//!
//! By default a caller is the [`Caller`] that a layer outside this one has
//! [verified](super::authorize), and all who are not verified are one caller together: nothing
//! that a request says of itself, its response topic included, can be believed before. So a limit
//! per caller belongs inside the layer that authorizes, and one for all outside it. What else tells
//! callers apart is named with `.caller(|parts| ..)`. They are remembered by a keyed hash of 64 bits, so a long name costs no more than a short one; that two callers share a limit is as
//! likely as one in 2⁶⁴ for each pair.

mod concurrency;
mod future;
mod payload;
mod rate;

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

pub use self::concurrency::{ConcurrencyLimit, ConcurrencyLimitLayer};
pub use self::future::ResponseFuture;
pub use self::payload::{PayloadLimit, PayloadLimitLayer};
pub use self::rate::{RateLimit, RateLimitLayer};
use super::authorize::Caller;
use crate::message::Parts;

/// Who asks, as a keyed hash.
#[derive(Clone)]
struct CallerOf(Arc<dyn Fn(&Parts) -> u64 + Send + Sync>);

impl CallerOf {
    fn new<K: Hash>(caller: impl Fn(&Parts) -> K + Send + Sync + 'static) -> Self {
        let hasher = RandomState::new();
        Self(Arc::new(move |parts| hasher.hash_one(caller(parts))))
    }

    fn get(&self, parts: &Parts) -> u64 {
        (self.0)(parts)
    }
}

impl Default for CallerOf {
    fn default() -> Self {
        Self::new(|parts| parts.extensions.get::<Caller>().cloned())
    }
}

impl fmt::Debug for CallerOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerOf(..)")
    }
}

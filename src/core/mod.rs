//! The protocol without I/O: no clock, no random numbers, no task, no network library.
//!
//! [`packet`], [`template`] and [`topic`] are for everybody, and so is
//! [`InboxLimits`](inbox::InboxLimits). The rest is public for benchmarks and tests, and **not covered by
//! semantic versioning**: [`exchange`], [`inbox`], [`index`], [`routes`], [`subscriptions`], [`Waiters`].

mod answers;
mod children;
mod ended;
pub mod exchange;
mod high_water;
pub mod inbox;
pub mod index;
pub(crate) mod lanes;
pub mod packet;
mod prehashed;
mod recent;
pub mod routes;
pub(crate) mod short;
pub(crate) mod short_ids;
pub mod subscriptions;
pub mod template;
pub mod topic;
mod waiters;
#[cfg(any(feature = "ntex", feature = "test-util"))]
pub(crate) mod wire;

pub(crate) use recent::Recent;
pub use waiters::Waiters;

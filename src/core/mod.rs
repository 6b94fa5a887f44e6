//! The protocol without I/O: no clock, no random numbers, no task, no network library.

pub mod index;
pub mod routes;
pub mod subscriptions;
pub mod template;
pub mod topic;

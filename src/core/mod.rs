//! The protocol without I/O: no clock, no random numbers, no task, no network library.

mod ended;
pub mod exchange;
mod high_water;
pub mod inbox;
mod waiters;

pub use waiters::Waiters;

//! The protocol without I/O: no clock, no random numbers, no task, no network library.

mod ended;
pub mod exchange;
mod high_water;
mod waiters;

pub use waiters::Waiters;

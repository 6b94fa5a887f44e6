//! Devices: their secrets, who they are when they connect, what they reach, and which are there.

mod access;
mod admission;
mod aliyun_id;
mod roster;
mod store;
mod who;

pub(crate) use self::access::has_space;
pub(crate) use self::admission::Admission;
pub(crate) use self::roster::{Roster, Whereabouts};
pub(crate) use self::store::ConfiguredDevices;
pub use self::store::{DeviceStore, Found, StoreUnavailable};
pub(crate) use self::who::key_of;

#[cfg(test)]
mod tests;

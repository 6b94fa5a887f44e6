//! One call in flight for each device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::exchange::Ticket;
use crate::core::lanes::{Lanes, Turn};
use crate::core::topic::TopicName;
use crate::dialect::Dialect;

/// How many devices (or addresses) can be taken at once: in flight, or at rest.
const TAKEN: usize = 65_536;

/// Of which calls only one may be in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OneInFlight {
    /// Of those to one [device](Dialect::device). In the native dialect, where an address does not
    /// name a device, this is the same as `PerAddress`.
    PerDevice,
    /// Of those to one address: for devices that can do different things at once, but not one of them
    /// twice.
    PerAddress,
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    lanes: Lanes,
    by: OneInFlight,
    rest: Duration,
}

/// Where a call has its turn.
pub(super) struct Lane {
    name: Arc<str>,
    /// What the call's answer is found by.
    key: Bytes,
}

/// How a call's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It never came: the call was still waiting for it.
    Waiting,
    /// Nothing more comes of it.
    Over,
    /// The answer may still come.
    Unanswered,
}

impl Turns {
    pub(super) fn new(by: OneInFlight, rest: Duration) -> Self {
        Self { lanes: Lanes::new(TAKEN), by, rest }
    }

    pub(super) fn lane(&self, dialect: &dyn Dialect, address: &TopicName, key: Bytes) -> Lane {
        let name = match self.by {
            OneInFlight::PerDevice => dialect.device(address),
            OneInFlight::PerAddress => address.as_str(),
        };
        Lane { name: self.lanes.name(name), key }
    }

    pub(super) fn enter(&mut self, lane: &Lane, serial: u64, ticket: Ticket) -> Turn {
        self.lanes.enter(&lane.name, serial, ticket)
    }

    pub(super) fn end(&mut self, lane: &Lane, serial: u64, end: End, now: Instant) {
        match end {
            End::Waiting => self.lanes.leave(&lane.name, serial),
            End::Over => self.lanes.release(&lane.name),
            End::Unanswered => {
                self.lanes.rest(&lane.name, lane.key.clone(), super::after(now, self.rest));
            }
        }
    }

    /// An answer with this key has come.
    pub(super) fn answered(&mut self, key: &[u8]) {
        self.lanes.answered(key);
    }

    /// The next call that may leave.
    pub(super) fn next(&mut self, now: Instant) -> Option<Ticket> {
        self.lanes.wake(now);
        self.lanes.next()
    }

    pub(super) fn has_next(&self) -> bool {
        self.lanes.has_next()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.lanes.next_deadline()
    }
}

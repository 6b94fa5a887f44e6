//! An inbox with answers that it remembers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tower_mqtt::core::inbox::{Admission, Inbox, InboxKey, InboxLimits};

const FINGERPRINT: u64 = 7;

/// A memory that is full: with each new answer it forgets the oldest.
pub(crate) struct Memory {
    inbox: Inbox<u64, Bytes>,
    now: Instant,
    executed: u64,
}

impl Memory {
    pub(crate) fn new(size: usize) -> Self {
        let age = if size == 0 { Duration::ZERO } else { Duration::from_hours(1) };
        let limits = InboxLimits { entries: size.max(1), bytes: 1 << 30, age, joined: 16 };
        let mut memory = Self { inbox: Inbox::new(limits), now: Instant::now(), executed: 0 };
        for _ in 0..size {
            memory.execute();
        }
        memory
    }

    /// A request arrives, is executed and answered.
    pub(crate) fn execute(&mut self) {
        let (key, answer) = (key(self.executed), Bytes::from_static(b"miso soup"));
        let admission = self.inbox.admit(key, FINGERPRINT, self.now, self.executed);
        assert_eq!(admission, Admission::Execute);
        let size = answer.len();
        assert!(self.inbox.finish(&key, answer, size, self.now).eq([self.executed]));
        self.executed += 1;
    }

    /// A copy of a request arrives that has been answered. `back`: how many requests ago it was executed.
    pub(crate) fn repeat(&mut self, back: u64) {
        let request = self.executed - 1 - back;
        let admission = self.inbox.admit(key(request), FINGERPRINT, self.now, request);
        assert!(matches!(admission, Admission::Answered { waiter, .. } if waiter == request));
    }
}

fn key(request: u64) -> InboxKey {
    let id = (u128::from(request) << 64).to_be_bytes();
    InboxKey::new("clients/machine-7/responses", &id)
}

//! A table with requests in flight.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tower_mqtt::core::exchange::{Answer, Exchanges, Ticket};

/// So many requests in flight, all of them with the same timeout.
pub(crate) struct Flight {
    exchanges: Exchanges<usize>,
    now: Instant,
    started: u128,
    requests: Vec<(Bytes, Ticket)>,
}

impl Flight {
    pub(crate) fn new(size: usize) -> Self {
        let exchanges = Exchanges::with_capacity_limit(size);
        let mut flight =
            Self { exchanges, now: Instant::now(), started: 0, requests: Vec::with_capacity(size) };
        for waiter in 0..size {
            let request = flight.start(waiter);
            flight.requests.push(request);
        }
        flight
    }

    fn start(&mut self, waiter: usize) -> (Bytes, Ticket) {
        self.started += 1;
        self.now += Duration::from_nanos(100);
        let id = Bytes::copy_from_slice(&self.started.to_be_bytes());
        let deadline = self.now + Duration::from_secs(10);
        let started = self.exchanges.start(id.clone(), deadline, waiter);
        (id, started.expect("there is room"))
    }

    /// One is answered, and the next begins.
    pub(crate) fn answer(&mut self, waiter: usize) -> Option<Instant> {
        let Answer::Completed(waiters) = self.exchanges.complete(&self.requests[waiter].0) else {
            panic!("the request is in flight");
        };
        assert!(waiters.eq([waiter]));
        self.requests[waiter] = self.start(waiter);
        self.exchanges.next_deadline()
    }

    /// A caller gives up, and another begins.
    pub(crate) fn cancel(&mut self, waiter: usize) -> Option<Instant> {
        assert_eq!(self.exchanges.cancel(self.requests[waiter].1), Some(waiter));
        self.requests[waiter] = self.start(waiter);
        self.exchanges.next_deadline()
    }
}

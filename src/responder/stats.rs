//! What a responder counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What a [`Responder`](super::Responder) has seen so far.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct ResponderStats {
            /// Requests that are being handled.
            pub in_flight: u64,
            $($(#[$doc])* pub $name: u64,)+
        }

        /// Written by the connection and the handlers' tasks, read by anyone.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            pub(super) in_flight: AtomicU64,
            $(pub(super) $name: Counter,)+
        }

        impl Counters {
            pub(super) fn read(&self) -> ResponderStats {
                ResponderStats {
                    in_flight: self.in_flight.load(Ordering::Relaxed),
                    $($name: self.$name.0.load(Ordering::Relaxed),)+
                }
            }
        }
    };
}

counters! {
    /// Requests that were given to the service.
    received,
    /// Answers that were handed to the connection.
    answered,
    /// Requests that came, or answers that were ready, after the caller's deadline.
    expired,
    /// Requests refused with 503 because all slots were taken.
    overloaded,
    /// Messages that are not requests.
    malformed,
    /// Requests whose response topic is not allowed.
    forbidden,
    /// Handlers that panicked.
    panicked,
    /// Messages on a topic that was answered already, in a dialect that answers on the topic of the
    /// request: the answer that a server without No Local brings back, or a copy of the request.
    echoes,
    /// Failures that are silence because the dialect carries no status.
    unsaid,
    /// Answers that could not be delivered: the outgoing queue was full, the broker refused them,
    /// or nobody was subscribed to their topic.
    undelivered,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

//! One call in the exchange table, and what it holds until it ends.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::loan::Loan;
use super::relay::Relay;
use super::turns::Lane;
use crate::core::packet::Message;
use crate::error::{Delivery, RequestError};
use crate::message::Response;

/// One call that waits.
pub(super) struct Waiter {
    pub(super) serial: u64,
    pub(super) idempotent: bool,
    pub(super) reply: oneshot::Sender<Result<Response, RequestError>>,
    pub(super) phase: Phase,
    /// It was on the wire before the present try.
    pub(super) tried: bool,
    /// Freed with the entry, so that slots bound the table.
    pub(super) slot: OwnedSemaphorePermit,
    /// Its caller is told through the relay.
    pub(super) relayed: bool,
    /// Its short id.
    pub(super) loan: Option<Loan>,
    /// Where it has its turn, when only one may be in flight.
    pub(super) lane: Option<Box<Lane>>,
}

/// How far a request has come, and the message when it may have to be sent again.
pub(super) enum Phase {
    /// It waits for its turn.
    Queued(Message),
    /// Not on the wire: the connection was lost first.
    Unsent(Message),
    /// On the wire, or in the outgoing queue.
    Sent,
    /// It was on the wire when the connection was lost.
    Lost(Message),
    /// The server has it.
    Acknowledged(Option<Message>),
}

impl Phase {
    /// What the server had and has no more is lost, if it was kept for that.
    pub(super) fn server_forgets(&mut self) {
        if let Self::Acknowledged(message) = self
            && let Some(message) = message.take()
        {
            *self = Self::Lost(message);
        }
    }
}

impl Waiter {
    /// Whether somebody may have seen the request.
    pub(super) fn has_left(&self) -> bool {
        self.tried || !matches!(self.phase, Phase::Queued(_) | Phase::Unsent(_))
    }

    /// How the call ends, when its last try ends so: that nobody has seen the last one says nothing
    /// about those before.
    pub(super) fn with_earlier_tries(
        &self,
        result: Result<Response, RequestError>,
    ) -> Result<Response, RequestError> {
        match result {
            Err(error) if self.tried && error.delivery() == Delivery::NotDelivered => {
                Err(RequestError::Disconnected(Delivery::Unknown))
            }
            result => result,
        }
    }

    /// Whether an answer may come after the call has ended so.
    pub(super) fn may_be_answered(&self, result: &Result<Response, RequestError>) -> bool {
        match result {
            Ok(_) => false,
            Err(error) => error.delivery() == Delivery::Unknown && self.has_left(),
        }
    }

    /// Tells the caller, through the relay if that is its way. The slot is free before that.
    pub(super) fn settle(self, result: Result<Response, RequestError>, relay: Option<&mut Relay>) {
        drop(self.slot);
        match relay {
            Some(relay) if self.relayed => relay.push((self.reply, result)),
            // It fails when the caller has gone, and then nobody is to be told.
            _ => drop(self.reply.send(result)),
        }
    }
}

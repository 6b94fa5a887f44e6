//! The life of a call on the connection: from its command, through its turn and the wire, to its end.

use std::time::Instant;

use bytes::Bytes;

use super::Endpoint;
use crate::core::exchange::Ticket;
use crate::core::lanes::Turn;
use crate::core::packet::Message;
use crate::dialect::OutgoingRequest;
use crate::error::{Delivery, InvalidRequest, RequestError};
use crate::link::{Outbox, PublishError};
use crate::message::{Request, Response};
use crate::requester::Call;
use crate::requester::turns::{End, Lane};
use crate::requester::waiter::{Phase, Waiter};

impl Endpoint {
    pub(super) fn call(&mut self, call: Call, out: &mut Outbox<'_>) {
        let Call { request, id, key, serial, deadline, reply, relayed, slot, loan } = call;
        if reply.is_closed() {
            return; // The caller gave up before the request was sent.
        }
        let idempotent = request.parts().idempotent;
        let lane = self.turns.as_ref().map(|turns| {
            Box::new(turns.lane(&*self.settings.dialect, request.topic(), key.clone()))
        });
        let message = match self.encode(request, &id, deadline, out) {
            Ok(message) => message,
            Err(error) => {
                drop((slot, loan)); // Free before the caller knows.
                let _ = reply.send(Err(error));
                return;
            }
        };
        let (phase, tried) = (Phase::Sent, false);
        let waiter =
            Waiter { serial, idempotent, reply, relayed, phase, tried, slot, loan, lane: None };
        match (self.exchanges.start(key, deadline, waiter), lane) {
            (Ok(ticket), None) => self.send(ticket, message, out),
            (Ok(ticket), Some(lane)) => self.enter(ticket, lane, message, out),
            (Err(full), _) => self.end(full.0, Err(RequestError::Overloaded), out.now()),
        }
    }

    /// Sends the message of an exchange if its lane is idle, or keeps it until its turn.
    fn enter(&mut self, ticket: Ticket, lane: Box<Lane>, message: Message, out: &mut Outbox<'_>) {
        let (Some(turns), Some(waiter)) = (&mut self.turns, self.exchanges.get_mut(ticket)) else {
            return;
        };
        match turns.enter(&lane, waiter.serial, ticket) {
            Turn::Now => {
                waiter.lane = Some(lane);
                self.send(ticket, message, out);
            }
            Turn::Later => {
                waiter.lane = Some(lane);
                waiter.phase = Phase::Queued(message);
            }
            Turn::Full => self.fail(ticket, RequestError::Overloaded, out.now()),
        }
    }

    /// Sends what has its turn now.
    pub(super) fn take_turns(&mut self, out: &mut Outbox<'_>) {
        while let Some(ticket) = self.turns.as_mut().and_then(|turns| turns.next(out.now())) {
            // A call that waits is in the table: whoever leaves the table leaves its lane.
            let Some(deadline) = self.exchanges.deadline(ticket) else { continue };
            let Some(waiter) = self.exchanges.get_mut(ticket) else { continue };
            let left = deadline.saturating_duration_since(out.now());
            if let Phase::Queued(mut message) = std::mem::replace(&mut waiter.phase, Phase::Sent) {
                self.settings.dialect.restamp(&mut message, left);
                self.send(ticket, message, out);
            }
        }
    }

    fn encode(
        &self,
        request: Request,
        id: &Bytes,
        deadline: Instant,
        out: &Outbox<'_>,
    ) -> Result<Message, RequestError> {
        if let Some(reason) = self.refused {
            return Err(RequestError::Rejected(reason));
        }
        let disconnected = RequestError::Disconnected(Delivery::NotDelivered);
        if out.connection().is_none() && !self.rides_through() {
            return Err(disconnected);
        }
        let response_topic = self.response_topics.last().ok_or(disconnected)?;
        let left = deadline.saturating_duration_since(out.now());
        if left.is_zero() {
            return Err(RequestError::Timeout);
        }
        let request = OutgoingRequest { request, id, response_topic, left };
        Ok(self.settings.dialect.encode_request(request)?)
    }

    /// Publishes the message of an exchange, or keeps it until the connection is back.
    fn send(&mut self, ticket: Ticket, message: Message, out: &mut Outbox<'_>) {
        let Some(waiter) = self.exchanges.get_mut(ticket) else { return };
        if out.connection().is_none() {
            waiter.phase = Phase::Unsent(message);
            return;
        }
        waiter.phase = Phase::Sent;
        if let Err((error, _)) = out.publish(message, ticket.into_parts()) {
            self.fail(ticket, why(error), out.now());
        }
    }

    /// Publishes what was called or sent before the connection was back. `false`: there is no room for
    /// it in the queue yet.
    fn send_again(&mut self, ticket: Ticket, out: &mut Outbox<'_>) -> bool {
        // What has expired is about to leave the table.
        let deadline = self.exchanges.deadline(ticket).filter(|deadline| *deadline > out.now());
        let (Some(deadline), Some(waiter)) = (deadline, self.exchanges.get_mut(ticket)) else {
            return true;
        };
        let left = deadline.saturating_duration_since(out.now());
        let (mut message, kept): (_, fn(Message) -> Phase) =
            match std::mem::replace(&mut waiter.phase, Phase::Sent) {
                Phase::Unsent(message) => (message, Phase::Unsent),
                Phase::Lost(message) => (message, Phase::Lost),
                other => {
                    waiter.phase = other;
                    return true;
                }
            };
        self.settings.dialect.restamp(&mut message, left);
        match out.publish(message, ticket.into_parts()) {
            Ok(_) => true,
            Err((PublishError::Full, message)) => {
                waiter.phase = kept(message);
                false
            }
            Err((error, _)) => {
                self.fail(ticket, why(error), out.now());
                true
            }
        }
    }

    /// Goes on with what had no room in the queue.
    pub(super) fn catch_up(&mut self, out: &mut Outbox<'_>) {
        while let Some(&ticket) = self.backlog.front() {
            if !self.send_again(ticket, out) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    pub(super) fn cancel(&mut self, key: &[u8], serial: u64, now: Instant) {
        if let Some(waiter) = self.exchanges.cancel_where(key, |waiter| waiter.serial == serial) {
            // Nobody hears it; the request may be answered, as after a timeout.
            self.end(waiter, Err(RequestError::Timeout), now);
        }
    }

    pub(super) fn fail(&mut self, ticket: Ticket, error: RequestError, now: Instant) {
        if let Some(waiter) = self.exchanges.cancel(ticket) {
            self.end(waiter, Err(error), now);
        }
    }

    /// For a reason that has nothing to do with one call: what was on the wire may be answered.
    pub(super) fn fail_all(&mut self, error: &RequestError, now: Instant) {
        for waiter in self.exchanges.drain() {
            let error = match error {
                RequestError::Disconnected(_) if !waiter.has_left() => {
                    RequestError::Disconnected(Delivery::NotDelivered)
                }
                other => other.clone(),
            };
            self.end(waiter, Err(error), now);
        }
    }

    /// Ends a call that has left the table. What it held is free, or at rest, before its caller knows.
    pub(super) fn end(
        &mut self,
        mut waiter: Waiter,
        result: Result<Response, RequestError>,
        now: Instant,
    ) {
        let result = waiter.with_earlier_tries(result);
        let unanswered = waiter.may_be_answered(&result);
        match waiter.loan.take() {
            Some(loan) if unanswered => loan.quarantine(now),
            given_back => drop(given_back),
        }
        if let (Some(turns), Some(lane)) = (&mut self.turns, waiter.lane.take()) {
            let end = match waiter.phase {
                Phase::Queued(_) => End::Waiting,
                _ if unanswered => End::Unanswered,
                _ => End::Over,
            };
            turns.end(&lane, waiter.serial, end, now);
        }
        waiter.settle(result, self.relay.as_mut());
    }

    /// After a reconnect: send again what may be, and fail what may not. What is sent waits for the
    /// subscriptions, so [`still_wanted`](crate::link::Endpoint::still_wanted) sees it before it leaves.
    /// What has no room is kept for [`catch_up`](Self::catch_up): the in-flight slots bound it.
    pub(super) fn resume(&mut self, session_present: bool, out: &mut Outbox<'_>) {
        self.backlog.clear();
        let tickets: Vec<Ticket> = self.exchanges.tickets().collect();
        for ticket in tickets {
            let Some(waiter) = self.exchanges.get_mut(ticket) else { continue };
            let safe = session_present || waiter.idempotent;
            if !session_present {
                waiter.phase.server_forgets();
            }
            let again = match &waiter.phase {
                Phase::Unsent(_) => safe || !waiter.tried,
                Phase::Lost(_) => safe,
                Phase::Sent | Phase::Acknowledged(_) if session_present => continue,
                Phase::Queued(_) => continue,
                Phase::Sent | Phase::Acknowledged(_) => false,
            };
            if !again {
                self.fail(ticket, RequestError::Disconnected(Delivery::Unknown), out.now());
            } else if !self.send_again(ticket, out) {
                self.backlog.push_back(ticket);
            }
        }
    }
}

/// How a call ends whose message was not taken.
fn why(error: PublishError) -> RequestError {
    match error {
        PublishError::Full => RequestError::Overloaded,
        PublishError::TooLarge { size, limit } => InvalidRequest::TooLarge { size, limit }.into(),
    }
}

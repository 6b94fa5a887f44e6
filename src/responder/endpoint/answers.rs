//! What a responder says: how answers are written, and what becomes of them.

use std::time::Instant;

use bytes::Bytes;

use super::Endpoint;
use crate::core::packet::{Message, Qos};
use crate::dialect::ReplyTo;
use crate::link::{Outbox, PublishError, Published, Token};
use crate::message::{Response, Status};
use crate::responder::stats::Counters;

impl<S> Endpoint<S> {
    pub(super) fn counters(&self) -> &Counters {
        &self.settings.counters
    }

    /// Whether it is on the topic of an answer of this responder, which has come back.
    pub(super) fn is_answered(&mut self, reply_to: &ReplyTo, dialect: usize, now: Instant) -> bool {
        self.answered.as_mut().is_some_and(|answered| {
            self.settings.dialects[dialect].answers_on_request_topic()
                && answered.contains(place(reply_to), now)
        })
    }

    /// Answers without having run the service.
    pub(super) fn answer_now(
        &mut self,
        dialect: usize,
        reply_to: &ReplyTo,
        status: Status,
        deadline: Option<Instant>,
        out: &mut Outbox<'_>,
    ) {
        self.next_serial += 1;
        let serial = self.next_serial;
        self.answer(serial, dialect, reply_to, Response::error(status), deadline, out);
    }

    pub(super) fn answer(
        &mut self,
        serial: u64,
        dialect: usize,
        reply_to: &ReplyTo,
        response: Response,
        deadline: Option<Instant>,
        out: &mut Outbox<'_>,
    ) {
        let token = (1, serial);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(out.now()));
        if left.is_some_and(|left| left.is_zero()) {
            self.counters().expired.increment();
            return;
        }
        let spoken = &self.settings.dialects[dialect];
        if !response.status().is_success() && !spoken.carries().status {
            tracing::debug!(dialect = spoken.name(), status = %response.status(), "a failure is silence");
            self.counters().unsaid.increment();
            return;
        }
        let bare = response.payload().is_empty() && response.user_properties().is_empty();
        let message = match spoken.encode_response(reply_to, response, left) {
            Ok(message) => message,
            Err(malformed) => {
                tracing::debug!(%malformed, "the dialect cannot carry an answer");
                self.counters().undelivered.increment();
                return;
            }
        };
        if let Some(answered) = &mut self.answered
            && spoken.answers_on_request_topic()
        {
            answered.insert(place(reply_to), out.now());
        }
        match self.publish(message, token, deadline, out) {
            Err(PublishError::TooLarge { size, limit }) if !bare => {
                tracing::error!(size, limit, "an answer is larger than the server accepts");
                let status =
                    Status::INTERNAL.with_message("the answer is too large for the server");
                self.answer(serial, dialect, reply_to, Response::error(status), deadline, out);
            }
            Ok(()) => self.counters().answered.increment(),
            Err(_) => {}
        }
    }

    pub(super) fn publish(
        &mut self,
        message: Message,
        token: Token,
        deadline: Option<Instant>,
        out: &mut Outbox<'_>,
    ) -> Result<(), PublishError> {
        if out.connection().is_none() {
            self.unsent.push((message, token));
            self.remember(token, deadline);
            return Ok(());
        }
        let at_most_once = message.qos == Qos::AtMostOnce;
        match out.publish(message, token) {
            // Nothing more is heard of it.
            Ok(Published::Sent) if at_most_once => self.forget(token),
            Ok(Published::Sent | Published::Waiting) => self.remember(token, deadline),
            Err((error, message)) => {
                tracing::debug!(topic = %message.topic, ?error, "an answer cannot be sent");
                self.counters().undelivered.increment();
                self.forget(token);
                return Err(error);
            }
        }
        Ok(())
    }

    fn remember(&mut self, token: Token, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.deadlines.insert(token, deadline);
        }
    }

    pub(super) fn forget(&mut self, token: Token) {
        // At QoS 0 there is hardly ever one, and nothing to be hashed.
        if !self.deadlines.is_empty() {
            self.deadlines.remove(&token);
        }
    }
}

/// What an answer and its request share.
fn place(reply_to: &ReplyTo) -> (&str, Option<&Bytes>) {
    (reply_to.topic().as_str(), reply_to.correlation_data())
}

//! The responder's side on the connection: what it takes, what it refuses, and how it stops.

mod stop;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower::Service;

use self::stop::Stage;
use super::builder::{Acknowledge, Allowed};
use super::stats::Counters;
use super::task::{self, Command, Exchange};
use super::tasks::Tasks;
use crate::core::Recent;
use crate::core::index::TopicIndex;
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::core::topic::TopicFilter;
use crate::dialect::{Dialect, IncomingRequest, Malformed, ReplyTo};
use crate::error::ServeError;
use crate::link::{
    self, AckId, Occupant, Outbox, Outcome, PublishError, Published, Token, Verdict, is_refusal,
};
use crate::message::{Parts, Request, Response, Status};

pub(super) struct Settings {
    pub(super) _occupant: Option<Occupant>,
    pub(super) dialects: Vec<Arc<dyn Dialect>>,
    /// With the number of the dialect that each is for.
    pub(super) subscriptions: Vec<(Subscription, usize)>,
    pub(super) acknowledge: Acknowledge,
    pub(super) allowed: Option<Allowed>,
    pub(super) slots: Arc<Semaphore>,
    pub(super) counters: Arc<Counters>,
}

pub(super) struct Endpoint<S> {
    settings: Settings,
    service: S,
    queue: mpsc::UnboundedReceiver<Command>,
    /// Which dialect a topic belongs to.
    routes: TopicIndex<Reading>,
    subscriptions: Vec<Subscription>,
    ready: Option<oneshot::Sender<Result<(), ServeError>>>,
    tasks: Tasks,
    next_serial: u64,
    /// Requests up to this serial number came on an earlier connection: they cannot be acknowledged
    /// any more.
    lost_acks: u64,
    /// Answers that were not acknowledged when the connection was lost, by the number of their
    /// request; sent again when it is back. Never more than the outgoing queue and window held.
    unsent: Vec<(Message, Token)>,
    /// Until when the answers that are in flight are worth sending again.
    deadlines: HashMap<Token, Instant>,
    /// Topics of requests that were answered on the same topic, if a dialect does that: a server
    /// without No Local brings the answer back, and it must not be taken for another request.
    /// Remembered for as long as a call takes, as a server that starts anew may count from one again.
    answered: Option<Recent>,
    stage: Stage,
}

impl<S> Endpoint<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    pub(super) fn new(
        settings: Settings,
        service: S,
        tasks: Tasks,
        queue: mpsc::UnboundedReceiver<Command>,
        ready: oneshot::Sender<Result<(), ServeError>>,
    ) -> Self {
        let mut routes = TopicIndex::new();
        for (rank, (subscription, dialect)) in ranked(&settings.subscriptions) {
            routes.insert(&subscription.filter, (rank, *dialect));
        }
        let same_topic =
            settings.dialects.iter().filter(|dialect| dialect.answers_on_request_topic());
        let answered = same_topic.map(Dialect::default_timeout).max().map(Recent::new);
        let subscriptions = settings.subscriptions.iter().map(|(s, _)| s.clone()).collect();
        Self {
            settings,
            service,
            queue,
            routes,
            subscriptions,
            ready: Some(ready),
            tasks,
            next_serial: 0,
            lost_acks: 0,
            unsent: Vec::new(),
            deadlines: HashMap::new(),
            answered,
            stage: Stage::Serving,
        }
    }

    fn counters(&self) -> &Counters {
        &self.settings.counters
    }

    /// Which dialect a message on this topic is read with.
    fn dialect_of(&self, topic: &str) -> Option<usize> {
        let mut found: Option<Reading> = None;
        self.routes.find_all(topic, |reading| {
            found = Some(found.map_or(*reading, |best| best.min(*reading)));
        });
        found.map(|(_, dialect)| dialect)
    }

    /// Reads a request and starts its task. What cannot be answered is counted; what is refused is
    /// answered at once.
    fn request(
        &mut self,
        message: Message,
        dialect: usize,
        ack: Option<AckId>,
        out: &mut Outbox<'_>,
    ) -> Verdict {
        let incoming = match self.settings.dialects[dialect].decode_request(message) {
            Ok(incoming) => incoming,
            Err(malformed) => return self.malformed(malformed, dialect, out),
        };
        let IncomingRequest { mut request, reply_to, left } = incoming;
        if self.is_answered(&reply_to, dialect, out.now()) {
            self.counters().echoes.increment();
            return Verdict::Taken;
        }
        if !self.may_answer(&reply_to, request.parts(), dialect) {
            tracing::debug!(topic = %request.topic(), response_topic = %reply_to.topic(), "response topic not allowed");
            self.counters().forbidden.increment();
            return Verdict::Taken;
        }
        if left.is_some_and(|left| left.is_zero()) {
            self.counters().expired.increment();
            return Verdict::Taken;
        }
        let deadline = left.and_then(|left| out.now().checked_add(left));
        request.parts_mut().deadline = deadline;
        let Ok(slot) = Arc::clone(&self.settings.slots).try_acquire_owned() else {
            self.counters().overloaded.increment();
            let status = Status::UNAVAILABLE.with_message("all of the responder's slots are taken");
            self.answer_now(dialect, &reply_to, status, deadline, out);
            return Verdict::Taken;
        };
        let held = self.settings.acknowledge == Acknowledge::AfterAnswer && ack.is_some();
        let ack = ack.filter(|_| held);
        self.start(
            request,
            Exchange { serial: 0, dialect, reply_to, deadline, ack, slot: Some(slot) },
            out,
        );
        if held { Verdict::Held } else { Verdict::Taken }
    }

    /// Whether it is on the topic of an answer of this responder, which has come back.
    fn is_answered(&mut self, reply_to: &ReplyTo, dialect: usize, now: Instant) -> bool {
        self.settings.dialects[dialect].answers_on_request_topic()
            && self
                .answered
                .as_mut()
                .is_some_and(|answered| answered.contains(place(reply_to), now))
    }

    fn malformed(&mut self, malformed: Malformed, dialect: usize, out: &mut Outbox<'_>) -> Verdict {
        self.counters().malformed.increment();
        let (what, reply_to) = malformed.into_parts();
        tracing::debug!(what, "not a request");
        // A policy of the user's cannot be asked about what could not be read.
        if let Some(reply_to) = reply_to
            && self.settings.allowed.is_none()
            && self.may_answer_to(&reply_to, dialect)
        {
            self.answer_now(dialect, &reply_to, Status::BAD_REQUEST.with_message(what), None, out);
        }
        Verdict::Taken
    }

    fn may_answer(&self, reply_to: &ReplyTo, parts: &Parts, dialect: usize) -> bool {
        let allowed = self.settings.allowed.as_ref();
        self.may_answer_to(reply_to, dialect)
            && allowed.is_none_or(|allow| allow(reply_to.topic(), parts))
    }

    fn may_answer_to(&self, reply_to: &ReplyTo, dialect: usize) -> bool {
        let dialect = &self.settings.dialects[dialect];
        let topic = reply_to.topic();
        let loops =
            !dialect.answers_on_request_topic() && self.dialect_of(topic.as_str()).is_some();
        let reserved = topic.is_reserved() && !dialect.owns_reserved_topics();
        !loops && !reserved
    }

    fn start(&mut self, request: Request, mut exchange: Exchange, out: &mut Outbox<'_>) {
        self.next_serial += 1;
        exchange.serial = self.next_serial;
        self.settings.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        self.counters().received.increment();
        let handling = task::handle(self.service.clone(), request, exchange.deadline);
        if !self.tasks.are_inline() {
            return self.tasks.start(exchange, handling);
        }
        // Most handlers that run here have nothing to wait for, and need no task.
        match task::try_now(handling) {
            Ok(outcome) => self.done(exchange, outcome, out),
            Err(handling) => self.tasks.start(exchange, handling),
        }
    }

    /// Answers without having run the service.
    fn answer_now(
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

    fn done(&mut self, exchange: Exchange, outcome: task::Outcome, out: &mut Outbox<'_>) {
        let Exchange { serial, dialect, reply_to, deadline, ack, slot: _slot } = exchange;
        self.tasks.ended(serial);
        self.settings.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        match outcome {
            task::Outcome::Panicked => {
                tracing::error!(response_topic = %reply_to.topic(), "a handler panicked");
                self.counters().panicked.increment();
            }
            task::Outcome::Expired => self.counters().expired.increment(),
            task::Outcome::Answered(_) | task::Outcome::Stopped => {}
        }
        if let Some(response) = outcome.into_response() {
            self.answer(serial, dialect, &reply_to, response, deadline, out);
        }
        if let Some(ack) = ack
            && serial > self.lost_acks
        {
            out.acknowledge(ack, ReasonCode::SUCCESS);
        }
    }

    fn answer(
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
        let dialect_of = &self.settings.dialects[dialect];
        if !response.status().is_success() && !dialect_of.carries().status {
            tracing::debug!(dialect = dialect_of.name(), status = %response.status(), "a failure is silence");
            self.counters().unsaid.increment();
            return;
        }
        let bare = response.payload().is_empty() && response.user_properties().is_empty();
        let encoded = self.settings.dialects[dialect].encode_response(reply_to, response, left);
        let message = match encoded {
            Ok(message) => message,
            Err(malformed) => {
                tracing::debug!(%malformed, "the dialect cannot carry an answer");
                self.counters().undelivered.increment();
                return;
            }
        };
        if let Some(answered) = self.answered.as_mut()
            && self.settings.dialects[dialect].answers_on_request_topic()
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

    fn publish(
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

    fn forget(&mut self, token: Token) {
        // At QoS 0 there is hardly ever one, and nothing to be hashed.
        if !self.deadlines.is_empty() {
            self.deadlines.remove(&token);
        }
    }

    fn settle(&mut self, result: Result<(), ServeError>) {
        if result.is_err() {
            self.stage = Stage::Failed;
        }
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(result);
        }
    }
}

/// What an answer and its request share.
fn place(reply_to: &ReplyTo) -> (&str, Option<&Bytes>) {
    (reply_to.topic().as_str(), reply_to.correlation_data())
}

/// How narrow a subscription is, the narrowest first, and the dialect that it is for.
type Reading = (usize, usize);

/// The subscriptions with their rank: a dialect whose topics are a part of another's reads them.
/// Subscriptions to the same topics have the same rank, so that the dialect named first counts.
fn ranked(
    subscriptions: &[(Subscription, usize)],
) -> impl Iterator<Item = (usize, &(Subscription, usize))> {
    let mut filters: Vec<&TopicFilter> = subscriptions.iter().map(|(s, _)| &s.filter).collect();
    filters.sort_by(|a, b| a.cmp_specificity(b));
    let rank = move |filter: &TopicFilter| {
        filters.partition_point(|other| other.cmp_specificity(filter).is_lt())
    };
    subscriptions.iter().map(move |entry| (rank(&entry.0.filter), entry))
}

/// What the outcomes of the subscriptions and of their end are reported under. Answers go by
/// `(1, serial of their request)`.
const SUBSCRIBE: Token = (0, 0);
const UNSUBSCRIBE: Token = (0, 1);

impl<S> link::Endpoint for Endpoint<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    fn is_requester(&self) -> bool {
        false
    }

    fn connected(&mut self, out: &mut Outbox<'_>) {
        if matches!(self.stage, Stage::Serving) {
            out.subscribe(&self.subscriptions, SUBSCRIBE);
        }
        // They wait for the subscriptions, so `still_wanted` sees them before they leave.
        for (message, token) in std::mem::take(&mut self.unsent) {
            // What went out before and does not fit now has been counted.
            let deadline = self.deadlines.get(&token).copied();
            let _ = self.publish(message, token, deadline, out);
        }
    }

    fn disconnected(&mut self, _: &mut Outbox<'_>) {
        if self.ready.is_some() {
            self.settle(Err(ServeError::Disconnected));
        }
        self.unsubscribed();
        self.lost_acks = self.next_serial;
    }

    fn message(
        &mut self,
        message: Message,
        ack: Option<AckId>,
        out: &mut Outbox<'_>,
    ) -> Result<Verdict, Message> {
        // Once unsubscribed, what comes is for another responder on this link.
        let takes = matches!(self.stage, Stage::Serving | Stage::Unsubscribing(_));
        match self.dialect_of(message.topic.as_str()).filter(|_| takes) {
            Some(dialect) => Ok(self.request(message, dialect, ack, out)),
            None => Err(message),
        }
    }

    fn still_wanted(&mut self, token: Token, message: &mut Message, now: Instant) -> bool {
        let expired = self.deadlines.get(&token).is_some_and(|deadline| *deadline <= now);
        if expired {
            self.counters().expired.increment();
        }
        if expired || message.qos == Qos::AtMostOnce {
            self.deadlines.remove(&token);
        }
        !expired
    }

    fn outcome(&mut self, token: Token, outcome: Outcome, message: Message, _: &mut Outbox<'_>) {
        match outcome {
            Outcome::Acknowledged(reason) => {
                self.deadlines.remove(&token);
                if is_refusal(reason) {
                    tracing::debug!(topic = %message.topic, %reason, "an answer was not delivered");
                    self.counters().undelivered.increment();
                }
            }
            Outcome::TooLarge { .. } => {
                self.deadlines.remove(&token);
                self.counters().undelivered.increment();
            }
            Outcome::NotSent | Outcome::Lost => self.unsent.push((message, token)),
        }
    }

    fn subscribed(&mut self, token: Token, reasons: &[ReasonCode], _: &mut Outbox<'_>) {
        if token == UNSUBSCRIBE {
            self.unsubscribed();
            return;
        }
        let refusal = reasons.iter().zip(&self.subscriptions).find(|(reason, _)| reason.is_error());
        match refusal {
            None => self.settle(Ok(())),
            Some((&reason, Subscription { filter, .. })) => {
                tracing::error!(%filter, %reason, "the broker refused a subscription");
                let filter = filter.clone();
                if self.ready.is_some() {
                    self.settle(Err(ServeError::Subscribe { filter, reason }));
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox<'_>) -> Poll<()> {
        self.tasks.poll(cx);
        while let Poll::Ready(Some(command)) = self.queue.poll_recv(cx) {
            match command {
                Command::Done(done) => {
                    for (exchange, outcome) in done {
                        self.done(exchange, outcome, out);
                    }
                }
                Command::Shutdown { grace, done } => self.shutdown(grace, done, out),
            }
        }
        if self.advance(out) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn needs_poll(&self) -> bool {
        self.tasks.needs_poll()
    }

    fn in_flight(&self) -> usize {
        self.tasks.len()
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Unsubscribing(stop)
            | Stage::Draining(stop)
            | Stage::Aborting(stop)
            | Stage::Settling(stop) => Some(stop.deadline),
            Stage::Serving | Stage::Failed => None,
        }
    }

    fn closed(&mut self) {
        self.settle(Err(ServeError::Closed));
        self.stage = Stage::Failed;
        self.abandon();
    }
}

//! The responder's side on the connection: what it takes, what it refuses, and how it stops.

mod answers;
mod stop;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

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
use crate::link::{self, AckId, Occupant, Outbox, Outcome, Token, Verdict, is_refusal};
use crate::message::{Parts, Request, Response, Status};

pub(super) struct Settings {
    pub(super) _occupant: Option<Occupant>,
    pub(super) dialects: Vec<Arc<dyn Dialect>>,
    /// What comes, each with the number of the dialect that reads it.
    pub(super) readings: Vec<(TopicFilter, usize)>,
    pub(super) subscriptions: Vec<Subscription>,
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
        for (rank, (filter, dialect)) in ranked(&settings.readings) {
            routes.get_or_insert_with(filter, || (rank, *dialect));
        }
        let same_topic =
            settings.dialects.iter().filter(|dialect| dialect.answers_on_request_topic());
        let answered = same_topic.map(Dialect::default_timeout).max().map(Recent::new);
        Self {
            settings,
            service,
            queue,
            routes,
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

    fn done(&mut self, exchange: Exchange, outcome: task::Outcome, out: &mut Outbox<'_>) {
        let Exchange { serial, dialect, reply_to, deadline, ack, slot: _slot } = exchange;
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

    fn settle(&mut self, result: Result<(), ServeError>) {
        if result.is_err() {
            self.stage = Stage::Failed;
        }
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(result);
        }
    }
}

/// How narrow a filter is, the narrowest first, and the dialect that reads what it brings.
type Reading = (usize, usize);

/// The filters with their rank: a dialect whose topics are a part of another's reads them.
fn ranked(
    readings: &[(TopicFilter, usize)],
) -> impl Iterator<Item = (usize, &(TopicFilter, usize))> {
    let mut filters: Vec<&TopicFilter> = readings.iter().map(|(filter, _)| filter).collect();
    filters.sort_by(|a, b| a.cmp_specificity(b));
    let rank = move |filter: &TopicFilter| {
        filters.partition_point(|other| other.cmp_specificity(filter).is_lt())
    };
    readings.iter().map(move |entry| (rank(&entry.0), entry))
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
            out.subscribe(&self.settings.subscriptions, SUBSCRIBE);
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
        let subscriptions = &self.settings.subscriptions;
        let refusal = reasons.iter().zip(subscriptions).find(|(reason, _)| reason.is_error());
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
                        self.tasks.ended();
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

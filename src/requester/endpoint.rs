//! The requester's side on the connection: its exchange table, and what happens to it.

#![expect(clippy::result_large_err, reason = "a message that is not taken is given back whole")]

mod calls;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::loops::Loops;
use super::relay::Relay;
use super::stats::Counters;
use super::turns::Turns;
use super::waiter::{Phase, Waiter};
use super::{Command, OnDisconnect};
use crate::core::exchange::{Answer, Exchanges, Ticket};
use crate::core::packet::{Message, ReasonCode, Subscription};
use crate::core::topic::{TopicFilter, TopicName};
use crate::dialect::Dialect;
use crate::error::{Delivery, InvalidRequest, RequestError, ServeError};
use crate::link::{self, AckId, Claim, Occupant, Outbox, Outcome, Token, Verdict, is_refusal};

pub(super) struct Settings {
    pub(super) _occupant: Occupant,
    pub(super) _claim: Option<Claim>,
    pub(super) dialect: Arc<dyn Dialect>,
    pub(super) max_in_flight: usize,
    pub(super) on_disconnect: OnDisconnect,
    pub(super) peers: TopicFilter,
    /// Instead of the one that follows from the connection.
    pub(super) response_topic: Option<TopicName>,
}

pub(super) struct Endpoint {
    settings: Settings,
    commands: mpsc::UnboundedReceiver<Command>,
    relay: Option<Relay>,
    exchanges: Exchanges<Waiter>,
    /// When only one call may be in flight for each device.
    turns: Option<Turns>,
    loops: Loops,
    counters: Arc<Counters>,
    slots: Arc<Semaphore>,
    /// Until the first subscription is acknowledged.
    ready: Option<oneshot::Sender<Result<(), ServeError>>>,
    /// Where answers go: the last is the present one. Earlier ones are kept while calls that were
    /// made with them may be in flight.
    response_topics: Vec<TopicName>,
    subscribed: Vec<Subscription>,
    /// It subscribes to a part of the topics on which its dialect has answers. What comes for others on
    /// the link is told by its topic alone then: a dialect may have to read the payload.
    selective: bool,
    /// Calls that are to be sent after a reconnect, and have no room in the outgoing queue yet. Some may
    /// have ended since.
    backlog: VecDeque<Ticket>,
    /// The broker refused the subscription, so no answer can come.
    refused: Option<ReasonCode>,
    failed: bool,
}

/// Response topics that are kept: the present one, and those of calls that were made before the
/// server gave another one.
const RESPONSE_TOPICS: usize = 8;

/// What the subscriptions' outcomes are reported under.
const SUBSCRIPTION: Token = (0, 0);

impl Endpoint {
    pub(super) fn new(
        settings: Settings,
        turns: Option<Turns>,
        commands: mpsc::UnboundedReceiver<Command>,
        relay: Option<Relay>,
        counters: Arc<Counters>,
        slots: Arc<Semaphore>,
        ready: oneshot::Sender<Result<(), ServeError>>,
    ) -> Self {
        Self {
            exchanges: Exchanges::with_capacity_limit(settings.max_in_flight),
            settings,
            turns,
            loops: Loops::default(),
            commands,
            relay,
            counters,
            slots,
            ready: Some(ready),
            response_topics: Vec::new(),
            subscribed: Vec::new(),
            selective: false,
            backlog: VecDeque::new(),
            refused: None,
            failed: false,
        }
    }

    fn rides_through(&self) -> bool {
        self.settings.on_disconnect == OnDisconnect::RideThrough
    }

    /// The topic for answers on this connection: the configured one; else the server's or the usual
    /// one, with a level more for every requester but the first, so that one rule of a broker covers
    /// them all.
    fn response_topic(&self, base: &TopicName, endpoint: usize) -> Result<TopicName, ServeError> {
        if let Some(topic) = &self.settings.response_topic {
            return Ok(topic.clone());
        }
        if endpoint == 0 {
            return Ok(base.clone());
        }
        TopicName::new(format!("{base}/{endpoint}")).map_err(|error| {
            ServeError::Configuration(format!("the response topic: {error}").into())
        })
    }

    /// # Errors
    /// [`ServeError::Configuration`] when there is nothing to subscribe to.
    fn subscribe(&mut self, out: &mut Outbox<'_>) -> Result<(), ServeError> {
        let dialect = &self.settings.dialect;
        self.subscribed.clear();
        for topic in &self.response_topics {
            let subscription = dialect.response_subscription(topic, &self.settings.peers);
            if let Some(subscription) = subscription.filter(|s| !self.subscribed.contains(s)) {
                self.subscribed.push(subscription);
            }
        }
        if self.subscribed.is_empty() {
            let text = format!("{} has no address like {}", dialect.name(), self.settings.peers);
            return Err(ServeError::Configuration(text.into()));
        }
        let wide = self.subscribed.iter().any(|s| !s.filter.is_exact());
        self.selective = wide && self.settings.peers != TopicFilter::everything();
        out.subscribe(&self.subscribed, SUBSCRIPTION);
        Ok(())
    }

    /// An answer that nobody waits for. Where the subscription is wider than this requester's own
    /// topic, it may be for somebody else on the link.
    fn unasked(&mut self, key: &[u8], message: Message) -> Result<Verdict, Message> {
        let wide = self.subscribed.iter().any(|s| !s.filter.is_exact());
        // On the topic of the request a responder on this link would take it for one.
        let own = !wide || self.settings.dialect.answers_on_request_topic();
        match self.exchanges.complete(key) {
            Answer::Late => self.counters.late.increment(),
            Answer::Duplicate => self.counters.duplicate.increment(),
            _ if wide => return Err(message),
            _ => self.counters.unknown.increment(),
        }
        self.watch_for_loops(key, &message);
        if own { Ok(Verdict::Taken) } else { Err(message) }
    }

    /// Where request and answer share a topic, a device that hears itself answers without end.
    fn watch_for_loops(&mut self, key: &[u8], answer: &Message) {
        let dialect = &self.settings.dialect;
        if dialect.answers_on_request_topic() && self.loops.notice(key) {
            self.counters.loops.increment();
            tracing::warn!(
                topic = %answer.topic,
                dialect = dialect.name(),
                "a device answers its own answers, without end: the broker knows no No Local for it"
            );
        }
    }

    /// A message without an id. On a topic that is for this requester's answers alone it is one that
    /// cannot be read.
    fn not_an_answer(&self, message: Message) -> Result<Verdict, Message> {
        let own = |s: &Subscription| s.filter.is_exact() && s.filter.matches(&message.topic);
        if self.settings.dialect.answers_on_request_topic() || !self.subscribed.iter().any(own) {
            return Err(message);
        }
        self.counters.malformed.increment();
        Ok(Verdict::Taken)
    }

    fn settle(&mut self, result: Result<(), ServeError>) {
        self.failed |= result.is_err();
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(result);
        }
    }
}

impl link::Endpoint for Endpoint {
    fn is_requester(&self) -> bool {
        true
    }

    fn connected(&mut self, out: &mut Outbox<'_>) {
        let Some(connection) = out.connection() else { return };
        let session_present = connection.session_present;
        let topic = match self.response_topic(&connection.response_base, out.endpoint()) {
            Ok(topic) => topic,
            Err(error) => return self.settle(Err(error)),
        };
        self.refused = None;
        if self.exchanges.is_empty() {
            self.response_topics.clear();
        }
        self.response_topics.retain(|earlier| *earlier != topic);
        self.response_topics.push(topic);
        let surplus = self.response_topics.len().saturating_sub(RESPONSE_TOPICS);
        self.response_topics.drain(..surplus);
        if let Err(error) = self.subscribe(out) {
            return self.settle(Err(error));
        }
        self.resume(session_present, out);
    }

    fn disconnected(&mut self, out: &mut Outbox<'_>) {
        self.backlog.clear();
        if self.ready.is_some() {
            self.settle(Err(ServeError::Disconnected));
        }
        if !self.rides_through() {
            self.fail_all(&RequestError::Disconnected(Delivery::Unknown), out.now());
        }
    }

    fn message(
        &mut self,
        message: Message,
        _: Option<AckId>,
        out: &mut Outbox<'_>,
    ) -> Result<Verdict, Message> {
        if self.selective && !self.subscribed.iter().any(|s| s.filter.matches(&message.topic)) {
            return Err(message);
        }
        let dialect = &self.settings.dialect;
        let topics = &mut self.response_topics.iter();
        let Some(key) = topics.find_map(|topic| dialect.response_key(&message, topic)) else {
            return self.not_an_answer(message);
        };
        if let Some(turns) = &mut self.turns {
            turns.answered(&key);
        }
        let Some(found) = self.exchanges.find(&key) else {
            return self.unasked(&key, message);
        };
        let Ok(response) = self.settings.dialect.decode_response(message) else {
            self.counters.malformed.increment();
            return Ok(Verdict::Taken);
        };
        if let Answer::Completed(mut waiters) = self.exchanges.complete_found(found, &key) {
            // The last, and so nearly always the only one, gets it without a copy.
            let others = waiters.len().saturating_sub(1);
            for waiter in waiters.by_ref().take(others) {
                self.counters.answered.increment();
                self.end(waiter, Ok(response.clone()), out.now());
            }
            if let Some(waiter) = waiters.next() {
                self.counters.answered.increment();
                self.end(waiter, Ok(response), out.now());
            }
        }
        Ok(Verdict::Taken)
    }

    /// Only while its caller waits, and with what is left of the deadline by now.
    fn still_wanted(&mut self, token: Token, message: &mut Message, now: Instant) -> bool {
        let deadline = self.exchanges.deadline(Ticket::from_parts(token));
        let left = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if left.is_zero() {
            return false;
        }
        self.settings.dialect.restamp(message, left);
        true
    }

    fn outcome(&mut self, token: Token, outcome: Outcome, message: Message, out: &mut Outbox<'_>) {
        let ticket = Ticket::from_parts(token);
        let (rides_through, now) = (self.rides_through(), out.now());
        let Some(waiter) = self.exchanges.get_mut(ticket) else { return };
        let phase = match outcome {
            Outcome::Acknowledged(acknowledgement) if is_refusal(acknowledgement) => {
                return self.fail(ticket, acknowledgement.into(), now);
            }
            Outcome::TooLarge { size, limit } => {
                return self.fail(ticket, InvalidRequest::TooLarge { size, limit }.into(), now);
            }
            Outcome::NotSent if !rides_through => {
                return self.fail(ticket, RequestError::Disconnected(Delivery::NotDelivered), now);
            }
            Outcome::Lost if !rides_through => {
                return self.fail(ticket, RequestError::Disconnected(Delivery::Unknown), now);
            }
            Outcome::Acknowledged(_) => {
                Phase::Acknowledged((rides_through && waiter.idempotent).then_some(message))
            }
            Outcome::NotSent => Phase::Unsent(message),
            Outcome::Lost => Phase::Lost(message),
        };
        waiter.tried |= !matches!(phase, Phase::Unsent(_));
        waiter.phase = phase;
    }

    fn subscribed(&mut self, _: Token, reasons: &[ReasonCode], out: &mut Outbox<'_>) {
        let refusal = reasons.iter().zip(&self.subscribed).find(|(reason, _)| reason.is_error());
        match refusal {
            None => self.settle(Ok(())),
            Some((&reason, subscription)) => {
                let filter = subscription.filter.clone();
                self.refused = Some(reason);
                self.fail_all(&RequestError::Rejected(reason), out.now());
                if self.ready.is_some() {
                    self.settle(Err(ServeError::Subscribe { filter, reason }));
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox<'_>) -> Poll<()> {
        self.catch_up(out); // Before the calls that come now.
        let abandoned = loop {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(Command::Call(call))) => self.call(call, out),
                Poll::Ready(Some(Command::Cancel { key, serial })) => {
                    self.cancel(&key, serial, out.now());
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        while let Some(waiter) = self.exchanges.pop_expired(out.now()) {
            self.end(waiter, Err(RequestError::Timeout), out.now());
        }
        let done = abandoned || self.failed;
        if done {
            out.unsubscribe(&self.subscribed, SUBSCRIPTION);
            self.fail_all(&RequestError::Closed, out.now());
        } else {
            self.take_turns(out);
        }
        self.relay.as_mut().map(Relay::flush);
        if done { Poll::Ready(()) } else { Poll::Pending }
    }

    fn needs_poll(&self) -> bool {
        !self.backlog.is_empty()
            || self.turns.as_ref().is_some_and(Turns::has_next)
            || self.relay.as_ref().is_some_and(|relay| !relay.is_empty())
    }

    fn in_flight(&self) -> usize {
        self.exchanges.len()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let rest = self.turns.as_ref().and_then(Turns::next_deadline);
        self.exchanges.next_deadline().into_iter().chain(rest).min()
    }

    fn closed(&mut self) {
        self.slots.close();
        self.settle(Err(ServeError::Closed));
        for waiter in self.exchanges.drain() {
            waiter.settle(Err(RequestError::Closed), None);
        }
        self.relay.as_mut().map(Relay::flush);
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Call(call) = command {
                let _ = call.reply.send(Err(RequestError::Closed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::link::fake::{self, Fake, FakeTransport, Written};
    use crate::link::{Connection, Driver, Event, OutgoingLimits};
    use crate::message::Request;
    use crate::requester::RequesterBuilder;
    use tower::ServiceExt;

    /// The filters of the last SUBSCRIBE, which is acknowledged.
    fn subscribed(fake: &Fake) -> Vec<String> {
        let last = fake.written().into_iter().rev().find_map(|written| match written {
            Written::Subscribe(filters, id) => Some((filters, id)),
            _ => None,
        });
        let (filters, id) = last.expect("a SUBSCRIBE");
        fake.push(Event::Subscribed(id, vec![ReasonCode::GRANTED_QOS_1; filters.len()]));
        filters
    }

    struct Bench {
        fake: Fake,
        driver: Driver<FakeTransport>,
    }

    impl Bench {
        /// Lets the tasks run, then the connection.
        async fn turn(&mut self) {
            tokio::task::yield_now().await;
            let _ = self.driver.poll(&mut Context::from_waker(std::task::Waker::noop()));
        }

        /// Connects with this response topic; what is subscribed to then.
        async fn connect(&mut self, response_base: String) -> Vec<String> {
            let response_base = TopicName::new(response_base).unwrap();
            let connection = Connection { response_base, ..fake::connection(10) };
            self.fake.push(Event::Connected(Connection { session_present: true, ..connection }));
            self.turn().await;
            let filters = subscribed(&self.fake);
            self.turn().await;
            filters
        }

        async fn reconnect(&mut self, number: usize) -> Vec<String> {
            self.fake.push(Event::Disconnected);
            self.connect(format!("r/{number}")).await
        }
    }

    #[tokio::test]
    async fn answers_are_taken_on_earlier_response_topics_while_calls_need_them() {
        let fake = Fake::default();
        let (link, seat) = fake::link(OutgoingLimits::default());
        let mut bench = Bench { driver: Driver::new(fake.transport(), seat), fake };
        let build = RequesterBuilder::new(link).on_disconnect(OnDisconnect::RideThrough).build();
        let build = tokio::spawn(build);
        bench.turn().await;
        assert_eq!(bench.connect("r/0".into()).await, ["r/0"]);
        let requester = build.await.unwrap().unwrap();
        let ask = || Request::new("ask", "").unwrap().correlation_data(&b"id"[..]);

        let call = tokio::spawn(requester.clone().oneshot(ask()));
        bench.turn().await;
        assert_eq!(bench.reconnect(1).await, ["r/0", "r/1"]);
        let mut answer = Message::new(TopicName::new("r/0").unwrap(), "late");
        answer.properties.correlation_data = Some(Bytes::from_static(b"id"));
        bench.fake.push(Event::Message(answer, Some(1)));
        bench.turn().await;
        assert_eq!(call.await.unwrap().unwrap().payload(), "late");

        let call = tokio::spawn(requester.clone().oneshot(ask()));
        bench.turn().await;
        for number in 2..3 * RESPONSE_TOPICS {
            assert!(bench.reconnect(number).await.len() <= RESPONSE_TOPICS);
        }
        call.abort();
        bench.turn().await;
        assert_eq!(bench.reconnect(99).await, ["r/99"], "nobody needs the others");
    }
}

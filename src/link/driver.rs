//! What runs a connection: takes events from the transport to the endpoints, and what they write
//! to the transport. It is a state machine; whoever hosts it calls [`Driver::poll`].

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow::{self, Break, Continue};
use std::task::{Context, Poll};
use std::time::Instant;

use std::pin::Pin;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::outgoing::{EndpointId, Origin, Outgoing, PublishError, Published};
use super::{
    AckId, Connection, Endpoint, Event, LinkSeat, Order, Outcome, SendId, Subscription, Token,
    Transport, Verdict,
};
use crate::core::packet::{Message, ReasonCode};
use crate::core::topic::TopicFilter;

/// Events taken in one turn before the task yields, so that a busy connection does not starve the
/// others on its thread.
const EVENTS_PER_TURN: usize = 256;

/// One connection with the endpoints that are attached to it.
pub(crate) struct Driver<T: Transport> {
    state: State<T>,
    /// By the slot that [`Origin::endpoint`] names.
    endpoints: Vec<Option<Attached>>,
    next_serial: u64,
    /// The order in which messages are offered: requesters first.
    order: Vec<usize>,
    orders: Option<mpsc::Receiver<Order>>,
    /// What users run here.
    tasks: JoinSet<()>,
    connected: watch::Sender<bool>,
    close: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Pin<Box<Sleep>>,
}

struct Attached {
    id: EndpointId,
    endpoint: Box<dyn Endpoint>,
}

/// What endpoints write to.
struct State<T> {
    transport: T,
    outgoing: Outgoing,
    connection: Option<Connection>,
    subscribing: HashMap<SendId, Subscribing>,
    /// How many endpoints need a filter: it is given up with the last.
    filters: HashMap<TopicFilter, usize>,
    /// What each UNSUBSCRIBE that is not acknowledged is to end.
    ending: HashMap<SendId, Vec<TopicFilter>>,
    /// What there may be a subscription to since the connection was lost: a server that kept the
    /// session still has it.
    kept: HashSet<TopicFilter>,
    /// SUBACKs without which nothing may be published after a reconnect.
    held_by: usize,
    /// Messages that an endpoint took and has yet to acknowledge. No more than the Receive Maximum.
    held: HashMap<AckId, EndpointId>,
}

struct Subscribing {
    origin: Origin,
    holds: bool,
}

/// Where an endpoint writes to, during one call of it.
pub(crate) struct Outbox<'a> {
    endpoint: EndpointId,
    now: Instant,
    transport: &'a mut dyn Transport,
    outgoing: &'a mut Outgoing,
    connection: Option<&'a Connection>,
    subscribing: &'a mut HashMap<SendId, Subscribing>,
    filters: &'a mut HashMap<TopicFilter, usize>,
    ending: &'a mut HashMap<SendId, Vec<TopicFilter>>,
    held: &'a mut HashMap<AckId, EndpointId>,
    /// The message that this call is about, until it is acknowledged.
    offered: Option<AckId>,
    /// Set while the endpoints are told that the connection is up.
    holds: Option<&'a mut usize>,
}

impl Outbox<'_> {
    /// The time of this call.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// The connection, when it is up.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection
    }

    /// This endpoint's number on its link: the same until it is detached, and small.
    pub(crate) fn endpoint(&self) -> usize {
        self.endpoint.slot
    }

    /// Sends a message, now or as soon as the window allows. At QoS 1 its outcome is reported under
    /// `token`; at QoS 0 only [`Outcome::NotSent`] is.
    pub(crate) fn publish(
        &mut self,
        message: Message,
        token: Token,
    ) -> Result<Published, (PublishError, Message)> {
        let origin = Origin { endpoint: self.endpoint, token };
        self.outgoing.push(message, origin, self.transport)
    }

    /// Whether something that this endpoint published is not settled.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.outgoing.holds_any_of(self.endpoint)
    }

    /// Subscribes; the outcome is reported under `token`.
    pub(crate) fn subscribe(&mut self, subscriptions: &[Subscription], token: Token) {
        for subscription in subscriptions {
            *self.filters.entry(subscription.filter.clone()).or_default() += 1;
        }
        let id = self.note(token);
        self.transport.subscribe(subscriptions, id);
    }

    /// Ends subscriptions that no other endpoint needs. `true`: an outcome is reported under
    /// `token`; `false`: there was nothing to end.
    pub(crate) fn unsubscribe(&mut self, subscriptions: &[Subscription], token: Token) -> bool {
        let unneeded: Vec<Subscription> =
            subscriptions.iter().filter(|s| self.give_up(&s.filter)).cloned().collect();
        if unneeded.is_empty() || self.connection.is_none() {
            return false;
        }
        let id = self.note(token);
        self.ending.insert(id, filters(&unneeded));
        self.transport.unsubscribe(&unneeded, id);
        true
    }

    fn give_up(&mut self, filter: &TopicFilter) -> bool {
        let Some(count) = self.filters.get_mut(filter) else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.filters.remove(filter);
        true
    }

    /// Acknowledges a message that was [`Verdict::Held`].
    pub(crate) fn acknowledge(&mut self, ack: AckId, reason: ReasonCode) {
        if self.offered == Some(ack) {
            self.offered = None;
        } else {
            self.held.remove(&ack);
        }
        self.transport.acknowledge(ack, reason);
    }

    fn note(&mut self, token: Token) -> SendId {
        let id = self.outgoing.next_id();
        let holds = match &mut self.holds {
            Some(count) => {
                **count += 1;
                true
            }
            None => false,
        };
        let origin = Origin { endpoint: self.endpoint, token };
        self.subscribing.insert(id, Subscribing { origin, holds });
        id
    }
}

impl<T: Transport> State<T> {
    fn outbox(&mut self, endpoint: EndpointId, now: Instant) -> Outbox<'_> {
        Outbox { holds: None, ..self.connecting_outbox(endpoint, now) }
    }

    fn connecting_outbox(&mut self, endpoint: EndpointId, now: Instant) -> Outbox<'_> {
        Outbox {
            endpoint,
            now,
            transport: &mut self.transport,
            outgoing: &mut self.outgoing,
            connection: self.connection.as_ref(),
            subscribing: &mut self.subscribing,
            filters: &mut self.filters,
            ending: &mut self.ending,
            held: &mut self.held,
            offered: None,
            holds: Some(&mut self.held_by),
        }
    }

    /// Acknowledges what an endpoint that is gone has not: a handler that blocks its thread is not waited
    /// for, and PUBACKs leave in the order in which the messages arrived [MQTT-4.6.0-2].
    fn acknowledge_for(&mut self, gone: EndpointId) {
        let Self { held, transport, .. } = self;
        held.retain(|ack, owner| {
            if *owner == gone {
                transport.acknowledge(*ack, ReasonCode::SUCCESS);
            }
            *owner != gone
        });
    }

    /// Ends the subscriptions in a kept session whose endpoints went while the connection was down, or
    /// before the server had ended them.
    fn give_up_kept(&mut self) {
        let session_present = self.connection.as_ref().is_some_and(|c| c.session_present);
        let kept = std::mem::take(&mut self.kept).into_iter();
        let unneeded: Vec<Subscription> =
            kept.filter(|f| !self.filters.contains_key(f)).map(Subscription::new).collect();
        if session_present && !unneeded.is_empty() {
            let id = self.outgoing.next_id();
            self.ending.insert(id, filters(&unneeded));
            self.transport.unsubscribe(&unneeded, id);
        }
    }
}

impl<T: Transport> Driver<T> {
    /// Needs a tokio runtime for its timer.
    pub(crate) fn new(transport: T, seat: LinkSeat) -> Self {
        let LinkSeat { orders, connected, close, limits } = seat;
        Self {
            state: State {
                transport,
                outgoing: Outgoing::new(limits),
                connection: None,
                subscribing: HashMap::new(),
                filters: HashMap::new(),
                ending: HashMap::new(),
                kept: HashSet::new(),
                held_by: 0,
                held: HashMap::new(),
            },
            endpoints: Vec::new(),
            next_serial: 0,
            order: Vec::new(),
            orders: Some(orders),
            tasks: JoinSet::new(),
            connected,
            close: Box::pin(CancellationToken::cancelled_owned(close)),
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
        }
    }

    /// Does everything there is to do. Ready: the connection is closed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.close.as_mut().poll(cx).is_ready() {
            self.shut();
            return Poll::Ready(());
        }
        let now = now();
        self.take_in(cx, now);
        let Continue(more) = self.take_events(cx, now) else { return Poll::Ready(()) };
        self.flush(now);
        self.poll_endpoints(cx, now);
        // What the transport has refused just now: nobody wakes this task for it.
        if !more && let Some(refusal) = self.state.transport.try_event() {
            cx.waker().wake_by_ref();
            if self.handle(refusal, now).is_break() {
                return Poll::Ready(());
            }
        }
        if self.orders.is_none() && self.order.is_empty() {
            self.shut();
            return Poll::Ready(());
        }
        self.arm(cx);
        let in_flight: usize =
            self.endpoints.iter().flatten().map(|attached| attached.endpoint.in_flight()).sum();
        self.state.transport.turn_is_over(in_flight + self.state.outgoing.unacknowledged());
        Poll::Pending
    }

    /// Takes the events that are there, without polling the endpoints' handles. For a host that
    /// is told of an event in a callback and saves the way through its scheduler. `true`:
    /// [`poll`](Self::poll) must follow.
    #[cfg_attr(
        not(any(feature = "ntex", test)),
        expect(dead_code, reason = "the memory link has no callbacks")
    )]
    pub(crate) fn pump(&mut self) -> bool {
        let now = now();
        while let Some(event) = self.state.transport.try_event() {
            if self.handle(event, now).is_break() {
                return true;
            }
        }
        self.flush(now);
        self.endpoints.iter().flatten().any(|attached| attached.endpoint.needs_poll())
    }

    fn take_in(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(orders) = &mut self.orders {
            match orders.poll_recv(cx) {
                Poll::Ready(Some(Order::Attach(endpoint))) => self.admit(endpoint, now),
                Poll::Ready(Some(Order::Run(task))) => {
                    self.state.transport.spawn(task, &mut self.tasks);
                }
                Poll::Ready(None) => self.orders = None,
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
    }

    fn admit(&mut self, mut endpoint: Box<dyn Endpoint>, now: Instant) {
        let slot = self.endpoints.iter().position(Option::is_none).unwrap_or_else(|| {
            self.endpoints.push(None);
            self.endpoints.len() - 1
        });
        self.next_serial += 1;
        let id = EndpointId { slot, serial: self.next_serial };
        if self.state.connection.is_some() {
            endpoint.connected(&mut self.state.outbox(id, now));
        }
        let before = if endpoint.is_requester() { 0 } else { self.order.len() };
        self.order.insert(before, slot);
        self.endpoints[slot] = Some(Attached { id, endpoint });
    }

    /// Whether there may be more, for which the task is woken again.
    fn take_events(&mut self, cx: &mut Context<'_>, now: Instant) -> ControlFlow<(), bool> {
        for _ in 0..EVENTS_PER_TURN {
            match self.state.transport.poll_event(cx) {
                Poll::Ready(event) => self.handle(event, now)?,
                Poll::Pending => return Continue(false),
            }
        }
        cx.waker().wake_by_ref();
        Continue(true)
    }

    fn handle(&mut self, event: Event, now: Instant) -> ControlFlow<()> {
        match event {
            Event::Message(message, ack) => self.deliver(message, ack, now),
            Event::Acknowledged(id, acknowledgement) => {
                if let Some((message, origin)) = self.state.outgoing.acknowledged(id) {
                    self.report(origin, Outcome::Acknowledged(acknowledgement), message, now);
                }
            }
            Event::Subscribed(id, reasons) => self.subscribed(id, &reasons, now),
            Event::Connected(connection) => self.connected(connection, now),
            Event::Disconnected => self.disconnected(now),
            Event::Writable => {}
            Event::Closed => {
                self.disconnected(now);
                self.shut();
                return Break(());
            }
        }
        Continue(())
    }

    fn deliver(&mut self, mut message: Message, ack: Option<AckId>, now: Instant) {
        for &slot in &self.order {
            let Some(Attached { id, endpoint }) = &mut self.endpoints[slot] else { continue };
            let mut out = Outbox { offered: ack, ..self.state.outbox(*id, now) };
            match endpoint.message(message, ack, &mut out) {
                Ok(Verdict::Held) => {
                    let unacknowledged = out.offered;
                    self.state.held.extend(unacknowledged.map(|ack| (ack, *id)));
                    return;
                }
                Ok(Verdict::Taken) => {
                    acknowledge(&mut self.state.transport, ack);
                    return;
                }
                Err(back) => message = back,
            }
        }
        tracing::debug!(topic = %message.topic, "a message that nobody on this link waits for");
        acknowledge(&mut self.state.transport, ack);
    }

    fn report(&mut self, origin: Origin, outcome: Outcome, message: Message, now: Instant) {
        if let Some(endpoint) = find(&mut self.endpoints, origin.endpoint) {
            let out = &mut self.state.outbox(origin.endpoint, now);
            endpoint.outcome(origin.token, outcome, message, out);
        }
    }

    fn subscribed(&mut self, id: SendId, reasons: &[ReasonCode], now: Instant) {
        self.state.ending.remove(&id);
        let Some(Subscribing { origin, holds }) = self.state.subscribing.remove(&id) else {
            return;
        };
        if let Some(endpoint) = find(&mut self.endpoints, origin.endpoint) {
            let out = &mut self.state.outbox(origin.endpoint, now);
            endpoint.subscribed(origin.token, reasons, out);
        }
        if holds {
            self.state.held_by -= 1;
            self.release();
        }
    }

    fn connected(&mut self, connection: Connection, now: Instant) {
        self.state.outgoing.connected(&connection);
        self.state.connection = Some(connection);
        self.state.held_by = 0;
        for &slot in &self.order {
            if let Some(Attached { id, endpoint }) = &mut self.endpoints[slot] {
                endpoint.connected(&mut self.state.connecting_outbox(*id, now));
            }
        }
        self.state.give_up_kept();
        self.release();
    }

    /// Lets messages leave once every subscription that was made again is acknowledged.
    fn release(&mut self) {
        if self.state.held_by == 0 && self.state.connection.is_some() {
            self.state.outgoing.open();
            self.connected.send_replace(true);
        }
    }

    fn disconnected(&mut self, now: Instant) {
        self.connected.send_replace(false);
        self.state.connection = None;
        self.state.subscribing.clear();
        self.state.held.clear();
        let State { filters, ending, kept, .. } = &mut self.state;
        kept.extend(filters.drain().map(|(filter, _)| filter));
        kept.extend(ending.drain().flat_map(|(_, filters)| filters));
        self.state.held_by = 0;
        for (message, origin, outcome) in self.state.outgoing.disconnect() {
            self.report(origin, outcome, message, now);
        }
        for &slot in &self.order {
            if let Some(Attached { id, endpoint }) = &mut self.endpoints[slot] {
                endpoint.disconnected(&mut self.state.outbox(*id, now));
            }
        }
    }

    fn poll_endpoints(&mut self, cx: &mut Context<'_>, now: Instant) {
        let (endpoints, state) = (&mut self.endpoints, &mut self.state);
        self.order.retain(|&slot| {
            let Some(Attached { id, endpoint }) = &mut endpoints[slot] else { return false };
            let done = endpoint.poll(cx, &mut state.outbox(*id, now)).is_ready();
            if done {
                state.acknowledge_for(*id);
                endpoints[slot] = None;
            }
            !done
        });
    }

    /// Sends what was waiting, as far as it can be sent and is still wanted.
    fn flush(&mut self, now: Instant) {
        while let Some((mut message, origin)) = self.state.outgoing.next(&self.state.transport) {
            let wanted = find(&mut self.endpoints, origin.endpoint)
                .is_some_and(|endpoint| endpoint.still_wanted(origin.token, &mut message, now));
            if !wanted {
                continue;
            }
            let State { outgoing, transport, .. } = &mut self.state;
            if let Err((size, limit, message)) = outgoing.send(message, origin, transport) {
                self.report(origin, Outcome::TooLarge { size, limit }, message, now);
            }
        }
    }

    fn arm(&mut self, cx: &mut Context<'_>) {
        let attached = self.order.iter().filter_map(|&slot| self.endpoints[slot].as_ref());
        let Some(next) = attached.filter_map(|a| a.endpoint.next_deadline()).min() else {
            return;
        };
        let next = tokio::time::Instant::from_std(next);
        // A timer that is due too early is left alone: it costs one wake-up, where setting it
        // again for each answer would cost something for each.
        if self.timer.is_elapsed() || next < self.timer.deadline() {
            self.timer.as_mut().reset(next);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Closes the connection and fails what waits on it. Again: nothing.
    pub(crate) fn shut(&mut self) {
        self.state.transport.disconnect();
        self.connected.send_replace(false);
        self.orders = None;
        self.tasks.abort_all();
        self.order.clear();
        for mut attached in self.endpoints.drain(..).flatten() {
            attached.endpoint.closed();
        }
    }
}

impl<T: Transport> Drop for Driver<T> {
    /// Whatever ends the host, a panic of it included, nobody is left waiting.
    fn drop(&mut self) {
        self.shut();
    }
}

/// The endpoint of this id, unless it has been detached; its slot may have another by now.
fn find(endpoints: &mut [Option<Attached>], id: EndpointId) -> Option<&mut Box<dyn Endpoint>> {
    let attached = endpoints.get_mut(id.slot)?.as_mut()?;
    (attached.id == id).then_some(&mut attached.endpoint)
}

fn filters(subscriptions: &[Subscription]) -> Vec<TopicFilter> {
    subscriptions.iter().map(|subscription| subscription.filter.clone()).collect()
}

fn acknowledge(transport: &mut impl Transport, ack: Option<AckId>) {
    if let Some(ack) = ack {
        transport.acknowledge(ack, ReasonCode::SUCCESS);
    }
}

/// tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;

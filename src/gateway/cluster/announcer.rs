//! Says that this gateway lives, and hears that others do, that their callers have hung up, and which nonces
//! they have taken.
//!
//! | topic | payload | when |
//! |---|---|---|
//! | `gateways/{name}/alive/{id}` | after how many milliseconds without another it is dead | three times as often, and when a new member is heard of |
//! | the same | `leaving` | when it takes no more calls |
//! | `gateways/{name}/{id}/hung-up` | the id of a request | when the caller of what was passed on hangs up |
//! | `gateways/{name}/nonces` | a [nonce](super::nonces) | when a signed request is taken |

use std::str;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::hang_ups::HangUps;
use super::members::{Members, News};
use super::nonces::Nonces;
use super::{ALIVE, DEAD_AFTER, HANG_UPS, NONCES};
use crate::core::packet::Message;
use crate::core::packet::Qos;
use crate::core::packet::ReasonCode;
use crate::core::packet::Subscription;
use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::error::ServeError;
use crate::link;
use crate::link::{AckId, Outbox, Outcome, Token, Verdict};

const LEAVING: &str = "leaving";
/// Asks the announcer to say that it leaves; told when the server knows.
pub(super) type Leave = oneshot::Sender<()>;

pub(super) struct Announcer {
    members: Arc<Members>,
    hang_ups: Arc<HangUps>,
    nonces: Nonces,
    topic: TopicName,
    /// To the others, to hang-ups, and to nonces.
    subscriptions: [Subscription; 3],
    dead_after: Duration,
    /// While it is not, nothing is heard, which says nothing about the others.
    is_subscribed: bool,
    /// `None`: it may not speak, as it would not hear what others answer, or leaves.
    next: Option<Instant>,
    /// Closed when this gateway is dropped.
    leave: mpsc::Receiver<Leave>,
    leaving: Option<Leave>,
    left: bool,
    ready: Option<oneshot::Sender<Result<(), ServeError>>>,
}

impl Announcer {
    /// `prefix` is what the topics of all members begin with.
    pub(super) fn new(
        members: Arc<Members>,
        hang_ups: Arc<HangUps>,
        nonces: Nonces,
        prefix: &str,
        dead_after: Duration,
        leave: mpsc::Receiver<Leave>,
        ready: oneshot::Sender<Result<(), ServeError>>,
    ) -> Result<Self, crate::core::topic::TopicError> {
        let topic = TopicName::new(format!("{prefix}/{ALIVE}/{}", members.own()))?;
        let of_others = |filter| Subscription { no_local: true, ..Subscription::new(filter) };
        let others = of_others(TopicFilter::new(format!("{prefix}/{ALIVE}/+"))?);
        let used = of_others(TopicFilter::new(format!("{prefix}/{NONCES}"))?);
        let hung_up = TopicFilter::new(format!("{prefix}/{}/{HANG_UPS}", members.own()))?;
        let subscriptions = [others, Subscription::new(hung_up), used];
        let dead_after = dead_after.clamp(*DEAD_AFTER.start(), *DEAD_AFTER.end());
        Ok(Self {
            members,
            hang_ups,
            nonces,
            topic,
            subscriptions,
            dead_after,
            is_subscribed: false,
            next: None,
            leave,
            leaving: None,
            left: false,
            ready: Some(ready),
        })
    }

    /// How often a member speaks.
    pub(super) fn interval(dead_after: Duration) -> Duration {
        dead_after.clamp(*DEAD_AFTER.start(), *DEAD_AFTER.end()) / 3
    }

    fn announce(&mut self, out: &mut Outbox<'_>) {
        let text = self.dead_after.as_millis().to_string();
        // One that cannot leave is as good as lost, and the next one follows.
        self.say(text, Qos::AtMostOnce, out);
        self.next = Some(out.now() + Self::interval(self.dead_after));
    }

    /// Whether it leaves.
    fn say(&self, text: impl Into<bytes::Bytes>, qos: Qos, out: &mut Outbox<'_>) -> bool {
        let message = Message { qos, ..Message::new(self.topic.clone(), text) };
        out.publish(message, (0, 0)).is_ok()
    }

    fn hear(&mut self, id: &str, payload: &[u8], out: &mut Outbox<'_>) {
        if id == &**self.members.own() {
            // With No Local it is not this one.
            tracing::warn!(id, "another gateway has the same id");
            return;
        }
        let Ok(text) = str::from_utf8(payload) else { return };
        if text == LEAVING {
            tracing::info!(gateway = id, "a gateway leaves");
            return self.members.left(id);
        }
        let Ok(dead_after) = text.parse().map(Duration::from_millis) else { return };
        let dead_after = dead_after.clamp(*DEAD_AFTER.start(), *DEAD_AFTER.end());
        match self.members.heard(id, dead_after, out.now()) {
            News::Known => {}
            // It has not heard of this one.
            News::Arrived => {
                tracing::info!(gateway = id, "a gateway has come");
                if self.next.is_some() {
                    self.announce(out);
                }
            }
            News::Refused => tracing::warn!(gateway = id, "too many gateways: one is ignored"),
        }
    }

    fn depart(&mut self, out: &mut Outbox<'_>) {
        self.next = None;
        let may_say = !self.left && out.connection().is_some();
        self.left = true;
        if !(may_say && self.say(LEAVING, Qos::AtLeastOnce, out)) {
            // The others are told with the next call that they pass on, or miss it.
            self.leaving = None;
        }
    }

    fn settle(&mut self, result: Result<(), ServeError>) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(result);
        }
    }
}

impl link::Endpoint for Announcer {
    fn is_requester(&self) -> bool {
        false
    }

    fn connected(&mut self, out: &mut Outbox<'_>) {
        self.members.forgive(out.now());
        out.subscribe(&self.subscriptions, (0, 0));
    }

    fn disconnected(&mut self, _: &mut Outbox<'_>) {
        self.is_subscribed = false;
        self.next = None;
        self.leaving = None;
        self.settle(Err(ServeError::Disconnected));
    }

    fn message(
        &mut self,
        message: Message,
        _: Option<AckId>,
        out: &mut Outbox<'_>,
    ) -> Result<Verdict, Message> {
        let [others, hung_up, used] = &self.subscriptions;
        if hung_up.filter.matches(&message.topic) {
            self.hang_ups.hang_up(&message.payload, out.now());
            return Ok(Verdict::Taken);
        }
        if used.filter.matches(&message.topic) {
            self.nonces.hear(&message.payload, SystemTime::now());
            return Ok(Verdict::Taken);
        }
        if !others.filter.matches(&message.topic) {
            return Err(message);
        }
        let id = message.topic.levels().last().unwrap_or_default();
        self.hear(id, &message.payload, out);
        Ok(Verdict::Taken)
    }

    fn still_wanted(&mut self, _: Token, _: &mut Message, _: Instant) -> bool {
        true
    }

    fn outcome(&mut self, _: Token, _: Outcome, message: Message, _: &mut Outbox<'_>) {
        if message.payload == LEAVING {
            self.leaving = None;
        }
    }

    fn subscribed(&mut self, _: Token, reasons: &[ReasonCode], out: &mut Outbox<'_>) {
        let mut all = self.subscriptions.iter().zip(reasons);
        match all.find(|(_, reason)| reason.is_error()) {
            Some((subscription, &reason)) => {
                let filter = subscription.filter.clone();
                tracing::error!(%filter, %reason, "the broker lets the gateway hear no other");
                self.settle(Err(ServeError::Subscribe { filter, reason }));
            }
            None if self.left => self.is_subscribed = true,
            None => {
                self.is_subscribed = true;
                self.announce(out);
                self.settle(Ok(()));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox<'_>) -> Poll<()> {
        loop {
            match self.leave.poll_recv(cx) {
                Poll::Ready(Some(leave)) => {
                    self.leaving = Some(leave);
                    self.depart(out);
                }
                Poll::Ready(None) => {
                    self.depart(out);
                    out.unsubscribe(&self.subscriptions, (0, 0));
                    return Poll::Ready(());
                }
                Poll::Pending => break,
            }
        }
        if self.is_subscribed {
            for dead in self.members.bury(out.now()) {
                tracing::warn!(gateway = &*dead, "a gateway is dead");
            }
        }
        if self.next.is_some_and(|next| next <= out.now()) {
            self.announce(out);
        }
        Poll::Pending
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn next_deadline(&self) -> Option<Instant> {
        let death = self.is_subscribed.then(|| self.members.next_death()).flatten();
        death.into_iter().chain(self.next).min()
    }

    fn closed(&mut self) {
        self.settle(Err(ServeError::Closed));
        self.leaving = None;
        self.leave.close();
        while self.leave.try_recv().is_ok() {}
    }
}

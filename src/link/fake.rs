//! A scripted transport, for the tests of the driver and of what it carries.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use super::{
    AckId, Connection, Event, LinkParts, LinkSeat, OutgoingLimits, SendError, SendId, Subscription,
    Transport,
};
use crate::core::packet::{Message, ReasonCode};
use crate::core::topic::TopicName;
use crate::error::ConnectError;
use crate::link::{Connecting, Host, Link};

/// What was written to the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    Publish(String, SendId),
    Subscribe(Vec<String>, SendId),
    Unsubscribe(Vec<String>, SendId),
    Acknowledge(AckId),
    Disconnect,
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) written: Vec<Written>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) gone: bool,
    pub(crate) full: bool,
    pub(crate) limit: Option<usize>,
}

/// The test's end of a [`FakeTransport`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<Script>>);

pub(crate) struct FakeTransport(Fake);

impl Fake {
    pub(crate) fn transport(&self) -> FakeTransport {
        FakeTransport(self.clone())
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("no test panics with the script in hand")
    }

    pub(crate) fn push(&self, event: Event) {
        self.script().events.push_back(event);
    }

    /// What was written since the last time.
    pub(crate) fn written(&self) -> Vec<Written> {
        std::mem::take(&mut self.script().written)
    }

    /// The topics that were published to since the last time.
    pub(crate) fn published(&self) -> Vec<String> {
        let written = self.written().into_iter();
        let topics = written.filter_map(|written| match written {
            Written::Publish(topic, _) => Some(topic),
            _ => None,
        });
        topics.collect()
    }
}

/// A host whose link has no siblings; what it holds is dropped with the link.
pub(crate) struct Alone<T>(pub(crate) T);

impl<T: Send + Sync> Host for Alone<T> {
    fn connect_as(&self, _: String) -> Connecting {
        Box::pin(std::future::ready(Err(ConnectError::Timeout)))
    }
}

/// A link and the seat of its driver.
pub(crate) fn link(limits: OutgoingLimits) -> (Link, LinkSeat) {
    LinkParts::new(limits).into_link("fake".into(), Box::new(Alone(())))
}

pub(crate) fn connection(receive_maximum: u16) -> Connection {
    let response_base = TopicName::new("clients/fake/responses").expect("a topic name");
    Connection { session_present: false, response_base, receive_maximum }
}

fn filters(subscriptions: &[Subscription]) -> Vec<String> {
    subscriptions.iter().map(|subscription| subscription.filter.to_string()).collect()
}

impl Transport for FakeTransport {
    fn publish(&mut self, message: &Message, id: SendId) -> Result<(), SendError> {
        let mut script = self.0.script();
        if script.gone {
            return Err(SendError::Disconnected);
        }
        let size = message.size();
        match script.limit {
            Some(limit) if size > limit => Err(SendError::TooLarge { size, limit }),
            _ => {
                script.written.push(Written::Publish(message.topic.to_string(), id));
                Ok(())
            }
        }
    }

    fn subscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        self.0.script().written.push(Written::Subscribe(filters(subscriptions), id));
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        self.0.script().written.push(Written::Unsubscribe(filters(subscriptions), id));
    }

    fn acknowledge(&mut self, ack: AckId, _: ReasonCode) {
        self.0.script().written.push(Written::Acknowledge(ack));
    }

    fn is_writable(&self) -> bool {
        !self.0.script().full
    }

    fn try_event(&mut self) -> Option<Event> {
        self.0.script().events.pop_front()
    }

    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Event> {
        self.try_event().map_or(Poll::Pending, Poll::Ready)
    }

    fn disconnect(&mut self) {
        self.0.script().written.push(Written::Disconnect);
    }
}

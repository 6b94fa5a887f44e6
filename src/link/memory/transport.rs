//! A link's end of the network.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::time::Sleep;

use super::{Network, now};
use crate::core::packet::{Message, ReasonCode, Subscription};
use crate::link::{AckId, Driver, Event, LinkSeat, SendError, SendId, Transport};

pub(super) struct MemoryTransport {
    pub(super) network: Network,
    pub(super) number: usize,
    pub(super) client_id: Arc<str>,
    /// Wakes the driver for what happens later.
    pub(super) timer: Pin<Box<Sleep>>,
}

impl MemoryTransport {
    /// The next event that is due, or when the first that is not will be.
    fn next(&self, waker: Option<&Waker>) -> Result<Event, Option<Instant>> {
        let mut state = self.network.lock();
        let Some(client) = state.clients.get_mut(&self.number) else { return Ok(Event::Closed) };
        match client.inbox.first_entry() {
            Some(entry) if entry.key().0 <= now() => Ok(entry.remove()),
            entry => {
                let due = entry.map(|entry| entry.key().0);
                if let Some(waker) = waker {
                    client.waker = Some(waker.clone());
                }
                Err(due)
            }
        }
    }
}

impl Transport for MemoryTransport {
    fn publish(&mut self, message: &Message, id: SendId) -> Result<(), SendError> {
        self.network.lock().publish(self.number, message, id)
    }

    fn subscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        self.network.lock().subscribe(self.number, subscriptions, id);
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        self.network.lock().unsubscribe(self.number, subscriptions, id);
    }

    fn acknowledge(&mut self, ack: AckId, _: ReasonCode) {
        if let Some(client) = self.network.lock().clients.get_mut(&self.number) {
            client.unacknowledged.remove(&ack);
        }
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn try_event(&mut self) -> Option<Event> {
        self.next(None).ok()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let due = match self.next(Some(cx.waker())) {
                Ok(event) => return Poll::Ready(event),
                Err(None) => return Poll::Pending,
                Err(Some(due)) => due,
            };
            self.timer.as_mut().reset(tokio::time::Instant::from_std(due));
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn disconnect(&mut self) {
        self.network.lock().remove(self.number, &self.client_id);
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.disconnect();
    }
}

pub(super) async fn drive(transport: MemoryTransport, seat: LinkSeat) {
    let mut driver = Driver::new(transport, seat);
    poll_fn(|cx| driver.poll(cx)).await;
}

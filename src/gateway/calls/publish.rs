//! Publishing a message, and knowing what became of it.

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::core::packet::Message;
use crate::core::packet::Qos;
use crate::core::packet::ReasonCode;
use crate::error::Delivery;
use crate::error::InvalidRequest;
use crate::error::RequestError;
use crate::error::ServeError;
use crate::link;
use crate::link::{AckId, Link, Outbox, Outcome, PublishError, Published, Token, Verdict};

type Outcomes = Result<(), RequestError>;

struct Order {
    message: Message,
    reply: Reply,
}

/// Who waits for the outcome; `None`: nobody, and the message is to be published all the same.
type Reply = Option<oneshot::Sender<Outcomes>>;

fn settle(reply: Reply, result: Outcomes) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

fn is_wanted(reply: &Reply) -> bool {
    reply.as_ref().is_none_or(|reply| !reply.is_closed())
}

/// Publishes on a link. A clone does so on the same one.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Outlet {
    orders: mpsc::Sender<Order>,
}

impl Outlet {
    /// At most so many messages wait to be sent or acknowledged, and as many to be taken in.
    ///
    /// # Errors
    /// [`ServeError::Closed`] when the link is closed.
    pub(in crate::gateway) async fn open(link: &Link, limit: usize) -> Result<Self, ServeError> {
        let limit = limit.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (orders, queue) = mpsc::channel(limit);
        let outgoing = Outgoing { orders: queue, waiting: HashMap::new(), limit, serial: 0 };
        link.attach(Box::new(outgoing)).await.map_err(|_| ServeError::Closed)?;
        Ok(Self { orders })
    }

    /// Publishes. At QoS 1 it is done when the server has acknowledged it, at QoS 0 when it is written.
    ///
    /// # Errors
    /// As a call's, but for `Timeout`: what a server leaves unacknowledged waits as long as the
    /// connection is there.
    ///
    /// # Cancel safety
    /// Dropping the future drops the message if it was not written yet.
    pub(in crate::gateway) async fn publish(&self, message: Message) -> Outcomes {
        let (reply, outcome) = oneshot::channel();
        self.orders.try_send(Order { message, reply: Some(reply) }).map_err(
            |error| match error {
                mpsc::error::TrySendError::Full(_) => RequestError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => RequestError::Closed,
            },
        )?;
        outcome.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Publishes what nobody waits for: it may be lost, as when there is no connection or too much waits.
    pub(in crate::gateway) fn tell(&self, message: Message) {
        let _ = self.orders.try_send(Order { message, reply: None });
    }
}

/// The outlet's side on the connection.
struct Outgoing {
    orders: mpsc::Receiver<Order>,
    waiting: HashMap<u64, Reply>,
    limit: usize,
    serial: u64,
}

impl Outgoing {
    fn send(&mut self, Order { message, reply }: Order, out: &mut Outbox<'_>) {
        if !is_wanted(&reply) {
            return;
        }
        let result = if out.connection().is_none() {
            Err(RequestError::Disconnected(Delivery::NotDelivered))
        } else if self.waiting.len() >= self.limit {
            Err(RequestError::Overloaded)
        } else {
            self.serial += 1;
            let once = message.qos == Qos::AtMostOnce;
            match out.publish(message, (self.serial, 0)) {
                Ok(Published::Sent) if once => Ok(()),
                Ok(Published::Sent | Published::Waiting) => {
                    self.waiting.insert(self.serial, reply);
                    return;
                }
                Err((PublishError::Full, _)) => Err(RequestError::Overloaded),
                Err((PublishError::TooLarge { size, limit }, _)) => {
                    Err(InvalidRequest::TooLarge { size, limit }.into())
                }
            }
        };
        settle(reply, result);
    }

    fn settle(&mut self, (serial, _): Token, result: Outcomes) {
        if let Some(reply) = self.waiting.remove(&serial) {
            settle(reply, result);
        }
    }
}

impl link::Endpoint for Outgoing {
    fn is_requester(&self) -> bool {
        false
    }

    fn connected(&mut self, _: &mut Outbox<'_>) {}

    fn disconnected(&mut self, _: &mut Outbox<'_>) {
        // Each message that waited for the server has had its outcome before.
        debug_assert!(self.waiting.is_empty());
    }

    fn message(
        &mut self,
        message: Message,
        _: Option<AckId>,
        _: &mut Outbox<'_>,
    ) -> Result<Verdict, Message> {
        Err(message)
    }

    fn still_wanted(&mut self, token: Token, message: &mut Message, _: Instant) -> bool {
        let wanted = self.waiting.get(&token.0).is_some_and(is_wanted);
        if !wanted {
            self.waiting.remove(&token.0);
        } else if message.qos == Qos::AtMostOnce {
            // Nothing more is heard of it.
            self.settle(token, Ok(()));
        }
        wanted
    }

    fn outcome(&mut self, token: Token, outcome: Outcome, _: Message, _: &mut Outbox<'_>) {
        let result = match outcome {
            Outcome::Acknowledged(ack) if link::is_refusal(ack) => Err(ack.into()),
            Outcome::Acknowledged(_) => Ok(()),
            Outcome::TooLarge { size, limit } => {
                Err(InvalidRequest::TooLarge { size, limit }.into())
            }
            Outcome::NotSent => Err(RequestError::Disconnected(Delivery::NotDelivered)),
            Outcome::Lost => Err(RequestError::Disconnected(Delivery::Unknown)),
        };
        self.settle(token, result);
    }

    fn subscribed(&mut self, _: Token, _: &[ReasonCode], _: &mut Outbox<'_>) {}

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox<'_>) -> Poll<()> {
        while let Some(order) = std::task::ready!(self.orders.poll_recv(cx)) {
            self.send(order, out);
        }
        Poll::Ready(())
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn closed(&mut self) {
        self.waiting.clear();
        self.orders.close();
        while self.orders.try_recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::topic::TopicFilter;
    use crate::core::topic::TopicName;
    use crate::link::memory::Network;
    use crate::responder::Responder;
    use crate::responder::Router;

    fn message(topic: &str, qos: Qos) -> Message {
        Message { qos, ..Message::new(TopicName::new(topic).unwrap(), "x") }
    }

    #[tokio::test]
    async fn what_a_server_says_is_what_becomes_of_it() {
        let network = Network::new();
        let (heard, mut hearing) = mpsc::unbounded_channel();
        let router = Router::new().route("there", async move || {
            let _ = heard.send(());
        });
        let _responder = Responder::builder(network.link("device")).serve(router).await.unwrap();
        let outlet = Outlet::open(&network.link("gateway"), 10).await.unwrap();
        let mut asked = message("there", Qos::AtLeastOnce);
        asked.properties.response_topic = Some(TopicName::new("answers").unwrap());
        assert_eq!(outlet.publish(asked).await, Ok(()));
        hearing.recv().await.unwrap();

        let nobody = outlet.publish(message("nobody", Qos::AtLeastOnce)).await;
        assert_eq!(nobody, Err(RequestError::NoResponder));
        assert_eq!(outlet.publish(message("nobody", Qos::AtMostOnce)).await, Ok(()));
        network.refuse_messages(TopicFilter::new("no").unwrap(), ReasonCode::NOT_AUTHORIZED);
        let refused = outlet.publish(message("no", Qos::AtLeastOnce)).await;
        assert_eq!(refused, Err(RequestError::Rejected(ReasonCode::NOT_AUTHORIZED)));
    }

    #[tokio::test]
    async fn without_a_connection_it_fails_at_once() {
        let network = Network::new();
        let link = network.link("gateway");
        let outlet = Outlet::open(&link, 10).await.unwrap();
        assert!(link.connected().await);
        network.hold_acknowledgements(true);
        let sent = outlet.publish(message("nobody", Qos::AtLeastOnce));
        let mut waiting = tokio_test::task::spawn(sent);
        assert!(waiting.poll().is_pending());
        // The next one is sent after it.
        outlet.publish(message("nobody", Qos::AtMostOnce)).await.unwrap();
        network.disconnect("gateway");
        let lost = RequestError::Disconnected(Delivery::Unknown);
        assert_eq!(waiting.await, Err(lost));
        link.disconnected().await;
        let unsent = RequestError::Disconnected(Delivery::NotDelivered);
        assert_eq!(outlet.publish(message("nobody", Qos::AtLeastOnce)).await, Err(unsent));
        network.reconnect("gateway");
        assert!(link.connected().await);
        assert_eq!(outlet.publish(message("nobody", Qos::AtMostOnce)).await, Ok(()));
        link.close();
        while outlet.publish(message("nobody", Qos::AtMostOnce)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn no_more_wait_for_a_server_than_may() {
        let network = Network::new();
        let outlet = Outlet::open(&network.link("gateway"), 1).await.unwrap();
        network.hold_acknowledgements(true);
        let sent = outlet.publish(message("nobody", Qos::AtLeastOnce));
        let mut first = tokio_test::task::spawn(sent);
        assert!(first.poll().is_pending());
        let second = outlet.publish(message("nobody", Qos::AtLeastOnce)).await;
        assert_eq!(second, Err(RequestError::Overloaded));
        network.hold_acknowledgements(false);
        assert_eq!(first.await, Err(RequestError::NoResponder));
    }
}

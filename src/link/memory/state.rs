//! What the network knows: its clients, who is subscribed, and what is on its way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Fate, now};
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::core::subscriptions::{Recipient, SubscribeOptions, Subscriptions};
use crate::core::topic::{TopicFilter, TopicName, encode_level};
use crate::link::{AckId, Connection, Event, SendError, SendId};

/// Events that wait for one link. When full, a message to it is refused with 0x97 at QoS 1 and
/// dropped at QoS 0.
const INBOX: usize = 65_536;

type Oracle = Box<dyn FnMut(&Message) -> Fate + Send>;

#[derive(Default)]
pub(super) struct State {
    pub(super) clients: BTreeMap<usize, Client>,
    pub(super) names: HashMap<Arc<str>, usize>,
    pub(super) subscriptions: Subscriptions<usize, Qos>,
    pub(super) oracle: Option<Oracle>,
    pub(super) refused_subscriptions: Vec<(TopicFilter, ReasonCode)>,
    pub(super) refused_messages: Vec<(TopicFilter, ReasonCode)>,
    pub(super) keeps_sessions: bool,
    pub(super) ignores_no_local: bool,
    pub(super) maximum_packet_size: Option<u32>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) holds_acknowledgements: bool,
    pub(super) next_client: usize,
    pub(super) next_event: u64,
    pub(super) next_ack: AckId,
}

#[derive(Default)]
pub(super) struct Client {
    pub(super) connected: bool,
    /// There is a session, kept from an earlier connection.
    pub(super) session: bool,
    /// By the time at which they happen, then by their order.
    pub(super) inbox: BTreeMap<(Instant, u64), Event>,
    pub(super) waker: Option<Waker>,
    /// Acknowledgements that are held back.
    pub(super) held: Vec<Event>,
    /// On their way to the client at QoS 1, or not acknowledged by it.
    pub(super) unacknowledged: BTreeMap<AckId, Message>,
}

/// Counts the Message Expiry Interval down [MQTT-3.3.2-6]. `false`: it has passed [MQTT-3.3.2-5].
fn grow_older(message: &mut Message, by: Duration) -> bool {
    let Some(expiry) = &mut message.properties.message_expiry else { return true };
    let by = u32::try_from(by.as_secs()).unwrap_or(u32::MAX);
    *expiry = expiry.saturating_sub(by);
    *expiry > 0
}

impl State {
    pub(super) fn admit(&mut self, client_id: &Arc<str>) -> usize {
        self.next_client += 1;
        let number = self.next_client;
        if let Some(earlier) = self.names.insert(Arc::clone(client_id), number) {
            self.subscriptions.remove_client(earlier);
            self.push(earlier, Event::Closed, Duration::ZERO);
        }
        self.clients.insert(number, Client::default());
        number
    }

    pub(super) fn connect(&mut self, number: usize) {
        let Some(client_id) =
            self.names.iter().find_map(|(name, n)| (*n == number).then(|| Arc::clone(name)))
        else {
            return;
        };
        let Some(client) = self.clients.get_mut(&number) else { return };
        if std::mem::replace(&mut client.connected, true) {
            return;
        }
        let session_present = client.session;
        let again = client.unacknowledged.clone();
        let response_base =
            TopicName::new(format!("clients/{}/responses", encode_level(&client_id)))
                .expect("an encoded level of at most 64 KiB makes a topic name");
        let connection = Connection {
            session_present,
            response_base,
            receive_maximum: self.receive_maximum.unwrap_or(u16::MAX),
        };
        self.push(number, Event::Connected(connection), Duration::ZERO);
        for (ack, message) in again {
            let message = Message { dup: true, ..message };
            self.push(number, Event::Message(message, Some(ack)), Duration::ZERO);
        }
    }

    pub(super) fn disconnect(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if !std::mem::replace(&mut client.connected, false) {
            return;
        }
        client.inbox.clear();
        client.held.clear();
        client.session = self.keeps_sessions;
        if !client.session {
            client.unacknowledged.clear();
            self.subscriptions.remove_client(number);
        }
        self.push(number, Event::Disconnected, Duration::ZERO);
    }

    /// Lets something happen to a client, now or later.
    pub(super) fn push(&mut self, number: usize, event: Event, after: Duration) {
        self.next_event += 1;
        let at = now() + after;
        if let Some(client) = self.clients.get_mut(&number) {
            client.inbox.insert((at, self.next_event), event);
            if let Some(waker) = client.waker.take() {
                waker.wake();
            }
        }
    }

    pub(super) fn publish(
        &mut self,
        from: usize,
        message: &Message,
        id: SendId,
    ) -> Result<(), SendError> {
        let client = self.clients.get(&from).filter(|client| client.connected);
        client.ok_or(SendError::Disconnected)?;
        let size = message.size();
        if let Some(limit) = self.maximum_packet_size.map(|limit| limit as usize)
            && size > limit
        {
            return Err(SendError::TooLarge { size, limit });
        }
        let refused =
            self.refused_messages.iter().find(|(filter, _)| filter.matches(&message.topic));
        let reason = match refused {
            Some((_, reason)) => *reason,
            None => self.forward(from, message),
        };
        if message.qos == Qos::AtLeastOnce {
            self.acknowledge(from, Event::Acknowledged(id, reason.into()));
        }
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, to: usize, event: Event) {
        if self.holds_acknowledgements {
            if let Some(client) = self.clients.get_mut(&to) {
                client.held.push(event);
            }
        } else {
            self.push(to, event, Duration::ZERO);
        }
    }

    pub(super) fn forward(&mut self, from: usize, message: &Message) -> ReasonCode {
        let mut deliveries: Vec<Recipient<usize, Qos>> = Vec::new();
        self.subscriptions.route(message.topic.as_str(), Some(from), &mut deliveries);
        if deliveries.is_empty() {
            return ReasonCode::NO_MATCHING_SUBSCRIBERS;
        }
        let fate = self.oracle.as_mut().map_or(Fate::Deliver, |oracle| oracle(message));
        let mut message = message.clone();
        let (copies, after) = match fate {
            Fate::Deliver => (1, Duration::ZERO),
            Fate::Lose => (0, Duration::ZERO),
            Fate::Delay(after) => (usize::from(grow_older(&mut message, after)), after),
            Fate::Repeat(copies) => (copies, Duration::ZERO),
        };
        let mut taken = false;
        for Recipient { client, qos, .. } in deliveries {
            let qos = message.qos.min(qos);
            taken |= self.deliver(client, &Message { qos, ..message.clone() }, copies, after);
        }
        if taken { ReasonCode::SUCCESS } else { ReasonCode::QUOTA_EXCEEDED }
    }

    /// `false`: the client can take no more.
    pub(super) fn deliver(
        &mut self,
        to: usize,
        message: &Message,
        copies: usize,
        after: Duration,
    ) -> bool {
        let Some(client) = self.clients.get(&to) else { return false };
        let waiting = client.inbox.len().max(client.unacknowledged.len());
        let (connected, stored) = (client.connected, message.qos == Qos::AtLeastOnce);
        if waiting + copies > INBOX || !(connected || stored) {
            return false;
        }
        for _ in 0..copies {
            self.next_ack += 1;
            let ack = self.next_ack;
            if stored && let Some(client) = self.clients.get_mut(&to) {
                client.unacknowledged.insert(ack, message.clone());
            }
            if connected {
                self.push(to, Event::Message(message.clone(), stored.then_some(ack)), after);
            }
        }
        true
    }

    fn is_connected(&self, number: usize) -> bool {
        self.clients.get(&number).is_some_and(|client| client.connected)
    }

    /// Of a client that has not noticed yet that it is disconnected, nothing arrives.
    pub(super) fn subscribe(&mut self, number: usize, subscriptions: &[Subscription], id: SendId) {
        if !self.is_connected(number) {
            return;
        }
        let reasons = subscriptions
            .iter()
            .map(|subscription| {
                let Subscription { filter, qos, no_local } = subscription;
                let refused = self.refused_subscriptions.iter().find(|(f, _)| f == filter);
                if let Some((_, reason)) = refused {
                    return *reason;
                }
                let options =
                    SubscribeOptions { qos: *qos, no_local: *no_local && !self.ignores_no_local };
                self.subscriptions.subscribe(number, filter, options);
                match qos {
                    Qos::AtMostOnce => ReasonCode::SUCCESS,
                    Qos::AtLeastOnce => ReasonCode::GRANTED_QOS_1,
                }
            })
            .collect();
        self.push(number, Event::Subscribed(id, reasons), Duration::ZERO);
    }

    pub(super) fn unsubscribe(
        &mut self,
        number: usize,
        subscriptions: &[Subscription],
        id: SendId,
    ) {
        if !self.is_connected(number) {
            return;
        }
        let reasons = subscriptions
            .iter()
            .map(|subscription| {
                if self.subscriptions.unsubscribe(number, &subscription.filter) {
                    ReasonCode::SUCCESS
                } else {
                    ReasonCode::NO_SUBSCRIPTION_EXISTED
                }
            })
            .collect();
        self.push(number, Event::Subscribed(id, reasons), Duration::ZERO);
    }

    pub(super) fn remove(&mut self, number: usize, client_id: &str) {
        self.subscriptions.remove_client(number);
        self.clients.remove(&number);
        if self.names.get(client_id) == Some(&number) {
            self.names.remove(client_id);
        }
    }
}

//! The path of a message: who is subscribed, whose queue has room, and what the sender is told.
#![expect(clippy::result_large_err, reason = "a message that is not taken is given back")]

use std::cell::Cell;
use std::time::Instant;

use super::access::{self, Access};
use super::client::Client;
use super::devices::{Device, Present};
use super::shared::{ClientKey, Mail};
use super::worker::{Deliveries, Worker};
use crate::core::packet::{Message, Qos, ReasonCode};
use crate::core::subscriptions::{Recipient, Routed};
use crate::core::topic::{TopicFilter, TopicName};
use crate::dialect::{Dialect, Native, ReplyTo};
use crate::link::{Absence, Acknowledgement};
use crate::message::{Response, Status};

/// Reset when it goes, even if a hook or a dialect panics: the client would get nothing any more.
struct Draining<'a>(&'a Cell<bool>);

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Worker {
    /// Forwards a message to those who are subscribed; what PUBACK says.
    pub(super) fn publish(&self, from: &Client, mut message: Message) -> Acknowledgement {
        let counters = &self.shared.counters;
        if !self.allows(from, Access::Publish(&message.topic)) {
            counters.refused.increment();
            return ReasonCode::NOT_AUTHORIZED.into();
        }
        if self.loops.borrow_mut().exceed(message.topic.as_str(), Instant::now) {
            counters.looped.increment();
            return ReasonCode::QUOTA_EXCEEDED.into();
        }
        self.identify(from, &mut message);
        self.forward(Some(from.key), message)
    }

    fn forward(&self, from: Option<ClientKey>, message: Message) -> Acknowledgement {
        let counters = &self.shared.counters;
        let mut deliveries = self.deliveries.take();
        let (routed, absence) = self.route(from, &message, &mut deliveries);
        counters.overflowed.add(routed.matched - routed.delivered);
        let acknowledgement = if routed.matched == 0 {
            counters.unmatched.increment();
            Acknowledgement::absent(absence)
        } else {
            match self.deliver_all(&mut deliveries, message) {
                Ok(()) => {
                    counters.forwarded.increment();
                    ReasonCode::SUCCESS.into()
                }
                Err(message) => {
                    // At QoS 1 the reason code says it.
                    if message.qos == Qos::AtMostOnce {
                        self.answer_unavailable(&message);
                    }
                    ReasonCode::QUOTA_EXCEEDED.into()
                }
            }
        };
        deliveries.clear();
        self.deliveries.set(deliveries);
        acknowledgement
    }

    /// Finds who gets a message: those who are subscribed, and the device that it is for, if it
    /// takes what it has not subscribed to.
    fn route(
        &self,
        from: Option<ClientKey>,
        message: &Message,
        deliveries: &mut Deliveries,
    ) -> (Routed, Option<Absence>) {
        let (topic, devices) = (&message.topic, &self.shared.devices);
        let private = access::is_private(topic.as_str());
        let table = if private { &self.private } else { &self.routes };
        let has_room = |key| self.has_room(key);
        let not_itself = || devices.echoes(topic);
        let name = topic.as_str();
        let mut routed = table.borrow().route_with(name, from, not_itself, deliveries, has_room);
        // A sender that is subscribed itself is one who asks where answers come on the topic of the
        // request; others who are subscribed may be more of these.
        if private || (routed.matched > 0 && !routed.spared) {
            return (routed, None);
        }
        let absence = match devices.find(topic, from, |client| self.may_get(client, topic)) {
            None => None,
            Some(Device::Offline) => Some(Absence::Offline),
            Some(Device::Connected { push_to }) => {
                if let Some(client) = push_to {
                    self.push(client, message.qos, &mut routed, deliveries);
                }
                Some(Absence::NotSubscribed)
            }
        };
        (routed, absence)
    }

    /// Whether a device may subscribe to exactly this topic.
    fn may_get(&self, client: &Present, topic: &TopicName) -> bool {
        let Present { key, client_id, identity } = client;
        self.shared.authorize.is_none()
            || TopicFilter::new(topic.as_str()).is_ok_and(|filter| {
                self.shared.allows(*key, identity, client_id, Access::Subscribe(&filter))
            })
    }

    /// Adds a device to those who get a message, unless it is one of them.
    fn push(&self, key: ClientKey, qos: Qos, routed: &mut Routed, deliveries: &mut Deliveries) {
        if deliveries.iter().any(|delivery| delivery.client == key) {
            return;
        }
        routed.matched += 1;
        if self.has_room(key) {
            routed.delivered += 1;
            deliveries.push(Recipient { client: key, qos });
        }
    }

    /// Gives the message back when no queue took it.
    fn deliver_all(&self, deliveries: &mut Deliveries, message: Message) -> Result<(), Message> {
        let Some(last) = deliveries.pop() else { return Err(message) };
        let alone = deliveries.is_empty();
        let mut taken = false;
        for Recipient { client: to, qos } in deliveries.drain(..) {
            taken |= self.pass(Mail { to, qos, message: message.clone(), alone }).is_ok();
        }
        let passed = self.pass(Mail { to: last.client, qos: last.qos, message, alone });
        if taken { Ok(()) } else { passed }
    }

    /// Whether a client can take a message, as far as this worker knows.
    fn has_room(&self, key: ClientKey) -> bool {
        if key.worker == self.index {
            self.client(key).is_some_and(|client| client.has_room())
        } else {
            self.shared.mailboxes[key.worker].messages.capacity() > 0
        }
    }

    /// Hands a message to a client here or on another worker; gives it back when nobody took it.
    fn pass(&self, mail: Mail) -> Result<(), Message> {
        let passed = if mail.to.worker == self.index {
            self.deliver(mail)
        } else {
            let mailbox = &self.shared.mailboxes[mail.to.worker];
            mailbox.messages.try_send(mail).map_err(|error| error.into_inner().message)
        };
        passed.inspect_err(|_| self.shared.counters.overflowed.increment())
    }

    fn deliver(&self, mail: Mail) -> Result<(), Message> {
        let Mail { to, qos, mut message, alone } = mail;
        let Some(client) = self.client(to).filter(|client| client.has_room()) else {
            return Err(message);
        };
        // [MQTT-3.8.4-8]
        message.qos = message.qos.min(qos);
        client.deliver(message, alone)?;
        self.drain(&client);
        Ok(())
    }

    /// Delivers a message that another worker passed on. If it cannot be delivered to anybody, the
    /// requester has its PUBACK already, so it gets an answer instead.
    pub(super) fn take(&self, mail: Mail) {
        let alone = mail.alone;
        if let Err(message) = self.pass(mail)
            && alone
        {
            self.answer_unavailable(&message);
        }
    }

    /// Sends what waits for a client, as far as it can be sent.
    pub(super) fn drain(&self, client: &Client) {
        // What is answered for a message that cannot be sent may be for this very client: it is
        // queued, and the loop below comes to it.
        if client.draining.replace(true) {
            return;
        }
        let _draining = Draining(&client.draining);
        while let Some(waiting) = client.next_to_send() {
            // [MQTT-3.3.2-5]
            let alone = waiting.alone;
            let Some(message) = waiting.aged() else {
                self.shared.counters.expired.increment();
                continue;
            };
            if let Err(message) = client.send(message) {
                self.shared.counters.overflowed.increment();
                if alone {
                    self.answer_unavailable(&message);
                }
            }
        }
    }

    /// Answers a request in the name of a responder that it cannot be delivered to.
    ///
    /// Where the hub has rules it does so only on the response topics that it gives out itself: they
    /// reach nobody but their owner. Any other topic may be one that the sender must not publish to.
    pub(super) fn answer_unavailable(&self, request: &Message) {
        let properties = &request.properties;
        let Some(topic) = properties.response_topic.clone() else { return };
        let ruled = self.shared.authorize.is_some();
        if topic.is_reserved() || (ruled && !access::is_private(topic.as_str())) {
            return;
        }
        let reply_to = ReplyTo::new(topic, properties.correlation_data.clone(), request.qos);
        let status = Status::UNAVAILABLE.with_message("the hub cannot deliver the request");
        if let Ok(answer) = Native::new().encode_response(&reply_to, Response::error(status), None)
        {
            // It has no response topic itself, so this ends here.
            self.forward(None, answer);
        }
    }
}

//! What is waiting to be sent, and what was sent and is not acknowledged: the outgoing queue and
//! the QoS 1 window.

use std::collections::{HashMap, VecDeque};

use super::{Connection, Outcome, SendError, SendId, Token, Transport};
use crate::core::packet::{Message, Qos};

/// How much may wait to be sent on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingLimits {
    /// Messages. 16,384 by default: more than any in-flight window lets pass, so that only a
    /// stalled connection reaches it.
    pub messages: usize,
    /// Bytes of topics, payloads and properties. 8 MiB by default, which a device has to spare.
    pub bytes: usize,
}

impl Default for OutgoingLimits {
    fn default() -> Self {
        Self { messages: 16_384, bytes: 8 * 1024 * 1024 }
    }
}

/// One endpoint of a link. Slots are used again, serial numbers never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EndpointId {
    pub(crate) slot: usize,
    pub(crate) serial: u64,
}

/// Whose message it is, and what its owner calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) endpoint: EndpointId,
    pub(crate) token: Token,
}

/// What has become of a message that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Sent,
    /// The endpoint is asked before it leaves whether it is still wanted.
    Waiting,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishError {
    /// The queue is full.
    Full,
    /// It is larger than the server accepts.
    TooLarge { size: usize, limit: usize },
}

#[derive(Debug)]
pub(super) struct Outgoing {
    limits: OutgoingLimits,
    queue: VecDeque<(Message, Origin)>,
    /// Those in the queue that were in the window before the connection was lost. The window had
    /// bounds of its own, so they do not count in the limits.
    resumed: usize,
    /// Of the others.
    queued_bytes: usize,
    /// Sent at QoS 1 and not acknowledged, in order of sending: acknowledgements come in that
    /// order [MQTT-4.6.0-2].
    window: VecDeque<(SendId, Message, Origin)>,
    /// What was in the window when the connection was lost, and may be sent again under its number.
    interrupted: HashMap<Origin, SendId>,
    receive_maximum: usize,
    /// Whether messages may leave: connected, and subscribed to what the endpoints need.
    open: bool,
    next_id: SendId,
}

impl Outgoing {
    pub(super) fn new(limits: OutgoingLimits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            resumed: 0,
            queued_bytes: 0,
            window: VecDeque::new(),
            interrupted: HashMap::new(),
            receive_maximum: 0,
            open: false,
            next_id: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> SendId {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn connected(&mut self, connection: &Connection) {
        self.receive_maximum = connection.receive_maximum.into();
        if !connection.session_present {
            self.interrupted.clear();
        }
    }

    /// Lets messages leave: first what was on the wire before, in the order it had then
    /// [MQTT-4.6.0-1].
    pub(super) fn open(&mut self) {
        self.open = true;
        if self.interrupted.is_empty() {
            return;
        }
        let earlier = std::mem::take(&mut self.interrupted);
        let again = |origin: &Origin| earlier.get(origin).copied();
        self.queue
            .make_contiguous()
            .sort_by_key(|(_, origin)| again(origin).unwrap_or(SendId::MAX));
        // Nobody wants the others any more.
        let wanted = self.queue.iter().map_while(|(_, origin)| Some((*origin, again(origin)?)));
        self.interrupted = wanted.collect();
    }

    /// Sends the message, or keeps it until it can be sent.
    pub(super) fn push(
        &mut self,
        message: Message,
        origin: Origin,
        transport: &mut dyn Transport,
    ) -> Result<Published, (PublishError, Message)> {
        if self.queue.is_empty() && self.may_send(&message, transport) {
            return match self.send(message, origin, transport) {
                Ok(()) => Ok(Published::Sent),
                Err((size, limit, message)) => {
                    Err((PublishError::TooLarge { size, limit }, message))
                }
            };
        }
        let size = message.size();
        let full = self.queue.len() - self.resumed >= self.limits.messages
            || self.queued_bytes.saturating_add(size) > self.limits.bytes;
        if full && !self.was_in_window(&origin) {
            return Err((PublishError::Full, message));
        }
        self.count(&message, &origin);
        self.queue.push_back((message, origin));
        Ok(Published::Waiting)
    }

    /// The first message that was waiting, if it can be sent now.
    pub(super) fn next(&mut self, transport: &dyn Transport) -> Option<(Message, Origin)> {
        let (message, _) = self.queue.front()?;
        if !self.may_send(message, transport) {
            return None;
        }
        let (message, origin) = self.queue.pop_front()?;
        if self.was_in_window(&origin) {
            self.resumed -= 1;
        } else {
            self.queued_bytes -= message.size();
        }
        Some((message, origin))
    }

    /// A message goes into the queue.
    fn count(&mut self, message: &Message, origin: &Origin) {
        if self.was_in_window(origin) {
            self.resumed += 1;
        } else {
            self.queued_bytes += message.size();
        }
    }

    /// Whether the server may have it already, in a session that it has kept.
    fn was_in_window(&self, origin: &Origin) -> bool {
        // Mostly empty: then nothing is hashed.
        !self.interrupted.is_empty() && self.interrupted.contains_key(origin)
    }

    /// The server acknowledged a message: whose it was.
    pub(super) fn acknowledged(&mut self, id: SendId) -> Option<(Message, Origin)> {
        let at = self.window.iter().position(|(sent, ..)| *sent == id)?;
        let (_, message, origin) = self.window.remove(at)?;
        Some((message, origin))
    }

    /// The connection is lost: everything that was waiting, with what became of it.
    pub(super) fn disconnect(
        &mut self,
    ) -> impl Iterator<Item = (Message, Origin, Outcome)> + use<> {
        self.open = false;
        (self.resumed, self.queued_bytes) = (0, 0);
        let lost = std::mem::take(&mut self.window);
        let queued = std::mem::take(&mut self.queue);
        self.interrupted.extend(lost.iter().map(|(id, _, origin)| (*origin, *id)));
        let lost = lost.into_iter().map(|(_, message, origin)| (message, origin, Outcome::Lost));
        lost.chain(queued.into_iter().map(|(message, origin)| (message, origin, Outcome::NotSent)))
    }

    /// Messages that the server has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.window.len()
    }

    /// Whether something that this endpoint published is not settled.
    pub(super) fn holds_any_of(&self, endpoint: EndpointId) -> bool {
        self.window.iter().any(|(_, _, origin)| origin.endpoint == endpoint)
            || self.queue.iter().any(|(_, origin)| origin.endpoint == endpoint)
    }

    fn may_send(&self, message: &Message, transport: &dyn Transport) -> bool {
        let in_window = message.qos == Qos::AtMostOnce || self.window.len() < self.receive_maximum;
        self.open && in_window && transport.is_writable()
    }

    /// Writes a message that [may be sent](Self::may_send). Gives it back when it is too large, with
    /// its size and the limit.
    pub(super) fn send(
        &mut self,
        mut message: Message,
        origin: Origin,
        transport: &mut dyn Transport,
    ) -> Result<(), (usize, usize, Message)> {
        // Mostly empty: then nothing is hashed.
        let resumes = !self.interrupted.is_empty();
        let earlier = resumes.then(|| self.interrupted.remove(&origin)).flatten();
        // [MQTT-3.3.1-1]
        message.dup = earlier.is_some();
        let id = earlier.unwrap_or_else(|| self.next_id());
        let published = match message.qos {
            Qos::AtMostOnce => transport.publish_once(message, id),
            Qos::AtLeastOnce => match transport.publish(&message, id) {
                Ok(()) => {
                    self.window.push_back((id, message, origin));
                    Ok(())
                }
                Err(error) => Err((error, message)),
            },
        };
        match published {
            Ok(()) => {}
            // The event that follows reports it as not sent.
            Err((SendError::Disconnected, message)) => {
                self.open = false;
                self.interrupted.extend(earlier.map(|id| (origin, id)));
                self.count(&message, &origin);
                self.queue.push_front((message, origin));
            }
            Err((SendError::TooLarge { size, limit }, message)) => {
                return Err((size, limit, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::topic::TopicName;
    use crate::link::fake::{self, Fake, Written};

    const LIMITS: OutgoingLimits = OutgoingLimits { messages: 3, bytes: 1000 };

    fn message(topic: &str, qos: Qos) -> Message {
        Message { qos, ..Message::new(TopicName::new(topic).unwrap(), "") }
    }

    fn of(slot: usize, token: u64) -> Origin {
        Origin { endpoint: EndpointId { slot, serial: 0 }, token: (token, 0) }
    }

    fn open(fake: &Fake, receive_maximum: u16) -> (Outgoing, impl Transport + use<>) {
        let mut outgoing = Outgoing::new(LIMITS);
        outgoing.connected(&fake::connection(receive_maximum));
        outgoing.open();
        (outgoing, fake.transport())
    }

    fn push(outgoing: &mut Outgoing, transport: &mut dyn Transport, topic: &str, qos: Qos) {
        outgoing.push(message(topic, qos), of(0, 0), transport).unwrap();
    }

    fn flush(outgoing: &mut Outgoing, transport: &mut dyn Transport) {
        while let Some((message, origin)) = outgoing.next(transport) {
            outgoing.send(message, origin, transport).unwrap();
        }
    }

    #[test]
    fn no_more_is_unacknowledged_than_the_receive_maximum_and_the_order_is_kept() {
        let fake = Fake::default();
        let (mut outgoing, mut transport) = open(&fake, 2);
        for topic in ["a", "b", "c"] {
            push(&mut outgoing, &mut transport, topic, Qos::AtLeastOnce);
        }
        push(&mut outgoing, &mut transport, "d", Qos::AtMostOnce);
        assert_eq!(fake.published(), ["a", "b"], "what is not counted does not overtake");
        assert_eq!(outgoing.acknowledged(1).unwrap().0.topic.as_str(), "a");
        assert!(outgoing.acknowledged(1).is_none() && outgoing.acknowledged(77).is_none());
        flush(&mut outgoing, &mut transport);
        assert_eq!(fake.published(), ["c", "d"]);
        assert!(outgoing.acknowledged(2).is_some() && outgoing.acknowledged(3).is_some());
        assert!(!outgoing.holds_any_of(of(0, 0).endpoint));
    }

    #[test]
    fn the_queue_is_bounded_in_messages_and_in_bytes() {
        let fake = Fake::default();
        let (mut outgoing, mut transport) = open(&fake, 0);
        let large = Message { payload: vec![0; 900].into(), ..message("a", Qos::AtLeastOnce) };
        outgoing.push(large.clone(), of(0, 0), &mut transport).unwrap();
        let (error, back) = outgoing.push(large.clone(), of(0, 1), &mut transport).unwrap_err();
        assert_eq!((error, back.payload.len()), (PublishError::Full, 900), "in bytes");
        push(&mut outgoing, &mut transport, "b", Qos::AtLeastOnce);
        push(&mut outgoing, &mut transport, "c", Qos::AtLeastOnce);
        let small = message("d", Qos::AtLeastOnce);
        let (error, _) = outgoing.push(small.clone(), of(0, 1), &mut transport).unwrap_err();
        assert_eq!(error, PublishError::Full, "in messages");

        outgoing.connected(&fake::connection(10));
        flush(&mut outgoing, &mut transport);
        assert_eq!(fake.published(), ["a", "b", "c"]);
        outgoing.connected(&fake::connection(0));
        outgoing.push(large, of(0, 0), &mut transport).expect("the bytes are given back");
    }

    #[test]
    fn what_was_in_the_window_has_room_in_the_queue() {
        let fake = Fake::default();
        let (mut outgoing, mut transport) = open(&fake, 10);
        for token in 1..=8 {
            let message =
                Message { payload: vec![0; 300].into(), ..message("a", Qos::AtLeastOnce) };
            outgoing.push(message, of(0, token), &mut transport).unwrap();
        }
        let lost: Vec<_> = outgoing.disconnect().collect();
        outgoing.connected(&Connection { session_present: true, ..fake::connection(10) });
        for (message, origin, _) in lost {
            outgoing.push(message, origin, &mut transport).unwrap();
        }
        for token in 11..=13 {
            let message = message("b", Qos::AtLeastOnce);
            outgoing.push(message, of(0, token), &mut transport).expect("they count alone");
        }
        let new = message("c", Qos::AtLeastOnce);
        let (error, new) = outgoing.push(new, of(0, 14), &mut transport).unwrap_err();
        assert_eq!(error, PublishError::Full);
        outgoing.open();
        fake.script().gone = true;
        flush(&mut outgoing, &mut transport);
        assert_eq!((outgoing.resumed, outgoing.queue.len()), (8, 11), "it is put back");
        fake.script().gone = false;
        outgoing.open();
        flush(&mut outgoing, &mut transport);
        assert_eq!(outgoing.queue.len(), 1, "the window is full");
        assert_eq!(outgoing.resumed, 0);
        outgoing.push(new, of(0, 14), &mut transport).expect("there is room again");
    }

    #[test]
    fn nothing_leaves_while_it_is_closed_or_the_buffer_is_full() {
        let fake = Fake::default();
        let mut outgoing = Outgoing::new(LIMITS);
        outgoing.connected(&fake::connection(10));
        let mut transport = fake.transport();
        push(&mut outgoing, &mut transport, "a", Qos::AtMostOnce);
        flush(&mut outgoing, &mut transport);
        assert!(fake.published().is_empty());
        fake.script().full = true;
        outgoing.open();
        flush(&mut outgoing, &mut transport);
        assert!(fake.published().is_empty());
        fake.script().full = false;
        flush(&mut outgoing, &mut transport);
        assert_eq!(fake.published(), ["a"]);
    }

    #[test]
    fn what_is_too_large_is_given_back_with_its_size() {
        let fake = Fake::default();
        fake.script().limit = Some(10);
        let (mut outgoing, mut transport) = open(&fake, 10);
        let large = Message { payload: vec![0; 99].into(), ..message("a", Qos::AtLeastOnce) };
        let size = large.size();
        let (error, back) = outgoing.push(large, of(0, 0), &mut transport).unwrap_err();
        assert_eq!(error, PublishError::TooLarge { size, limit: 10 });
        assert_eq!(back.payload.len(), 99);
        assert!(!outgoing.holds_any_of(of(0, 0).endpoint));
    }

    #[test]
    fn a_lost_connection_tells_what_was_sent_from_what_was_not() {
        let fake = Fake::default();
        let (mut outgoing, mut transport) = open(&fake, 2);
        push(&mut outgoing, &mut transport, "sent", Qos::AtLeastOnce);
        fake.script().gone = true;
        push(&mut outgoing, &mut transport, "refused", Qos::AtLeastOnce);
        push(&mut outgoing, &mut transport, "queued", Qos::AtMostOnce);
        let outcomes: Vec<_> = outgoing
            .disconnect()
            .map(|(message, _, outcome)| (message.topic.to_string(), outcome))
            .collect();
        let expected =
            [("sent", Outcome::Lost), ("refused", Outcome::NotSent), ("queued", Outcome::NotSent)];
        assert_eq!(outcomes, expected.map(|(topic, outcome)| (topic.to_owned(), outcome)));
        assert_eq!(outgoing.disconnect().count(), 0);
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_first_and_under_its_number() {
        let fake = Fake::default();
        let (mut outgoing, mut transport) = open(&fake, 10);
        for token in 1..=4 {
            let message = message(&token.to_string(), Qos::AtLeastOnce);
            outgoing.push(message, of(0, token), &mut transport).unwrap();
        }
        assert!(outgoing.acknowledged(2).is_some());
        for session_present in [true, false] {
            let lost: Vec<_> = outgoing.disconnect().collect();
            fake.written();
            outgoing.connected(&Connection { session_present, ..fake::connection(10) });
            outgoing.push(message("new", Qos::AtLeastOnce), of(1, 0), &mut transport).unwrap();
            // In another order, and one is not wanted any more.
            for (message, origin, outcome) in lost.into_iter().rev() {
                if origin.endpoint.slot == 0 && origin.token != (3, 0) && outcome == Outcome::Lost {
                    outgoing.push(message, origin, &mut transport).unwrap();
                }
            }
            outgoing.open();
            let mut dup = Vec::new();
            while let Some((message, origin)) = outgoing.next(&transport) {
                outgoing.send(message, origin, &mut transport).unwrap();
                dup.push(outgoing.window.back().unwrap().1.dup);
            }
            let publish = |topic: &str, id| Written::Publish(topic.to_owned(), id);
            if session_present {
                let again = [publish("1", 1), publish("4", 4), publish("new", 5)];
                assert_eq!((fake.written(), dup), (again.into(), vec![true, true, false]));
            } else {
                assert!(!dup.contains(&true), "the server knows nothing of them");
                let Some(Written::Publish(_, id)) = fake.written().pop() else { panic!() };
                assert!(id > 5);
            }
            assert!(outgoing.interrupted.is_empty());
        }
    }

    #[test]
    fn it_knows_whose_messages_are_not_settled() {
        let fake = Fake::default();
        let (mut outgoing, mut transport) = open(&fake, 1);
        for slot in [0, 1] {
            let message = message("a", Qos::AtLeastOnce);
            outgoing.push(message, of(slot, 0), &mut transport).unwrap();
        }
        assert!(outgoing.holds_any_of(of(0, 0).endpoint), "in the window");
        assert!(outgoing.holds_any_of(of(1, 0).endpoint), "in the queue");
        let same_slot = EndpointId { slot: 1, serial: 9 };
        assert!(!outgoing.holds_any_of(same_slot), "another one that has its slot");
    }
}

//! What is waiting to be sent, and what was sent and is not acknowledged: the outgoing queue and
//! the QoS 1 window.

use std::collections::VecDeque;

use super::{Outcome, SendError, SendId, Token, Transport};
use crate::core::packet::{Message, Qos, ReasonCode};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndpointId {
    pub(crate) slot: usize,
    pub(crate) serial: u64,
}

/// Whose message it is, and what its owner calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) endpoint: EndpointId,
    pub(crate) token: Token,
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
    queued_bytes: usize,
    /// Sent at QoS 1 and not acknowledged, in order of sending: acknowledgements come in that
    /// order [MQTT-4.6.0-2].
    window: VecDeque<(SendId, Message, Origin)>,
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
            queued_bytes: 0,
            window: VecDeque::new(),
            receive_maximum: 0,
            open: false,
            next_id: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> SendId {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn set_receive_maximum(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum.into();
    }

    /// Lets messages leave.
    pub(super) fn open(&mut self) {
        self.open = true;
    }

    /// Sends the message, or keeps it until it can be sent.
    pub(super) fn push(
        &mut self,
        message: Message,
        origin: Origin,
        transport: &mut dyn Transport,
    ) -> Result<(), (PublishError, Message)> {
        if self.queue.is_empty() && self.may_send(&message, transport) {
            let sent = self.send(message, origin, transport);
            return sent.map_err(|(size, limit, message)| {
                (PublishError::TooLarge { size, limit }, message)
            });
        }
        let size = message.size();
        let full = self.queue.len() >= self.limits.messages
            || self.queued_bytes.saturating_add(size) > self.limits.bytes;
        if full {
            return Err((PublishError::Full, message));
        }
        self.queued_bytes += size;
        self.queue.push_back((message, origin));
        Ok(())
    }

    /// The first message that was waiting, if it can be sent now.
    pub(super) fn next(&mut self, transport: &dyn Transport) -> Option<(Message, Origin)> {
        let (message, _) = self.queue.front()?;
        if !self.may_send(message, transport) {
            return None;
        }
        let (message, origin) = self.queue.pop_front()?;
        self.queued_bytes -= message.size();
        Some((message, origin))
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
        self.queued_bytes = 0;
        let lost = std::mem::take(&mut self.window);
        let queued = std::mem::take(&mut self.queue);
        let lost = lost.into_iter().map(|(_, message, origin)| (message, origin, Outcome::Lost));
        lost.chain(queued.into_iter().map(|(message, origin)| (message, origin, Outcome::NotSent)))
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
        message: Message,
        origin: Origin,
        transport: &mut dyn Transport,
    ) -> Result<(), (usize, usize, Message)> {
        let id = self.next_id();
        match transport.publish(&message, id) {
            Ok(()) if message.qos == Qos::AtLeastOnce => {
                self.window.push_back((id, message, origin));
            }
            Ok(()) => {}
            // The event that follows reports it as not sent.
            Err(SendError::Disconnected) => {
                self.open = false;
                self.queued_bytes += message.size();
                self.queue.push_front((message, origin));
            }
            Err(SendError::TooLarge { size, limit }) => return Err((size, limit, message)),
        }
        Ok(())
    }
}

/// Whether the server refused a message, or says that nobody is there to take it.
pub(crate) fn is_refusal(reason: ReasonCode) -> bool {
    reason.is_error() || reason == ReasonCode::NO_MATCHING_SUBSCRIBERS
}

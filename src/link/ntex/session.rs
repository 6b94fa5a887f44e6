//! MQTT 5 on one open connection: packet identifiers, acknowledgements, and what arrives.
//!
//! ntex-mqtt gives the codec and ntex the buffered socket. Its ready-made client is not used: it
//! takes every acknowledgement to come in the order of sending, SUBACKs among PUBACKs, and closes
//! the connection of a server that answers a SUBSCRIBE before an earlier PUBLISH, as it may; it
//! calls back while its own tables are borrowed; and it starts a task for each packet. Here the
//! connection's driver reads packets straight from the read buffer, at its own pace: there is no
//! queue between the two that would need a bound.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::num::NonZeroU16;
use std::task::{Context, Poll, ready};

use ntex::io::{IoBoxed, RecvError};
use ntex::util::{Bytes as NtexBytes, HashMap};
use ntex_mqtt::error::{DecodeError, EncodeError};
use ntex_mqtt::v5::QoS;
use ntex_mqtt::v5::codec::{
    Codec, Decoded, Disconnect, DisconnectReasonCode, Encoded, Packet, Publish, PublishAck,
    PublishAckReason, Subscribe, Unsubscribe,
};

use super::connect::Accepted;
use super::convert::{self, LastTopics};
use super::framing::Framing;
use super::keep_alive::KeepAlive;
use super::publish::PublishWriter;
use super::quick_ack::QuickAck;
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::link::{AckId, Event, SendError, SendId};

/// As many as there are packet identifiers. It is not the Receive Maximum that CONNECT announces:
/// Mosquitto 2.0.11 oversteps that (one PUBACK lets two messages out), and closing the connection
/// for it would only lose what is being worked on.
const MOST_UNACKNOWLEDGED: usize = u16::MAX as usize;

/// Bytes of PUBACKs (6 with a reason code) that may be added to a full write buffer: those of all that a
/// server may send without having got one. Nothing more is read of a server that makes it more and
/// does not read.
const MOST_ANSWERS: usize = 65_535 * 6;

/// The connection is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// The socket is closed, or the server closes it.
    Lost,
    /// The server broke the protocol: it is told why.
    Violated(DisconnectReasonCode),
    /// Another connection with the same client identifier took the session.
    TakenOver,
}

#[derive(Debug)]
pub(super) struct Session {
    io: IoBoxed,
    codec: Codec,
    writer: PublishWriter,
    last_topics: LastTopics,
    keep_alive: KeepAlive,
    quick_ack: QuickAck,
    at_least_once: bool,
    last_packet_id: u16,
    /// What was sent and is not acknowledged, by packet identifier.
    awaited: HashMap<NonZeroU16, Awaited>,
    /// What arrived at QoS 1 and is not acknowledged, in order of arrival; at most
    /// [`MOST_UNACKNOWLEDGED`].
    unacknowledged: VecDeque<Unacknowledged>,
    /// The number of the first of them.
    first_ack: AckId,
    /// A PUBLISH whose payload has not arrived completely.
    partial: Option<Publish>,
    /// Events that this side makes: refusals of what is not worth sending.
    refusals: VecDeque<Event>,
    /// What an earlier connection of this session left unacknowledged, and was not sent again yet.
    interrupted: BTreeMap<SendId, NonZeroU16>,
    /// While the write buffer is full: the bytes that were in it when that was found.
    full: Option<usize>,
}

/// What the next connection has to know of this one.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// No earlier connection of this link has given this number to a message or a greater one.
    next_ack: AckId,
    last_packet_id: u16,
    /// The packet identifiers of what was sent and not acknowledged, for when it is sent again
    /// [MQTT-4.4.0-1]. At most [`MOST_UNACKNOWLEDGED`].
    interrupted: BTreeMap<SendId, NonZeroU16>,
}

impl Resumed {
    /// The server has kept nothing.
    pub(super) fn forget_session(&mut self) {
        self.interrupted.clear();
    }
}

#[derive(Debug, Clone, Copy)]
enum Awaited {
    Publish(SendId),
    /// SUBSCRIBE or UNSUBSCRIBE.
    Subscription(SendId),
}

impl Awaited {
    fn publish(self) -> Option<SendId> {
        if let Self::Publish(id) = self { Some(id) } else { None }
    }

    fn subscription(self) -> Option<SendId> {
        if let Self::Subscription(id) = self { Some(id) } else { None }
    }
}

#[derive(Debug)]
struct Unacknowledged {
    packet_id: NonZeroU16,
    /// Set when it may be acknowledged, as soon as its predecessors are.
    reason: Option<PublishAckReason>,
}

impl Session {
    pub(super) fn new(accepted: Accepted, resumed: Resumed) -> Self {
        let Accepted { io, codec, quick_ack, keep_alive, at_least_once, .. } = accepted;
        Self {
            keep_alive: KeepAlive::start(keep_alive, io.get_ref()),
            io,
            codec,
            writer: PublishWriter::default(),
            last_topics: LastTopics::default(),
            quick_ack,
            at_least_once,
            last_packet_id: resumed.last_packet_id,
            awaited: HashMap::default(),
            unacknowledged: VecDeque::new(),
            first_ack: resumed.next_ack,
            partial: None,
            refusals: VecDeque::new(),
            interrupted: resumed.interrupted,
            full: None,
        }
    }

    /// What the next connection has to know; this one is over.
    pub(super) fn leave(&mut self) -> Resumed {
        let mut interrupted = std::mem::take(&mut self.interrupted);
        let sent = |(packet_id, what): (_, Awaited)| Some((what.publish()?, packet_id));
        interrupted.extend(self.awaited.drain().filter_map(sent));
        while interrupted.len() > MOST_UNACKNOWLEDGED {
            interrupted.pop_first();
        }
        let (next_ack, last_packet_id) = (self.next_ack(), self.last_packet_id);
        Resumed { next_ack, last_packet_id, interrupted }
    }

    /// The number that the next message at QoS 1 will have.
    fn next_ack(&self) -> AckId {
        self.first_ack + self.unacknowledged.len() as AckId
    }

    pub(super) fn is_writable(&self) -> bool {
        !self.io.is_wr_backpressure()
    }

    pub(super) fn turn_is_over(&mut self, in_flight: usize) {
        self.quick_ack.turn_is_over(in_flight);
    }

    pub(super) fn publish(&mut self, message: &Message, id: SendId) -> Result<(), SendError> {
        let packet_id = match message.qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => match self.packet_id_to_publish(id) {
                Ok(packet_id) => Some(packet_id),
                Err(reason) => {
                    self.refuse(Awaited::Publish(id), reason);
                    return Ok(());
                }
            },
        };
        let (writer, limit) = (&mut self.writer, self.codec.max_outbound_size());
        let written = self.io.with_write_buf(|buf| writer.write(message, packet_id, limit, buf));
        written.unwrap_or(Err(SendError::Disconnected))?;
        if let Some(packet_id) = packet_id {
            self.interrupted.remove(&id);
            self.awaited.insert(packet_id, Awaited::Publish(id));
        }
        Ok(())
    }

    pub(super) fn subscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        let topic_filters = subscriptions.iter().map(convert::subscription).collect();
        self.request(id, |packet_id| {
            Packet::Subscribe(Subscribe {
                packet_id,
                id: None,
                user_properties: Vec::new(),
                topic_filters,
            })
        });
    }

    pub(super) fn unsubscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        let topic_filters = subscriptions.iter().map(|s| convert::subscription(s).0).collect();
        self.request(id, |packet_id| {
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                user_properties: Vec::new(),
                topic_filters,
            })
        });
    }

    fn request(&mut self, id: SendId, packet: impl FnOnce(NonZeroU16) -> Packet) {
        let awaited = Awaited::Subscription(id);
        // It leaves before what is sent again, which has to have the identifier that it had
        // [MQTT-4.4.0-1].
        let earlier: HashSet<NonZeroU16> = self.interrupted.values().copied().collect();
        let other = self.next_packet_id_unless(|id| earlier.contains(&id));
        let Some(packet_id) = other.or_else(|| self.next_packet_id()) else {
            return self.refuse(awaited, ReasonCode::QUOTA_EXCEEDED);
        };
        match self.send(packet(packet_id)) {
            Ok(()) => drop(self.awaited.insert(packet_id, awaited)),
            Err(_) => self.refuse(awaited, ReasonCode::PACKET_TOO_LARGE),
        }
    }

    fn refuse(&mut self, what: Awaited, reason: ReasonCode) {
        self.refusals.push_back(match what {
            Awaited::Publish(id) => Event::Acknowledged(id, reason.into()),
            Awaited::Subscription(id) => Event::Subscribed(id, vec![reason]),
        });
    }

    fn packet_id_to_publish(&mut self, id: SendId) -> Result<NonZeroU16, ReasonCode> {
        if !self.at_least_once {
            return Err(ReasonCode::QOS_NOT_SUPPORTED); // [MQTT-3.2.2-11]
        }
        let earlier = self.interrupted.get(&id).copied();
        if let Some(earlier) = earlier.filter(|earlier| !self.awaited.contains_key(earlier)) {
            return Ok(earlier);
        }
        self.next_packet_id().ok_or(ReasonCode::QUOTA_EXCEEDED)
    }

    /// One that is not in use; `None` when all are.
    fn next_packet_id(&mut self) -> Option<NonZeroU16> {
        self.next_packet_id_unless(|_| false)
    }

    fn next_packet_id_unless(
        &mut self,
        is_reserved: impl Fn(NonZeroU16) -> bool,
    ) -> Option<NonZeroU16> {
        for _ in 0..=u16::MAX {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let id = NonZeroU16::new(self.last_packet_id);
            if id.is_some_and(|id| !self.awaited.contains_key(&id) && !is_reserved(id)) {
                return id;
            }
        }
        None
    }

    /// Numbers that are unknown, or belong to an earlier session, are ignored.
    pub(super) fn acknowledge(&mut self, ack: AckId, reason: ReasonCode) {
        let place = ack.checked_sub(self.first_ack).and_then(|place| usize::try_from(place).ok());
        let Some(waiting) = place.and_then(|place| self.unacknowledged.get_mut(place)) else {
            return;
        };
        let reason = PublishAckReason::try_from(reason.get());
        waiting.reason = Some(reason.unwrap_or(PublishAckReason::UnspecifiedError));
        // PUBACKs leave in the order in which the messages arrived [MQTT-4.6.0-2].
        while let Some(Unacknowledged { packet_id, reason: Some(reason_code) }) =
            self.unacknowledged.front()
        {
            let ack = PublishAck {
                packet_id: *packet_id,
                reason_code: *reason_code,
                ..PublishAck::default()
            };
            self.unacknowledged.pop_front();
            self.first_ack += 1;
            // Fails only when the packet is too large; this one has four bytes.
            let _ = self.send(Packet::PublishAck(ack));
        }
    }

    pub(super) fn refusal(&mut self) -> Option<Event> {
        self.refusals.pop_front()
    }

    /// The next thing that happens.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Ended>> {
        loop {
            if self.io.is_wr_backpressure() {
                match self.poll_writable(cx) {
                    Poll::Ready(Ok(event)) => return Poll::Ready(Ok(event)),
                    Poll::Pending if self.is_flooded() => return Poll::Pending,
                    // Reading must go on: a server that cannot write to us may not read either. And
                    // what came before the connection was lost is read.
                    Poll::Pending | Poll::Ready(Err(_)) => {}
                }
            }
            let framing = Framing::new(&self.codec, self.partial.is_some());
            match self.io.poll_recv(&framing, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(decoded)) => {
                    self.keep_alive.heard();
                    if is_acknowledged(&decoded) {
                        self.quick_ack.want();
                    }
                    if let Some(event) = self.receive(decoded).transpose() {
                        return Poll::Ready(event);
                    }
                }
                Poll::Ready(Err(RecvError::WriteBackpressure)) => {
                    let _ = self.io.poll_read_ready(cx);
                    return self.poll_writable(cx);
                }
                Poll::Ready(Err(RecvError::Decoder(error))) => {
                    tracing::warn!(%error, "a packet from the server cannot be read");
                    let reason = match error {
                        DecodeError::MaxSizeExceeded { .. } => DisconnectReasonCode::PacketTooLarge,
                        _ => DisconnectReasonCode::MalformedPacket,
                    };
                    return Poll::Ready(Err(Ended::Violated(reason)));
                }
                Poll::Ready(Err(RecvError::PeerGone(error))) => {
                    if let Some(error) = error {
                        // TLS and WebSocket are broken as well, not only the network.
                        tracing::debug!(%error, "the connection is lost");
                    }
                    return Poll::Ready(Err(Ended::Lost));
                }
                Poll::Ready(Err(RecvError::KeepAlive)) => return Poll::Ready(Err(Ended::Lost)),
            }
        }
    }

    /// Waits until the socket has taken enough of what was written.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Ended>> {
        let flushed = ready!(self.io.poll_flush(cx, false));
        self.full = None;
        Poll::Ready(flushed.map(|()| Event::Writable).map_err(|_| Ended::Lost))
    }

    /// Whether the full write buffer has grown by more answers than a server may ask for that keeps to
    /// the Receive Maximum.
    fn is_flooded(&mut self) -> bool {
        let waiting = self.io.with_write_dst_buf(|buffer| buffer.len());
        waiting > *self.full.get_or_insert(waiting) + MOST_ANSWERS
    }

    fn receive(&mut self, decoded: Decoded) -> Result<Option<Event>, Ended> {
        match decoded {
            Decoded::Publish(packet, payload, _) => {
                if payload.len() == packet.payload_size as usize {
                    return self.message(packet, payload);
                }
                self.partial = Some(packet);
                Ok(None)
            }
            // The codec is set to give a payload that came late in one piece.
            Decoded::PayloadChunk(payload, _) => match self.partial.take() {
                Some(packet) => self.message(packet, payload),
                None => Err(Ended::Violated(DisconnectReasonCode::ProtocolError)),
            },
            Decoded::Packet(packet, _) => self.packet(packet),
        }
    }

    fn message(&mut self, packet: Publish, payload: NtexBytes) -> Result<Option<Event>, Ended> {
        let packet_id = packet.packet_id;
        if packet.qos == QoS::ExactlyOnce {
            // No subscription asks for it [MQTT-3.8.4-8].
            return Err(Ended::Violated(DisconnectReasonCode::QosNotSupported));
        }
        if packet.properties.topic_alias.is_some() {
            // CONNECT allows none [MQTT-3.1.2-27].
            return Err(Ended::Violated(DisconnectReasonCode::TopicAliasInvalid));
        }
        let ack = packet_id.map(|packet_id| self.expect_acknowledgement(packet_id)).transpose()?;
        match convert::message(packet, payload, &mut self.last_topics) {
            Ok(message) => Ok(Some(Event::Message(message, ack))),
            Err(error) => {
                tracing::debug!(%error, "a message whose topic is none");
                if let Some(ack) = ack {
                    self.acknowledge(ack, ReasonCode::TOPIC_NAME_INVALID);
                }
                Ok(None)
            }
        }
    }

    fn expect_acknowledgement(&mut self, packet_id: NonZeroU16) -> Result<AckId, Ended> {
        if self.unacknowledged.len() >= MOST_UNACKNOWLEDGED {
            return Err(Ended::Violated(DisconnectReasonCode::ReceiveMaximumExceeded));
        }
        let ack = self.next_ack();
        self.unacknowledged.push_back(Unacknowledged { packet_id, reason: None });
        Ok(ack)
    }

    fn packet(&mut self, packet: Packet) -> Result<Option<Event>, Ended> {
        let (packet_id, reasons) = match packet {
            Packet::PublishAck(ack) => {
                let id = self.answered(ack.packet_id, Awaited::publish);
                return Ok(id.map(|id| Event::Acknowledged(id, convert::acknowledgement(&ack))));
            }
            Packet::SubscribeAck(ack) => (ack.packet_id, codes(ack.status)),
            Packet::UnsubscribeAck(ack) => (ack.packet_id, codes(ack.status)),
            Packet::PingResponse => return Ok(None),
            Packet::Disconnect(packet) => return Err(closed_by_server(&packet)),
            _ => return Err(Ended::Violated(DisconnectReasonCode::ProtocolError)),
        };
        let id = self.answered(packet_id, Awaited::subscription);
        Ok(id.map(|id| Event::Subscribed(id, reasons)))
    }

    /// What an acknowledgement is for. One for nothing, or for a packet of another kind, is ignored.
    fn answered(
        &mut self,
        packet_id: NonZeroU16,
        of_kind: impl Fn(Awaited) -> Option<SendId>,
    ) -> Option<SendId> {
        let Entry::Occupied(awaited) = self.awaited.entry(packet_id) else { return None };
        let id = of_kind(*awaited.get())?;
        awaited.remove();
        Some(id)
    }

    fn send(&self, packet: Packet) -> Result<(), EncodeError> {
        self.io.encode(Encoded::Packet(packet), &self.codec)
    }

    /// Writes a DISCONNECT. What is returned must be shut down for it to leave.
    pub(super) fn disconnect(self, reason: DisconnectReasonCode) -> IoBoxed {
        let _ = self.send(Packet::Disconnect(Disconnect::new(reason)));
        self.io
    }
}

/// Whether it is a message at QoS 1, or a PUBACK.
fn is_acknowledged(decoded: &Decoded) -> bool {
    match decoded {
        Decoded::Publish(packet, ..) => packet.packet_id.is_some(),
        Decoded::Packet(packet, _) => matches!(packet, Packet::PublishAck(_)),
        Decoded::PayloadChunk(..) => false,
    }
}

fn codes<R: Into<u8>>(reasons: Vec<R>) -> Vec<ReasonCode> {
    reasons.into_iter().map(|reason| ReasonCode::new(reason.into())).collect()
}

fn closed_by_server(packet: &Disconnect) -> Ended {
    let reason = ReasonCode::new(packet.reason_code.into());
    let text = packet.reason_string.as_deref().unwrap_or_default();
    tracing::info!(%reason, text, "the server closes the connection");
    match packet.reason_code {
        DisconnectReasonCode::SessionTakenOver => Ended::TakenOver,
        _ => Ended::Lost,
    }
}

#[cfg(test)]
mod tests;

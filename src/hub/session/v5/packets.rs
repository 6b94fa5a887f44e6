//! What is done for each packet of a client.

use std::num::NonZeroU16;

use ntex::util::Bytes as NtexBytes;
use ntex_mqtt::QoS;
use ntex_mqtt::v5::codec::{
    Decoded, Disconnect, DisconnectReasonCode, Encoded, Packet, Publish, PublishAck,
    PublishAckReason, PublishProperties, Subscribe, SubscribeAck, SubscribeAckReason,
    SubscriptionOptions, Unsubscribe, UnsubscribeAck, UnsubscribeAckReason,
};

use super::{Connection, Ended, Subscriptions};
use crate::core::packet::{ReasonCode, Subscription};
use crate::core::topic::{TopicError, TopicFilter};
use crate::hub::convert;
use crate::hub::session::take_turns;
use crate::link::ntex::convert::message;
use crate::link::{Absence, Acknowledgement};

impl Connection {
    /// Does what a packet asks for. One that changes subscriptions is given back: it takes its time.
    pub(super) fn receive(&mut self, decoded: Decoded) -> Result<Option<Subscriptions>, Ended> {
        match decoded {
            Decoded::Publish(packet, payload, _) => self.publish(packet, payload)?,
            Decoded::Packet(Packet::PublishAck(ack), _) => {
                self.outbound.acknowledged(ack.packet_id);
                if self.seat.client.is_waiting() {
                    self.seat.worker.drain(&self.seat.client);
                }
            }
            Decoded::Packet(Packet::Subscribe(packet), _) => {
                return Ok(Some(Subscriptions::Begin(packet)));
            }
            Decoded::Packet(Packet::Unsubscribe(packet), _) => {
                return Ok(Some(Subscriptions::End(packet)));
            }
            Decoded::Packet(Packet::PingRequest, _) => self.send(Packet::PingResponse),
            Decoded::Packet(Packet::Disconnect(packet), _) => return Err(self.left(&packet)),
            // Nothing else may come from a client of a server without QoS 2 and AUTH.
            Decoded::Packet(..) => {
                return Err(Ended::Violated(DisconnectReasonCode::ProtocolError));
            }
            // The codec is set to wait for the whole payload, and gets only whole packets.
            Decoded::PayloadChunk(..) => {
                return Err(Ended::Violated(DisconnectReasonCode::MalformedPacket));
            }
        }
        Ok(None)
    }

    fn send(&self, packet: Packet) {
        // It fails when the connection is lost, and then nobody is to be told.
        let _ = self.io.encode(Encoded::Packet(packet), &*self.codec);
    }

    fn publish(&mut self, mut packet: Publish, payload: NtexBytes) -> Result<(), Ended> {
        if let Some(alias) = packet.properties.topic_alias {
            let resolved = self.aliases.resolve(alias.get(), &mut packet.topic);
            resolved.map_err(Ended::Violated)?;
        }
        check(&packet, &payload).map_err(Ended::Violated)?;
        let packet_id = packet.packet_id;
        let acknowledgement =
            if let Ok(mut message) = message(packet, payload, &mut self.last_topics) {
                // [MQTT-3.3.1-3]
                message.dup = false;
                self.seat.worker.publish(&self.seat.client, message)
            } else {
                self.seat.worker.shared.counters.refused.increment();
                ReasonCode::TOPIC_NAME_INVALID.into()
            };
        if let Some(packet_id) = packet_id {
            self.send(Packet::PublishAck(puback(packet_id, acknowledgement)));
        }
        Ok(())
    }

    /// A SUBACK or an UNSUBACK with so many reason codes, which the client may be unable to take
    /// [MQTT-3.1.2-24]. The codec would subtract them from what it may.
    fn check_reasons(&self, count: usize) -> Result<(), Ended> {
        let (limit, identifier_and_properties) = (self.codec.max_outbound_size() as usize, 3);
        if limit > 0 && count + identifier_and_properties > limit {
            return Err(Ended::Violated(DisconnectReasonCode::PacketTooLarge));
        }
        Ok(())
    }

    pub(super) async fn change_subscriptions(
        &mut self,
        packet: Subscriptions,
    ) -> Result<(), Ended> {
        match packet {
            Subscriptions::Begin(packet) => self.subscribe(packet).await,
            Subscriptions::End(packet) => self.unsubscribe(&packet).await,
        }
    }

    async fn subscribe(&mut self, packet: Subscribe) -> Result<(), Ended> {
        let Subscribe { packet_id, id, topic_filters, .. } = packet;
        if id.is_some() {
            // CONNACK has said that there are none [MQTT-3.2.2.3.12].
            let reason = DisconnectReasonCode::SubscriptionIdentifiersNotSupported;
            return Err(Ended::Violated(reason));
        }
        if topic_filters.is_empty() {
            // [MQTT-3.8.3-2]
            return Err(Ended::Violated(DisconnectReasonCode::ProtocolError));
        }
        self.check_reasons(topic_filters.len())?;
        let mut status = Vec::with_capacity(topic_filters.len());
        for (place, (filter, options)) in topic_filters.into_iter().enumerate() {
            take_turns(place).await;
            let reason = match subscription(&filter, options)? {
                Some(wanted) => self.seat.worker.subscribe(&self.seat.client, wanted).await,
                None => ReasonCode::TOPIC_FILTER_INVALID,
            };
            let reason = SubscribeAckReason::try_from(reason.get());
            status.push(reason.unwrap_or(SubscribeAckReason::UnspecifiedError));
        }
        let (properties, reason_string) = (Vec::new(), None);
        self.send(Packet::SubscribeAck(SubscribeAck {
            packet_id,
            properties,
            reason_string,
            status,
        }));
        Ok(())
    }

    async fn unsubscribe(&mut self, packet: &Unsubscribe) -> Result<(), Ended> {
        if packet.topic_filters.is_empty() {
            // [MQTT-3.10.3-2]
            return Err(Ended::Violated(DisconnectReasonCode::ProtocolError));
        }
        self.check_reasons(packet.topic_filters.len())?;
        let mut status = Vec::with_capacity(packet.topic_filters.len());
        for (place, filter) in packet.topic_filters.iter().enumerate() {
            take_turns(place).await;
            let reason = match topic_filter(filter)? {
                Some(filter) => self.seat.worker.unsubscribe(&self.seat.client, &filter),
                None => ReasonCode::TOPIC_FILTER_INVALID,
            };
            let reason = UnsubscribeAckReason::try_from(reason.get());
            status.push(reason.unwrap_or(UnsubscribeAckReason::UnspecifiedError));
        }
        let (properties, reason_string) = (Vec::new(), None);
        self.send(Packet::UnsubscribeAck(UnsubscribeAck {
            packet_id: packet.packet_id,
            properties,
            reason_string,
            status,
        }));
        Ok(())
    }

    fn left(&self, packet: &Disconnect) -> Ended {
        if packet.session_expiry_interval_secs.is_some_and(|s| s > 0) && !self.session_expires {
            // MQTT 5 §3.14.2.2.2
            return Ended::Violated(DisconnectReasonCode::ProtocolError);
        }
        if packet.reason_code == DisconnectReasonCode::NormalDisconnection {
            // [MQTT-3.14.4-3]
            self.seat.client.will.borrow_mut().take();
        }
        self.seat.client.has_left.set(true);
        Ended::Left
    }
}

/// What CONNACK has said that there is not, and what no message may be.
fn check(packet: &Publish, payload: &NtexBytes) -> Result<(), DisconnectReasonCode> {
    if payload.len() != packet.payload_size as usize {
        // The codec gets only whole packets.
        Err(DisconnectReasonCode::MalformedPacket)
    } else if has_null(packet) {
        // [MQTT-1.5.4-2]
        Err(DisconnectReasonCode::MalformedPacket)
    } else if packet.retain {
        // [MQTT-3.2.2-14]
        Err(DisconnectReasonCode::RetainNotSupported)
    } else if packet.qos == QoS::ExactlyOnce {
        // [MQTT-3.2.2-11]
        Err(DisconnectReasonCode::QosNotSupported)
    } else if packet.topic.is_empty() || !packet.properties.subscription_ids.is_empty() {
        // MQTT 5 §3.3.2.1, [MQTT-3.3.4-6]
        Err(DisconnectReasonCode::ProtocolError)
    } else if packet.topic.contains(['+', '#']) {
        // [MQTT-3.3.2-2]
        Err(DisconnectReasonCode::TopicNameInvalid)
    } else {
        Ok(())
    }
}

/// Whether one of the strings that others would get has U+0000, which the codec lets through.
fn has_null(packet: &Publish) -> bool {
    let PublishProperties { content_type, response_topic, user_properties, .. } =
        &packet.properties;
    let mut texts = [content_type, response_topic].into_iter().flatten().chain([&packet.topic]);
    texts.any(|text| text.contains('\0')) || convert::have_null(user_properties)
}

/// `None`: it is well formed, and not one that this crate accepts.
fn subscription(filter: &str, options: SubscriptionOptions) -> Result<Option<Subscription>, Ended> {
    let Some(filter) = topic_filter(filter)? else { return Ok(None) };
    if options.no_local && filter.share_name().is_some() {
        // [MQTT-3.8.3-4]
        return Err(Ended::Violated(DisconnectReasonCode::ProtocolError));
    }
    let qos = convert::from_qos(options.qos);
    Ok(Some(Subscription { filter, qos, no_local: options.no_local }))
}

fn topic_filter(filter: &str) -> Result<Option<TopicFilter>, Ended> {
    match TopicFilter::new(filter) {
        Ok(filter) => Ok(Some(filter)),
        // [MQTT-4.7.1-1], [MQTT-4.7.1-2]
        Err(TopicError::MisplacedWildcard) => {
            Err(Ended::Violated(DisconnectReasonCode::TopicFilterInvalid))
        }
        // [MQTT-4.7.3-2]
        Err(_) if filter.contains('\0') => {
            Err(Ended::Violated(DisconnectReasonCode::MalformedPacket))
        }
        Err(_) => Ok(None),
    }
}

/// The codec leaves the property out for a client that wants none [MQTT-3.1.2-29], or that takes no
/// packet of this size [MQTT-3.4.2-3].
fn puback(
    packet_id: NonZeroU16,
    Acknowledgement { reason, absence }: Acknowledgement,
) -> PublishAck {
    let reason = PublishAckReason::try_from(reason.get());
    let reason_code = reason.unwrap_or(PublishAckReason::UnspecifiedError);
    let device = absence.map(|absence| (Absence::PROPERTY.into(), absence.as_str().into()));
    PublishAck {
        packet_id,
        reason_code,
        properties: device.into_iter().collect(),
        reason_string: None,
    }
}

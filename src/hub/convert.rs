//! Between our view of a message and that of ntex's server, for both versions of the protocol.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use bytes::Bytes;
use ntex::io::IoBoxed;
use ntex::io::types::PeerAddr;
use ntex::util::{ByteString, Bytes as NtexBytes};
use ntex_mqtt::{QoS, v3, v5};

use crate::core::packet::{Message, Properties, Qos, ReasonCode, UserProperties};
use crate::core::topic::{TopicError, TopicName};
use crate::link::ntex::convert;

/// A message that leaves to an MQTT 3.1.1 client: topic and payload.
pub(super) fn to_v3(message: &Message) -> (v3::codec::Publish, NtexBytes) {
    let packet = v3::codec::Publish {
        dup: false,
        retain: false,
        qos: convert::qos(message.qos),
        topic: ByteString::from(message.topic.as_str()),
        packet_id: None,
        payload_size: 0,
    };
    (packet, NtexBytes::copy_from_slice(&message.payload))
}

/// A message from an MQTT 3.1.1 client.
pub(super) fn from_v3(topic: &str, qos: QoS, payload: NtexBytes) -> Result<Message, TopicError> {
    let mut message = Message::new(TopicName::new(topic)?, convert::bytes(payload));
    message.qos = from_qos(qos);
    Ok(message)
}

/// The hub has no QoS 2; what asks for it gets QoS 1.
pub(super) fn from_qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Qos::AtLeastOnce,
    }
}

/// Whether U+0000 is in a user property.
pub(super) fn have_null(pairs: &[(ByteString, ByteString)]) -> bool {
    pairs.iter().any(|(name, value)| name.contains('\0') || value.contains('\0'))
}

/// What is published for a client that is lost. `None` when its topic, or its response topic, is not
/// a topic name.
pub(super) fn will_v5(will: &v5::codec::LastWill) -> Option<Message> {
    let mut message = will_message(&will.topic, will.qos, &will.message)?;
    let text = |text: &Option<ByteString>| text.as_ref().map(|t| t.as_str().to_owned().into());
    let user = will.user_properties.iter();
    message.properties = Properties {
        response_topic: will.response_topic.as_deref().map(TopicName::new).transpose().ok()?,
        correlation_data: will.correlation_data.as_deref().map(Bytes::copy_from_slice),
        message_expiry: will.message_expiry_interval.map(NonZeroU32::get),
        content_type: text(&will.content_type),
        utf8_payload: will.is_utf8_payload.unwrap_or_default(),
        user: user.map(|(n, v)| (n.to_string(), v.to_string())).collect::<UserProperties>(),
    };
    Some(message)
}

/// What is published for a client that is lost. `None` when its topic is not a topic name.
pub(super) fn will_v3(will: &v3::codec::LastWill) -> Option<Message> {
    will_message(&will.topic, will.qos, &will.message)
}

fn will_message(topic: &str, qos: QoS, payload: &[u8]) -> Option<Message> {
    let mut message = Message::new(TopicName::new(topic).ok()?, Bytes::copy_from_slice(payload));
    message.qos = from_qos(qos);
    Some(message)
}

/// A DISCONNECT that says why.
pub(super) fn disconnect(reason: ReasonCode) -> v5::codec::Disconnect {
    let reason = v5::codec::DisconnectReasonCode::try_from(reason.get());
    v5::codec::Disconnect::new(reason.unwrap_or(v5::codec::DisconnectReasonCode::UnspecifiedError))
}

/// Where a connection comes from.
pub(super) fn peer_address(io: &IoBoxed) -> Option<SocketAddr> {
    io.query::<PeerAddr>().get().map(|address| address.0)
}

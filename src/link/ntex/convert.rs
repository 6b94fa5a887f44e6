//! Between our view of an Application Message and ntex's.
//!
//! Payloads that arrive are not copied. Payloads that leave are copied once, into the write buffer:
//! what ntex could take over without a copy would need unsafe code.

use std::borrow::Cow;
use std::num::NonZeroU32;

use bytes::Bytes;
use ntex::util::{ByteString, Bytes as NtexBytes};
use ntex_mqtt::v5::codec::RetainHandling;
use ntex_mqtt::v5::codec::{Publish, PublishAck};
use ntex_mqtt::v5::{QoS, codec::SubscriptionOptions};

use crate::core::packet::{
    Message, Properties, Qos, ReasonCode, Subscription, Text, UserProperties,
};
use crate::core::short;
use crate::core::topic::{TopicError, TopicName, is_unsafe};
use crate::link::{Absence, Acknowledgement, SendError};

/// Names of user properties that need no allocation when they arrive.
const KNOWN_NAMES: [&str; 5] =
    ["timeout-ms", "status", "status-message", "traceparent", "tracestate"];

/// Content types that need none.
const KNOWN_CONTENT_TYPES: [&str; 2] = ["application/json", "application/octet-stream"];

/// The longest string or binary data in a packet (MQTT 5 §1.5.4, §1.5.6).
pub(super) const MAX_FIELD: usize = 65_535;

/// The greatest Remaining Length (MQTT 5 §1.5.5).
pub(super) const MAX_PACKET: usize = 268_435_455;

/// The topics of the message before. Most that arrive on one connection are for the same topic, or
/// are answered on the same topic, which is then neither checked nor copied again.
#[derive(Debug, Default)]
pub(crate) struct LastTopics {
    topic: Option<TopicName>,
    response_topic: Option<TopicName>,
}

/// The same topic again, or another one that is remembered in its place.
fn topic(last: &mut Option<TopicName>, text: &str) -> Result<TopicName, TopicError> {
    match last {
        Some(last) if last.as_str() == text => Ok(last.clone()),
        _ => Ok(last.insert(TopicName::new(text)?).clone()),
    }
}

/// A message that arrived. Fails when its topic or its response topic is none; there are no topic
/// aliases, as none were allowed in CONNECT.
pub(crate) fn message(
    packet: Publish,
    payload: NtexBytes,
    last: &mut LastTopics,
) -> Result<Message, TopicError> {
    let Publish { dup, retain, qos, topic: name, properties, .. } = packet;
    let response_topic = properties.response_topic.as_deref();
    let response_topic = response_topic.map(|name| topic(&mut last.response_topic, name));
    Ok(Message {
        topic: topic(&mut last.topic, &name)?,
        payload: bytes(payload),
        qos: if qos == QoS::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retain,
        dup,
        properties: Properties {
            response_topic: response_topic.transpose()?,
            // Copied, as it may be remembered for long: a view would keep a whole read buffer.
            correlation_data: properties.correlation_data.map(|data| short::copy_of(&data)),
            message_expiry: properties.message_expiry_interval.map(NonZeroU32::get),
            content_type: properties.content_type.map(|text| known(&text, &KNOWN_CONTENT_TYPES)),
            utf8_payload: properties.is_utf8_payload,
            user: user_properties(&properties.user_properties),
        },
    })
}

fn user_properties(pairs: &[(ByteString, ByteString)]) -> UserProperties {
    pairs.iter().map(|(name, value)| (known(name, &KNOWN_NAMES), owned(value))).collect()
}

fn known(text: &ByteString, known: &[&'static str]) -> Text {
    let found = known.iter().find(|known| ***known == **text);
    found.map_or_else(|| owned(text), |known| Cow::Borrowed(*known))
}

fn owned(text: &ByteString) -> Text {
    Cow::Owned(text.as_str().to_owned())
}

/// What a PUBACK says.
pub(super) fn acknowledgement(ack: &PublishAck) -> Acknowledgement {
    match ReasonCode::new(ack.reason_code.into()) {
        ReasonCode::NO_MATCHING_SUBSCRIBERS => {
            let device = ack.properties.iter().find(|(name, _)| **name == *Absence::PROPERTY);
            Acknowledgement::absent(device.and_then(|(_, value)| Absence::parse(value)))
        }
        reason => reason.into(),
    }
}

/// The same bytes, not copied.
pub(crate) fn bytes(data: NtexBytes) -> Bytes {
    if data.is_empty() { Bytes::new() } else { Bytes::from_owner(data) }
}

/// Whether the message can be written as a packet at all. A field that is too long must be found
/// before the first byte is written: half a packet cannot be taken back.
pub(crate) fn check(message: &Message) -> Result<(), SendError> {
    let Properties { response_topic, correlation_data, content_type, user, .. } =
        &message.properties;
    let length = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
    let longest_pair = user.iter().map(|(name, value)| name.len().max(value.len())).max();
    let fields = [
        response_topic.as_ref().map_or(0, |topic| topic.as_str().len()),
        length(content_type),
        correlation_data.as_ref().map_or(0, Bytes::len),
        longest_pair.unwrap_or(0),
    ];
    for (size, limit) in
        [(fields.into_iter().max().unwrap_or(0), MAX_FIELD), (message.size(), MAX_PACKET)]
    {
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
    }
    Ok(())
}

/// U+0000 is forbidden, and a server may close the connection because of any other control
/// character or a noncharacter (MQTT 5 §1.5.4); Mosquitto does. A line break in an error message must not cost
/// everybody on this link the connection, so that they are written as `?`, which is never longer.
pub(crate) fn without_control(text: &str) -> Cow<'_, str> {
    if text.contains(is_unsafe) { text.replace(is_unsafe, "?").into() } else { text.into() }
}

pub(crate) fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

/// A subscription as it stands in a SUBSCRIBE. Retained messages are not asked for: a request or
/// an answer is never one, and those that come nevertheless must be seen to be retained.
pub(crate) fn subscription(subscription: &Subscription) -> (ByteString, SubscriptionOptions) {
    let options = SubscriptionOptions {
        qos: qos(subscription.qos),
        no_local: subscription.no_local,
        retain_as_published: true,
        retain_handling: RetainHandling::NoAtSubscribe,
    };
    (ByteString::from(subscription.filter.as_str()), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_message() -> Message {
        let topic = TopicName::new("recipes/soup/get").expect("valid");
        let mut message = Message::new(topic, vec![7; 5000]);
        message.properties = Properties {
            response_topic: Some(TopicName::new("clients/M7/responses").expect("valid")),
            correlation_data: Some(Bytes::from_static(b"0123456789abcdef0123456789")),
            message_expiry: Some(3),
            content_type: Some("application/json".into()),
            utf8_payload: true,
            user: [("timeout-ms", "2500"), ("mine", "value"), ("mine", "again")]
                .into_iter()
                .collect(),
        };
        message
    }

    #[test]
    fn known_names_are_borrowed() {
        let text = |text: &'static str| ByteString::from_static(text);
        let pairs = [(text("timeout-ms"), text("1")), (text("mine"), text("2"))];
        let properties = user_properties(&pairs);
        let borrowed: Vec<bool> =
            properties.pairs().map(|(name, _)| matches!(name, Cow::Borrowed(_))).collect();
        assert_eq!(borrowed, [true, false]);
    }

    #[test]
    fn a_payload_that_arrives_is_not_copied() {
        let data = NtexBytes::from(vec![1; 100]);
        let address = data.as_ptr();
        assert_eq!(bytes(data).as_ptr(), address);
    }

    #[test]
    fn what_cannot_be_written_is_found_before() {
        assert_eq!(check(&full_message()), Ok(()));
        let mut long = full_message();
        long.properties.user.push("name", "v".repeat(65_536));
        assert_eq!(check(&long), Err(SendError::TooLarge { size: 65_536, limit: MAX_FIELD }));
        let mut huge = full_message();
        huge.payload = Bytes::from(vec![0; MAX_PACKET]);
        assert!(matches!(check(&huge), Err(SendError::TooLarge { limit: MAX_PACKET, .. })));
    }

    #[test]
    fn topics_are_remembered_and_never_confused() {
        let mut last = LastTopics::default();
        for (topic, response_topic) in [("a", "r"), ("a", "r"), ("b", "r"), ("a", "s"), ("r", "a")]
        {
            let mut packet = Publish { topic: topic.into(), ..Publish::default() };
            packet.properties.response_topic = Some(response_topic.into());
            let message = message(packet, NtexBytes::new(), &mut last).expect("topics");
            assert_eq!(message.topic.as_str(), topic);
            let answers = message.properties.response_topic.expect("it was set");
            assert_eq!(answers.as_str(), response_topic);
        }
    }

    #[test]
    fn a_response_topic_with_a_wildcard_is_refused() {
        let mut packet = Publish { topic: ByteString::from_static("a"), ..Publish::default() };
        packet.properties.response_topic = Some(ByteString::from_static("a/+"));
        let refused = message(packet, NtexBytes::new(), &mut LastTopics::default());
        assert_eq!(refused, Err(TopicError::Wildcard));
    }

    #[test]
    fn a_topic_with_a_wildcard_is_refused() {
        let packet = Publish { topic: ByteString::from_static("a/#"), ..Publish::default() };
        let refused = message(packet, NtexBytes::new(), &mut LastTopics::default());
        assert_eq!(refused, Err(TopicError::Wildcard));
    }
}

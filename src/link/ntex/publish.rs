//! PUBLISH packets that leave, written straight from our own view of a message.
//!
//! ntex-mqtt's codec would want a packet of its own first: a copy of each text, and a list of them,
//! which costs more than the writing.

use std::num::NonZeroU16;

use bytes::BufMut;
use ntex::util::BytePages;

use super::convert::{MAX_FIELD, MAX_PACKET, without_control};
use crate::core::packet::{Message, Properties, Qos};
use crate::core::wire::{put_length, size_of_length};
use crate::link::SendError;

/// Writes PUBLISH packets (MQTT 5 §3.3). Its memory is used again for each.
#[derive(Debug, Default)]
pub(crate) struct PublishWriter {
    header: Vec<u8>,
    properties: Vec<u8>,
}

impl PublishWriter {
    /// Writes a message. `packet_id` belongs to QoS 1; `limit` is what the receiver takes in bytes, 0
    /// when it has not said.
    ///
    /// # Errors
    /// [`SendError::TooLarge`]; nothing was written then.
    pub(crate) fn write(
        &mut self,
        message: &Message,
        packet_id: Option<NonZeroU16>,
        limit: u32,
        buffer: &mut BytePages,
    ) -> Result<(), SendError> {
        self.properties.clear();
        properties(&message.properties, &mut self.properties)?;
        self.header.clear();
        let size = header(message, packet_id, self.properties.len(), &mut self.header)?;
        let limit = limit as usize;
        if limit > 0 && size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        buffer.extend_from_slice(&self.header);
        buffer.extend_from_slice(&self.properties);
        buffer.extend_from_slice(&message.payload);
        Ok(())
    }
}

/// Everything before the properties; the size of the whole packet.
fn header(
    message: &Message,
    packet_id: Option<NonZeroU16>,
    properties: usize,
    out: &mut Vec<u8>,
) -> Result<usize, SendError> {
    let topic = message.topic.as_str();
    let identifier = if packet_id.is_some() { 2 } else { 0 };
    let lengths = 2 + topic.len() + identifier + size_of_length(properties);
    let remaining = lengths + properties + message.payload.len();
    if remaining > MAX_PACKET {
        return Err(SendError::TooLarge { size: remaining, limit: MAX_PACKET });
    }
    let qos = if message.qos == Qos::AtMostOnce { 0 } else { 0b0010 };
    out.put_u8(0x30 | u8::from(message.dup) << 3 | qos | u8::from(message.retain));
    put_length(remaining, out);
    binary(topic.as_bytes(), out)?;
    if let Some(packet_id) = packet_id {
        out.put_u16(packet_id.get());
    }
    put_length(properties, out);
    Ok(1 + size_of_length(remaining) + remaining)
}

/// MQTT 5 §3.3.2.3.
fn properties(properties: &Properties, out: &mut Vec<u8>) -> Result<(), SendError> {
    if properties.utf8_payload {
        out.put_slice(&[0x01, 1]);
    }
    if let Some(seconds) = properties.message_expiry {
        out.put_u8(0x02);
        // Zero would be no time at all; one second is what comes closest.
        out.put_u32(seconds.max(1));
    }
    if let Some(content_type) = &properties.content_type {
        out.put_u8(0x03);
        text(content_type, out)?;
    }
    if let Some(topic) = &properties.response_topic {
        out.put_u8(0x08);
        binary(topic.as_str().as_bytes(), out)?;
    }
    if let Some(data) = &properties.correlation_data {
        out.put_u8(0x09);
        binary(data, out)?;
    }
    for (name, value) in properties.user.iter() {
        out.put_u8(0x26);
        text(name, out)?;
        text(value, out)?;
    }
    Ok(())
}

fn text(text: &str, out: &mut Vec<u8>) -> Result<(), SendError> {
    binary(without_control(text).as_bytes(), out)
}

/// A string or binary data (MQTT 5 §1.5.4, §1.5.6).
fn binary(data: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
    let Ok(length) = u16::try_from(data.len()) else {
        return Err(SendError::TooLarge { size: data.len(), limit: MAX_FIELD });
    };
    out.put_u16(length);
    out.put_slice(data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use ntex::codec::Decoder;
    use ntex::util::{BytePageSize, BytesMut};
    use ntex_mqtt::v5::codec::{Codec, Decoded};
    use proptest::prelude::*;

    use super::*;
    use crate::core::topic::TopicName;
    use crate::link::ntex::convert::{self, LastTopics};

    fn write(message: &Message, id: Option<u16>, limit: u32) -> Result<BytesMut, SendError> {
        let mut pages = BytePages::new(BytePageSize::Size16);
        let id = id.and_then(NonZeroU16::new);
        let written = PublishWriter::default().write(message, id, limit, &mut pages);
        let mut all = BytesMut::new();
        while let Some(page) = pages.take() {
            all.extend_from_slice(&page);
        }
        assert_eq!(all.is_empty(), written.is_err(), "all or nothing");
        written.map(|()| all)
    }

    /// As ntex-mqtt reads it.
    fn read(mut bytes: BytesMut) -> (Option<NonZeroU16>, Message) {
        let codec = Codec::new();
        codec.set_min_chunk_size(u32::MAX);
        let decoded = codec.decode(&mut bytes).expect("well formed");
        assert!(bytes.is_empty(), "nothing behind it");
        let Some(Decoded::Publish(packet, payload, _)) = decoded else { panic!("a PUBLISH") };
        let packet_id = packet.packet_id;
        let message = convert::message(packet, payload, &mut LastTopics::default());
        (packet_id, message.expect("valid topics"))
    }

    fn data(most: usize) -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![0..40_usize, (0..most).no_shrink()];
        length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length))
    }

    fn topic() -> impl Strategy<Value = TopicName> {
        "[a-zé/]{1,200}".prop_map(|text| TopicName::new(text).expect("valid"))
    }

    fn properties() -> impl Strategy<Value = Properties> {
        let user = prop::collection::vec(("[a-z]{0,9}", "[a-zß ]{0,200}"), 0..4);
        let known = (
            prop::option::of(topic()),
            prop::option::of(data(300)),
            prop::option::of(1..u32::MAX),
            prop::option::of("[a-zü/]{0,40}"),
            any::<bool>(),
        );
        (known, user).prop_map(|((response_topic, correlation, expiry, kind, utf8), user)| {
            Properties {
                response_topic,
                correlation_data: correlation.map(Into::into),
                message_expiry: expiry,
                content_type: kind.map(Into::into),
                utf8_payload: utf8,
                user: user.into_iter().collect(),
            }
        })
    }

    prop_compose! {
        fn message()(
            topic in topic(),
            payload in data(20_000),
            at_least_once: bool,
            (retain, dup) in any::<(bool, bool)>(),
            properties in properties(),
        ) -> Message {
            let qos = if at_least_once { Qos::AtLeastOnce } else { Qos::AtMostOnce };
            Message { topic, payload: payload.into(), qos, retain, dup, properties }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn what_is_written_is_read_as_it_was(message in message(), id in 1..u16::MAX) {
            let id = (message.qos == Qos::AtLeastOnce).then_some(id);
            let written = write(&message, id, 0).expect("no limit");
            let size = u32::try_from(written.len()).expect("small");
            prop_assert_eq!(read(written), (id.and_then(NonZeroU16::new), message.clone()));
            prop_assert!(write(&message, id, size).is_ok());
            let too_large = SendError::TooLarge { size: size as usize, limit: size as usize - 1 };
            prop_assert_eq!(write(&message, id, size - 1), Err(too_large));
        }
    }

    #[test]
    fn control_characters_become_question_marks_and_no_time_becomes_a_second() {
        let mut message = Message::new(TopicName::new("t").expect("valid"), "");
        message.qos = Qos::AtMostOnce;
        message.properties.message_expiry = Some(0);
        message.properties.content_type = Some("a\0b".into());
        message.properties.user.push("line\nbreak", "\u{85}.\u{7f}\u{FFFF}");
        let (_, read) = read(write(&message, None, 0).expect("no limit"));
        assert_eq!(read.properties.message_expiry, Some(1));
        assert_eq!(read.properties.content_type.as_deref(), Some("a?b"));
        assert_eq!(read.properties.user.iter().collect::<Vec<_>>(), [("line?break", "?.??")]);
    }

    #[test]
    fn what_no_packet_can_carry_is_refused() {
        let refused = |change: &dyn Fn(&mut Message)| {
            let mut message = Message::new(TopicName::new("t").expect("valid"), "");
            message.qos = Qos::AtMostOnce;
            change(&mut message);
            write(&message, None, 0).map(|_| ())
        };
        let field = Err(SendError::TooLarge { size: 65_536, limit: MAX_FIELD });
        let long = || "v".repeat(65_536);
        assert_eq!(refused(&|m| m.properties.user.push("name", long())), field);
        assert_eq!(refused(&|m| m.properties.content_type = Some(long().into())), field);
        assert_eq!(refused(&|m| m.properties.correlation_data = Some(long().into())), field);
        let huge = refused(&|m| m.payload = vec![0; MAX_PACKET].into());
        assert!(matches!(huge, Err(SendError::TooLarge { limit: MAX_PACKET, .. })));
    }
}

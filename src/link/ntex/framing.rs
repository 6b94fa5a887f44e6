//! Packets that are what their length says.

use ntex::codec::Decoder;
use ntex::util::BytesMut;
use ntex_mqtt::error::DecodeError;
use ntex_mqtt::v5::codec::{Codec, Decoded};

use crate::core::wire::{Short, length, publish};

const PUBLISH: u8 = 3;

/// Decodes packets as ntex-mqtt's codec does, which takes a PUBLISH whose header is longer than its
/// Remaining Length for one with almost 4 GiB of payload, or panics where overflow is checked.
pub(super) struct Framing<'a> {
    codec: &'a Codec,
    /// The codec has seen the header of a PUBLISH, and waits for its payload.
    in_payload: bool,
}

impl<'a> Framing<'a> {
    pub(super) fn new(codec: &'a Codec, in_payload: bool) -> Self {
        Self { codec, in_payload }
    }

    /// Whether the codec may see these bytes: a whole packet, or the whole header of a PUBLISH. So each
    /// time that it is asked again they begin with a packet, or with the rest of a payload.
    fn is_complete(&self, bytes: &[u8]) -> Result<bool, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(false) };
        let (remaining, width) = match length(rest) {
            Ok(length) => length,
            Err(Short::Unfinished) => return Ok(false),
            Err(Short::Malformed) => return Err(DecodeError::InvalidLength),
        };
        let longest = self.codec.max_inbound_size() as usize;
        if longest > 0 && remaining > longest {
            return Ok(true); // It is refused for that.
        }
        let body = &rest[width..];
        let whole = body.len() >= remaining;
        if first >> 4 != PUBLISH {
            return Ok(whole);
        }
        match publish(first, &body[..body.len().min(remaining)], true) {
            Ok(_) => Ok(true),
            Err(Short::Unfinished) if !whole => Ok(false),
            Err(_) => Err(DecodeError::InvalidLength),
        }
    }
}

impl Decoder for Framing<'_> {
    type Item = Decoded;
    type Error = DecodeError;

    fn decode(&self, bytes: &mut BytesMut) -> Result<Option<Decoded>, DecodeError> {
        if self.in_payload || self.is_complete(bytes)? {
            self.codec.decode(bytes)
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBACK: [u8; 4] = [0x40, 2, 0, 9];
    const PUBLISH: [u8; 14] = [0x32, 12, 0, 1, b't', 0, 7, 4, 0x03, 0, 1, b'x', b'h', b'i'];

    fn codec() -> Codec {
        let codec = Codec::new();
        codec.set_max_inbound_size(1000);
        codec.set_min_chunk_size(u32::MAX);
        codec
    }

    #[test]
    fn packets_that_come_byte_by_byte_are_read_whole() {
        let (codec, mut bytes) = (codec(), BytesMut::new());
        let (mut in_payload, mut seen) = (false, Vec::new());
        for byte in [&PUBACK[..], &PUBLISH, &PUBACK].concat() {
            bytes.extend_from_slice(&[byte]);
            match Framing::new(&codec, in_payload).decode(&mut bytes).expect("well formed") {
                None => {}
                Some(Decoded::Publish(packet, payload, _)) => {
                    assert_eq!((&*packet.topic, payload.len()), ("t", 0));
                    in_payload = true;
                }
                Some(Decoded::PayloadChunk(payload, true)) => {
                    in_payload = false;
                    seen.push(payload.to_vec());
                }
                Some(_) => seen.push(Vec::new()),
            }
        }
        assert_eq!(seen, [&b""[..], b"hi", b""]);
    }

    #[test]
    fn a_header_that_is_longer_than_its_packet_is_refused() {
        // A topic, a packet identifier, properties, and their length are too long, or all missing.
        for remaining in 0..10 {
            let mut bytes = BytesMut::copy_from_slice(PUBLISH);
            bytes[1] = remaining;
            let error = Framing::new(&codec(), false).decode(&mut bytes).expect_err("too short");
            assert_eq!(error, DecodeError::InvalidLength, "{remaining}");
        }
        let mut bytes = BytesMut::copy_from_slice(PUBLISH);
        bytes[1] = 10;
        let decoded = Framing::new(&codec(), false).decode(&mut bytes);
        assert!(matches!(decoded, Ok(Some(Decoded::Publish(_, payload, _))) if payload.is_empty()));
    }

    #[test]
    fn what_is_too_large_is_refused_at_once() {
        for first in [0x30, 0x40] {
            let mut bytes = BytesMut::copy_from_slice([first, 0xE9, 0x07]);
            let error = Framing::new(&codec(), false).decode(&mut bytes).expect_err("1001");
            assert!(matches!(error, DecodeError::MaxSizeExceeded { .. }), "{error:?}");
        }
        let mut bytes = BytesMut::copy_from_slice([0x30, 0xFF, 0xFF, 0xFF, 0xFF]);
        Framing::new(&codec(), false).decode(&mut bytes).expect_err("no length");
    }
}

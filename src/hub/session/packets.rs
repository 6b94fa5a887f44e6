//! Packets are shown to ntex-mqtt when they are there completely.
//!
//! It would start with a PUBLISH before its payload has come. What follows such a message has to wait
//! for it [MQTT-4.6.0-6], in a task for each, and as a read mostly ends within a packet, that would be
//! nearly every message of a busy connection. This way none waits: all that a read has brought are
//! taken in one go, and what is written for them leaves at once.

use std::cell::Cell;
use std::io;

use ntex::io::{FilterBuf, FilterLayer};
use ntex::util::{BytePages, BytesMut};

use super::well_formed::may_be_shown;
use crate::core::wire::{Reader, Short, length, put_length};

/// A layer under MQTT that keeps back what is not a whole packet, and presents MQTT 3.1 as 3.1.1, which is
/// all that ntex-mqtt knows.
#[derive(Debug)]
pub(in crate::hub) struct WholePackets {
    /// The greatest Remaining Length.
    longest: usize,
    /// What CONNECT says.
    version: Cell<Option<u8>>,
    /// There was a packet that must not be shown.
    malformed: Cell<bool>,
}

impl WholePackets {
    pub(in crate::hub) fn new(longest: u32) -> Self {
        let (longest, version) = (longest as usize, Cell::new(None));
        Self { longest, version, malformed: Cell::new(false) }
    }

    /// How many of these bytes are whole packets. All of them when there is one that ntex-mqtt will
    /// refuse, which need not be complete for that; those before one that it would not.
    fn complete(&self, bytes: &[u8]) -> usize {
        let mut end = 0;
        while let Some((&first, rest)) = bytes[end..].split_first() {
            match length(rest) {
                Err(Short::Unfinished) => return end,
                Ok((remaining, _)) if remaining > self.longest => return bytes.len(),
                Ok((remaining, width)) => {
                    let Some(body) = rest.get(width..width + remaining) else { return end };
                    if !self.may_be_shown(first, body) {
                        self.malformed.set(true);
                        return end;
                    }
                    end += 1 + width + remaining;
                }
                Err(Short::Malformed) => return bytes.len(),
            }
        }
        end
    }

    /// Whether ntex-mqtt can be trusted with a packet.
    fn may_be_shown(&self, first: u8, body: &[u8]) -> bool {
        if self.version.get().is_none() {
            self.version.set(protocol_version(body));
        }
        may_be_shown(first, body, self.version.get())
    }
}

const CONNECT: u8 = 1;

/// What is shown in the place of a packet that must not be: a type that there is not (MQTT 5 §2.1.2).
const MALFORMED: [u8; 2] = [0, 0];

/// How the body of a CONNECT begins: the name of the protocol, and its level.
const V31: &[u8] = b"\0\x06MQIsdp\x03";
const V311: &[u8] = b"\0\x04MQTT\x04";

/// How a record of TLS begins that holds a part of the handshake (RFC 8446 §5.1). No packet that a
/// client may begin with does.
const TLS_HANDSHAKE: [u8; 2] = [22, 3];

/// The version of the protocol that a connection begins with; `None` when that is no CONNECT of MQTT.
pub(super) fn version(bytes: &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    let (remaining, width) = length(rest).ok()?;
    let body = &rest[width..];
    let connect = &body[..remaining.min(body.len())];
    if first >> 4 == CONNECT { protocol_version(connect) } else { None }
}

/// The version in a CONNECT, behind the name of the protocol (MQTT 5 §3.1.2.2).
fn protocol_version(connect: &[u8]) -> Option<u8> {
    let mut connect = Reader(connect);
    let name = connect.data().ok()?;
    if name == b"MQTT" { connect.byte().ok() } else { None }
}

/// Presents a CONNECT of MQTT 3.1 as one of 3.1.1, which differs in nothing that matters to a server:
/// what replaces its beginning, and the rest of the bytes. `None`: it is none, or not there completely.
fn as_v311(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (remaining, width) = length(rest).ok()?;
    let rest = rest.get(width..)?;
    if first >> 4 != CONNECT || !rest.get(..remaining)?.starts_with(V31) {
        return None;
    }
    let mut head = vec![first];
    put_length(remaining - (V31.len() - V311.len()), &mut head);
    head.extend_from_slice(V311);
    Some((head, &rest[V31.len()..]))
}

/// Looks at what a connection begins with.
fn begin(buf: &FilterBuf<'_>, source: &mut BytesMut) -> io::Result<()> {
    let wrong = |problem: &str| Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    if source.starts_with(&TLS_HANDSHAKE) {
        return wrong("the client speaks TLS, and this listener does not");
    }
    // [MQTT-3.1.0-1]; it is not waited for the end of what would be another packet.
    if source.first().is_some_and(|first| first >> 4 != CONNECT && *first != TLS_HANDSHAKE[0]) {
        return wrong("the client does not begin with CONNECT");
    }
    if let Some((head, rest)) = as_v311(source) {
        let mut presented = buf.io().cfg().read_buf().get();
        presented.extend_from_slice(&head);
        presented.extend_from_slice(rest);
        release(buf, std::mem::replace(source, presented));
    }
    Ok(())
}

impl FilterLayer for WholePackets {
    fn process_read_buf(&self, buf: &FilterBuf<'_>) -> io::Result<()> {
        buf.with_read_buffers(|from, to| {
            let Some(source) = from else { return Ok(()) };
            if self.version.get().is_none() {
                begin(buf, source)?;
            }
            let complete = if self.malformed.get() { 0 } else { self.complete(source) };
            if self.malformed.get() {
                to.extend_from_slice(&source[..complete]);
                to.extend_from_slice(&MALFORMED);
                source.clear();
                return Ok(());
            }
            if complete == 0 {
                return Ok(());
            }
            if !to.is_empty() {
                to.extend_from_slice(&source.split_to(complete));
                return Ok(());
            }
            // The beginning of a packet is what is copied, and not the packets before it.
            let mut rest = buf.io().cfg().read_buf().get();
            rest.extend_from_slice(&source[complete..]);
            source.truncate(complete);
            let whole = std::mem::replace(source, rest);
            release(buf, std::mem::replace(to, whole));
            Ok(())
        })
    }

    fn process_write_buf(&self, buf: &FilterBuf<'_>) -> io::Result<()> {
        buf.with_write_buffers(BytePages::move_to);
        Ok(())
    }
}

fn release(buf: &FilterBuf<'_>, unused: BytesMut) {
    buf.io().cfg().read_buf().release(unused);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Behind a CONNECT of this version.
    fn limit(version: u8) -> WholePackets {
        let limit = WholePackets::new(1000);
        assert_eq!(limit.complete(&[0x10, 7, 0, 4, b'M', b'Q', b'T', b'T', version]), 9);
        limit
    }

    /// Of no particular kind.
    fn packet(remaining: usize) -> Vec<u8> {
        let byte = |value: usize| u8::try_from(value).expect("at most 1000");
        let (low, high) = (byte(remaining & 0x7F), byte(remaining >> 7));
        let mut packet = if high == 0 { vec![0xC0, low] } else { vec![0xC0, low | 0x80, high] };
        packet.resize(packet.len() + remaining, 0xFF);
        packet
    }

    proptest! {
        #[test]
        fn packets_are_seen_when_their_last_byte_is_there(
            lengths in proptest::collection::vec(0_usize..1000, 0..5),
            cut in 0_usize..6000,
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for length in lengths {
                bytes.extend(packet(length));
                ends.push(bytes.len());
            }
            let cut = cut.min(bytes.len());
            let whole = ends.into_iter().filter(|end| *end <= cut).max();
            prop_assert_eq!(Some(limit(5).complete(&bytes[..cut])), whole);
        }
    }

    proptest! {
        #[test]
        fn a_connect_of_3_1_is_presented_as_one_of_3_1_1(
            tail in proptest::collection::vec(any::<u8>(), 0..300),
            next in proptest::collection::vec(any::<u8>(), 0..9),
            missing in 1_usize..400,
        ) {
            let connect = |body: &[u8]| {
                let mut packet = packet(body.len());
                packet.truncate(packet.len() - body.len());
                packet[0] = 0x10;
                [&packet, body].concat()
            };
            let old = connect(&[V31, &tail].concat());
            let (head, rest) = as_v311(&old).expect("it is one");
            prop_assert_eq!([&head, rest].concat(), connect(&[V311, &tail].concat()));
            let more = [&old[..], &next].concat();
            let (head, rest) = as_v311(&more).expect("it is one");
            prop_assert_eq!([&head, rest].concat(), [connect(&[V311, &tail].concat()), next].concat());
            prop_assert_eq!(as_v311(&old[..old.len().saturating_sub(missing)]), None);
        }

        #[test]
        fn whatever_comes_is_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(as_v311(&bytes).is_none());
            prop_assert!(WholePackets::new(1000).complete(&bytes) <= bytes.len());
        }
    }

    #[test]
    fn what_is_no_whole_connect_of_3_1_stays_as_it_is() {
        for bytes in [
            &b"\x10\x09\0\x06MQIsdp\x04"[..], // another level
            b"\x20\x09\0\x06MQIsdp\x03",      // no CONNECT
            b"\x10\x08\0\x06MQIsdp\x03",      // longer than its packet
            b"\x10\xFF\xFF\xFF\xFF\0\x06MQIsdp\x03",
            b"\x10\x07\0\x04MQTT\x04",
        ] {
            assert_eq!(as_v311(bytes), None);
        }
    }

    #[test]
    fn what_will_be_refused_is_not_waited_for() {
        let too_long = [0x30, 0xE9, 0x07]; // 1001
        assert_eq!(limit(5).complete(&too_long), 3);
        let no_length = [0x30, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(limit(5).complete(&no_length), 5);
        assert_eq!(limit(5).complete(&no_length[..4]), 0);
    }

    #[test]
    fn a_header_that_is_longer_than_its_packet_is_not_shown() {
        let complete = |version, packet: &[u8]| {
            let limit = limit(version);
            (limit.complete(&[&[0xC0, 0], packet].concat()), limit.malformed.get())
        };
        let topic = [0x30, 4, 0, 1, b't', 1, b'!'];
        assert_eq!(complete(4, &topic), (8, false), "the version has no properties");
        assert_eq!(complete(5, &topic), (2, true), "one byte of properties is missing");
        assert_eq!(complete(4, &[0x32, 4, 0, 1, b't', 1, b'!']), (2, true));
    }
}

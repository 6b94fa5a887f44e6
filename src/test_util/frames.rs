//! Cuts a stream of bytes into MQTT packets.

use bytes::{Buf, Bytes, BytesMut};

use super::packet::is_first_byte;
use crate::core::wire;
use crate::core::wire::Short;

/// The longest packet that is kept until it is complete. The bytes of a longer one pass as they
/// come.
pub(super) const MAX_PACKET: usize = 1024 * 1024;

/// What a CONNECT begins with, after its length: the names of the protocol (MQTT 5 §3.1.2.1, and
/// what MQTT 3.1 had).
const NAMES: [&[u8]; 2] = [b"\0\x04MQTT", b"\0\x06MQIsdp"];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole packet, and how many bytes of it are its fixed header.
    Packet(Bytes, usize),
    /// Bytes that are not looked at.
    Raw(Bytes),
}

#[derive(Debug)]
enum Mode {
    /// Nothing was read yet, and only a CONNECT may come.
    Connect,
    Packets,
    /// So many bytes of a long packet are still to come.
    Long(usize),
    Raw,
}

/// Takes bytes in, and gives frames out. What it keeps is one packet at most, and what was read
/// with it.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) buffer: BytesMut,
    mode: Mode,
}

impl Frames {
    /// For what a client sends.
    pub(super) fn from_client() -> Self {
        Self { buffer: BytesMut::new(), mode: Mode::Connect }
    }

    /// For what a server sends.
    pub(super) fn from_server() -> Self {
        Self { buffer: BytesMut::new(), mode: Mode::Packets }
    }

    /// Nothing is looked at any more.
    pub(super) fn give_up(&mut self) {
        self.mode = Mode::Raw;
    }

    /// The next frame, if there is one.
    pub(super) fn next(&mut self) -> Option<Frame> {
        if self.buffer.is_empty() {
            return None;
        }
        match self.mode {
            Mode::Raw => Some(Frame::Raw(self.take(self.buffer.len()))),
            Mode::Long(left) => {
                let now = left.min(self.buffer.len());
                self.mode = if now < left { Mode::Long(left - now) } else { Mode::Packets };
                Some(Frame::Raw(self.take(now)))
            }
            Mode::Connect if !may_be_connect(&self.buffer) => {
                self.give_up();
                self.next()
            }
            Mode::Connect | Mode::Packets => self.packet(),
        }
    }

    fn packet(&mut self) -> Option<Frame> {
        let (body, width) = match wire::length(self.buffer.get(1..)?) {
            _ if !is_first_byte(*self.buffer.first()?) => {
                self.give_up();
                return self.next();
            }
            Err(Short::Malformed) => {
                self.give_up();
                return self.next();
            }
            Err(Short::Unfinished) => return None,
            Ok(length) => length,
        };
        let header = 1 + width;
        let length = header + body;
        if length > MAX_PACKET {
            self.mode = Mode::Long(length);
            return self.next();
        }
        if self.buffer.len() < length {
            return None;
        }
        self.mode = Mode::Packets;
        Some(Frame::Packet(self.take(length), header))
    }

    /// A copy: a packet that is held for long must not hold the buffer that it came in.
    fn take(&mut self, count: usize) -> Bytes {
        let taken = Bytes::copy_from_slice(&self.buffer[..count]);
        self.buffer.advance(count);
        taken
    }
}

fn may_be_connect(bytes: &[u8]) -> bool {
    let Some((0x10, rest)) = bytes.split_first() else { return false };
    match wire::length(rest) {
        Err(Short::Malformed) => false,
        Err(Short::Unfinished) => true,
        Ok((_, width)) => {
            let start = rest.get(width..).unwrap_or_default();
            NAMES.iter().any(|name| start.iter().zip(*name).all(|(found, wanted)| found == wanted))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(frames: &mut Frames) -> Vec<Frame> {
        std::iter::from_fn(|| frames.next()).collect()
    }

    const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x05\0\0\0\0\0\0";
    const PING: &[u8] = b"\xC0\0";

    #[test]
    fn packets_are_the_same_however_the_bytes_come() {
        let stream = [CONNECT, PING, PING].concat();
        for piece in 1..=stream.len() {
            let mut frames = Frames::from_client();
            let mut seen = Vec::new();
            for bytes in stream.chunks(piece) {
                frames.buffer.extend_from_slice(bytes);
                seen.extend(all(&mut frames));
            }
            let packet = |bytes: &[u8]| Frame::Packet(Bytes::copy_from_slice(bytes), 2);
            assert_eq!(seen, [packet(CONNECT), packet(PING), packet(PING)], "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_mqtt_is_not_waited_for() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"\x16\x03\x01", b"\x10\x0d\0\x04HTTP", b"\0"] {
            let mut frames = Frames::from_client();
            frames.buffer.extend_from_slice(bytes);
            assert_eq!(all(&mut frames), [Frame::Raw(Bytes::copy_from_slice(bytes))]);
        }
    }

    #[test]
    fn malformed_bytes_pass_after_the_packets_before_them() {
        for bad in [&b"\x30\xFF\xFF\xFF\xFF\x01"[..], b"\0\x01\x02"] {
            let mut frames = Frames::from_client();
            frames.buffer.extend_from_slice(&[CONNECT, bad].concat());
            let seen = all(&mut frames);
            assert_eq!(seen[0], Frame::Packet(Bytes::from_static(CONNECT), 2));
            assert_eq!(seen[1..], [Frame::Raw(Bytes::copy_from_slice(bad))]);
        }
    }

    #[test]
    fn a_long_packet_is_not_kept_and_the_next_is_seen() {
        let mut frames = Frames::from_server();
        // 2 MiB.
        frames.buffer.extend_from_slice(b"\x30\x80\x80\x80\x01");
        let mut passed = 0;
        let mut rest = 5 + 2 * 1024 * 1024;
        while rest > 0 {
            let now = rest.min(60_000).min(rest);
            let fill = if passed == 0 { now - 5 } else { now };
            frames.buffer.extend_from_slice(&vec![0; fill]);
            rest -= now;
            for frame in all(&mut frames) {
                let Frame::Raw(bytes) = frame else { panic!("{frame:?}") };
                passed += bytes.len();
            }
            assert!(frames.buffer.is_empty());
        }
        assert_eq!(passed, 5 + 2 * 1024 * 1024);
        frames.buffer.extend_from_slice(PING);
        assert_eq!(all(&mut frames), [Frame::Packet(Bytes::from_static(PING), 2)]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_changed(
            begin in prop::sample::select(&[CONNECT, b"", b"\x10"][..]),
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8, Just(0x30)], 0..200),
            piece in 1..50_usize,
        ) {
            let sent = [begin, &bytes].concat();
            let mut frames = Frames::from_client();
            let mut seen = Vec::new();
            for piece in sent.chunks(piece) {
                frames.buffer.extend_from_slice(piece);
                seen.extend(all(&mut frames));
            }
            frames.give_up();
            seen.extend(all(&mut frames));
            let seen = seen.into_iter().map(|frame| match frame {
                Frame::Packet(bytes, _) | Frame::Raw(bytes) => bytes,
            });
            prop_assert_eq!(seen.collect::<Vec<_>>().concat(), sent);
        }
    }
}

//! What the proxy sees of an MQTT packet, of MQTT 3.1, 3.1.1 and 5.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::core::packet::ReasonCode;
use crate::core::wire::{Publish, Reader};

/// Topic aliases that are remembered for one direction of a connection; a PUBLISH with a higher one
/// and no topic has none in its [`Packet`].
const MAX_ALIAS: u16 = 1_024;

/// Which way something goes through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the broker.
    ToServer,
    /// From the broker to the client.
    ToClient,
}

impl Direction {
    /// Both, for what shall happen in each.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    pub(super) fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// The type of a packet (MQTT 5 §2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// CONNECT.
    Connect,
    /// CONNACK.
    ConnAck,
    /// PUBLISH.
    Publish,
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
    /// SUBSCRIBE.
    Subscribe,
    /// SUBACK.
    SubAck,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// UNSUBACK.
    UnsubAck,
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect,
    /// AUTH, of MQTT 5.
    Auth,
    /// Bytes that are not looked at: of a connection that does not speak MQTT, or speaks it in TLS
    /// or WebSocket, or of a packet that is too long.
    Raw,
}

impl Kind {
    /// By the first byte of a packet. `None`: there is no such packet.
    fn of(first: u8) -> Option<Self> {
        const KINDS: [Kind; 15] = [
            Kind::Connect,
            Kind::ConnAck,
            Kind::Publish,
            Kind::PubAck,
            Kind::PubRec,
            Kind::PubRel,
            Kind::PubComp,
            Kind::Subscribe,
            Kind::SubAck,
            Kind::Unsubscribe,
            Kind::UnsubAck,
            Kind::PingReq,
            Kind::PingResp,
            Kind::Disconnect,
            Kind::Auth,
        ];
        KINDS.get(usize::from(first >> 4).checked_sub(1)?).copied()
    }
}

/// A packet on its way through the proxy.
#[derive(Clone)]
#[non_exhaustive]
pub struct Packet {
    /// The connection: they are numbered from 1 in the order in which they were accepted.
    pub connection: u64,
    /// The client identifier of the connection's CONNECT, unless it is empty or not known yet.
    pub client_id: Option<Arc<str>>,
    /// Which way it goes.
    pub direction: Direction,
    /// What it is.
    pub kind: Kind,
    /// Of a PUBLISH; where it has a topic alias instead, the topic that this stands for.
    pub topic: Option<Arc<str>>,
    /// The packet identifier, where there is one.
    pub packet_id: Option<u16>,
    /// Of a PUBLISH: 0, 1 or 2. 0 for others.
    pub qos: u8,
    /// Of a PUBLISH: it may have been sent before.
    pub dup: bool,
    /// Of CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP and DISCONNECT in MQTT 5.
    pub reason: Option<ReasonCode>,
    /// Of a PUBLISH; empty for others.
    pub payload: Bytes,
    /// Everything, as it is on the wire.
    pub bytes: Bytes,
}

impl fmt::Debug for Packet {
    /// Without the bytes: there may be a password in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("connection", &self.connection)
            .field("client_id", &self.client_id)
            .field("direction", &self.direction)
            .field("kind", &self.kind)
            .field("topic", &self.topic)
            .field("packet_id", &self.packet_id)
            .field("qos", &self.qos)
            .field("dup", &self.dup)
            .field("reason", &self.reason)
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Packet {
    /// Bytes that are not looked at.
    pub(super) fn raw(connection: u64, direction: Direction, bytes: Bytes) -> Self {
        Self {
            connection,
            client_id: None,
            direction,
            kind: Kind::Raw,
            topic: None,
            packet_id: None,
            qos: 0,
            dup: false,
            reason: None,
            payload: Bytes::new(),
            bytes,
        }
    }
}

/// The two formats that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1 and 3.1.1.
    V3,
    V5,
}

/// What a CONNECT says about its connection. `None`: it is none, or of an unknown version.
pub(super) fn read_connect(body: &[u8]) -> Option<(Version, Arc<str>)> {
    let mut body = Reader(body);
    let name = body.data().ok()?;
    // The highest bit of the level is how mosquitto marks a bridge.
    let version = match (name, body.byte().ok()? & 0x7F) {
        (b"MQIsdp", 3) | (b"MQTT", 4) => Version::V3,
        (b"MQTT", 5) => Version::V5,
        _ => return None,
    };
    let _flags_and_keep_alive = body.take(3).ok()?;
    if version == Version::V5 {
        body.properties().ok()?;
    }
    let client_id = str::from_utf8(body.data().ok()?).ok()?;
    Some((version, client_id.into()))
}

/// Topic aliases of one direction of a connection, by what was sent in it so far.
#[derive(Debug, Default)]
pub(super) struct Aliases(HashMap<u16, Arc<str>>);

impl Aliases {
    /// Reads what there is to see. What a body is too short for stays unknown.
    pub(super) fn read(&mut self, packet: &mut Packet, header: usize, version: Version) {
        let Some(kind) = packet.bytes.first().and_then(|first| Kind::of(*first)) else { return };
        packet.kind = kind;
        let bytes = packet.bytes.clone();
        let body = bytes.get(header..).unwrap_or_default();
        match kind {
            Kind::Publish => self.read_publish(packet, body, version),
            Kind::ConnAck if version == Version::V5 => packet.reason = code(body.get(1)),
            Kind::Disconnect if version == Version::V5 => {
                // [MQTT 5 §3.14.2.1] Absent: normal disconnection.
                packet.reason = code(body.first().or(Some(&0)));
            }
            Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
                packet.packet_id = Reader(body).number().ok();
                if version == Version::V5 {
                    // [MQTT 5 §3.4.2.1] Absent: success.
                    packet.reason = code(body.get(2).or(Some(&0)));
                }
            }
            Kind::Subscribe | Kind::SubAck | Kind::Unsubscribe | Kind::UnsubAck => {
                packet.packet_id = Reader(body).number().ok();
            }
            _ => {}
        }
    }

    fn read_publish(&mut self, packet: &mut Packet, body: &[u8], version: Version) {
        let Some(&first) = packet.bytes.first() else { return };
        packet.qos = first >> 1 & 3;
        packet.dup = first & 8 != 0;
        let mut publish = Publish::default();
        // What it is too short for stays unknown.
        let _ = publish.read(first, body, version == Version::V5);
        let Ok(topic) = str::from_utf8(publish.topic) else { return };
        let topic = (!topic.is_empty()).then(|| topic.into());
        packet.topic = self.resolve(topic, topic_alias(publish.properties));
        packet.packet_id = publish.packet_id;
        packet.payload = packet.bytes.slice_ref(publish.payload);
    }

    fn resolve(&mut self, topic: Option<Arc<str>>, alias: Option<u16>) -> Option<Arc<str>> {
        let Some(alias) = alias.filter(|alias| *alias <= MAX_ALIAS) else { return topic };
        if let Some(topic) = &topic {
            self.0.insert(alias, Arc::clone(topic));
        }
        self.0.get(&alias).cloned()
    }
}

fn code(byte: Option<&u8>) -> Option<ReasonCode> {
    byte.copied().map(ReasonCode::new)
}

fn topic_alias(properties: &[u8]) -> Option<u16> {
    let mut properties = Reader(properties);
    loop {
        // Identifiers of MQTT 5 §2.2.2.2, by what follows them.
        let skipped = match properties.byte().ok()? {
            0x23 => return properties.number().ok(),
            0x01 => properties.take(1).map(drop),
            0x02 => properties.take(4).map(drop),
            0x0B => properties.length().map(drop),
            0x03 | 0x08 | 0x09 => properties.data().map(drop),
            0x26 => properties.data().and_then(|_| properties.data()).map(drop),
            _ => return None,
        };
        skipped.ok()?;
    }
}

/// Whether a packet may begin with this byte.
pub(super) fn is_first_byte(first: u8) -> bool {
    Kind::of(first).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], header: usize, version: Version) -> Packet {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut packet = Packet::raw(1, Direction::ToServer, bytes);
        Aliases::default().read(&mut packet, header, version);
        packet
    }

    #[test]
    fn what_each_acknowledgement_says() {
        type Row = (&'static [u8], Kind, Option<u16>, Option<u8>);
        let table: [Row; 7] = [
            (b"\x40\x02\0\x07", Kind::PubAck, Some(7), Some(0)),
            (b"\x40\x03\0\x07\x10", Kind::PubAck, Some(7), Some(0x10)),
            (b"\x20\x03\0\x87\0", Kind::ConnAck, None, Some(0x87)),
            (b"\x90\x04\0\x09\0\0", Kind::SubAck, Some(9), None),
            (b"\xE0\x01\x8E", Kind::Disconnect, None, Some(0x8E)),
            (b"\xE0\0", Kind::Disconnect, None, Some(0)),
            (b"\xD0\0", Kind::PingResp, None, None),
        ];
        for (bytes, kind, id, reason) in table {
            let packet = read(bytes, 2, Version::V5);
            let reason = reason.map(ReasonCode::new);
            assert_eq!((packet.kind, packet.packet_id, packet.reason), (kind, id, reason));
            assert_eq!(read(bytes, 2, Version::V3).reason, None);
        }
    }

    #[test]
    fn an_alias_is_found_behind_other_properties() {
        // Payload format, expiry, content type, response topic, correlation data, user property.
        let properties =
            b"\x01\x01\x02\0\0\0\x05\x03\0\x01j\x08\0\x01r\x09\0\x02ab\x26\0\x01n\0\x01v";
        let alias = [&properties[..], b"\x23\0\x09"].concat();
        assert_eq!((topic_alias(&alias), topic_alias(properties)), (Some(9), None));
        assert_eq!(topic_alias(b"\x77\x23\0\x09"), None, "no property of a PUBLISH");
    }

    #[test]
    fn a_connect_is_read_in_every_version() {
        let table: [(&[u8], _); 4] = [
            (b"\0\x04MQTT\x05\x02\0\x3C\x05\x11\0\0\0\x09\0\x02M7", Some(Version::V5)),
            (b"\0\x04MQTT\x84\x02\0\x3C\0\x02M7", Some(Version::V3)),
            (b"\0\x06MQIsdp\x03\x02\0\x3C\0\x02M7", Some(Version::V3)),
            (b"\0\x04MQTT\x06\x02\0\x3C\0\x02M7", None),
        ];
        for (body, version) in table {
            assert_eq!(read_connect(body), version.map(|version| (version, "M7".into())));
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            first: u8,
            rest in prop::collection::vec(any::<u8>(), 0..60),
            header in 0..70_usize,
            five: bool,
        ) {
            let version = if five { Version::V5 } else { Version::V3 };
            let packet = read(&[&[first], &rest[..]].concat(), header, version);
            prop_assert!(packet.payload.len() <= packet.bytes.len());
            let _ = read_connect(&rest);
        }
    }
}

//! An MQTT client that does only what it is told, byte by byte: for what a well-behaved one never
//! sends, and for properties that it does not show.
#![allow(dead_code, reason = "not every test that shares this file needs all of it")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing that a test waits for takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// Identifiers of properties (MQTT 5 §2.2.2.2).
pub(crate) mod property {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
}

/// Properties as they are written: identifiers with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties(Vec<(u8, Vec<u8>)>);

impl Properties {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn text(mut self, id: u8, text: &str) -> Self {
        self.0.push((id, string(text)));
        self
    }

    pub(crate) fn number(mut self, id: u8, value: u32) -> Self {
        let bytes = value.to_be_bytes();
        self.0.push((id, bytes[4 - width(id)..].to_vec()));
        self
    }

    /// With the value as [`find`](Self::find) gives it.
    pub(crate) fn raw(mut self, id: u8, value: &[u8]) -> Self {
        self.0.push((id, value.to_vec()));
        self
    }

    /// A user property.
    pub(crate) fn pair(mut self, name: &str, value: &str) -> Self {
        self.0.push((property::USER_PROPERTY, [string(name), string(value)].concat()));
        self
    }

    pub(crate) fn find(&self, id: u8) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| *found == id).map(|(_, value)| &value[..])
    }

    /// The value of a string or of binary data, as text.
    pub(crate) fn find_text(&self, id: u8) -> Option<String> {
        self.find(id).map(|value| String::from_utf8(value[2..].to_vec()).expect("UTF-8"))
    }

    pub(crate) fn find_number(&self, id: u8) -> Option<u32> {
        let value = self.find(id)?;
        Some(value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// The value of a user property.
    pub(crate) fn user(&self, name: &str) -> Option<String> {
        let pairs = self.0.iter().filter(|(id, _)| *id == property::USER_PROPERTY);
        pairs.map(|(_, value)| Reader(value).string_pair()).find(|(n, _)| n == name).map(|p| p.1)
    }

    /// The user properties in their order.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let pairs = self.0.iter().filter(|(id, _)| *id == property::USER_PROPERTY);
        pairs.map(|(_, value)| Reader(value).string_pair()).collect()
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let all: Vec<u8> =
            self.0.iter().flat_map(|(id, value)| [&[*id], &value[..]].concat()).collect();
        variable(all.len(), to);
        to.extend(all);
    }
}

/// Bytes of a property that is a number.
fn width(id: u8) -> usize {
    match id {
        property::MESSAGE_EXPIRY | property::SESSION_EXPIRY | property::MAXIMUM_PACKET_SIZE => 4,
        0x13 | property::RECEIVE_MAXIMUM | 0x22 | 0x23 => 2,
        _ => 1,
    }
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("at most 65,535 bytes");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn variable(mut length: usize, to: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(length & 0x7F).expect("seven bits");
        length >>= 7;
        to.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

/// A packet: its first byte, and everything after Remaining Length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    variable(body.len(), &mut packet);
    packet.extend(body);
    packet
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        head.to_vec()
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn string(&mut self) -> String {
        let length = self.two().into();
        String::from_utf8(self.take(length)).expect("UTF-8")
    }

    fn string_pair(&mut self) -> (String, String) {
        (self.string(), self.string())
    }

    fn properties(&mut self) -> Properties {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.byte();
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let all = self.take(length);
        let mut reader = Reader(&all);
        let mut properties = Vec::new();
        while !reader.0.is_empty() {
            let id = reader.byte();
            let length = match id {
                0x26 => {
                    let mut ahead = Reader(reader.0);
                    let (name, value) = ahead.string_pair();
                    4 + name.len() + value.len()
                }
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                    2 + usize::from(Reader(reader.0).two())
                }
                _ => width(id),
            };
            properties.push((id, reader.take(length)));
        }
        Properties(properties)
    }
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck { session_present: bool, reason: u8, properties: Properties },
    Publish(Publish),
    PubAck { id: u16, reason: u8, properties: Properties },
    SubAck { reasons: Vec<u8> },
    UnsubAck { reasons: Vec<u8> },
    PingResp,
    Disconnect { reason: u8 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) id: u16,
    pub(crate) properties: Properties,
}

/// What a CONNECT says.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) version: u8,
    pub(crate) clean_start: bool,
    pub(crate) client_id: String,
    pub(crate) keep_alive: u16,
    pub(crate) credentials: Option<(String, String)>,
    /// Topic, payload, QoS and retain.
    pub(crate) will: Option<(String, String, u8, bool)>,
    pub(crate) properties: Properties,
}

impl Connect {
    /// MQTT 5, a clean start, no keep-alive.
    pub(crate) fn new(client_id: &str) -> Self {
        Self {
            version: 5,
            clean_start: true,
            client_id: client_id.to_owned(),
            keep_alive: 0,
            credentials: None,
            will: None,
            properties: Properties::none(),
        }
    }

    pub(crate) fn version(self, version: u8) -> Self {
        Self { version, ..self }
    }

    /// Goes on with the session that the server kept.
    pub(crate) fn resume(self) -> Self {
        Self { clean_start: false, ..self }
    }

    pub(crate) fn keep_alive(self, keep_alive: u16) -> Self {
        Self { keep_alive, ..self }
    }

    pub(crate) fn credentials(self, user: &str, password: &str) -> Self {
        Self { credentials: Some((user.to_owned(), password.to_owned())), ..self }
    }

    pub(crate) fn will(self, topic: &str, payload: &str, qos: u8, retain: bool) -> Self {
        Self { will: Some((topic.to_owned(), payload.to_owned(), qos, retain)), ..self }
    }

    pub(crate) fn properties(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean_start) << 1;
        let name = if self.version == 3 { "MQIsdp" } else { "MQTT" };
        let mut body = [&string(name)[..], &[self.version]].concat();
        if let Some((_, _, qos, retain)) = &self.will {
            flags |= 0b100 | qos << 3 | u8::from(*retain) << 5;
        }
        if self.credentials.is_some() {
            flags |= 0b1100_0000;
        }
        body.push(flags);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == 5 {
            self.properties.write(&mut body);
        }
        body.extend(string(&self.client_id));
        if let Some((topic, payload, ..)) = &self.will {
            if self.version == 5 {
                body.push(0);
            }
            body.extend(string(topic));
            body.extend(string(payload));
        }
        for text in self.credentials.iter().flat_map(|(user, password)| [user, password]) {
            body.extend(string(text));
        }
        packet(0x10, &body)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    version: u8,
    last_id: u16,
}

impl Raw {
    /// A TCP connection on which nothing was sent.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("an option that TCP has");
        Self { stream, version: 5, last_id: 0 }
    }

    /// The same, for a client of this version.
    pub(crate) async fn open_version(address: SocketAddr, version: u8) -> Self {
        Self { version, ..Self::open(address).await }
    }

    /// Connects, and is accepted, with little room for what it does not read.
    pub(crate) async fn connect_small(address: SocketAddr, connect: &Connect) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(128 * 1024).expect("an option that TCP has");
        let stream = socket.connect(address).await.expect("the server listens");
        let mut raw = Self { stream, version: connect.version, last_id: 0 };
        raw.send(&connect.bytes()).await;
        let answer = raw.read().await;
        assert!(matches!(answer, Some(Packet::ConnAck { reason: 0, .. })), "{answer:?}");
        raw
    }

    /// The connection itself, for bytes that are no packets and for reading nothing.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Where it connects from.
    pub(crate) fn local_address(&self) -> String {
        self.stream.local_addr().expect("connected").to_string()
    }

    /// Sends CONNECT; returns the answer as well.
    pub(crate) async fn try_connect(address: SocketAddr, connect: &Connect) -> (Self, Packet) {
        let mut raw = Self::open(address).await;
        raw.version = connect.version;
        raw.send(&connect.bytes()).await;
        let answer = raw.read().await.expect("a CONNACK");
        (raw, answer)
    }

    /// Connects, and is accepted.
    pub(crate) async fn connect(address: SocketAddr, connect: &Connect) -> Self {
        let (raw, answer) = Self::try_connect(address, connect).await;
        assert!(matches!(answer, Packet::ConnAck { reason: 0, .. }), "{answer:?}");
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = tokio::time::timeout(LIMIT, self.stream.write_all(bytes)).await;
        // A server that has closed the connection is found when its last words are read.
        let _ = sent.expect("the server reads");
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.send_subscribe(filter, options).await;
        match self.read().await {
            Some(Packet::SubAck { reasons }) => reasons[0],
            other => panic!("no SUBACK but {other:?}"),
        }
    }

    pub(crate) async fn send_subscribe(&mut self, filter: &str, options: u8) {
        let mut body = self.next_id().to_be_bytes().to_vec();
        if self.version == 5 {
            body.push(0);
        }
        body.extend(string(filter));
        body.push(options);
        self.send(&packet(0x82, &body)).await;
    }

    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> u8 {
        let mut body = self.next_id().to_be_bytes().to_vec();
        if self.version == 5 {
            body.push(0);
        }
        body.extend(string(filter));
        self.send(&packet(0xA2, &body)).await;
        match self.read().await {
            Some(Packet::UnsubAck { reasons }) => reasons.first().copied().unwrap_or(0),
            other => panic!("no UNSUBACK but {other:?}"),
        }
    }

    /// `first`: the packet's type and flags, 0x30 for a plain one at QoS 0, 0x32 at QoS 1.
    pub(crate) async fn publish(
        &mut self,
        first: u8,
        topic: &str,
        payload: &[u8],
        properties: &Properties,
    ) -> u16 {
        let id = self.next_id();
        let mut body = string(topic);
        if first & 0b0110 != 0 {
            body.extend(id.to_be_bytes());
        }
        if self.version == 5 {
            properties.write(&mut body);
        }
        body.extend(payload);
        self.send(&packet(first, &body)).await;
        id
    }

    /// Publishes at QoS 1 and returns the reason code of PUBACK.
    pub(crate) async fn ask(&mut self, topic: &str, payload: &[u8], properties: &Properties) -> u8 {
        self.ask_why(topic, payload, properties).await.0
    }

    /// Publishes at QoS 1 and returns the reason code of PUBACK, and its properties.
    pub(crate) async fn ask_why(
        &mut self,
        topic: &str,
        payload: &[u8],
        properties: &Properties,
    ) -> (u8, Properties) {
        let sent = self.publish(0x32, topic, payload, properties).await;
        match self.read().await {
            Some(Packet::PubAck { id, reason, properties }) if id == sent => (reason, properties),
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    pub(crate) async fn acknowledge(&mut self, id: u16) {
        self.send(&packet(0x40, &id.to_be_bytes())).await;
    }

    /// A PUBACK with Unspecified error (0x80).
    pub(crate) async fn refuse(&mut self, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.send(&packet(0x40, &[high, low, 0x80, 0])).await;
    }

    pub(crate) async fn ping(&mut self) {
        self.send(&[0xC0, 0]).await;
    }

    /// Says good-bye.
    pub(crate) async fn disconnect(&mut self) {
        self.send(&[0xE0, 0]).await;
    }

    /// The next message, acknowledged when it came at QoS 1.
    pub(crate) async fn message(&mut self) -> Publish {
        match self.read().await {
            Some(Packet::Publish(publish)) => {
                if publish.qos == 1 {
                    self.acknowledge(publish.id).await;
                }
                publish
            }
            other => panic!("no PUBLISH but {other:?}"),
        }
    }

    /// The next packet; `None`: the server has closed the connection.
    pub(crate) async fn read(&mut self) -> Option<Packet> {
        tokio::time::timeout(LIMIT, self.read_packet()).await.expect("something comes, or the end")
    }

    /// The same, for as long as it takes.
    pub(crate) async fn wait(&mut self) -> Option<Packet> {
        self.read_packet().await
    }

    /// Reads to the end of the connection; returns the reason of the DISCONNECT in it, if there is one.
    pub(crate) async fn last_words(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(packet) = self.read().await {
            if let Packet::Disconnect { reason: last } = packet {
                reason = Some(last);
            }
        }
        reason
    }

    async fn read_packet(&mut self) -> Option<Packet> {
        let (first, body) = self.read_body().await?;
        Some(self.parse(first, &body))
    }

    /// The next packet as it is written: its first byte, and everything after Remaining Length.
    pub(crate) async fn read_bytes(&mut self) -> Option<(u8, Vec<u8>)> {
        tokio::time::timeout(LIMIT, self.read_body()).await.expect("something comes, or the end")
    }

    async fn read_body(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((first, body))
    }

    fn parse(&self, first: u8, body: &[u8]) -> Packet {
        let mut reader = Reader(body);
        let five = self.version == 5;
        match first >> 4 {
            2 => Packet::ConnAck {
                session_present: reader.byte() & 1 == 1,
                reason: reader.byte(),
                properties: if five { reader.properties() } else { Properties::none() },
            },
            3 => {
                let qos = first >> 1 & 3;
                let topic = reader.string();
                let id = if qos > 0 { reader.two() } else { 0 };
                let properties = if five { reader.properties() } else { Properties::none() };
                let (retain, dup) = (first & 1 == 1, first & 8 == 8);
                let payload = reader.0.to_vec();
                Packet::Publish(Publish { topic, payload, qos, retain, dup, id, properties })
            }
            4 => {
                let id = reader.two();
                let reason = if reader.0.is_empty() { 0 } else { reader.byte() };
                let none = reader.0.is_empty();
                let properties = if none { Properties::none() } else { reader.properties() };
                Packet::PubAck { id, reason, properties }
            }
            kind @ (9 | 11) => {
                reader.two();
                if five {
                    reader.properties();
                }
                let reasons = reader.0.to_vec();
                if kind == 9 { Packet::SubAck { reasons } } else { Packet::UnsubAck { reasons } }
            }
            13 => Packet::PingResp,
            14 => Packet::Disconnect { reason: reader.0.first().copied().unwrap_or(0) },
            other => panic!("a server does not send packets of type {other}"),
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }
}

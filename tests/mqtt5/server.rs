//! The servers that are held to the standard.

use std::net::{Ipv4Addr, SocketAddr};

use tower_mqtt::Hub;

use crate::mosquitto::Mosquitto;
use crate::raw::{Connect, Packet, Properties, Publish, Raw};

/// Options of a subscription (§3.8.3.1).
pub(crate) const QOS_1: u8 = 1;
pub(crate) const NO_LOCAL: u8 = 0b0100;

/// First bytes of PUBLISH.
pub(crate) const AT_QOS_0: u8 = 0x30;
pub(crate) const AT_QOS_1: u8 = 0x32;

pub(crate) enum Server {
    Hub(Hub),
    Mosquitto(Mosquitto),
}

impl Server {
    pub(crate) async fn hub() -> Self {
        Self::Hub(Hub::builder().bind("127.0.0.1:0").start().await.expect("started"))
    }

    pub(crate) async fn mosquitto() -> Self {
        Self::Mosquitto(Mosquitto::start(&["set_tcp_nodelay true"]).await)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Hub(hub) => hub.local_addr().expect("bound"),
            Self::Mosquitto(broker) => (Ipv4Addr::LOCALHOST, broker.port()).into(),
        }
    }

    /// A client without special wishes.
    pub(crate) async fn client(&self, client_id: &str) -> Raw {
        self.connect(&Connect::new(client_id)).await
    }

    pub(crate) async fn connect(&self, connect: &Connect) -> Raw {
        Raw::connect(self.address(), connect).await
    }

    /// What CONNACK says: Session Present, reason code and properties.
    pub(crate) async fn connack(&self, connect: &Connect) -> (Raw, bool, u8, Properties) {
        match Raw::try_connect(self.address(), connect).await {
            (raw, Packet::ConnAck { session_present, reason, properties }) => {
                (raw, session_present, reason, properties)
            }
            (_, other) => panic!("no CONNACK but {other:?}"),
        }
    }

    /// A client that is subscribed to this at QoS 1.
    pub(crate) async fn subscriber(&self, client_id: &str, filter: &str) -> Raw {
        let mut raw = self.client(client_id).await;
        assert_eq!(raw.subscribe(filter, QOS_1).await, 1);
        raw
    }

    /// The server ends the connection, and says nothing more but why: the hub does say it, with one of
    /// these reasons.
    pub(crate) async fn ends(&self, raw: &mut Raw, reasons: &[u8], what: &str) {
        match (raw.read().await, self) {
            (Some(Packet::Disconnect { reason }), Self::Hub(_)) => {
                assert!(reasons.contains(&reason), "{what}: {reason:#x}");
            }
            (Some(Packet::Disconnect { reason }), Self::Mosquitto(_)) if reason >= 0x80 => {}
            (None, Self::Mosquitto(_)) => return,
            (other, _) => panic!("{what}: not the end but {other:?}"),
        }
        assert_eq!(raw.read().await, None, "{what}");
    }

    /// Sends what is not allowed, as a client of its own; the server [ends](Self::ends) that.
    pub(crate) async fn refuses(&self, bytes: &[u8], reasons: &[u8], what: &str) {
        let mut raw = self.client("offender").await;
        raw.send(bytes).await;
        self.ends(&mut raw, reasons, what).await;
    }

    /// The server does not let in who begins so: it says at most why, and ends the connection.
    pub(crate) async fn rejects(&self, connect: &[u8], what: &str) -> Option<u8> {
        let mut raw = Raw::open(self.address()).await;
        raw.send(connect).await;
        let said = raw.read_bytes().await;
        let (first, body) = said?;
        match first {
            0x20 => assert_eq!(body[0], 0, "{what}: a session in a refusal"),
            other => panic!("{what}: neither CONNACK nor the end, but {other:#x}"),
        }
        // One of a version before MQTT 5 may be answered in its words.
        assert_ne!(body[1], 0, "{what}: accepted");
        assert_eq!(raw.read_bytes().await, None, "{what}");
        Some(body[1])
    }
}

/// Nothing was sent to this client that it has not read: what comes is the answer to a ping.
pub(crate) async fn assert_quiet(raw: &mut Raw, what: &str) {
    raw.ping().await;
    assert_eq!(raw.read().await, Some(Packet::PingResp), "{what}");
}

/// A message without its acknowledgement.
pub(crate) async fn publish(raw: &mut Raw) -> Publish {
    match raw.read().await {
        Some(Packet::Publish(publish)) => publish,
        other => panic!("no PUBLISH but {other:?}"),
    }
}

/// A PUBLISH packet: its first byte, the topic's bytes, and properties as they are written.
pub(crate) fn publish_bytes(first: u8, topic: &[u8], id: u16, properties: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("short").to_be_bytes();
    let mut body = [&length(topic)[..], topic].concat();
    if first & 0b0110 != 0 {
        body.extend(id.to_be_bytes());
    }
    body.push(u8::try_from(properties.len()).expect("short"));
    body.extend(properties);
    crate::raw::packet(first, &body)
}

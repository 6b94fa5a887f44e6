//! Opening a connection, up to CONNECT and CONNACK.

mod open;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "ws")]
mod web_socket;

use std::io;
use std::sync::Arc;

use ntex::SharedCfg;
use ntex::codec::Decoder;
use ntex::io::{IoBoxed, IoConfig};
use ntex::util::{ByteString, Bytes as NtexBytes, BytesMut, Either};
use ntex_mqtt::v5::codec::{
    Codec, Connect, ConnectAck, ConnectAckReason, Decoded, Encoded, Packet,
};
use tokio::time::timeout;

use self::open::open;
#[cfg(feature = "ws")]
pub(super) use self::web_socket::check_header;
use super::address::Scheme;
use super::framing::Framing;
use super::options::Options;
use super::quick_ack::QuickAck;
use crate::core::packet::ReasonCode;
use crate::core::topic::{TopicName, encode_level};
use crate::error::ConnectError;
use crate::link::Connection;

/// Bytes in the write buffer above which nothing is added to it: enough to keep a fast network
/// busy, little enough not to delay what comes after by much.
const WRITE_HIGH: usize = 256 * 1024;

/// Bytes in the read buffer above which nothing more is read.
const READ_HIGH: usize = 64 * 1024;

/// What is kept of an unused buffer.
const BUFFER_LOW: usize = 1024;

/// Unused buffers that are kept.
const BUFFER_CACHE: usize = 8;

/// A connection that the server accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) io: IoBoxed,
    pub(super) codec: Codec,
    pub(super) quick_ack: QuickAck,
    pub(super) connection: Connection,
    pub(super) client_id: String,
    /// Seconds; the server may have set it.
    pub(super) keep_alive: u16,
    /// Whether the server takes QoS 1.
    pub(super) at_least_once: bool,
}

/// The buffers of a client's connections.
pub(super) fn buffers() -> SharedCfg {
    let config = IoConfig::new().set_read_buf(READ_HIGH, BUFFER_LOW, BUFFER_CACHE).set_write_buf(
        WRITE_HIGH,
        BUFFER_LOW,
        BUFFER_CACHE,
    );
    SharedCfg::new("tower-mqtt").add(config).build()
}

/// Connects within the connect timeout.
pub(super) async fn connect(
    options: Arc<Options>,
    buffers: SharedCfg,
    clean_start: bool,
) -> Result<Accepted, ConnectError> {
    let attempt = async {
        let (io, quick_ack) = open(&options, buffers).await?;
        shake_hands(io, quick_ack, &options, clean_start).await
    };
    timeout(options.connect_timeout, attempt).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn shake_hands(
    io: IoBoxed,
    quick_ack: QuickAck,
    options: &Options,
    clean_start: bool,
) -> Result<Accepted, ConnectError> {
    let codec = Codec::new();
    codec.set_max_inbound_size(options.maximum_packet_size.get());
    // A payload comes whole, however large: the packet's size is what is limited.
    codec.set_min_chunk_size(u32::MAX);
    let packet = Packet::Connect(Box::new(packet(options, clean_start)));
    io.encode(Encoded::Packet(packet), &codec).map_err(|error| protocol(error.to_string()))?;
    match io.recv(&FirstPacket(&codec)).await {
        Ok(Some(Decoded::Packet(Packet::ConnectAck(ack), _))) => {
            accept(io, quick_ack, codec, *ack, options)
        }
        Ok(Some(_)) => Err(protocol("its first packet is not a CONNACK")),
        Ok(None) => Err(closed(options, "it closed the connection")),
        Err(Either::Left(text)) => Err(protocol(text)),
        Err(Either::Right(error)) => Err(ended(options, &error)),
    }
}

/// A server that wants a client certificate may say so only after the TLS handshake (TLS 1.3).
fn ended(options: &Options, error: &io::Error) -> ConnectError {
    #[cfg(feature = "tls")]
    if let Some(reason) = crate::tls::TlsError::of(error) {
        return tls::failed(options, reason);
    }
    closed(options, &error.to_string())
}

fn closed(options: &Options, how: &str) -> ConnectError {
    // Whether it is OpenSSL or rustls, a server with TLS mostly does so, and says nothing.
    let hint = match options.address.scheme {
        Scheme::Mqtt => ": it may want TLS, for which the address is mqtts://",
        _ => "",
    };
    protocol(format!("{how} during the handshake{hint}"))
}

/// Decodes the server's first packet, and recognizes what is none.
struct FirstPacket<'a>(&'a Codec);

impl Decoder for FirstPacket<'_> {
    type Item = Decoded;
    type Error = Box<str>;

    fn decode(&self, bytes: &mut BytesMut) -> Result<Option<Decoded>, Box<str>> {
        match bytes.first() {
            // The records of a TLS alert and of a handshake (RFC 8446 §5.1).
            Some(0x15 | 0x16) => Err("it speaks TLS, for which the address is mqtts://".into()),
            Some(b'H') => Err("it speaks HTTP, for which the address is ws:// or wss://".into()),
            _ => {
                Framing::new(self.0, false).decode(bytes).map_err(|error| error.to_string().into())
            }
        }
    }
}

fn packet(options: &Options, clean_start: bool) -> Connect {
    let password =
        options.password.as_ref().map(|password| NtexBytes::copy_from_slice(&password.0));
    Connect {
        clean_start,
        keep_alive: options.keep_alive,
        session_expiry_interval_secs: options.session_expiry,
        request_response_info: true,
        receive_max: Some(options.receive_maximum),
        max_packet_size: Some(options.maximum_packet_size),
        client_id: ByteString::from(options.client_id.as_str()),
        username: options.user.as_deref().map(ByteString::from),
        password,
        ..Connect::default()
    }
}

fn accept(
    io: IoBoxed,
    quick_ack: QuickAck,
    codec: Codec,
    ack: ConnectAck,
    options: &Options,
) -> Result<Accepted, ConnectError> {
    if ack.reason_code != ConnectAckReason::Success {
        return Err(ConnectError::Refused {
            reason: ReasonCode::new(ack.reason_code.into()),
            text: ack.reason_string.map(|text| text.as_str().into()),
        });
    }
    if let Some(size) = ack.max_packet_size {
        codec.set_max_outbound_size(size);
    }
    let assigned = ack.assigned_client_id.as_ref().map(|id| id.as_str().to_owned());
    let client_id = assigned.unwrap_or_else(|| options.client_id.clone());
    let connection = Connection {
        session_present: ack.session_present,
        response_base: response_base(ack.response_info.as_deref(), &client_id)?,
        receive_maximum: ack.receive_max.get(),
    };
    Ok(Accepted {
        io,
        codec,
        quick_ack,
        connection,
        client_id,
        keep_alive: ack.server_keepalive_sec.unwrap_or(options.keep_alive),
        at_least_once: ack.max_qos != ntex_mqtt::QoS::AtMostOnce,
    })
}

/// The server's Response Information when it is a topic (MQTT 5 §3.2.2.3.14 leaves open what it
/// is), else a topic that belongs to this client by convention.
fn response_base(information: Option<&str>, client_id: &str) -> Result<TopicName, ConnectError> {
    let offered = information.map(|text| text.trim_end_matches('/'));
    if let Some(Ok(topic)) = offered.map(TopicName::new) {
        return Ok(topic);
    }
    let own = format!("clients/{}/responses", encode_level(client_id));
    TopicName::new(own).map_err(|error| ConnectError::Address(format!("client_id: {error}").into()))
}

fn protocol(text: impl Into<Box<str>>) -> ConnectError {
    ConnectError::Protocol(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_where_the_server_says_or_below_the_client_id() {
        let base = |information| response_base(information, "line 1/M7").map(|t| t.to_string());
        let table = [
            (Some("responses/M7/"), "responses/M7"),
            (Some("responses/M7"), "responses/M7"),
            (Some("a/#"), "clients/line 1%2FM7/responses"),
            (Some("/"), "clients/line 1%2FM7/responses"),
            (None, "clients/line 1%2FM7/responses"),
        ];
        for (information, expected) in table {
            assert_eq!(base(information).expect("valid"), expected);
        }
    }
}

//! CONNECT and CONNACK.

use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ntex::io::IoBoxed;
use ntex_mqtt::QoS;
use ntex_mqtt::error::EncodeError;
use ntex_mqtt::v5::codec::{
    Codec, Connect, ConnectAck, ConnectAckReason, Decoded, Encoded, Packet,
};
use tokio::time::timeout;

use super::aliases::{self, Aliases};
use super::keep_alive::KeepAlive;
use super::{Connection, Outbound};
use crate::core::packet::ReasonCode;
use crate::hub::access::{Credentials, Protocol};
use crate::hub::client::Peer;
use crate::hub::convert;
use crate::hub::listener::Entrance;
use crate::hub::session::{Seat, client_id};
#[cfg(feature = "tls")]
use crate::hub::transport::certificate;
use crate::hub::worker::Worker;
use crate::link::ntex::convert::{LastTopics, bytes};

/// A client that was not let in.
pub(super) struct Refused {
    pub(super) reason: &'static str,
    /// The connection, if it was told why.
    pub(super) told: Option<IoBoxed>,
}

impl From<&'static str> for Refused {
    fn from(reason: &'static str) -> Self {
        Self { reason, told: None }
    }
}

/// Lets a client in, or tells it why not.
pub(super) async fn shake(
    io: IoBoxed,
    worker: &Rc<Worker>,
    entrance: &Arc<Entrance>,
) -> Result<Connection, Refused> {
    let codec = Codec::new();
    codec.set_max_inbound_size(entrance.longest_packet);
    // A payload comes whole: the packet's size is what is limited.
    codec.set_min_chunk_size(u32::MAX);
    let received = timeout(entrance.handshake, io.recv(&codec)).await;
    let connect = match received.map_err(|_| "no CONNECT in time")? {
        Ok(Some(Decoded::Packet(Packet::Connect(connect), _))) => connect,
        Ok(Some(_)) => return Err("its first packet is not a CONNECT".into()),
        Ok(None) => return Err("it closed the connection during the handshake".into()),
        Err(_) => return Err("its CONNECT cannot be read".into()),
    };
    if let Some(size) = connect.max_packet_size {
        // The codec counts without the fixed header, but only from here on.
        codec.set_max_outbound_size(size.get().max(6));
    }
    match admit(&io, codec, &connect, worker, entrance).await {
        Ok(admitted) => Ok(admitted.into_connection(io, &connect)),
        Err((codec, reason_code)) => {
            let ack = ConnectAck { reason_code, ..ConnectAck::default() };
            let _ = io.encode(Encoded::Packet(Packet::ConnectAck(Box::new(ack))), &codec);
            Err(Refused { reason: reason_code.reason(), told: Some(io) })
        }
    }
}

struct Admitted {
    codec: Rc<Codec>,
    outbound: Rc<Outbound>,
    seat: Rc<Seat>,
}

async fn admit(
    io: &IoBoxed,
    codec: Codec,
    connect: &Connect,
    worker: &Rc<Worker>,
    entrance: &Arc<Entrance>,
) -> Result<Admitted, (Codec, ConnectAckReason)> {
    if let Some(reason) = unsupported(connect) {
        return Err((codec, reason));
    }
    #[cfg(feature = "tls")]
    let certificate = match certificate(io) {
        Ok(certificate) => certificate,
        Err(reason) => return Err((codec, connack(reason))),
    };
    let credentials = Credentials {
        client_id: client_id(&connect.client_id),
        username: connect.username.as_ref().map(ToString::to_string),
        password: connect.password.clone().map(bytes),
        peer: convert::peer_address(io),
        protocol: Protocol::V5,
        transport: entrance.transport,
        #[cfg(feature = "tls")]
        certificate,
    };
    let will = match connect.last_will.as_ref().map(convert::will_v5) {
        Some(None) => return Err((codec, ConnectAckReason::TopicNameInvalid)),
        will => will.flatten(),
    };
    let codec = Rc::new(codec);
    // As many as there are, when it does not say (MQTT 5 §3.1.2.11.3).
    let receive_maximum = connect.receive_max.map_or(u16::MAX, NonZeroU16::get);
    let writer = Rc::clone(&worker.writer);
    let longest = connect.max_packet_size.map_or(0, NonZeroU32::get);
    let outbound = Outbound::new(io.get_ref(), Rc::clone(&codec), writer, receive_maximum, longest);
    let outbound = Rc::new(outbound);
    let peer = || Peer::V5(Rc::clone(&outbound));
    let keep_alive = Duration::from_secs(connect.keep_alive.into());
    match worker.admit(credentials, Some(entrance), keep_alive, will, peer).await {
        Ok(client) => {
            let ack = acknowledge(connect, worker, entrance, &client);
            let seat = Seat::new(worker, client);
            let ack = Encoded::Packet(Packet::ConnectAck(Box::new(ack)));
            if let Err(EncodeError::OverMaxPacketSize) = io.encode(ack, &*codec) {
                // It would wait for what must not be sent [MQTT-3.1.2-24]. It was never there.
                seat.client.will.borrow_mut().take();
                return Err(((*codec).clone(), ConnectAckReason::PacketTooLarge));
            }
            Ok(Admitted { codec, outbound, seat })
        }
        Err(reason) => Err(((*codec).clone(), connack(reason))),
    }
}

impl Admitted {
    fn into_connection(self, io: IoBoxed, connect: &Connect) -> Connection {
        let Self { codec, outbound, seat } = self;
        Connection {
            io,
            codec,
            outbound,
            keep_alive: KeepAlive::new(connect.keep_alive),
            aliases: Aliases::default(),
            last_topics: LastTopics::default(),
            session_expires: connect.session_expiry_interval_secs > 0,
            seat,
        }
    }
}

fn acknowledge(
    connect: &Connect,
    worker: &Worker,
    entrance: &Entrance,
    client: &crate::hub::client::Client,
) -> ConnectAck {
    let assigned = connect.client_id.is_empty();
    let response_info = connect.request_response_info;
    let receive_maximum = NonZeroU16::new(worker.shared.limits.receive_maximum);
    ConnectAck {
        receive_max: receive_maximum.unwrap_or(NonZeroU16::MIN),
        max_qos: QoS::AtLeastOnce,
        max_packet_size: Some(entrance.longest_packet),
        topic_alias_max: aliases::MAXIMUM,
        retain_available: false,
        subscription_identifiers_available: false,
        // No session outlives its connection.
        session_expiry_interval_secs: (connect.session_expiry_interval_secs > 0).then_some(0),
        assigned_client_id: assigned.then(|| client.client_id.as_ref().into()),
        response_info: response_info.then(|| client.response_base.as_str().into()),
        ..ConnectAck::default()
    }
}

/// What a CONNECT asks for that the hub does not have.
fn unsupported(packet: &Connect) -> Option<ConnectAckReason> {
    let will = packet.last_will.as_ref();
    if has_null(packet) {
        // [MQTT-1.5.4-2]
        Some(ConnectAckReason::MalformedPacket)
    } else if packet.auth_method.is_some() {
        // [MQTT-4.12.0-1]
        Some(ConnectAckReason::BadAuthenticationMethod)
    } else if packet.auth_data.is_some() {
        // MQTT 5 §3.1.2.11.10
        Some(ConnectAckReason::ProtocolError)
    } else if will.is_some_and(|will| will.retain) {
        // [MQTT-3.2.2-13]
        Some(ConnectAckReason::RetainNotSupported)
    } else if will.is_some_and(|will| will.qos == QoS::ExactlyOnce) {
        // [MQTT-3.2.2-12]
        Some(ConnectAckReason::QosNotSupported)
    } else {
        None
    }
}

/// Whether the user name, or what others get of a will, has U+0000; topic names and client identifiers are
/// looked at when they are taken.
fn has_null(packet: &Connect) -> bool {
    let will = packet.last_will.as_ref();
    let texts = [packet.username.as_ref(), will.and_then(|will| will.content_type.as_ref())];
    texts.into_iter().flatten().any(|text| text.contains('\0'))
        || will.is_some_and(|will| convert::have_null(&will.user_properties))
}

fn connack(reason: ReasonCode) -> ConnectAckReason {
    ConnectAckReason::try_from(reason.get()).unwrap_or(ConnectAckReason::UnspecifiedError)
}

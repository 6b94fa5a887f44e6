//! MQTT 5.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use ntex_mqtt::QoS;
use ntex_mqtt::v5::codec::{
    Connect, ConnectAckReason, PublishAckReason, SubscribeAckReason, UnsubscribeAckReason,
};
use ntex_mqtt::v5::{
    Handshake, HandshakeAck, ProtocolMessage, ProtocolMessageAck, Publish, PublishAck, Session,
    control,
};

use super::{Seat, SessionError, client_id, whole};
use crate::core::packet::{ReasonCode, Subscription};
use crate::core::topic::TopicFilter;
use crate::hub::access::{Credentials, Protocol};
use crate::hub::client::{self, Peer};
use crate::hub::convert;
use crate::hub::listener::Entrance;
#[cfg(feature = "tls")]
use crate::hub::transport::certificate;
use crate::hub::worker::Worker;
use crate::link::ntex::convert::{bytes, message};
use crate::link::{Absence, Acknowledgement};

pub(super) type V5 = Session<Rc<Seat>>;

/// The longest idle time that ntex-mqtt takes, in seconds, for clients with keep-alive 0, which ask
/// not to be timed out.
const NO_KEEP_ALIVE: u16 = u16::MAX;

/// The services of a connection. A macro, because their types cannot be named.
macro_rules! server {
    ($worker:expr, $entrance:expr) => {{
        let worker = std::rc::Rc::clone($worker);
        let entrance = std::sync::Arc::clone($entrance);
        ntex_mqtt::v5::MqttServer::new(async move |handshake| {
            $crate::hub::session::v5::shake(&worker, &entrance, handshake).await
        })
        .protocol(ntex::service::fn_factory_with_config(
            async |session: $crate::hub::session::v5::V5| {
                Ok::<_, SessionError>(ntex::service::fn_service(async move |message| {
                    $crate::hub::session::v5::protocol(&session, message).await
                }))
            },
        ))
        .control(ntex::service::fn_factory_with_config(
            async |session: $crate::hub::session::v5::V5| {
                Ok::<_, SessionError>(ntex::service::fn_service(async move |event| {
                    $crate::hub::session::control(&session, &event);
                    Ok::<_, SessionError>(None)
                }))
            },
        ))
        .publish(ntex::service::fn_factory_with_config(
            async |session: $crate::hub::session::v5::V5| {
                Ok::<_, SessionError>(ntex::service::fn_service(move |publish| {
                    std::future::ready($crate::hub::session::v5::publish(&session, publish))
                }))
            },
        ))
    }};
}
pub(super) use server;

pub(super) async fn shake(
    worker: &Rc<Worker>,
    entrance: &Arc<Entrance>,
    handshake: Handshake,
) -> Result<HandshakeAck<Rc<Seat>>, SessionError> {
    if let Some(reason) = unsupported(handshake.packet()) {
        return Ok(handshake.failed(reason));
    }
    #[cfg(feature = "tls")]
    let certificate = match certificate(handshake.io()) {
        Ok(certificate) => certificate,
        Err(reason) => return Ok(handshake.failed(connack(reason))),
    };
    let packet = handshake.packet();
    let credentials = Credentials {
        client_id: client_id(&packet.client_id),
        username: packet.username.as_ref().map(ToString::to_string),
        password: packet.password.clone().map(bytes),
        peer: convert::peer_address(handshake.io()),
        protocol: Protocol::V5,
        transport: entrance.transport,
        #[cfg(feature = "tls")]
        certificate,
    };
    let will = packet.last_will.as_ref().and_then(convert::will_v5);
    let assigned = packet.client_id.is_empty().then(|| Arc::clone(&credentials.client_id));
    let wants_response_info = packet.request_response_info;
    let forever = packet.keep_alive == 0;
    let kept_session = packet.session_expiry_interval_secs > 0;
    let peer = client::V5 {
        sink: handshake.sink(),
        io: handshake.io().get_ref(),
        largest_packet: packet.max_packet_size.map_or(0, NonZeroU32::get),
        writer: Rc::clone(&worker.writer),
    };
    let client = match worker.admit(credentials, Some(entrance), will, || Peer::V5(peer)).await {
        Ok(client) => client,
        Err(reason) => return Ok(handshake.failed(connack(reason))),
    };
    unblock_on_ack(worker, &client, &handshake);
    let response_info = wants_response_info.then(|| client.response_base.as_str().to_owned());
    let seat = Seat::new(worker, entrance, client);
    let ack = handshake.ack(seat).with(|ack| {
        ack.retain_available = false;
        ack.subscription_identifiers_available = false;
        // No session outlives its connection.
        ack.session_expiry_interval_secs = kept_session.then_some(0);
        ack.assigned_client_id = assigned.map(|id| id.as_ref().into());
        ack.response_info = response_info.map(Into::into);
    });
    Ok(if forever { ack.keep_alive(NO_KEEP_ALIVE) } else { ack })
}

/// What a CONNECT asks for that the hub does not have.
fn unsupported(packet: &Connect) -> Option<ConnectAckReason> {
    let will = packet.last_will.as_ref();
    if packet.auth_method.is_some() {
        // [MQTT-4.12.0-1]
        Some(ConnectAckReason::BadAuthenticationMethod)
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

/// An acknowledgement makes room in the client's Receive Maximum.
fn unblock_on_ack(
    worker: &Rc<Worker>,
    client: &Rc<crate::hub::client::Client>,
    handshake: &Handshake,
) {
    let (worker, client) = (Rc::downgrade(worker), Rc::downgrade(client));
    handshake.sink().publish_ack_cb(move |_, _| {
        if let (Some(worker), Some(client)) = (worker.upgrade(), client.upgrade()) {
            worker.unblock(&client);
        }
    });
}

fn connack(reason: ReasonCode) -> ConnectAckReason {
    ConnectAckReason::try_from(reason.get()).unwrap_or(ConnectAckReason::UnspecifiedError)
}

pub(super) async fn protocol(
    session: &V5,
    message: ProtocolMessage,
) -> Result<ProtocolMessageAck, SessionError> {
    Ok(match message {
        ProtocolMessage::Subscribe(subscribe) => {
            let filters = &subscribe.packet().topic_filters;
            if filters.iter().any(|(filter, options)| options.no_local && is_shared(filter)) {
                // [MQTT-3.8.3-4]
                session.client.close(ReasonCode::PROTOCOL_ERROR);
                return Err(SessionError);
            }
            subscribe_all(session, subscribe).await
        }
        ProtocolMessage::Unsubscribe(mut unsubscribe) => {
            for mut entry in &mut unsubscribe {
                let reason = match TopicFilter::new(entry.topic().as_ref()) {
                    Ok(filter) => session.worker.unsubscribe(&session.client, &filter),
                    Err(_) => ReasonCode::TOPIC_FILTER_INVALID,
                };
                if let Ok(reason) = UnsubscribeAckReason::try_from(reason.get()) {
                    entry.fail(reason);
                }
            }
            unsubscribe.ack()
        }
        ProtocolMessage::Disconnect(disconnect) => {
            let reason = disconnect.packet().reason_code;
            if reason == ntex_mqtt::v5::codec::DisconnectReasonCode::NormalDisconnection {
                // [MQTT-3.14.4-3]
                session.client.will.borrow_mut().take();
            }
            disconnect.ack()
        }
        other => other.ack(),
    })
}

fn is_shared(filter: &str) -> bool {
    TopicFilter::new(filter).is_ok_and(|filter| filter.share_name().is_some())
}

async fn subscribe_all(session: &V5, mut subscribe: control::Subscribe) -> ProtocolMessageAck {
    let wanted: Vec<_> = subscribe.packet().topic_filters.clone();
    let mut reasons = Vec::with_capacity(wanted.len());
    for (filter, options) in wanted {
        reasons.push(match TopicFilter::new(&*filter) {
            Ok(filter) => {
                let subscription = Subscription {
                    filter,
                    qos: convert::from_qos(options.qos),
                    no_local: options.no_local,
                };
                session.worker.subscribe(&session.client, subscription).await
            }
            Err(_) => ReasonCode::TOPIC_FILTER_INVALID,
        });
    }
    for (mut entry, reason) in subscribe.iter_mut().zip(reasons) {
        let reason = SubscribeAckReason::try_from(reason.get());
        entry.fail(reason.unwrap_or(SubscribeAckReason::UnspecifiedError));
    }
    subscribe.ack()
}

pub(super) fn publish(session: &V5, mut publish: Publish) -> Result<PublishAck, SessionError> {
    if publish.retain() {
        // [MQTT-3.2.2-14]: CONNACK has said that there are no retained messages.
        session.client.close(ReasonCode::RETAIN_NOT_SUPPORTED);
        return Err(SessionError);
    }
    if !session.is_possible(publish.packet().payload_size) {
        session.client.close(ReasonCode::MALFORMED_PACKET);
        return Err(SessionError);
    }
    let payload = whole(&publish.take_payload())?;
    let packet = std::mem::take(publish.packet_mut());
    let message = message(packet, payload, &mut session.last_topics.borrow_mut());
    let acknowledgement = if let Ok(mut message) = message {
        // [MQTT-3.3.1-3]
        message.dup = false;
        session.worker.publish(&session.client, message)
    } else {
        session.worker.shared.counters.refused.increment();
        ReasonCode::TOPIC_NAME_INVALID.into()
    };
    Ok(puback(acknowledgement))
}

/// ntex-mqtt leaves the property out for a client that wants none [MQTT-3.1.2-29], or that takes no
/// packet of this size [MQTT-3.4.2-3].
fn puback(Acknowledgement { reason, absence }: Acknowledgement) -> PublishAck {
    let reason = PublishAckReason::try_from(reason.get());
    let ack = PublishAck::new(reason.unwrap_or(PublishAckReason::UnspecifiedError));
    match absence {
        None => ack,
        Some(absence) => ack.properties(|user| {
            user.push((Absence::PROPERTY.into(), absence.as_str().into()));
        }),
    }
}

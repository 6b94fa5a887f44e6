//! MQTT 3.1.1 and 3.1, for devices. It has no reason codes, no response topics and no No Local: a message
//! to a client of this version leaves its properties behind.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ntex::time::Seconds;
use ntex_mqtt::v3::{
    Handshake, HandshakeAck, ProtocolMessage, ProtocolMessageAck, Publish, Session, control,
};

use super::{Seat, SessionError, client_id, take_turns, whole};
use crate::core::packet::{Qos, ReasonCode, Subscription};
use crate::core::topic::TopicFilter;
use crate::hub::access::{Credentials, Protocol};
use crate::hub::client::{Client, Peer};
use crate::hub::convert;
use crate::hub::listener::Entrance;
#[cfg(feature = "tls")]
use crate::hub::transport::certificate;
use crate::hub::worker::Worker;
use crate::link::ntex::convert::bytes;

pub(super) type V3 = Session<Rc<Seat>>;

/// The services of a connection. A macro, because their types cannot be named.
macro_rules! server {
    ($worker:expr, $entrance:expr) => {{
        let worker = std::rc::Rc::clone($worker);
        let entrance = std::sync::Arc::clone($entrance);
        ntex_mqtt::v3::MqttServer::new(async move |handshake| {
            $crate::hub::session::v3::shake(&worker, &entrance, handshake).await
        })
        .protocol(ntex::service::fn_factory_with_config(
            async |session: $crate::hub::session::v3::V3| {
                Ok::<_, SessionError>(ntex::service::fn_service(async move |message| {
                    $crate::hub::session::v3::protocol(&session, message).await
                }))
            },
        ))
        .control(ntex::service::fn_factory_with_config(
            async |session: $crate::hub::session::v3::V3| {
                Ok::<_, SessionError>(ntex::service::fn_service(async move |event| {
                    $crate::hub::session::control(&session, &event);
                    Ok::<_, SessionError>(None)
                }))
            },
        ))
        .publish(ntex::service::fn_factory_with_config(
            async |session: $crate::hub::session::v3::V3| {
                Ok::<_, SessionError>(ntex::service::fn_service(move |publish| {
                    std::future::ready($crate::hub::session::v3::publish(&session, publish))
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
    let packet = handshake.packet();
    if packet.client_id.is_empty() && !packet.clean_session {
        // [MQTT-3.1.3-8]
        return Ok(handshake.identifier_rejected());
    }
    #[cfg(feature = "tls")]
    let certificate = match certificate(handshake.io()) {
        Ok(certificate) => certificate,
        Err(reason) => return Ok(refuse(handshake, reason)),
    };
    let packet = handshake.packet();
    let credentials = Credentials {
        client_id: client_id(&packet.client_id),
        username: packet.username.as_ref().map(ToString::to_string),
        password: packet.password.clone().map(bytes),
        peer: convert::peer_address(handshake.io()),
        protocol: Protocol::V311,
        transport: entrance.transport,
        #[cfg(feature = "tls")]
        certificate,
    };
    let will = packet.last_will.as_ref().and_then(convert::will_v3);
    let keep_alive = Duration::from_secs(packet.keep_alive.into());
    let (sink, io) = (handshake.sink(), handshake.io().get_ref());
    let peer = || Peer::V3(sink, io);
    let client = match worker.admit(credentials, Some(entrance), keep_alive, will, peer).await {
        Ok(client) => client,
        Err(reason) => return Ok(refuse(handshake, reason)),
    };
    unblock_on_ack(worker, &client, &handshake);
    let ack = handshake.ack(Seat::new(worker, client), false);
    Ok(if keep_alive.is_zero() { ack.idle_timeout(Seconds::ZERO) } else { ack })
}

fn unblock_on_ack(worker: &Rc<Worker>, client: &Rc<Client>, handshake: &Handshake) {
    let (worker, client) = (Rc::downgrade(worker), Rc::downgrade(client));
    handshake.sink().publish_ack_cb(move |_, _| {
        if let (Some(worker), Some(client)) = (worker.upgrade(), client.upgrade()) {
            worker.unblock(&client);
        }
    });
}

fn refuse(handshake: Handshake, reason: ReasonCode) -> HandshakeAck<Rc<Seat>> {
    match reason {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => handshake.bad_username_or_pwd(),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => handshake.identifier_rejected(),
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED => handshake.not_authorized(),
        _ => handshake.service_unavailable(),
    }
}

pub(super) async fn protocol(
    session: &V3,
    message: ProtocolMessage,
) -> Result<ProtocolMessageAck, SessionError> {
    Ok(match message {
        ProtocolMessage::Subscribe(subscribe) => subscribe_all(session, subscribe).await,
        ProtocolMessage::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.iter().filter_map(|filter| TopicFilter::new(&**filter).ok());
            for (place, filter) in filters.enumerate() {
                take_turns(place).await;
                session.worker.unsubscribe(&session.client, &filter);
            }
            unsubscribe.ack()
        }
        ProtocolMessage::Disconnect(disconnect) => {
            session.client.will.borrow_mut().take();
            session.client.has_left.set(true);
            disconnect.ack()
        }
        other => other.ack(),
    })
}

async fn subscribe_all(session: &V3, mut subscribe: control::Subscribe) -> ProtocolMessageAck {
    let wanted: Vec<_> = subscribe
        .iter_mut()
        .map(|entry| (entry.topic().clone(), convert::from_qos(entry.qos())))
        .collect();
    let mut reasons = Vec::with_capacity(wanted.len());
    for (place, (filter, qos)) in wanted.into_iter().enumerate() {
        take_turns(place).await;
        reasons.push(match TopicFilter::new(&*filter) {
            Ok(filter) => {
                let subscription = Subscription { filter, qos, no_local: false };
                (session.worker.subscribe(&session.client, subscription).await, qos)
            }
            Err(_) => (ReasonCode::TOPIC_FILTER_INVALID, qos),
        });
    }
    for (mut entry, (reason, qos)) in subscribe.iter_mut().zip(reasons) {
        match qos {
            _ if reason.is_error() => entry.fail(),
            Qos::AtMostOnce => entry.confirm(ntex_mqtt::QoS::AtMostOnce),
            Qos::AtLeastOnce => entry.confirm(ntex_mqtt::QoS::AtLeastOnce),
        }
    }
    subscribe.ack()
}

pub(super) fn publish(session: &V3, mut publish: Publish) -> Result<(), SessionError> {
    let payload = whole(&publish.take_payload())?;
    // A refusal cannot be said [MQTT-3.3.5-2]: the message is dropped, and the hub counts it.
    if let Ok(message) = convert::from_v3(publish.publish_topic(), publish.qos(), payload) {
        session.worker.publish(&session.client, message);
    }
    Ok(())
}

//! Servers that call devices with MQTT 5.

use std::net::SocketAddr;

use tower::ServiceExt;
use tower_mqtt::link::Client;
use tower_mqtt::{Request, RequestError, Requester};
use ulid::Ulid;

use super::devices::{Form, Kind};
use super::raw::{Connect, Properties, Raw, property};
use super::servers::{Asked, KEY, Outcome};

/// The address of a device for whoever speaks MQTT 5.
fn address(Asked { kind, device, form, .. }: Asked<'_>) -> String {
    let below = match form {
        Form::Device => "",
        Form::Topic => "/user/get",
        Form::Service => "/light",
    };
    format!("devices/{}/{device}{below}", kind.product())
}

pub(crate) async fn native(hub: SocketAddr, asked: Asked<'_>, payload: &str) -> Outcome {
    let client = Client::builder(&format!("mqtt://{hub}")).client_id(Ulid::new().to_string());
    let link = client.credentials(KEY.0, KEY.1).connect().await.expect("a server may connect");
    let requester = Requester::builder(link).build().await.expect("subscribed");
    let request = Request::new(address(asked), payload.to_owned()).expect("a topic");
    match requester.oneshot(request.timeout(asked.timeout)).await {
        Ok(response) => {
            let (status, message) = (response.status(), response.status().message());
            let text = String::from_utf8(response.payload().to_vec()).expect("text");
            of_status(status.code(), message, text)
        }
        // At the deadline of the caller the gateway is silent, as a responder is.
        Err(RequestError::Timeout) => Outcome::Timeout,
        // The gateway says it for devices of other dialects, and is there.
        Err(RequestError::NoResponder | RequestError::Offline) if asked.kind == Kind::Native => {
            Outcome::Offline
        }
        Err(error) => Outcome::Else(error.to_string()),
    }
}

pub(crate) async fn peer(hub: SocketAddr, asked: Asked<'_>, payload: &str) -> Outcome {
    let id = Ulid::new().to_string();
    let connect = Connect::new(&id).credentials(KEY.0, KEY.1);
    let mut peer = Raw::connect(hub, &connect).await;
    let answers = format!("clients/{id}/responses");
    assert_eq!(peer.subscribe(&answers, 0).await, 0);
    let properties = Properties::none()
        .text(property::RESPONSE_TOPIC, &answers)
        .text(property::CORRELATION_DATA, &id);
    peer.publish(0x30, &address(asked), payload.as_bytes(), &properties).await;
    let answer = peer.message().await;
    let correlation = answer.properties.find_text(property::CORRELATION_DATA);
    assert_eq!((answer.topic, correlation), (answers, Some(id)));
    let status = answer.properties.user("status").map_or(200, |it| it.parse().expect("a number"));
    let message = answer.properties.user("status-message");
    of_status(status, message.as_deref(), String::from_utf8(answer.payload).expect("text"))
}

/// What a response of MQTT 5 says. The gateway has words of its own, so it is not the device that speaks.
fn of_status(status: u16, message: Option<&str>, text: String) -> Outcome {
    match (status, message) {
        (200, _) => Outcome::Answer(text),
        (500, Some("broken")) => Outcome::Failed,
        (408, Some("the device did not answer in time")) => Outcome::Timeout,
        (503, Some("the device is not connected")) => Outcome::Offline,
        _ => Outcome::Else(format!("{status} {message:?} {text}")),
    }
}

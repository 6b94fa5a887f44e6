//! What a payload is, said by servers to devices and by devices to servers.

use super::devices::Kind;
use super::programs::soon;
use super::raw::{Connect, Properties, Raw, property};
use super::running::Running;
use super::servers::{KEY, plain_api};

#[tokio::test]
async fn content_types_are_carried_through_both_ways() {
    let running = Running::with(&[(Kind::Native, "lamp")]).await;
    let (client_id, user, password) = Kind::Native.credentials("lamp");
    let connect = Connect::new(&client_id).credentials(&user, &password);
    let mut lamp = Raw::connect(running.hub(), &connect).await;
    let own = format!("devices/{}/lamp", Kind::Native.product());
    assert_eq!(lamp.subscribe(&own, 0).await, 0);
    let (http, to) = (running.http, format!("{}/lamp/call", Kind::Native.product()));
    let call = tokio::spawn(async move { plain_api(http, KEY.2, &to, b"on").await });

    let asked = lamp.message().await;
    // What `plain_api` sends.
    let content_type = asked.properties.find_text(property::CONTENT_TYPE);
    assert_eq!((content_type.as_deref(), &*asked.payload), (Some("text/plain"), &b"on"[..]));
    let response_topic = asked.properties.find_text(property::RESPONSE_TOPIC).expect("a topic");
    let correlation = asked.properties.find(property::CORRELATION_DATA).expect("correlation data");
    let properties = Properties::none()
        .raw(property::CORRELATION_DATA, correlation)
        .text(property::CONTENT_TYPE, "application/vnd.lamp+cbor");
    lamp.publish(0x30, &response_topic, b"\xA1\x00", &properties).await;

    let answer = soon(call).await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (200, &b"\xA1\x00"[..]));
    assert_eq!(answer.header("content-type"), Some("application/vnd.lamp+cbor"));
    running.stop().await;
}

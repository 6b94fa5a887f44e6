//! Who gets in, and how far.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tower_mqtt::link::Client;
use tower_mqtt::{ConnectError, Requester, Responder, Router, ServeError};

use super::devices::{Form, Kind, Mode};
use super::http::{self, Answer};
use super::programs::soon;
use super::raw::{Connect, Packet, Raw};
use super::running::{Running, config};
use super::servers::{KEY, aliyun_api, plain_api, tencent_api};
use super::signing;

fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    (answer.status, answer.json()["code"].as_str().expect("a code").to_owned())
}

#[tokio::test]
async fn a_server_needs_a_key_that_is_right() {
    let running = Running::with(&[(Kind::Plain, "lamp")]).await;
    let (http, product) = (running.http, Kind::Plain.product());
    let to = format!("{product}/lamp/call");
    for token in ["", "another token", &KEY.2[1..]] {
        let answer = plain_api(http, token, &to, b"on").await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")));
    }
    assert_eq!(http::send(http, "GET /v1/devices", &[], b"").await.status, 401);

    let query =
        [("Action", "RRpc"), ("ProductKey", product), ("DeviceName", "lamp"), ("Timeout", "1000")];
    let form = [("RequestBase64Byte", "b24=")];
    let wrong = aliyun_api(http, (KEY.0, "another"), &query, &form).await;
    assert_eq!((wrong.status, wrong.json()["Code"].as_str()), (400, Some("SignatureDoesNotMatch")));
    // The vendor's SDK takes the text apart there.
    assert!(wrong.json()["Message"].as_str().unwrap().contains(':'));
    assert!(!wrong.text().contains(KEY.1));
    let unknown = aliyun_api(http, ("nobody", KEY.1), &query, &form).await;
    assert_eq!(unknown.json()["Code"], "InvalidAccessKeyId.NotFound");

    let body = json!({"ProductId": product, "DeviceName": "lamp", "Payload": "on"});
    let action = ("iotcloud", "PublishRRPCMessage", "2021-04-08");
    let wrong = tencent_api(http, (KEY.0, "another"), action, &body).await;
    assert_eq!(wrong.json()["Response"]["Error"]["Code"], "AuthFailure.SignatureFailure");
    let unknown = tencent_api(http, ("nobody", KEY.1), action, &body).await;
    assert_eq!(unknown.json()["Response"]["Error"]["Code"], "AuthFailure.SecretIdNotFound");
    running.stop().await;
}

#[tokio::test]
async fn a_request_that_was_recorded_is_not_taken_a_second_time() {
    let running = Running::with(&[(Kind::Plain, "lamp")]).await;
    let _lamp = Kind::Plain.start(running.hub(), "lamp", Form::Device, Mode::Upper).await;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let parameters = [
        ("Action", "RRpc"),
        ("AccessKeyId", KEY.0),
        ("DeviceName", "lamp"),
        ("ProductKey", Kind::Plain.product()),
        ("RequestBase64Byte", "b24="),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", "437868076c7b9200ca9ff70d44b06f12"),
        ("SignatureVersion", "1.0"),
        ("Timeout", "8000"),
        ("Timestamp", &now),
        ("Version", "2018-01-20"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let signature = signing::aliyun("GET", &parameters, KEY.1);
    let encode = |(name, value): &(String, String)| format!("{name}={}", signing::encode(value));
    let query = parameters.iter().map(encode).collect::<Vec<_>>().join("&");
    let line = format!("GET /?{query}&Signature={}", signing::encode(&signature));
    let first = http::send(running.http, &line, &[], b"").await;
    assert_eq!(first.json()["PayloadBase64Byte"], BASE64_STANDARD.encode("ON"), "{first:?}");
    let second = http::send(running.http, &line, &[], b"").await;
    assert_eq!((second.status, second.json()["Code"].as_str()), (400, Some("SignatureNonceUsed")));
    running.stop().await;
}

#[tokio::test]
async fn a_key_calls_only_what_it_may() {
    let devices = [(Kind::Plain, "lamp".to_owned()), (Kind::Tencent, "cooler".to_owned())];
    let other = format!(
        "[[keys]]\nid = \"other\"\nsecret = \"s\"\nbearer = \"other\"\nproducts = [\"{}\"]\n",
        Kind::Tencent.product()
    );
    let running = Running::start(&format!("{}{other}", config(&devices))).await;
    let call = |token, to: String| async move { plain_api(running.http, token, &to, b"on").await };
    let lamp = |device: &str| format!("{}/{device}/call", Kind::Plain.product());
    assert_eq!(problem(&call("other", lamp("lamp")).await), (403, "not_allowed".to_owned()));
    assert_eq!(problem(&call(KEY.2, lamp("lamp")).await), (503, "offline".to_owned()));
    assert_eq!(problem(&call(KEY.2, lamp("moon")).await), (404, "no_such_device".to_owned()));
    let moon = call(KEY.2, "moon/lamp/call".to_owned()).await;
    assert_eq!(problem(&moon), (404, "no_such_product".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn a_device_needs_its_own_secret() {
    let running = Running::with(&[
        (Kind::Plain, "lamp"),
        (Kind::Extended, "lamp"),
        (Kind::Tencent, "cooler"),
        (Kind::Native, "lamp"),
    ])
    .await;
    let url = format!("mqtt://{}", running.hub());
    for (kind, device) in [
        (Kind::Plain, "lamp"),
        (Kind::Extended, "lamp"),
        (Kind::Tencent, "cooler"),
        (Kind::Native, "lamp"),
    ] {
        let (client_id, user, password) = kind.credentials(device);
        let connect = async |client_id: &str, user: &str, password: &str| {
            let client = Client::builder(&url).client_id(client_id);
            client.credentials(user, password).connect().await
        };
        assert!(connect(&client_id, &user, &password).await.is_ok(), "{kind:?}");
        let mut forged = password.clone().into_bytes();
        forged[0] ^= 1;
        let forged = String::from_utf8(forged).expect("ASCII");
        let stranger = user.replace(device, "other");
        for (user, password) in [(&user, &forged), (&user, &String::new()), (&stranger, &password)]
        {
            let refused = connect(&client_id, user, password).await;
            assert!(matches!(refused, Err(ConnectError::Refused { .. })), "{kind:?}: {refused:?}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_device_reaches_only_its_own_topics() {
    let running = Running::with(&[(Kind::Plain, "lamp"), (Kind::Native, "lamp")]).await;
    let (client_id, user, password) = Kind::Plain.credentials("lamp");
    let connect = Connect::new(&client_id).credentials(&user, &password);
    let mut device = Raw::connect(running.hub(), &connect).await;
    let product = Kind::Plain.product();
    let own = format!("/sys/{product}/lamp/rrpc/request/+");
    assert!(device.subscribe(&own, 0).await < 0x80);
    for filter in [
        "#".to_owned(),
        format!("/sys/{product}/+/rrpc/request/+"),
        format!("/sys/{product}/other/rrpc/request/+"),
        "devices/lamps/lamp".to_owned(),
        "gateways/#".to_owned(),
        "clients/gateway/responses".to_owned(),
    ] {
        assert!(device.subscribe(&filter, 0).await >= 0x80, "{filter}");
    }
    let forged = format!("/sys/{product}/other/rrpc/response/1");
    let reason = device.ask(&forged, b"forged", &super::raw::Properties::none()).await;
    assert_eq!(reason, 0x87, "not authorized");

    let link = Client::builder(&format!("mqtt://{}", running.hub()));
    let (client_id, user, password) = Kind::Native.credentials("lamp");
    let link = link.client_id(client_id).credentials(user, password).connect().await.unwrap();
    let router = Router::new().route("devices/lamps/other", async || "mine");
    let refused = Responder::builder(link).serve(router).await;
    assert!(matches!(refused, Err(ServeError::Subscribe { .. })), "{refused:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_server_over_mqtt_reaches_no_topics_of_devices() {
    let running = Running::with(&[(Kind::Plain, "lamp")]).await;
    let connect = Connect::new("shop").credentials(KEY.0, KEY.1);
    let mut server = Raw::connect(running.hub(), &connect).await;
    let request = format!("/sys/{}/lamp/rrpc/request/1", Kind::Plain.product());
    let reason = server.ask(&request, b"on", &super::raw::Properties::none()).await;
    assert_eq!(reason, 0x87, "not authorized");
    assert!(server.subscribe("devices/#", 0).await >= 0x80);

    let connect = Connect::new("shop").credentials(KEY.0, "another");
    let (_, answer) = Raw::try_connect(running.hub(), &connect).await;
    assert!(matches!(answer, Packet::ConnAck { reason: 0x86, .. }), "{answer:?}");
    running.stop().await;
}

#[tokio::test]
async fn what_is_going_on_can_be_seen() {
    let running = Running::with(&[(Kind::Plain, "lamp"), (Kind::Plain, "dark")]).await;
    let _lamp = Kind::Plain.start(running.hub(), "lamp", Form::Device, Mode::Upper).await;
    let to = format!("{}/lamp/call", Kind::Plain.product());
    let answer = plain_api(running.http, KEY.2, &to, b"on").await;
    assert_eq!((answer.status, answer.text()), (200, "ON"));
    assert!(answer.header("message-id").is_some_and(|id| id.parse::<u64>().is_ok()));

    let bearer = format!("Bearer {}", KEY.2);
    let authorized = [("Authorization", bearer.as_str())];
    let devices = http::send(running.http, "GET /v1/devices", &authorized, b"").await.json();
    let lamp = devices.pointer("/0").expect("one");
    assert_eq!(
        (&lamp["product"], &lamp["device"]),
        (&json!(Kind::Plain.product()), &json!("lamp"))
    );
    assert_eq!((&lamp["dialect"], &lamp["in_flight"]), (&json!("aliyun"), &json!(0)), "{lamp}");
    assert!(humantime::parse_rfc3339(lamp["since"].as_str().expect("a time")).is_ok());

    assert_eq!(http::send(running.http, "GET /healthz", &[], b"").await.status, 200);
    let metrics = http::send(running.http, "GET /metrics", &authorized, b"").await;
    let product = Kind::Plain.product();
    let counted =
        format!("rrpc_gateway_calls_total{{api=\"plain\",product=\"{product}\",outcome=\"ok\"}} 1");
    assert!(metrics.text().lines().any(|line| line == counted), "{}", metrics.text());
    let openapi = http::send(running.http, "GET /openapi.json", &[], b"").await.json();
    assert!(openapi["paths"]["/v1/devices/{product}/{device}/call"]["post"].is_object());
    running.stop().await;
}

#[tokio::test]
async fn requesters_of_this_process_are_not_in_the_way() {
    let running = Running::with(&[(Kind::Native, "lamp")]).await;
    let _lamp = Kind::Native.start(running.hub(), "lamp", Form::Device, Mode::Upper).await;
    let link = running.gateway.hub().expect("embedded").link("own");
    let own = soon(Requester::builder(link).build()).await.expect("subscribed");
    let request = tower_mqtt::Request::new("devices/lamps/lamp", "on").unwrap();
    let answer = soon(tower::ServiceExt::oneshot(own, request)).await.expect("answered");
    assert_eq!(answer.payload(), "ON");
    running.stop().await;
}

//! Limits, and what happens when somebody goes away in the middle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tower_mqtt::dialect::rrpc::aliyun;
use tower_mqtt::link::Client;
use tower_mqtt::{Responder, Router};

use super::devices::{Form, Kind, Mode};
use super::http;
use super::programs::soon;
use super::raw::{Connect, Raw};
use super::running::{Running, config};
use super::servers::{KEY, aliyun_api, plain_api};

const LAMP: (Kind, &str) = (Kind::Plain, "lamp");

fn to_lamp() -> String {
    format!("{}/lamp/call?timeout=8s", Kind::Plain.product())
}

/// A lamp that says what it is asked, and answers when it is told to.
async fn patient_lamp(
    hub: SocketAddr,
) -> (Responder, mpsc::UnboundedReceiver<String>, Arc<Notify>) {
    let (asked, questions) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let answer = move |text: String| {
        let (asked, told) = (asked.clone(), Arc::clone(&told));
        async move {
            let _ = asked.send(text.clone());
            told.notified().await;
            text.to_uppercase()
        }
    };
    let (client_id, user, password) = Kind::Plain.credentials("lamp");
    let client = Client::builder(&format!("mqtt://{hub}")).client_id(client_id);
    let link = client.credentials(user, password).connect().await.expect("it may connect");
    let router = Router::new().route(&format!("{}/lamp", Kind::Plain.product()), answer);
    let responder = Responder::builder(link).dialect(aliyun::system()).serve(router).await;
    (responder.expect("it may subscribe"), questions, go)
}

#[tokio::test]
async fn one_call_too_many_is_told_to_come_again() {
    for limit in ["in_flight", "per_device", "per_key"] {
        let limits = format!("[limits]\n{limit} = 1\n");
        let fleet = config(&[(Kind::Plain, "lamp".to_owned())]);
        let running = Running::start(&format!("{limits}{fleet}")).await;
        let (_lamp, mut questions, go) = patient_lamp(running.hub()).await;
        let http = running.http;
        let first = tokio::spawn(async move { plain_api(http, KEY.2, &to_lamp(), b"on").await });
        assert_eq!(soon(questions.recv()).await.as_deref(), Some("on"));

        let refused = plain_api(http, KEY.2, &to_lamp(), b"off").await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("too_many")));
        assert!(refused.header("retry-after").is_some_and(|it| it.parse::<u32>().is_ok()));
        go.notify_one();
        assert_eq!(soon(first).await.expect("no panic").text(), "ON", "{limit}");
        go.notify_one();
        assert_eq!(soon(plain_api(http, KEY.2, &to_lamp(), b"off")).await.text(), "OFF");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_gives_its_call_up() {
    let fleet = config(&[(Kind::Native, "lamp".to_owned())]);
    // Longer than the test may take.
    let native = |timeout| format!("dialect = \"native\"\ntimeout = \"{timeout}\"");
    let running = Running::start(&fleet.replace(&native("1s"), &native("1h"))).await;
    let _lamp = Kind::Native.start(running.hub(), "lamp", Form::Device, Mode::Silent).await;
    let mut stream = TcpStream::connect(running.http).await.expect("connected");
    let head = format!(
        "POST /v1/devices/{}/lamp/call HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\r\non",
        Kind::Native.product(),
        KEY.2
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let in_flight = async |calls| {
        while running.gateway.in_flight() != calls {
            tokio::task::yield_now().await;
        }
    };
    soon(in_flight(1)).await;
    drop(stream);
    soon(in_flight(0)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_shutdown_lets_calls_end() {
    let running = Running::with(&[LAMP]).await;
    let (_lamp, mut questions, go) = patient_lamp(running.hub()).await;
    let http = running.http;
    let call = tokio::spawn(async move { plain_api(http, KEY.2, &to_lamp(), b"on").await });
    assert_eq!(soon(questions.recv()).await.as_deref(), Some("on"));
    let stopping = tokio::spawn(running.gateway.shutdown(Duration::from_secs(30)));
    let refused = async {
        while TcpStream::connect(http).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
    go.notify_one();
    let answer = soon(call).await.expect("no panic");
    assert_eq!((answer.status, answer.text()), (200, "ON"));
    soon(stopping).await.expect("no panic");
}

#[tokio::test]
async fn a_device_that_reconnects_still_answers() {
    let running = Running::with(&[LAMP]).await;
    let (client_id, user, password) = Kind::Plain.credentials("lamp");
    let connect = Connect::new(&client_id).version(4).credentials(&user, &password);
    let topics = format!("/sys/{}/lamp/rrpc", Kind::Plain.product());
    let mut first = Raw::connect(running.hub(), &connect).await;
    assert!(first.subscribe(&format!("{topics}/request/+"), 0).await < 0x80);
    let http = running.http;
    let call = tokio::spawn(async move { plain_api(http, KEY.2, &to_lamp(), b"on").await });
    let asked = first.message().await;
    drop(first);

    let mut second = Raw::connect(running.hub(), &connect).await;
    let id = asked.topic.rsplit('/').next().expect("an id");
    let answer = format!("{topics}/response/{id}");
    second.publish(0x30, &answer, b"on again", &super::raw::Properties::none()).await;
    let answer = soon(call).await.expect("no panic");
    assert_eq!(
        (answer.status, answer.text(), answer.header("message-id")),
        (200, "on again", Some(id))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_was_just_lost_is_half_open() {
    let running = Running::with(&[LAMP]).await;
    let (client_id, user, password) = Kind::Plain.credentials("lamp");
    let connect = Connect::new(&client_id).version(4).keep_alive(600).credentials(&user, &password);
    let device = Raw::connect(running.hub(), &connect).await;
    drop(device);
    // Until the hub has noticed, it has merely not subscribed.
    let lost = async {
        loop {
            let answer = plain_api(running.http, KEY.2, &to_lamp(), b"on").await;
            match answer.json()["code"].as_str() {
                Some("not_subscribed") => tokio::task::yield_now().await,
                code => break code.map(str::to_owned),
            }
        }
    };
    assert_eq!(soon(lost).await.as_deref(), Some("half_open"));
    assert_eq!(rrpc(&running, "lamp").await, "HALFCONN iot.messagebroker.HALFCONN");
    running.stop().await;
}

/// `RrpcCode` and `Code` of Aliyun's `RRpc`.
async fn rrpc(running: &Running, device: &str) -> String {
    let to = [("ProductKey", Kind::Plain.product()), ("DeviceName", device)];
    let query = [&[("Action", "RRpc"), ("Timeout", "8000")], &to[..]].concat();
    let form = [("RequestBase64Byte", "b24=")];
    let answer = aliyun_api(running.http, (KEY.0, KEY.1), &query, &form).await.json();
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer["Success"], false, "{answer}");
    format!("{} {}", text("RrpcCode"), text("Code"))
}

#[tokio::test]
async fn a_device_that_was_lost_a_keep_alive_ago_is_offline() {
    let running = Running::with(&[LAMP, (Kind::Plain, "dark")]).await;
    let offline = "OFFLINE iot.messagebroker.OFFLINE";
    assert_eq!(rrpc(&running, "dark").await, offline);
    let (client_id, user, password) = Kind::Plain.credentials("lamp");
    let connect = Connect::new(&client_id).version(4).keep_alive(1).credentials(&user, &password);
    drop(Raw::connect(running.hub(), &connect).await);
    let gone = async {
        while rrpc(&running, "lamp").await != offline {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
    running.stop().await;
}

#[tokio::test]
async fn a_list_tells_of_a_call_while_it_is_in_flight() {
    let running = Running::with(&[LAMP, (Kind::Plain, "dark"), (Kind::Native, "spare")]).await;
    let list = async || {
        let bearer = format!("Bearer {}", KEY.2);
        let authorized = [("Authorization", bearer.as_str())];
        let list = http::send(running.http, "GET /v1/devices", &authorized, b"").await.json();
        let shown = |it: &Value| ["device", "connected", "in_flight"].map(|name| it[name].clone());
        list.as_array().expect("a list").iter().map(shown).collect::<Vec<_>>()
    };
    let state = |device: &str, in_flight| [json!(device), json!(true), json!(in_flight)];
    assert!(list().await.is_empty(), "nobody is connected");
    let (lamp, mut questions, go) = patient_lamp(running.hub()).await;
    let spare = Kind::Native.start(running.hub(), "spare", Form::Device, Mode::Upper).await;
    assert_eq!(list().await, [state("lamp", 0), state("spare", 0)]);
    let gateway = running.http;
    let call = tokio::spawn(async move { plain_api(gateway, KEY.2, &to_lamp(), b"on").await });
    assert_eq!(soon(questions.recv()).await.as_deref(), Some("on"));
    assert_eq!(list().await, [state("lamp", 1), state("spare", 0)]);
    go.notify_one();
    assert_eq!(soon(call).await.expect("no panic").text(), "ON");
    assert_eq!(list().await, [state("lamp", 0), state("spare", 0)]);
    drop((lamp, spare));
    let alone = async {
        while !list().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon(alone).await;
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let fleet = config(&[(Kind::Plain, "lamp".to_owned())]);
    let fleet = fleet.replacen("[http]\n", "[http]\nbody = 1000\n", 1);
    let running = Running::start(&fleet).await;
    let _lamp = Kind::Plain.start(running.hub(), "lamp", Form::Device, Mode::Upper).await;
    let call = async |body: &[u8]| plain_api(running.http, KEY.2, &to_lamp(), body).await.status;
    assert_eq!((call(&[b'x'; 1000]).await, call(&[b'x'; 1001]).await), (200, 413));
    let answer = http::send(running.http, "POST /?Action=RRpc", &[], &[b'x'; 1001]).await;
    assert!(answer.status == 413 && answer.json()["Code"].is_string(), "{answer:?}");
    running.stop().await;
}

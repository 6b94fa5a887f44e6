//! Devices that are disabled.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tower::ServiceExt;
use tower_mqtt::link::Client;
use tower_mqtt::{Request, Requester};

use super::devices::{Form, KINDS, Kind, Mode};
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::raw::{Connect, Packet, Raw};
use super::running::{Running, config, fleet};
use super::servers::{KEY, aliyun_api, plain_api, tencent_api};

/// What every API says of a call.
async fn said(running: &Running, kind: Kind) -> HashMap<&'static str, String> {
    let (product, key) = (kind.product(), (KEY.0, KEY.1));
    let mut said = HashMap::new();
    let query =
        [("Action", "RRpc"), ("ProductKey", product), ("DeviceName", "lamp"), ("Timeout", "1000")];
    let payload = BASE64_STANDARD.encode("\"on\"");
    let form = [("RequestBase64Byte", payload.as_str())];
    let aliyun = aliyun_api(running.http, key, &query, &form).await.json();
    said.insert("aliyun", format!("{} {}", aliyun["Code"], aliyun["RrpcCode"]));
    let body = json!({ "ProductId": product, "DeviceName": "lamp", "Payload": "\"on\"" });
    for action in [
        ("iotcloud", "PublishRRPCMessage", "2021-04-08"),
        ("iotexplorer", "CallDeviceRRPCSync", "2019-04-23"),
    ] {
        let answer = tencent_api(running.http, key, action, &body).await.json();
        said.insert(action.1, answer["Response"]["Error"]["Code"].to_string());
    }
    let plain = plain_api(running.http, KEY.2, &format!("{product}/lamp/call"), b"\"on\"").await;
    said.insert("plain", format!("{} {}", plain.status, plain.json()["code"]));
    said
}

fn expected() -> HashMap<&'static str, String> {
    let disabled = "\"FailedOperation.DeviceAlreadyDisabled\"".to_owned();
    HashMap::from([
        ("aliyun", "\"iot.messagebroker.OFFLINE\" \"OFFLINE\"".to_owned()),
        ("PublishRRPCMessage", disabled.clone()),
        ("CallDeviceRRPCSync", disabled),
        ("plain", "409 \"disabled\"".to_owned()),
    ])
}

fn disabled(config: &str) -> String {
    config.replace("name = \"lamp\"\n", "name = \"lamp\"\ndisabled = true\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_device_cannot_log_in_and_every_api_says_why_it_is_not_called() {
    let lamps: Vec<_> = KINDS.iter().map(|kind| (*kind, "lamp".to_owned())).collect();
    let running = Running::start(&disabled(&config(&lamps))).await;
    for kind in KINDS {
        let (client_id, user, password) = kind.credentials("lamp");
        for (version, reason) in [(4, 5), (5, 0x8A)] {
            let connect = Connect::new(&client_id).version(version);
            let connect = connect.credentials(&user, &password);
            let (_, answer) = Raw::try_connect(running.hub(), &connect).await;
            assert!(
                matches!(answer, Packet::ConnAck { reason: found, .. } if found == reason),
                "{kind:?} {answer:?}"
            );
            // Who has not its secret learns nothing.
            let connect = Connect::new(&client_id).version(version).credentials(&user, "guessed");
            let (_, answer) = Raw::try_connect(running.hub(), &connect).await;
            assert!(
                !matches!(answer, Packet::ConnAck { reason: found, .. } if found == reason),
                "{kind:?} {answer:?}"
            );
        }
        assert_eq!(said(&running, kind).await, expected(), "{kind:?}");
    }
    let client = Client::builder(&format!("mqtt://{}", running.hub())).client_id("server");
    let link = client.credentials(KEY.0, KEY.1).connect().await.expect("a server may connect");
    let requester = Requester::builder(link).build().await.expect("subscribed");
    let request = Request::new(format!("devices/{}/lamp", Kind::Tencent.product()), "\"on\"");
    let response = soon(requester.oneshot(request.expect("a topic"))).await.expect("answered");
    assert_eq!(response.status().code(), 409);
    running.stop().await;
}

/// Nobody but the broker could keep it from logging in there. It is not asked all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_broker_a_disabled_device_is_not_called_although_it_is_connected() {
    let broker = Mosquitto::start(&[]).await;
    let places =
        format!("[http]\nlisten = [\"127.0.0.1:0\"]\n[mqtt.broker]\nurl = \"{}\"\n", broker.url());
    let fleet = fleet(&[(Kind::Tencent, "lamp".to_owned())]);
    let running = Running::start(&disabled(&format!("{places}{fleet}"))).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], broker.port()));
    let _lamp = Kind::Tencent.start(address, "lamp", Form::Device, Mode::Upper).await;
    assert_eq!(said(&running, Kind::Tencent).await, expected());
    running.stop().await;
}

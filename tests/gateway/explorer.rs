//! The custom mode of Tencent's IoT Explorer: a device is asked on a topic of its own, and a token in the
//! payload pairs the answer with it.

use serde_json::{Value, json};

use super::devices::{Kind, Mode};
use super::running::Running;
use super::servers::{KEY, Outcome, of_tencent, plain_api, tencent_api};
use super::vendor_devices::VendorDevice;

const COOLER: (Kind, &str) = (Kind::Explorer, "cooler");

async fn explorer(running: &Running, action: &str, more: Value) -> Value {
    let mut body = json!({"ProductId": Kind::Explorer.product(), "DeviceName": "cooler"});
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    let action = ("iotexplorer", action, "2019-04-23");
    tencent_api(running.http, (KEY.0, KEY.1), action, &body).await.json()["Response"].take()
}

#[tokio::test]
async fn a_device_is_asked_on_a_topic_of_its_own() {
    let running = Running::with(&[COOLER]).await;
    let topic = format!("{}/cooler/control", Kind::Explorer.product());
    let ask = json!({"Topic": topic, "ReplyTopic": topic, "Payload": r#"{"power":"on"}"#});
    let offline = explorer(&running, "CallDeviceRRPCSync", ask.clone()).await;
    assert_eq!(of_tencent(&offline), Outcome::Offline);

    let cooler = VendorDevice::start(COOLER.0, running.hub(), COOLER.1, Mode::Upper).await;
    let replied = explorer(&running, "CallDeviceRRPCSync", ask.clone()).await;
    assert_eq!((&replied["Status"], &replied["ReplyTopic"]), (&"Replied".into(), &topic.into()));
    let heard = cooler.heard();
    let request: Value = serde_json::from_slice(&heard[0].payload).expect("JSON");
    assert!(request["power"] == "on" && request["clientToken"].is_string(), "{request}");
    // It has answered the whole of it, in capitals.
    let Outcome::Answer(answer) = of_tencent(&replied) else { panic!("{replied}") };
    assert_eq!(answer.as_bytes(), heard[0].payload.to_ascii_uppercase());

    // The other way to ask it, over its system topics.
    let published = explorer(&running, "PublishRRPCMessage", json!({"Payload": "on"})).await;
    assert_eq!(of_tencent(&published), Outcome::Answer("ON".to_owned()));
    drop(cooler);

    let silent = VendorDevice::start(COOLER.0, running.hub(), COOLER.1, Mode::Silent).await;
    let timed_out = explorer(&running, "CallDeviceRRPCSync", ask).await;
    assert_eq!(of_tencent(&timed_out), Outcome::Timeout);
    assert_eq!(timed_out["Status"], "Timeout");
    assert_eq!(silent.heard().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn the_plain_api_asks_there_as_well() {
    let running = Running::with(&[COOLER]).await;
    let _cooler = VendorDevice::start(COOLER.0, running.hub(), COOLER.1, Mode::Fails).await;
    let product = Kind::Explorer.product();
    let to = format!("{product}/cooler/call?topic={product}/cooler/control");
    let answer = plain_api(running.http, KEY.2, &to, br#"{"power":"on"}"#).await;
    assert_eq!((answer.status, answer.text()), (200, super::vendor_devices::FAILURE));
    running.stop().await;
}

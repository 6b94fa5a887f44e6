//! Devices as the vendors' SDKs make them, byte by byte: MQTT 3.1.1 or 3.1, no No Local, answers at QoS 0,
//! and of Aliyun's services those that nobody has subscribed to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::devices::{Kind, Mode};
use super::raw::{Connect, Packet, Properties, Publish, Raw};

/// What a device answers that has failed, where its protocol has no place to say so: a payload like any
/// other, whose bytes are for the server to read.
pub(crate) const FAILURE: &str = "{\"code\": 500,  \"message\": \"d\u{e9}faut\"}\n";

/// A device that serves until it is dropped.
pub(crate) struct VendorDevice {
    heard: Arc<Mutex<Vec<Publish>>>,
    serving: JoinHandle<()>,
}

impl VendorDevice {
    pub(crate) async fn start(kind: Kind, hub: SocketAddr, device: &str, mode: Mode) -> Self {
        let (client_id, user, password) = kind.credentials(device);
        // Of the SDKs, Tencent's for Python is older than the standard.
        let version = if kind == Kind::Tencent { 3 } else { 4 };
        let connect = Connect::new(&client_id).version(version).keep_alive(60);
        let mut raw = Raw::connect(hub, &connect.credentials(&user, &password)).await;
        for filter in filters(kind, device) {
            assert_eq!(raw.subscribe(&filter, 0).await, 0, "{filter}");
        }
        let heard = Arc::default();
        let serving = tokio::spawn(serve(raw, mode, Arc::clone(&heard)));
        Self { heard, serving }
    }

    /// All that it was sent.
    pub(crate) fn heard(&self) -> Vec<Publish> {
        self.heard.lock().expect("a list").clone()
    }
}

impl Drop for VendorDevice {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn filters(kind: Kind, device: &str) -> Vec<String> {
    let own = format!("{}/{device}", kind.product());
    match kind {
        Kind::Plain => vec![format!("/sys/{own}/rrpc/request/+")],
        Kind::Extended => {
            vec![format!("/sys/{own}/rrpc/request/+"), format!("/ext/rrpc/+/{own}/user/get")]
        }
        Kind::Tencent => vec![format!("$rrpc/rxd/{own}/+")],
        Kind::Explorer => vec![format!("$iotrrpc/down/{own}/+"), format!("{own}/control")],
        Kind::Native => panic!("no vendor has native devices"),
    }
}

async fn serve(mut raw: Raw, mode: Mode, heard: Arc<Mutex<Vec<Publish>>>) {
    while let Some(Packet::Publish(asked)) = raw.wait().await {
        if asked.qos == 1 {
            raw.acknowledge(asked.id).await;
        }
        let answer = answer(&asked, mode);
        heard.lock().expect("a list").push(asked.clone());
        if let Some(answer) = answer {
            raw.publish(0x30, &reply_topic(&asked.topic), &answer, &Properties::none()).await;
        }
    }
}

/// What is not named here is answered where it was asked.
fn reply_topic(asked: &str) -> String {
    asked
        .replace("/rrpc/request/", "/rrpc/response/")
        .replace("$rrpc/rxd/", "$rrpc/txd/")
        .replace("$iotrrpc/down/", "$iotrrpc/up/")
}

fn answer(asked: &Publish, mode: Mode) -> Option<Vec<u8>> {
    if mode == Mode::Silent {
        return None;
    }
    let request: Value = serde_json::from_slice(&asked.payload).unwrap_or_default();
    if request["method"] == "thing.service.light" {
        return Some(service(&request, mode).to_string().into());
    }
    let answer = raw_answer(&asked.payload, mode);
    // Of IoT Explorer's custom mode.
    let Some(token) = request["clientToken"].as_str() else { return Some(answer) };
    let payload = BASE64_STANDARD.encode(answer);
    let reply = json!({"method": "rrpc_sync_reply", "clientToken": token, "payload": payload});
    (request["method"] != "rrpc_sync_reply").then(|| reply.to_string().into())
}

fn raw_answer(payload: &[u8], mode: Mode) -> Vec<u8> {
    if mode == Mode::Fails { FAILURE.into() } else { payload.to_ascii_uppercase() }
}

fn service(request: &Value, mode: Mode) -> Value {
    // With a number the SDK for Python fails.
    let id = request["id"].as_str().expect("the id is text");
    if mode == Mode::Fails {
        return json!({"id": id, "code": 500, "data": {}, "message": "broken"});
    }
    let data = request["params"].to_string().to_uppercase();
    let data: Value = serde_json::from_str(&data).expect("JSON");
    json!({"id": id, "code": 200, "data": data})
}

//! Devices and servers that behave as their vendors' SDKs do, and ours between them. They need
//! Python with `tests/foreign/requirements.txt`.
#![cfg(feature = "ntex")]

#[path = "end_to_end/broker.rs"]
#[macro_use]
mod broker;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/programs.rs"]
mod programs;
#[path = "support/raw.rs"]
mod raw;

#[path = "foreign_devices/devices.rs"]
mod devices;
#[path = "foreign_devices/quirks.rs"]
mod quirks;
#[path = "foreign_devices/servers.rs"]
mod servers;

use std::time::Duration;

use tokio::process::Child;
use tower::ServiceExt;
use tower_mqtt::dialect::Dialect;
use tower_mqtt::{Request, RequestError, Requester, Response};

use self::broker::Broker;
use self::programs::{python, soon, spawn_ready};
use self::raw::{Connect, Properties, Publish, Raw};

/// Aliyun's in the programs under `tests/foreign`.
const LAMP: &str = "a1testPK001/device1";
/// Tencent's.
const AIR_CONDITIONER: &str = "KL4J2TEST1/airConditioner1";

/// Starts a device, which serves until it is dropped.
async fn device(broker: &Broker, program: &str, arguments: &[&str]) -> Child {
    let mut command = python(program, broker.address().port());
    command.args(arguments);
    spawn_ready(command).await
}

async fn requester(broker: &Broker, dialect: impl Dialect) -> Requester {
    let builder = Requester::builder(broker.link().await).dialect(dialect);
    soon(builder.build()).await.expect("subscribed to the answers")
}

async fn call(
    requester: &Requester,
    address: &str,
    payload: impl Into<bytes::Bytes>,
) -> Result<Response, RequestError> {
    let request = Request::new(address, payload).expect("a topic name");
    soon(requester.clone().oneshot(request)).await
}

/// The payload of the answer.
async fn ask(requester: &Requester, address: &str, payload: impl Into<bytes::Bytes>) -> Vec<u8> {
    call(requester, address, payload).await.expect("answered").into_payload().into()
}

/// As short as Aliyun's dialects allow.
fn impatient(address: &str, payload: impl Into<bytes::Bytes>) -> Request {
    Request::new(address, payload).expect("a topic name").timeout(Duration::from_secs(1))
}

/// Sees every message that passes through the broker.
struct Spectator(Raw);

impl Spectator {
    const END: &str = "end/of/the/test";

    async fn new(broker: &Broker) -> Self {
        let mut raw = Raw::connect(broker.address(), &Connect::new("spectator")).await;
        for filter in ["#", "$rrpc/#"] {
            assert_eq!(raw.subscribe(filter, 1).await, 1);
        }
        Self(raw)
    }

    /// The payloads of the next messages, sorted: it may see an answer before its request.
    async fn see_payloads(&mut self, count: usize) -> Vec<String> {
        let seen = self.see(count).await.into_iter().map(|message| message.payload);
        let mut texts: Vec<_> = seen.map(|p| String::from_utf8(p).expect("UTF-8")).collect();
        texts.sort();
        texts
    }

    /// The next messages.
    async fn see(&mut self, count: usize) -> Vec<Publish> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.push(self.0.message().await);
        }
        seen
    }

    /// Checks that there was not one more.
    async fn has_seen_everything(mut self) {
        self.0.publish(0x30, Self::END, b"", &Properties::none()).await;
        assert_eq!(self.0.message().await.topic, Self::END);
    }
}

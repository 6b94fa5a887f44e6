//! A signed request that one gateway has taken is refused by the others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::devices::Kind;
use super::http;
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::raw::{Connect, Properties, Raw, property};
use super::running::Running;
use super::servers::{FORM, KEY, acs3, aliyun_request, plain_api};

const HOST: &str = "gateways.test";
const BODY: &str = "RequestBase64Byte=b24%3D";

/// With HMAC-SHA1, as `aliyun-python-sdk-core` signs.
fn by_rpc() -> Vec<u8> {
    let query = [
        ("Action", "RRpc"),
        ("ProductKey", Kind::Plain.product()),
        ("DeviceName", "lamp"),
        ("Timeout", "8000"),
    ];
    let form = [("RequestBase64Byte", "b24=")];
    let (line, body) = aliyun_request((KEY.0, KEY.1), &query, &form);
    http::request(HOST, &line, &FORM, body.as_bytes())
}

/// With ACS3-HMAC-SHA256, as the SDKs of the Tea family do.
fn by_acs3() -> Vec<u8> {
    let query = format!("DeviceName=lamp&ProductKey={}&Timeout=8000", Kind::Plain.product());
    let key = (KEY.0, KEY.1);
    let headers = acs3(key, HOST, "RRpc", &query, BODY.as_bytes());
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
    http::request(HOST, &format!("POST /?{query}"), &headers, BODY.as_bytes())
}

/// Somebody at the broker who hears what the gateways tell each other.
struct Ear(Raw);

impl Ear {
    const ANSWERS: &str = "clients/ear/responses";

    async fn open(broker: SocketAddr) -> Self {
        let mut raw = Raw::connect(broker, &Connect::new("ear")).await;
        for filter in ["gateways/gateways/nonces", Self::ANSWERS] {
            assert_eq!(raw.subscribe(filter, 0).await, 0);
        }
        Self(raw)
    }

    /// The broker has it, and so it is on its way to the other gateway.
    async fn hears_of_a_nonce(&mut self) {
        let told = soon(self.0.message()).await;
        assert_eq!((&*told.topic, told.qos, told.retain), ("gateways/gateways/nonces", 0, false));
    }

    /// Returns when a gateway has heard what the broker had for it, and the broker what it had said. Nothing
    /// is told meanwhile.
    async fn waits_for(&mut self, gateway: &str) {
        let properties = Properties::none()
            .text(property::RESPONSE_TOPIC, Self::ANSWERS)
            .text(property::CORRELATION_DATA, gateway);
        // Which is no call, and it says so.
        self.0.publish(0x30, &format!("gateways/gateways/{gateway}/call"), b"", &properties).await;
        let answer = soon(self.0.message()).await;
        assert_eq!(answer.topic, Self::ANSWERS);
        assert_eq!(answer.properties.user("status").as_deref(), Some("400"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_recorded_is_refused_at_every_gateway() {
    let broker = Mosquitto::start(&[]).await;
    let (a, b) = tokio::join!(
        Running::member(&broker, Kind::Plain, "a"),
        Running::member(&broker, Kind::Plain, "b")
    );
    let address = SocketAddr::from(([127, 0, 0, 1], broker.port()));
    let executed = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&executed);
    let answer = move |payload: String| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { payload.to_uppercase() }
    };
    let _lamp = Kind::Plain.start_with(address, "lamp", answer).await;
    let mut ear = Ear::open(address).await;
    let mut taken = 0;
    for ((here, id), (there, other)) in
        [((a.http, "a"), (b.http, "b")), ((b.http, "b"), (a.http, "a"))]
    {
        for recorded in [by_rpc(), by_acs3()] {
            let first = soon(http::send_bytes(here, &recorded)).await;
            assert_eq!(
                first.json()["PayloadBase64Byte"],
                BASE64_STANDARD.encode("ON"),
                "{first:?}"
            );
            taken += 1;
            ear.hears_of_a_nonce().await;
            ear.waits_for(other).await;
            for gateway in [here, there] {
                let again = soon(http::send_bytes(gateway, &recorded)).await;
                let code = again.json()["Code"].as_str().map(str::to_owned);
                assert_eq!((again.status, code.as_deref()), (400, Some("SignatureNonceUsed")));
            }
        }
        let to = format!("{}/lamp/call", Kind::Plain.product());
        let unsigned = plain_api(here, KEY.2, &to, b"on").await;
        assert_eq!((unsigned.status, unsigned.text()), (200, "ON"));
        taken += 1;
        // Neither that nor what was refused is told.
        ear.waits_for(id).await;
        ear.waits_for(other).await;
    }
    assert_eq!(executed.load(Ordering::SeqCst), taken);
    a.stop().await;
    b.stop().await;
}

//! What the vendors' cloud SDKs sent, sent once more: whole and byte for byte, over TCP.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use super::*;
use crate::gateway::config::Dialect;

struct Recorded {
    text: &'static str,
    /// What the gateway's clock says.
    now: fn() -> SystemTime,
    /// The headers that are signed, or sign.
    signed: &'static [&'static str],
    payload: &'static str,
    /// A nonce is signed.
    once: bool,
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

const RECORDED: [Recorded; 3] = [
    Recorded {
        text: include_str!("../../../../tests/foreign/recorded/aliyun.http"),
        now: || at(1_795_508_697),
        signed: &[],
        payload: "hello world",
        once: true,
    },
    Recorded {
        text: include_str!("../../../../tests/foreign/recorded/tea.http"),
        now: || at(1_795_894_657),
        signed: &[
            "host",
            "x-acs-version",
            "x-acs-action",
            "user-agent",
            "x-acs-date",
            "x-acs-signature-nonce",
            "accept",
            "content-type",
            "x-acs-content-sha256",
            "x-acs-credentials-provider",
            "authorization",
        ],
        payload: "hello world",
        once: true,
    },
    Recorded {
        text: include_str!("../../../../tests/foreign/recorded/tencent.http"),
        now: || at(1_795_508_699),
        signed: &["content-type", "host", "x-tc-timestamp", "authorization"],
        payload: r#"{"payload": "rrpc test"}"#,
        once: false,
    },
];

/// Those of the bodies.
pub(super) fn content_types() -> BTreeSet<&'static str> {
    let lines = RECORDED.into_iter().flat_map(|recorded| recorded.text.lines());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    pairs.filter(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|it| it.1).collect()
}

impl Recorded {
    /// Where what is signed stands: method, path and query, values of headers, and the body.
    fn parts(&self) -> Vec<Range<usize>> {
        let (head, body) = self.text.split_once("\r\n\r\n").expect("a head");
        let mut parts = Vec::new();
        let mut start = 0;
        for line in head.split("\r\n") {
            if start == 0 {
                parts.push(0..line.rfind(' ').expect("a version"));
            } else {
                let (name, value) = line.split_once(": ").expect("a header");
                if self.signed.contains(&&*name.to_lowercase()) {
                    parts.push(start + line.len() - value.len()..start + line.len());
                }
            }
            start += line.len() + 2;
        }
        parts.push(self.text.len() - body.len()..self.text.len());
        assert_eq!(parts.len(), self.signed.len() + 2);
        parts
    }

    /// With one bit changed in each third byte of what is signed; in one byte of each part at least.
    fn changed(&self) -> impl Iterator<Item = String> {
        let places = self.parts().into_iter().flat_map(|part| part.step_by(3));
        places.map(|place| {
            let mut bytes = self.text.as_bytes().to_vec();
            bytes[place] ^= 1;
            String::from_utf8(bytes).expect("ASCII")
        })
    }

    /// A server whose clock says when this was recorded, and the payloads that devices get.
    async fn server(&self) -> (Server, Arc<std::sync::Mutex<Vec<bytes::Bytes>>>) {
        let key = |id: &str| AccessKey::new(id).with_secret("testsecret");
        let products = [("a1testPK001", Dialect::Aliyun), ("KL4J2TEST1", Dialect::Tencent)];
        let products = products.map(|(id, dialect)| Product { dialect, ..product(id) });
        let payloads: Arc<Mutex<Vec<_>>> = Arc::default();
        let asked = Arc::clone(&payloads);
        let answer = move |call: Call| {
            assert_eq!(&*call.device, "dev-ok");
            let Call { payload, content_type, .. } = call;
            asked.lock().unwrap().push(payload.clone());
            let status = Status::OK;
            std::future::ready(Ok(Answer { status, payload, content_type, message_id: 7 }))
        };
        let (mut front, _) = front();
        front.now = self.now;
        front.keys = Arc::new(Keys::new(&[key("testid"), key("AKIDtestid")]));
        front.products = Arc::new(Products::new(&products));
        front.calls = BoxCloneSyncService::new(service_fn(answer));
        let server = Server::start_with(&local(), Vec::new(), front, Patience::default()).await;
        (server.expect("started"), payloads)
    }
}

#[tokio::test]
async fn a_recorded_request_is_taken_and_none_that_differs_in_a_bit() {
    for recorded in RECORDED {
        let (server, payloads) = recorded.server().await;
        let address = server.local_addrs()[0];
        for changed in recorded.changed() {
            Client::connect(address).await.ask(&changed).await;
            assert!(payloads.lock().unwrap().is_empty(), "{changed}");
        }
        for again in [false, true] {
            let reply = Client::connect(address).await.ask(recorded.text).await;
            let asked: Vec<_> = payloads.lock().unwrap().drain(..).collect();
            if again && recorded.once {
                assert_eq!(
                    (reply.status, reply.json()["Code"].as_str()),
                    (400, Some("SignatureNonceUsed"))
                );
                assert!(asked.is_empty());
            } else {
                assert_eq!(reply.status, 200, "{}", reply.text());
                assert_eq!(asked, [recorded.payload]);
            }
        }
    }
}

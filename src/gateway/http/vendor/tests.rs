//! What both vendors' tests need, and what holds for both.

use std::sync::Mutex;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use proptest::prelude::*;
use serde_json::Value;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::gateway::config::{AccessKey, Dialect, Product};
use crate::gateway::http::outcome::Outcome;
use crate::message::Status;

pub(super) const WINDOW: Duration = Duration::from_mins(15);

/// Both APIs, at a fixed time, in front of calls that end as told.
pub(super) struct Fixture {
    pub(super) vendor: Vendor,
    pub(super) calls: Arc<Mutex<Vec<Call>>>,
    pub(super) publications: Arc<Mutex<Vec<Publication>>>,
}

pub(super) fn product(id: &str, dialect: Dialect) -> Product {
    Product {
        id: id.to_owned(),
        dialect,
        timeout: None,
        one_in_flight: false,
        ext: false,
        devices: Vec::new(),
    }
}

/// `now`: in RFC 3339.
pub(super) fn fixture(now: &str, ends: Result<Answer, Failure>) -> Fixture {
    let key = |id: &str, secret: Option<&str>, products| AccessKey {
        id: id.to_owned(),
        secret: secret.map(Into::into),
        bearer: None,
        products,
    };
    let only = Some(vec!["other".to_owned()]);
    let keys = Keys::new(&[
        key("testid", Some("testsecret"), None),
        key("AKIDtestid", Some("testsecret"), None),
        key("limited", Some("testsecret"), only),
        key("unsigned", None, None),
    ]);
    let products = Products::new(&[
        product("a1testPK001", Dialect::Aliyun),
        product("KL4J2TEST1", Dialect::Tencent),
        product("explorer", Dialect::TencentExplorer),
        product("native", Dialect::Native),
    ]);
    let (calls, publications) = <(Arc<Mutex<Vec<_>>>, Arc<Mutex<Vec<_>>>)>::default();
    let (all_calls, all_publications) = (Arc::clone(&calls), Arc::clone(&publications));
    let published = ends.clone().map(|answer| answer.message_id);
    let call = move |call| {
        all_calls.lock().unwrap().push(call);
        std::future::ready(ends.clone())
    };
    let publish = move |publication| {
        all_publications.lock().unwrap().push(publication);
        std::future::ready(published.clone())
    };
    let now = humantime::parse_rfc3339(now).unwrap();
    let vendor = Vendor {
        now: Box::new(move || now),
        ..Vendor::new(
            Arc::new(keys),
            Arc::new(products),
            BoxCloneSyncService::new(service_fn(call)),
            BoxCloneSyncService::new(service_fn(publish)),
            Arc::new(Replay::new(WINDOW)),
            SystemTime::now,
        )
    };
    Fixture { vendor, calls, publications }
}

#[expect(clippy::unnecessary_wraps, reason = "it is how a call ends")]
pub(super) fn answer(payload: &'static [u8], message_id: u64) -> Result<Answer, Failure> {
    let payload = Bytes::from_static(payload);
    Ok(Answer { status: Status::OK, payload, content_type: None, message_id })
}

/// One of each.
pub(in crate::gateway::http) fn every_error() -> [CallError; 16] {
    use crate::gateway::call::InFlight;

    let why = || "why".into();
    [
        CallError::NoSuchProduct(why()),
        CallError::NoSuchDevice(why()),
        CallError::NotAllowed(why()),
        CallError::Disabled,
        CallError::Offline,
        CallError::HalfOpen,
        CallError::NotSubscribed,
        CallError::Timeout,
        CallError::TooMany(InFlight::Gateway(1)),
        CallError::TooMany(InFlight::Device(1)),
        CallError::TooMany(InFlight::Key(1)),
        CallError::Invalid(why()),
        CallError::TooLarge,
        CallError::Unavailable("why"),
        CallError::Lost("why"),
        CallError::Failed(why()),
    ]
}

#[derive(Clone)]
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Sent {
    pub(super) fn post(uri: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        Self {
            method: Method::POST,
            uri: uri.parse().unwrap(),
            headers: headers.collect(),
            body: body.to_vec(),
        }
    }

    pub(super) fn parts(&self) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        parts.headers = self.headers.clone();
        parts
    }

    /// With each bit of this header changed, as far as a header can have it.
    pub(super) fn with_header_bits_changed(&self, name: &'static str) -> Vec<Self> {
        let changed = bits_changed(self.headers[name].as_bytes()).filter_map(|value| {
            let mut other = self.clone();
            other.headers.insert(name, HeaderValue::from_bytes(&value).ok()?);
            Some(other)
        });
        changed.collect()
    }

    /// With each bit of the body changed.
    pub(super) fn with_body_bits_changed(&self) -> Vec<Self> {
        bits_changed(&self.body).map(|body| Self { body, ..self.clone() }).collect()
    }
}

pub(super) fn bits_changed(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) outcome: Outcome,
}

pub(super) async fn read(response: Response) -> Got {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Got {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap(),
        outcome: parts.extensions.get::<Outcome>().unwrap().clone(),
    }
}

impl Fixture {
    pub(super) async fn send(&self, sent: &Sent) -> Got {
        read(self.vendor.serve(&sent.parts(), sent.body.clone().into()).await).await
    }

    pub(super) fn only_call(&self) -> Call {
        let mut calls = self.calls.lock().unwrap();
        assert_eq!(calls.len(), 1);
        calls.pop().unwrap()
    }
}

#[tokio::test]
async fn a_body_that_was_not_read_is_said_as_the_vendor_says_it() {
    let aliyun = Sent::post("/", &[("host", "h")], b"");
    let tencent = Sent::post("/", &[("x-tc-action", "PublishRRPCMessage")], b"");
    for (why, result, status, code, tencents) in [
        (Unread::TooLarge, "invalid", 413, "RequestEntityTooLarge", "RequestSizeLimitExceeded"),
        (Unread::TooSlow, "too_slow", 408, "RequestTimeout", "InvalidRequest"),
        (Unread::Broken, "invalid", 400, "IncompleteBody", "InvalidRequest"),
    ] {
        let got = read(unread(&aliyun.parts(), why)).await;
        assert_eq!((got.status, &got.body["HostId"]), (status, &"h".into()));
        assert_eq!((got.body["Code"].as_str(), got.outcome.result), (Some(code), result));
        assert!(got.body["Message"].is_string());
        let got = read(unread(&tencent.parts(), why)).await;
        assert_eq!((got.status, got.outcome.result), (200, result));
        assert_eq!(got.headers["content-type"], "application/json");
        let error = &got.body["Response"]["Error"];
        assert_eq!(error["Code"], tencents);
        assert!(error["Message"].is_string());
    }
}

#[test]
fn request_ids_look_like_a_uuid_and_differ() {
    let id = request_id();
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_ne!(id, request_id());
}

/// Headers that are looked at, with values that are nearly right.
fn any_headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let names = prop::sample::select(vec![
        "authorization",
        "content-type",
        "host",
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-version",
        "x-tc-action",
        "x-tc-timestamp",
        "x-tc-version",
    ]);
    let known = prop::sample::select(vec![
        "TC3-HMAC-SHA256 Credential=AKIDtestid/2026-11-24/iotcloud/tc3_request, \
         SignedHeaders=content-type;host, Signature=00",
        "ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=host;x-acs-action;x-acs-content-sha256;\
         x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=00",
        "ACS3-HMAC-SHA256",
        "TC3-HMAC-SHA256 ",
        "application/json",
        "application/x-www-form-urlencoded",
        "2026-11-24T08:24:55Z",
        "1795508697",
        "99999999999999999999",
        "18446744073709551615",
        "2018-01-20",
        "2021-04-08",
        "RRpc",
        "PublishRRPCMessage",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ]);
    let value = prop_oneof![
        3 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec((names, value), 0..12)
}

proptest! {
    #[test]
    fn nothing_that_is_not_signed_panics_or_succeeds(
        get in any::<bool>(),
        query in "(&?(Action|Timestamp|AccessKeyId|Signature|Signature(Nonce|Method|Version)|Version|\
                  [a-zA-Z.]{1,9})=(RRpc|testid|HMAC-SHA1|1\\.0|2018-01-20|2026-11-24T08:24:55Z|%3[0-9]|\
                  [a-zA-Z0-9%+=]{0,9})){0,12}",
        headers in any_headers(),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[\\[{]{0,300}".prop_map(String::into_bytes),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fixture = fixture("2026-11-24T08:24:57Z", answer(b"", 1));
        let mut sent = Sent::post("/", &[], &body);
        sent.uri = format!("/?{query}").parse().unwrap();
        sent.method = if get { Method::GET } else { Method::POST };
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                sent.headers.append(name, value);
            }
        }
        let got = runtime.block_on(fixture.send(&sent));
        prop_assert!(got.status != 200 || got.body["Response"]["Error"]["Code"].is_string());
        prop_assert!(fixture.calls.lock().unwrap().is_empty());
        prop_assert!(fixture.publications.lock().unwrap().is_empty());
    }
}

//! Who is let in.

use axum::http::{HeaderValue, Method};

use super::{FORM, answering, encode, raised, rrpc};
use crate::gateway::call::Target;
use crate::gateway::http::vendor::aliyun::params::Params;
use crate::gateway::http::vendor::signing::{hmac_sha256, sha256_hex};
use crate::gateway::http::vendor::tests::{Sent, answer, bits_changed, fixture};

/// What `aliyun-python-sdk-iot` 8.59.0 sent.
const QUERY: &str = "ProductKey=a1testPK001&DeviceName=dev-ok&Timeout=3000&Version=2018-01-20&Action=RRpc&\
    Format=JSON&RegionId=cn-shanghai&Timestamp=2026-11-24T08%3A24%3A55Z&SignatureMethod=HMAC-SHA1&\
    SignatureType=&SignatureVersion=1.0&SignatureNonce=437868076c7b9200ca9ff70d44b06f12&AccessKeyId=testid&\
    Signature=HinyU5Bncdx8iDO3kaf5EPiTJOA%3D";

const BODY: &str = "RequestBase64Byte=aGVsbG8gd29ybGQ%3D";

const STRING_TO_SIGN: &str = "POST&%2F&AccessKeyId%3Dtestid%26Action%3DRRpc%26DeviceName%3Ddev-ok%26Format%3DJSON%26ProductKey%3Da1testPK001%26RegionId%3Dcn-shanghai%26RequestBase64Byte%3DaGVsbG8gd29ybGQ%253D%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D437868076c7b9200ca9ff70d44b06f12%26SignatureType%3D%26SignatureVersion%3D1.0%26Timeout%3D3000%26Timestamp%3D2026-11-24T08%253A24%253A55Z%26Version%3D2018-01-20";

fn recorded() -> Sent {
    let uri = format!("/?{QUERY}");
    let headers = [("host", "127.0.0.1:18080"), FORM, ("x-acs-action", "RRpc")];
    Sent::post(&uri, &headers, BODY.as_bytes())
}

#[tokio::test]
async fn the_recorded_query_is_taken_byte_for_byte_and_once() {
    let fixture = answering();
    let got = fixture.send(&recorded()).await;
    assert_eq!((got.status, &got.body["Success"]), (200, &true.into()));
    let call = fixture.only_call();
    assert_eq!((&*call.product, &*call.device), ("a1testPK001", "dev-ok"));
    assert_eq!((call.payload, call.target), ("hello world".into(), Target::Device));
    assert_eq!(call.timeout.unwrap().as_millis(), 3000);
    assert_eq!(call.key.as_deref(), Some("testid"));
    let got = fixture.send(&recorded()).await;
    assert_eq!(raised(&got), (400, "SignatureNonceUsed"));
    assert!(fixture.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_signature_is_told_the_string_to_sign_after_a_colon() {
    let mut sent = recorded();
    sent.uri = format!("/?{}", QUERY.replace("HinyU", "HinyV")).parse().unwrap();
    let got = answering().send(&sent).await;
    assert_eq!(raised(&got), (400, "SignatureDoesNotMatch"));
    // As the SDK takes it apart.
    let message = got.body["Message"].as_str().unwrap();
    assert_eq!(message.split(':').nth(1), Some(STRING_TO_SIGN));
    assert!(message.split(':').next().unwrap().ends_with("server string to sign is"));
    assert_eq!(got.outcome.result, "unauthorized");
}

/// What is read from a query that differs in a bit is refused, unless it says the same in another
/// way.
#[tokio::test]
async fn each_bit_of_a_parameter_and_of_the_signature_counts() {
    let original = Params::parse(QUERY.as_bytes()).unwrap();
    let form = Params::parse(BODY.as_bytes()).unwrap();
    let mut refused = 0;
    for query in bits_changed(QUERY.as_bytes()) {
        let Ok(uri) = format!("/?{}", String::from_utf8_lossy(&query)).parse() else { continue };
        let sent = Sent { uri, ..recorded() };
        let text = sent.uri.query().unwrap_or_default().as_bytes();
        let same = Params::parse(text).is_ok_and(|params| params == original);
        let got = answering().send(&sent).await;
        assert_eq!(got.status == 200, same, "{}", sent.uri);
        refused += u32::from(!same);
    }
    assert!(refused > 2000);
    for body in bits_changed(BODY.as_bytes()) {
        let same = Params::parse(&body).is_ok_and(|params| params == form);
        let got = answering().send(&Sent { body, ..recorded() }).await;
        assert_eq!(got.status == 200, same);
    }
    let got = answering().send(&Sent { method: Method::GET, ..recorded() }).await;
    assert_eq!(raised(&got), (400, "SignatureDoesNotMatch"));
}

#[tokio::test]
async fn a_query_is_taken_within_the_window() {
    for (now, expected) in [
        ("2026-11-24T08:39:55Z", None),
        ("2026-11-24T08:09:55Z", None),
        ("2026-11-24T08:39:56Z", Some((400, "InvalidTimeStamp.Expired"))),
        ("2026-11-24T08:09:54Z", Some((400, "InvalidTimeStamp.Expired"))),
    ] {
        let got = fixture(now, answer(b"", 1)).send(&recorded()).await;
        assert_eq!((got.status != 200).then(|| raised(&got)), expected);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said() {
    for (params, expected) in [
        (("AccessKeyId", "nobody"), (404, "InvalidAccessKeyId.NotFound")),
        (("AccessKeyId", "unsigned"), (404, "InvalidAccessKeyId.NotFound")),
        (("AccessKeyId", "limited"), (403, "iot.common.RamActionPermissionDeny")),
        (("AccessKeyId", "-"), (400, "MissingAccessKeyId")),
        (("SignatureNonce", "-"), (400, "MissingSignatureNonce")),
        (("SignatureMethod", "HMAC-SHA256"), (400, "InvalidSignatureMethod")),
        (("SignatureVersion", "2.0"), (400, "InvalidSignatureVersion")),
        (("Timestamp", "-"), (400, "MissingTimestamp")),
        (("Timestamp", "1795508695"), (400, "InvalidTimeStamp.Format")),
        (("Timestamp", "9999-12-31T23:59:59Z"), (400, "InvalidTimeStamp.Expired")),
        (("Version", "2017-04-20"), (400, "InvalidVersion")),
        (("Version", "-"), (400, "MissingVersion")),
        (("Format", "XML"), (400, "InvalidFormat")),
        (("Action", "-"), (400, "MissingAction")),
        (("Action", "InvokeThingsService"), (404, "InvalidAction.NotFound")),
    ] {
        let fixture = answering();
        assert_eq!(raised(&fixture.send(&rrpc(&[params])).await), expected, "{params:?}");
        assert!(fixture.calls.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_body_that_is_no_form_and_a_method_that_is_neither_are_refused() {
    let mut sent = rrpc(&[]);
    sent.headers.insert("content-type", HeaderValue::from_static("application/json"));
    assert_eq!(raised(&answering().send(&sent).await), (400, "UnsupportedContentType"));
    let put = Sent { method: Method::PUT, ..rrpc(&[]) };
    assert_eq!(raised(&answering().send(&put).await), (405, "UnsupportedHTTPMethod"));
    let nothing = Sent::post("/", &[], b"");
    assert_eq!(raised(&answering().send(&nothing).await), (400, "MissingSignature"));
    let mut twice = recorded();
    twice.body = [BODY, "&Timeout=3000"].concat().into();
    assert_eq!(raised(&answering().send(&twice).await), (400, "InvalidParameter"));
}

const ACS3_BODY: &str = "RequestBase64Byte=aGVsbG8gd29ybGQ%3D";

/// No request of the Tea family was recorded whole. This one was made from the recorded names of
/// headers; its signature was computed with Python's hashlib, and `alibabacloud-tea-openapi` 0.4.6
/// computes the same.
fn acs3() -> Sent {
    let headers = [
        ("accept", "application/json"),
        FORM,
        ("host", "127.0.0.1:8080"),
        ("user-agent", "AlibabaCloud (Linux; x86_64) Python/3.11.7 TeaDSL/1"),
        ("x-acs-action", "RRpc"),
        (
            "x-acs-content-sha256",
            "bb110f7414f33bb5fcd83368f2a82d70155d5bdf0777e50e32ee1a09c587efe5",
        ),
        ("x-acs-credentials-provider", "static_ak"),
        ("x-acs-date", "2026-11-24T08:24:55Z"),
        ("x-acs-signature-nonce", "437868076c7b9200ca9ff70d44b06f12"),
        ("x-acs-version", "2018-01-20"),
        (
            "authorization",
            "ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=accept;content-type;host;user-agent;\
             x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;\
             x-acs-signature-nonce;x-acs-version,\
             Signature=401f2ae24742281a46926d043062fc0acbb7dbff734f9eb76a8126ae9640c11e",
        ),
    ];
    let uri = "/?ProductKey=a1testPK001&DeviceName=dev-ok&Timeout=3000&\
               Topic=%2Fa1testPK001%2Fdev-ok%2Fuser%2Fget";
    Sent::post(uri, &headers, ACS3_BODY.as_bytes())
}

#[tokio::test]
async fn acs3_is_taken_once() {
    let fixture = answering();
    let got = fixture.send(&acs3()).await;
    assert_eq!((got.status, &got.body["Success"]), (200, &true.into()), "{}", got.body);
    let call = fixture.only_call();
    assert!(
        matches!(call.target, Target::Topic(topic) if topic.as_str() == "/a1testPK001/dev-ok/user/get")
    );
    assert_eq!(call.payload, "hello world");
    assert_eq!(raised(&fixture.send(&acs3()).await), (400, "SignatureNonceUsed"));
}

#[tokio::test]
async fn acs3_says_its_string_to_sign() {
    let mut sent = acs3();
    sent.body.push(b'&');
    let got = answering().send(&sent).await;
    assert_eq!(raised(&got), (400, "SignatureDoesNotMatch"));
    let got = answering().send(&Sent { method: Method::GET, ..acs3() }).await;
    let (before, text) = got.body["Message"].as_str().unwrap().split_once(':').unwrap();
    assert!(before.ends_with("server string to sign is") && text.starts_with("ACS3-HMAC-SHA256\n"));
}

#[tokio::test]
async fn each_bit_of_what_acs3_signs_counts() {
    let mut changed = acs3().with_body_bits_changed();
    for name in acs3().headers.keys() {
        let known = ["authorization", "content-type", "host", "user-agent", "accept"];
        let of_vendor = name.as_str().starts_with("x-acs-");
        let name = known.into_iter().find(|known| name == known);
        assert!(name.is_some() || of_vendor);
        changed.extend(name.into_iter().flat_map(|name| acs3().with_header_bits_changed(name)));
    }
    for name in [
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-credentials-provider",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-version",
    ] {
        changed.extend(acs3().with_header_bits_changed(name));
    }
    changed.push(Sent { uri: "/".parse().unwrap(), ..acs3() });
    for sent in changed {
        let fixture = answering();
        let got = fixture.send(&sent).await;
        assert!(got.status >= 400, "{:?}", sent.headers);
        assert!(fixture.calls.lock().unwrap().is_empty());
    }
}

/// Signs these headers, and no others that the request has.
fn sign_acs3(mut sent: Sent, signed: &[&str]) -> Sent {
    let mut canonical = format!("{}\n/\n{}\n", sent.method, sent.uri.query().unwrap_or_default());
    for name in signed {
        let value = sent.headers[*name].to_str().unwrap();
        canonical.extend([name, ":", value, "\n"]);
    }
    let names = signed.join(";");
    canonical.extend(["\n", &names, "\n", &sha256_hex(&sent.body)]);
    let text = format!("ACS3-HMAC-SHA256\n{}", sha256_hex(canonical.as_bytes()));
    let tag = hex::encode(hmac_sha256(b"testsecret", text.as_bytes()));
    let value = format!("ACS3-HMAC-SHA256 Credential=testid,SignedHeaders={names},Signature={tag}");
    sent.headers.insert("authorization", value.parse().unwrap());
    sent
}

const SIGNED: [&str; 7] = [
    "content-type",
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-version",
];

fn unsigned_acs3(query: &[(&str, &str)]) -> Sent {
    let mut sent = acs3();
    let mut query = query.to_vec();
    query.sort_unstable();
    sent.uri = format!("/?{}", encode(&query)).parse().unwrap();
    sent
}

#[tokio::test]
async fn acs3_must_sign_what_is_read() {
    let query = [("ProductKey", "a1testPK001"), ("DeviceName", "dev-ok"), ("Timeout", "1000")];
    let whole = sign_acs3(unsigned_acs3(&query), &SIGNED);
    assert_eq!(answering().send(&whole).await.status, 200);
    for name in SIGNED {
        let others: Vec<_> = SIGNED.into_iter().filter(|other| *other != name).collect();
        let got = answering().send(&sign_acs3(unsigned_acs3(&query), &others)).await;
        assert_eq!(raised(&got), (400, "IncompleteSignature"), "{name}");
        let mut without = whole.clone();
        without.headers.remove(name);
        assert_eq!(raised(&answering().send(&without).await), (400, "IncompleteSignature"));
        let mut twice = whole.clone();
        twice.headers.append(name, "x".parse().unwrap());
        assert_eq!(raised(&answering().send(&twice).await), (400, "IncompleteSignature"));
    }
}

#[tokio::test]
async fn a_digest_of_another_body_is_refused_though_it_is_signed() {
    let query = [("ProductKey", "a1testPK001"), ("DeviceName", "dev-ok"), ("Timeout", "1000")];
    let mut sent = unsigned_acs3(&query);
    sent.headers.insert("x-acs-content-sha256", sha256_hex(b"").parse().unwrap());
    let got = answering().send(&sign_acs3(sent, &SIGNED)).await;
    assert_eq!(raised(&got), (400, "SignatureDoesNotMatch"));
}

#[tokio::test]
async fn another_authorization_is_refused() {
    for (value, code) in [
        ("Bearer token", "InvalidSignatureMethod"),
        ("ACS3-RSA-SHA256 Credential=a,SignedHeaders=b,Signature=c", "InvalidSignatureMethod"),
        ("ACS3-HMAC-SHA256", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=testid", "IncompleteSignature"),
    ] {
        let mut sent = acs3();
        sent.headers.insert("authorization", HeaderValue::from_static(value));
        assert_eq!(raised(&answering().send(&sent).await), (400, code), "{value}");
    }
}

//! The requests of Aliyun's SDKs, and what is made of others.

mod replies;
mod requests;
mod signatures;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;

use super::params::{Params, escape};
use super::rpc_signature;
use crate::gateway::http::vendor::tests::{Fixture, Got, Sent, answer, fixture};

const NOW: &str = "2026-11-24T08:24:55Z";

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn answering() -> Fixture {
    fixture(NOW, answer(b"world hello", 889_455_942_124_347_392))
}

fn encode(params: &[(&str, &str)]) -> String {
    let pairs = params.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// With the signature of HMAC-SHA1; what is given twice stays so. The value `-` leaves a parameter
/// out.
fn signed(params: &[(&str, &str)]) -> Sent {
    let mut all = vec![
        ("Version", "2018-01-20"),
        ("Format", "JSON"),
        ("Timestamp", NOW),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", "nonce"),
        ("AccessKeyId", "testid"),
    ];
    all.retain(|(name, _)| params.iter().all(|(given, _)| given != name));
    all.extend(params.iter().filter(|(_, value)| *value != "-"));
    let parsed = Params::parse(encode(&all).as_bytes()).unwrap();
    let text = rpc_signature::string_to_sign("POST", &parsed);
    let tag = STANDARD.encode(rpc_signature::mac("testsecret", &text).finalize().into_bytes());
    all.push(("Signature", &tag));
    Sent::post("/", &[("host", "h"), FORM], encode(&all).as_bytes())
}

/// `RRpc` with other parameters than these.
fn rrpc(params: &[(&str, &str)]) -> Sent {
    of_action("RRpc", params, &[("RequestBase64Byte", "aGVsbG8gd29ybGQ="), ("Timeout", "3000")])
}

fn service(params: &[(&str, &str)]) -> Sent {
    of_action("InvokeThingService", params, &[("Identifier", "lock")])
}

fn publish(params: &[(&str, &str)]) -> Sent {
    let usual = [("TopicFullName", "/a1testPK001/dev-ok/user/get"), ("MessageContent", "aGVsbG8=")];
    of_action("Pub", params, &usual)
}

fn of_action<'a>(
    action: &'a str,
    params: &[(&'a str, &'a str)],
    usual: &[(&'a str, &'a str)],
) -> Sent {
    let mut all = vec![("Action", action), ("ProductKey", "a1testPK001"), ("DeviceName", "dev-ok")];
    all.extend(usual);
    all.retain(|(name, _)| params.iter().all(|(given, _)| given != name));
    all.extend(params);
    signed(&all)
}

/// The code of an error that an SDK raises, with its status.
fn raised(got: &Got) -> (u16, &str) {
    assert!(got.body["RequestId"].is_string() && got.body["HostId"].is_string());
    assert!(got.body["Message"].is_string() && got.status >= 400);
    (got.status, got.body["Code"].as_str().unwrap())
}

/// The code of a call that did not succeed.
fn failed(got: &Got) -> &str {
    assert!(got.body["RequestId"].is_string() && got.body["ErrorMessage"].is_string());
    assert_eq!((got.status, &got.body["Success"]), (200, &false.into()));
    got.body["Code"].as_str().unwrap()
}

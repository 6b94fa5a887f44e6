//! The request that was recorded from `tencentcloud-sdk-python-iotcloud` 3.0.1459, and what is made
//! of others.

use std::time::Duration;

use axum::http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::gateway::call::{CallError, Failure, InFlight, Target};
use crate::gateway::http::vendor::signing::{hmac_sha256, sha256_hex};
use crate::gateway::http::vendor::tests::{Fixture, Got, Sent, answer, every_error, fixture};
use crate::message::Status;

/// 1795508697.
const NOW: &str = "2026-11-24T08:24:57Z";

const BODY: &[u8] = br#"{"ProductId": "KL4J2TEST1", "DeviceName": "dev-ok", "Payload": "{\"payload\": \"rrpc test\"}"}"#;

fn recorded() -> Sent {
    assert_eq!(BODY.len(), 94);
    let headers = [
        ("content-type", "application/json"),
        ("host", "127.0.0.1:18080"),
        ("x-tc-action", "PublishRRPCMessage"),
        ("x-tc-version", "2021-04-08"),
        ("x-tc-timestamp", "1795508697"),
        ("x-tc-region", "ap-guangzhou"),
        ("x-tc-language", "zh-CN"),
        ("x-tc-requestclient", "SDK_PYTHON_3.0.1459"),
        (
            "authorization",
            "TC3-HMAC-SHA256 Credential=AKIDtestid/2026-11-24/iotcloud/tc3_request, \
             SignedHeaders=content-type;host, \
             Signature=a0bc2dad862d0ca54ff96eeb5f701ab25be3561e668a8d461cf217be3e7fd4b9",
        ),
    ];
    Sent::post("/", &headers, BODY)
}

/// Signs as the documents say, apart from the code under test.
fn signed(action: &str, version: &str, body: &[u8]) -> Sent {
    let service = if version == "2019-04-23" { "iotexplorer" } else { "iotcloud" };
    signed_by("AKIDtestid", service, "1795508697", "2026-11-24", action, version, body)
}

fn signed_by(
    id: &str,
    service: &str,
    timestamp: &str,
    date: &str,
    action: &str,
    version: &str,
    body: &[u8],
) -> Sent {
    let canonical = format!(
        "POST\n/\n\ncontent-type:application/json\nhost:h\n\ncontent-type;host\n{}",
        sha256_hex(body)
    );
    let scope = format!("{date}/{service}/tc3_request");
    let hash = sha256_hex(canonical.as_bytes());
    let text = format!("TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{hash}");
    let steps = [date, service, "tc3_request", &text];
    let key = steps
        .iter()
        .fold(b"TC3testsecret".to_vec(), |key, step| hmac_sha256(&key, step.as_bytes()).to_vec());
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=content-type;host, Signature={}",
        hex::encode(key)
    );
    let headers = [
        ("content-type", "application/json"),
        ("host", "h"),
        ("x-tc-action", action),
        ("x-tc-version", version),
        ("x-tc-timestamp", timestamp),
        ("authorization", &*authorization),
    ];
    Sent::post("/", &headers, body)
}

fn code(got: &Got) -> &str {
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["content-type"], "application/json");
    let response = &got.body["Response"];
    assert!(response["RequestId"].is_string());
    assert!(response["Error"]["Message"].is_string());
    response["Error"]["Code"].as_str().unwrap()
}

fn answering() -> Fixture {
    fixture(NOW, answer(br#""ok""#, 41440))
}

#[tokio::test]
async fn the_recorded_request_is_taken_byte_for_byte() {
    let fixture = answering();
    let got = fixture.send(&recorded()).await;
    let response = &got.body["Response"];
    assert_eq!(
        (got.status, &got.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    assert_eq!(response["MessageId"], 41440);
    assert_eq!(response["PayloadBase64"], "Im9rIg==");
    assert_eq!(response.as_object().unwrap().len(), 3);
    assert_eq!(got.outcome.result, "ok");
    assert_eq!(got.outcome.product.as_deref(), Some("KL4J2TEST1"));
    let call = fixture.only_call();
    assert_eq!((&*call.product, &*call.device), ("KL4J2TEST1", "dev-ok"));
    assert_eq!((call.target, call.timeout), (Target::Device, None));
    assert_eq!(call.payload, r#"{"payload": "rrpc test"}"#);
    assert_eq!(call.key.as_deref(), Some("AKIDtestid"));
    // It has no nonce: an equal call within the same second has the same signature.
    assert_eq!(fixture.send(&recorded()).await.body["Response"]["MessageId"], 41440);
}

#[tokio::test]
async fn each_bit_of_what_is_signed_counts() {
    let fixture = answering();
    let sent = recorded();
    let mut changed = sent.with_body_bits_changed();
    assert_eq!(changed.len(), 94 * 8);
    for header in ["authorization", "content-type", "host", "x-tc-timestamp"] {
        changed.extend(sent.with_header_bits_changed(header));
    }
    // Signed in lower case as well, and a type means the same in either.
    changed.retain(|sent| {
        let kind = &sent.headers["content-type"];
        kind == "application/json" || !kind.as_bytes().eq_ignore_ascii_case(b"application/json")
    });
    changed.push(Sent { uri: "/?a=b".parse().unwrap(), ..sent.clone() });
    changed.push(Sent { uri: "/a".parse().unwrap(), ..sent });
    for sent in changed {
        let got = fixture.send(&sent).await;
        assert!(!code(&got).is_empty(), "{:?} {:?}", sent.headers, sent.body);
    }
    assert!(fixture.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_is_taken_within_the_window() {
    for (now, taken) in [
        ("2026-11-24T08:29:57Z", true),
        ("2026-11-24T08:19:57Z", true),
        ("2026-11-24T08:29:58Z", false),
        ("2026-11-24T08:19:56Z", false),
    ] {
        let got = fixture(now, answer(b"", 1)).send(&recorded()).await;
        if taken {
            assert_eq!(got.body["Response"]["MessageId"], 1);
        } else {
            assert_eq!(code(&got), "AuthFailure.SignatureExpire");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_signature_is_said() {
    let by = |id, service, timestamp, date| {
        signed_by(id, service, timestamp, date, "PublishRRPCMessage", "2021-04-08", BODY)
    };
    let (now, today) = ("1795508697", "2026-11-24");
    let without = |name: &str| {
        let mut sent = recorded();
        sent.headers.remove(name);
        sent
    };
    let with = |name: &'static str, value: &'static str| {
        let mut sent = recorded();
        sent.headers.insert(name, HeaderValue::from_static(value));
        sent
    };
    for (sent, expected) in [
        (by("nobody", "iotcloud", now, today), "AuthFailure.SecretIdNotFound"),
        (by("unsigned", "iotcloud", now, today), "AuthFailure.SecretIdNotFound"),
        (by("limited", "iotcloud", now, today), "UnauthorizedOperation"),
        (by("AKIDtestid", "cvm", now, today), "AuthFailure.InvalidAuthorization"),
        (by("AKIDtestid", "iotexplorer", now, today), "NoSuchVersion"),
        (by("AKIDtestid", "iotcloud", now, "2026-11-25"), "AuthFailure.SignatureExpire"),
        (by("AKIDtestid", "iotcloud", "0", today), "AuthFailure.SignatureExpire"),
        (
            by("AKIDtestid", "iotcloud", "18446744073709551615", today),
            "AuthFailure.SignatureExpire",
        ),
        (by("AKIDtestid", "iotcloud", "18446744073709551616", today), "InvalidParameter"),
        (without("authorization"), "AuthFailure.InvalidAuthorization"),
        (without("x-tc-timestamp"), "MissingParameter"),
        (without("x-tc-action"), "MissingParameter"),
        (without("x-tc-version"), "MissingParameter"),
        (without("host"), "AuthFailure.InvalidAuthorization"),
        (with("content-type", "text/plain"), "UnsupportedProtocol"),
        (with("host", "elsewhere"), "AuthFailure.SignatureFailure"),
        (with("x-tc-action", "CallDeviceRRPCSync"), "InvalidAction"),
        (with("x-tc-action", "DescribeDevices"), "InvalidAction"),
        (with("x-tc-version", "2020-01-01"), "NoSuchVersion"),
        (
            with(
                "authorization",
                "TC3-HMAC-SHA256 Credential=AKIDtestid/2026-11-24/iotcloud/tc3_request, \
                 SignedHeaders=content-type, Signature=00",
            ),
            "AuthFailure.InvalidAuthorization",
        ),
    ] {
        let fixture = answering();
        assert_eq!(code(&fixture.send(&sent).await), expected, "{:?}", sent.headers);
        assert!(fixture.calls.lock().unwrap().is_empty());
    }
}

/// The documents sign the values of headers in lower case.
#[tokio::test]
async fn a_host_in_capitals_is_signed_in_either_way() {
    let mut sent = recorded();
    sent.headers.insert("host", HeaderValue::from_static("H"));
    let lower = signed("PublishRRPCMessage", "2021-04-08", BODY);
    sent.headers.insert("authorization", lower.headers["authorization"].clone());
    assert_eq!(answering().send(&sent).await.body["Response"]["MessageId"], 41440);
}

#[tokio::test]
async fn every_version_that_has_the_action_is_served() {
    for version in ["2021-04-08", "2018-06-14", "2019-04-23"] {
        let got = answering().send(&signed("PublishRRPCMessage", version, BODY)).await;
        assert_eq!(got.body["Response"]["MessageId"], 41440, "{version}");
    }
}

#[tokio::test]
async fn every_error_of_a_call_has_its_code() {
    let codes = every_error().map(|why| {
        (
            why.clone(),
            match why {
                CallError::NoSuchProduct(_) | CallError::NoSuchDevice(_) => {
                    "ResourceNotFound.DeviceNotExist"
                }
                CallError::NotAllowed(_) => "UnauthorizedOperation",
                CallError::Disabled => "FailedOperation.DeviceAlreadyDisabled",
                CallError::Offline | CallError::HalfOpen => "FailedOperation.DeviceOffline",
                CallError::NotSubscribed => "FailedOperation.DeviceNoSubscription",
                CallError::Timeout => "FailedOperation.RRPCTimeout",
                CallError::TooMany(_) => "RequestLimitExceeded",
                CallError::Invalid(_) => "InvalidParameter",
                CallError::TooLarge => "InvalidParameterValue.PayloadOverLimit",
                CallError::Unavailable(_) | CallError::Lost(_) => "InternalError",
                CallError::Failed(_) => "FailedOperation",
            },
        )
    });
    for (why, expected) in codes {
        let fixture = fixture(NOW, Err(why.clone().into()));
        let got = fixture.send(&recorded()).await;
        assert_eq!(code(&got), expected);
        let throttled = matches!(
            why,
            CallError::TooMany(InFlight::Gateway(_) | InFlight::Device(_) | InFlight::Key(_))
        );
        assert_eq!(got.headers.contains_key("retry-after"), throttled);
        let call = signed("CallDeviceRRPCSync", "2019-04-23", BODY);
        let got = fixture.send(&call).await;
        match why {
            CallError::Timeout => assert_eq!(got.body["Response"]["Status"], "Timeout"),
            _ => assert_eq!(code(&got), expected),
        }
    }
}

#[tokio::test]
async fn a_device_that_answers_with_an_error_has_failed() {
    let mut ends = answer(b"no", 7);
    ends.as_mut().unwrap().status = Status::new(404).with_message("no such thing");
    let fixture = fixture(NOW, ends);
    let got = fixture.send(&recorded()).await;
    assert_eq!((code(&got), got.outcome.result), ("FailedOperation", "device_error"));
    let message = got.body["Response"]["Error"]["Message"].as_str().unwrap();
    assert!(message.contains("404") && message.contains("no such thing"));
}

async fn call_sync(fixture: &Fixture, body: &Value) -> Got {
    let body = body.to_string();
    fixture.send(&signed("CallDeviceRRPCSync", "2019-04-23", body.as_bytes())).await
}

#[tokio::test]
async fn the_new_rrpc_is_answered_with_its_status() {
    let fixture = answering();
    let body = json!({ "ProductId": "explorer", "DeviceName": "d", "Payload": "\"on\"", "Encoding": "base64" });
    let got = call_sync(&fixture, &body).await;
    let response = &got.body["Response"];
    assert_eq!(response["Status"], "Replied");
    assert_eq!(
        (&response["MessageId"], &response["PayloadBase64"]),
        (&41440.into(), &"Im9rIg==".into())
    );
    assert_eq!(response["ReplyTopic"], "$iotrrpc/up/explorer/d/+");
    assert!(response["ClientToken"].as_str().unwrap().starts_with("v2gateway::"));
    assert_eq!(fixture.only_call().payload, "Im9uIg==");
    let plain = json!({ "ProductId": "native", "DeviceName": "d", "Payload": "AP8=" });
    assert_eq!(call_sync(&fixture, &plain).await.body["Response"]["ReplyTopic"], "");
    assert_eq!(fixture.only_call().payload, "AP8=");
}

#[tokio::test]
async fn the_custom_mode_asks_on_a_topic_of_the_device() {
    for reply_topic in ["", "explorer/d/control", "explorer/d/+", "#"] {
        let fixture = answering();
        let body = json!({
            "ProductId": "explorer",
            "DeviceName": "d",
            "Payload": "{}",
            "Topic": "explorer/d/control",
            "ReplyTopic": reply_topic,
        });
        let got = call_sync(&fixture, &body).await;
        let response = &got.body["Response"];
        assert_eq!(response["Status"], "Replied");
        assert_eq!(response["ReplyTopic"], reply_topic);
        let Target::Topic(topic) = fixture.only_call().target else { panic!("no topic") };
        assert_eq!(topic.as_str(), "explorer/d/control");
    }
}

#[tokio::test]
async fn the_answer_of_the_custom_mode_may_come_on_another_topic() {
    for reply_topic in ["explorer/d/up", "explorer/d/up/+"] {
        let fixture = answering();
        let body = json!({
            "ProductId": "explorer",
            "DeviceName": "d",
            "Payload": "{}",
            "Topic": "explorer/d/down",
            "ReplyTopic": reply_topic,
        });
        let got = call_sync(&fixture, &body).await;
        assert_eq!(got.body["Response"]["Status"], "Replied");
        assert_eq!(got.body["Response"]["ReplyTopic"], reply_topic);
        let Target::Topics { request, replies } = fixture.only_call().target else {
            panic!("one topic")
        };
        assert_eq!((request.as_str(), replies.as_str()), ("explorer/d/down", reply_topic));
    }
}

#[tokio::test]
async fn the_custom_mode_reaches_no_other_topic() {
    for (product, topic, reply_topic, expected) in [
        ("explorer", "explorer/d", "", "InvalidParameterValue"),
        ("explorer", "explorer/d/", "", "InvalidParameterValue"),
        ("explorer", "explorer/e/control", "", "InvalidParameterValue"),
        ("explorer", "/explorer/d/control", "", "InvalidParameterValue"),
        ("explorer", "explorer/d/+", "", "InvalidParameterValue"),
        ("explorer", "$iotrrpc/down/explorer/d/1", "", "InvalidParameterValue"),
        ("explorer", "explorer/d/control", "explorer/e/up", "InvalidParameterValue"),
        ("explorer", "explorer/d/control", "explorer/+/up", "InvalidParameterValue"),
        ("explorer", "explorer/d/control", "a#", "InvalidParameterValue"),
        ("KL4J2TEST1", "KL4J2TEST1/d/control", "", "UnsupportedOperation"),
        ("native", "native/d/control", "", "UnsupportedOperation"),
    ] {
        let fixture = answering();
        let body = json!({
            "ProductId": product,
            "DeviceName": "d",
            "Payload": "{}",
            "Topic": topic,
            "ReplyTopic": reply_topic,
        });
        assert_eq!(code(&call_sync(&fixture, &body).await), expected, "{topic}");
        assert!(fixture.calls.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_new_rrpc_says_timeout_without_an_error() {
    let failure = Failure { why: CallError::Timeout, message_id: Some(52) };
    let fixture = fixture(NOW, Err(failure));
    let body = json!({ "ProductId": "explorer", "DeviceName": "d", "Payload": "" });
    let got = call_sync(&fixture, &body).await;
    let response = &got.body["Response"];
    assert_eq!((&response["Status"], &response["MessageId"]), (&"Timeout".into(), &52.into()));
    assert_eq!((&response["Error"], got.outcome.result), (&Value::Null, "timeout"));
}

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_with_a_reason() {
    let deep = "[".repeat(100_000);
    let fixture = answering();
    for (body, expected) in [
        ("", "InvalidParameter"),
        ("[]", "InvalidParameter"),
        ("{}", "MissingParameter"),
        ("\u{feff}{}", "InvalidParameter"),
        (r#"{"ProductId":"KL4J2TEST1"}"#, "MissingParameter"),
        (r#"{"ProductId":"KL4J2TEST1","DeviceName":"d"}"#, "MissingParameter"),
        (r#"{"ProductId":"KL4J2TEST1","DeviceName":"d","Payload":1}"#, "InvalidParameter"),
        (r#"{"ProductId":"KL4J2TEST1","ProductId":"a"}"#, "InvalidParameter"),
        (r#"{"ProductId":"a","DeviceName":"d","Payload":""}"#, "ResourceNotFound.DeviceNotExist"),
        (
            r#"{"ProductId":"explorer","DeviceName":"d/+","Payload":""}"#,
            "ResourceNotFound.DeviceNotExist",
        ),
        (
            r#"{"ProductId":"explorer","DeviceName":"","Payload":""}"#,
            "ResourceNotFound.DeviceNotExist",
        ),
        (
            r#"{"ProductId":"explorer","DeviceName":"d","Payload":"{}","Encoding":"base64","Topic":"explorer/d/a"}"#,
            "InvalidParameter",
        ),
        (
            r#"{"ProductId":"explorer","DeviceName":"d","Payload":"?","Encoding":"hex"}"#,
            "InvalidParameterValue",
        ),
        (
            r#"{"ProductId":"explorer","DeviceName":"d","Payload":"","ReplyTopic":"a"}"#,
            "InvalidParameter",
        ),
        (&*deep, "InvalidParameter"),
        (&*format!(r#"{{"x":{deep}"#), "InvalidParameter"),
    ] {
        let sent = signed("CallDeviceRRPCSync", "2019-04-23", body.as_bytes());
        assert_eq!(code(&fixture.send(&sent).await), expected, "{body:.80}");
    }
    let got = fixture.send(&signed("PublishRRPCMessage", "2021-04-08", b"\xff")).await;
    assert_eq!(code(&got), "InvalidParameter");
    assert!(fixture.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_payload_has_the_vendors_limit() {
    for (length, expected) in [(16 * 1024, None), (16 * 1024 + 1, Some("PayloadOverLimit"))] {
        let body = json!({
            "ProductId": "KL4J2TEST1", "DeviceName": "d", "Payload": "x".repeat(length),
        });
        for action in [("PublishRRPCMessage", "2021-04-08"), ("CallDeviceRRPCSync", "2019-04-23")] {
            let fixture = answering();
            let sent = signed(action.0, action.1, body.to_string().as_bytes());
            let got = fixture.send(&sent).await;
            match expected {
                None => assert_eq!(fixture.only_call().payload.len(), length),
                Some(word) => assert_eq!(code(&got), format!("InvalidParameterValue.{word}")),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_signed_body_panics(body in prop::collection::vec(any::<u8>(), 0..60), json in ".{0,20}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fixture = answering();
        let got = runtime.block_on(fixture.send(&signed("PublishRRPCMessage", "2021-04-08", &body)));
        prop_assert!(!code(&got).is_empty());
        let body = json!({ "ProductId": "explorer", "DeviceName": json, "Payload": json, "Topic": json });
        let got = runtime.block_on(call_sync(&fixture, &body));
        prop_assert_eq!(got.status, 200);
    }
}

#[test]
fn a_time_has_its_date_in_utc() {
    use std::time::UNIX_EPOCH;

    let date = |seconds| super::signature::date_of(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(date(1_795_508_697).as_deref(), Some("2026-11-24"));
    assert_eq!(date(1_795_564_799).as_deref(), Some("2026-11-24"));
    assert_eq!(date(1_795_564_800).as_deref(), Some("2026-11-25"));
    assert_eq!(date(253_402_300_800), None);
}

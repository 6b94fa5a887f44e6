//! What the SDKs get.

use serde_json::{Value, json};

use super::{NOW, answering, failed, publish, raised, rrpc, service};
use crate::gateway::call::{CallError, Failure, InFlight};
use crate::gateway::http::vendor::tests::{answer, every_error, fixture};
use crate::message::Status;

#[tokio::test]
async fn an_answer_is_as_the_documents_have_it() {
    let got = answering().send(&rrpc(&[])).await;
    let mut body = got.body;
    assert!(body.as_object_mut().unwrap().remove("RequestId").is_some());
    let expected = json!({
        "Success": true,
        "RrpcCode": "SUCCESS",
        "PayloadBase64Byte": "d29ybGQgaGVsbG8=",
        "MessageId": 889_455_942_124_347_392_u64,
    });
    assert_eq!(body, expected);
    assert_eq!(got.outcome.result, "ok");
    assert_eq!(got.outcome.product.as_deref(), Some("a1testPK001"));
}

#[tokio::test]
async fn a_device_that_answers_with_an_error_has_failed() {
    let mut ends = answer(b"no", 7);
    ends.as_mut().unwrap().status = Status::new(404).with_message("no such thing");
    let got = fixture(NOW, ends).send(&rrpc(&[])).await;
    assert_eq!(failed(&got), "iot.messagebroker.RrpcFailed");
    assert_eq!((&got.body["RrpcCode"], &got.body["MessageId"]), (&"UNKNOWN".into(), &7.into()));
    assert_eq!(got.body["PayloadBase64Byte"], "bm8=");
    let message = got.body["ErrorMessage"].as_str().unwrap();
    assert!(message.contains("404") && message.contains("no such thing"));
    assert_eq!(got.outcome.result, "device_error");
}

#[tokio::test]
async fn a_service_that_answers_is_a_success_whatever_its_code() {
    let got = async |payload: &'static [u8], status: Status| {
        let mut ends = answer(payload, 12);
        ends.as_mut().unwrap().status = status;
        let got = fixture(NOW, ends).send(&service(&[])).await;
        assert_eq!((got.status, &got.body["Success"]), (200, &true.into()));
        assert_eq!(got.body["Data"]["MessageId"], "12");
        got.body["Data"]["Result"].as_str().unwrap().to_owned()
    };
    // Numbers and spaces stay as the device has written them.
    let expected = r#"{"code":200,"data":{"b": 1.00, "a":1e400},"id":"12","message":"success","version":"1.0"}"#;
    assert_eq!(got(br#"{"b": 1.00, "a":1e400}"#, Status::OK).await, expected);
    let failed = got(b"", Status::new(460).with_message("wrong")).await;
    assert_eq!(failed, r#"{"code":460,"data":{},"id":"12","message":"wrong","version":"1.0"}"#);
    let data = async |payload| {
        let text = got(payload, Status::OK).await;
        serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
    };
    assert_eq!(data(b"no \"JSON\"").await, "no \"JSON\"");
    assert_eq!(data(b"\xff").await, "/w==");
}

#[tokio::test]
async fn every_error_of_a_call_has_its_code() {
    for why in every_error() {
        let (status, code, rrpc_code) = match why {
            CallError::NoSuchProduct(_) => (200, "iot.prod.NotExistedProduct", "UNKNOWN"),
            CallError::NoSuchDevice(_) => (200, "iot.device.NotExistedDevice", "UNKNOWN"),
            CallError::NotAllowed(_) => (403, "iot.common.RamActionPermissionDeny", ""),
            CallError::Disabled | CallError::Offline => {
                (200, "iot.messagebroker.OFFLINE", "OFFLINE")
            }
            CallError::HalfOpen => (200, "iot.messagebroker.HALFCONN", "HALFCONN"),
            CallError::Timeout => (200, "iot.messagebroker.TIMEOUT", "TIMEOUT"),
            CallError::TooMany(InFlight::Key(_)) => (429, "Throttling.User", ""),
            CallError::TooMany(_) => (429, "iot.messagebroker.RateLimit", ""),
            CallError::Invalid(_) | CallError::TooLarge => {
                (200, "iot.system.IllegalRequest", "UNKNOWN")
            }
            CallError::Unavailable(_) => (503, "ServiceUnavailable", ""),
            CallError::NotSubscribed | CallError::Lost(_) | CallError::Failed(_) => {
                (200, "iot.messagebroker.RrpcFailed", "UNKNOWN")
            }
        };
        let fixture = fixture(NOW, Err(why.clone().into()));
        let got = fixture.send(&rrpc(&[])).await;
        let again = fixture.send(&service(&[("SignatureNonce", "2")])).await;
        for got in [&got, &again] {
            if status == 200 {
                assert_eq!(failed(got), code);
                assert!(!got.headers.contains_key("retry-after"));
            } else {
                assert_eq!(raised(got), (status, code));
                assert_eq!(got.headers.contains_key("retry-after"), status != 403);
            }
        }
        if status == 200 {
            assert_eq!(got.body["RrpcCode"], rrpc_code, "{why:?}");
            assert_eq!(again.body.get("RrpcCode"), None);
        }
    }
}

#[tokio::test]
async fn a_failure_has_the_message_id_if_there_is_one() {
    let failure = |why| Err(Failure { why, message_id: Some(5) });
    let fixture = fixture(NOW, failure(CallError::Unavailable("the broker is away")));
    // It was sent: nobody is told to come again.
    let got = fixture.send(&rrpc(&[])).await;
    assert_eq!(failed(&got), "iot.messagebroker.RrpcFailed");
    assert_eq!((&got.body["RrpcCode"], &got.body["MessageId"]), (&"UNKNOWN".into(), &5.into()));
    let got = fixture.send(&service(&[("SignatureNonce", "2")])).await;
    assert_eq!(got.body["Data"]["MessageId"], "5");
    let got = fixture.send(&publish(&[("SignatureNonce", "3")])).await;
    assert_eq!(failed(&got), "iot.messagebroker.PublishMessageFailed");
}

//! What is asked of the devices.

use proptest::prelude::*;

use super::{answering, failed, publish, raised, rrpc, service};
use crate::core::packet::Qos;
use crate::gateway::call::Target;

const PREFIX: &str = "/a1testPK001/dev-ok/";

#[tokio::test]
async fn rrpc_has_its_limits() {
    let code = async |params: &[(&str, &str)]| {
        let fixture = answering();
        let got = fixture.send(&rrpc(params)).await;
        assert!(fixture.calls.lock().unwrap().is_empty(), "{params:?}");
        failed(&got).to_owned()
    };
    for timeout in ["999", "8001", "0", "-1", "1e3", "3000.0", " 3000", "99999999999999999999"] {
        let expected = "iot.messagebroker.InvalidTimeoutValue";
        assert_eq!(code(&[("Timeout", timeout)]).await, expected, "{timeout}");
    }
    for topic in [
        "/a1testPK001/dev-ok",
        PREFIX,
        "a1testPK001/dev-ok/user/get",
        "/a1testPK001/other/user/get",
        "/other/dev-ok/user/get",
        "//a1testPK001/dev-ok/user/get",
        "/a1testPK001/dev-ok/user/+",
        "/a1testPK001/dev-ok/#",
        "/a1testPK001/dev-ok/\0",
    ] {
        let expected = "iot.messagebroker.InvalidFormattedTopicName";
        assert_eq!(code(&[("Topic", topic)]).await, expected, "{topic:?}");
    }
    let wrong = "iot.messagebroker.MessageContentIsNotBase64Encode";
    for content in ["?", "a", "aGVsbG8gd29ybGR=", "aGVsbG8\n"] {
        assert_eq!(code(&[("RequestBase64Byte", content)]).await, wrong);
    }
    assert_eq!(code(&[("ProductKey", "nothing")]).await, "iot.prod.NotExistedProduct");
    for device in ["a/b", "+", "#", "a\u{7f}"] {
        assert_eq!(code(&[("DeviceName", device)]).await, "iot.device.NotExistedDevice");
    }
    assert_eq!(code(&[("IotId", "x")]).await, "iot.system.IllegalRequest");
    for name in ["ProductKey", "DeviceName", "Timeout", "RequestBase64Byte"] {
        let got = answering().send(&rrpc(&[(name, "-")])).await;
        assert_eq!(raised(&got), (400, &*format!("Missing{name}")));
    }
}

/// Only `RRpc` has an `RrpcCode`.
#[tokio::test]
async fn who_is_not_let_in_is_told_in_the_words_of_the_action() {
    let nothing = ("ProductKey", "nothing");
    let topic = ("TopicFullName", "/nothing/dev-ok/user/get");
    for (sent, rrpc_code) in [
        (rrpc(&[nothing]), Some("UNKNOWN")),
        (service(&[nothing]), None),
        (publish(&[nothing, topic]), None),
    ] {
        let got = answering().send(&sent).await;
        assert_eq!(failed(&got), "iot.prod.NotExistedProduct");
        assert_eq!(got.body.get("RrpcCode").and_then(|code| code.as_str()), rrpc_code);
    }
}

#[tokio::test]
async fn rrpc_takes_what_is_within_them() {
    for timeout in ["1000", "8000"] {
        let fixture = answering();
        let got = fixture.send(&rrpc(&[("Timeout", timeout), ("RequestBase64Byte", "")])).await;
        assert_eq!(got.status, 200);
        let call = fixture.only_call();
        assert_eq!(call.timeout.unwrap().as_millis().to_string(), timeout);
        assert!(call.payload.is_empty());
    }
    let fixture = answering();
    fixture.send(&rrpc(&[("Topic", "/a1testPK001/dev-ok/user/get"), ("Unknown", "1")])).await;
    let Target::Topic(topic) = fixture.only_call().target else { panic!("no topic") };
    assert_eq!(topic.as_str(), "/a1testPK001/dev-ok/user/get");
}

#[tokio::test]
async fn a_service_gets_its_arguments_and_eight_seconds() {
    for (args, payload) in [("-", "{}"), (r#"{"a": 1.0}"#, r#"{"a": 1.0}"#)] {
        let fixture = answering();
        let named = [("Identifier", "testFb:testService"), ("Args", args)];
        assert_eq!(fixture.send(&service(&named)).await.status, 200);
        let call = fixture.only_call();
        assert_eq!(call.target, Target::Service("testFb:testService".into()));
        assert_eq!((call.payload, call.timeout.unwrap().as_secs()), (payload.into(), 8));
        assert_eq!(call.content_type.as_deref(), Some("application/json"));
    }
    let deep = format!(r#"{{"a":{}"#, "[".repeat(10_000));
    let closed = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for args in ["[]", "1", "null", "{", "{}{}", &deep, &closed] {
        let got = answering().send(&service(&[("Args", args)])).await;
        assert_eq!(failed(&got), "iot.system.IllegalRequest");
    }
    for identifier in ["a/b", "+", "a#"] {
        let got = answering().send(&service(&[("Identifier", identifier)])).await;
        assert_eq!(failed(&got), "iot.system.IllegalRequest");
    }
    let got = answering().send(&service(&[("Identifier", "-")])).await;
    assert_eq!(raised(&got), (400, "MissingIdentifier"));
}

#[tokio::test]
async fn a_publication_carries_its_properties() {
    let fixture = answering();
    let got = fixture
        .send(&publish(&[
            ("DeviceName", "-"),
            ("Qos", "1"),
            ("ResponseTopic", "/a1testPK001/dev-ok/user/answers"),
            ("CorrelationData", "aWQx"),
            ("UserProp.1.Key", "k"),
            ("UserProp.1.Value", "v"),
            ("UserProp.20.Key", "l"),
            ("UserProp.20.Value", ""),
            ("ContentType", "text/plain"),
            ("MessageExpiryInterval", "60"),
            ("PayloadFormatIndicator", "1"),
        ]))
        .await;
    assert_eq!(got.body["MessageId"], "889455942124347392");
    assert_eq!(got.body["Success"], true);
    let publication = fixture.publications.lock().unwrap().pop().unwrap();
    assert_eq!((&*publication.product, &*publication.device), ("a1testPK001", "dev-ok"));
    assert_eq!(publication.topic.as_str(), "/a1testPK001/dev-ok/user/get");
    assert_eq!((publication.payload, publication.qos), ("hello".into(), Qos::AtLeastOnce));
    let topic = publication.response_topic.unwrap();
    assert_eq!(topic.as_str(), "/a1testPK001/dev-ok/user/answers");
    assert_eq!(publication.correlation_data.unwrap(), "id1");
    let properties: Vec<_> = publication.user_properties.iter().collect();
    assert_eq!(properties, [("k", "v"), ("l", "")]);
    assert_eq!(publication.content_type.as_deref(), Some("text/plain"));
    assert_eq!((publication.message_expiry, publication.utf8_payload), (Some(60), true));
    assert_eq!(publication.key.as_deref(), Some("testid"));
    fixture.send(&publish(&[("SignatureNonce", "2")])).await;
    let publication = fixture.publications.lock().unwrap().pop().unwrap();
    assert_eq!((publication.qos, publication.response_topic), (Qos::AtMostOnce, None));
    assert!(!publication.utf8_payload);
}

#[tokio::test]
async fn a_publication_that_cannot_be_is_refused() {
    let long = "x".repeat(65_536);
    let illegal = "iot.system.IllegalRequest";
    let topic = "iot.messagebroker.InvalidFormattedTopicName";
    for (params, expected) in [
        (("TopicFullName", "-"), "iot.messagebroker.NullTopicName"),
        (("TopicFullName", PREFIX), topic),
        (("TopicFullName", "/a1testPK001"), topic),
        (("TopicFullName", "/a1testPK001dev-ok/user/get"), topic),
        (("TopicFullName", "/native/dev-ok/user/get"), topic),
        (("TopicFullName", "/a1testPK001/other/user/get"), topic),
        (("TopicFullName", "/a1testPK001/dev-ok/+"), topic),
        (("MessageContent", "-"), "iot.messagebroker.NullMessageContent"),
        (("MessageContent", "?"), "iot.messagebroker.MessageContentIsNotBase64Encode"),
        (("CorrelationData", "?"), "iot.messagebroker.MessageContentIsNotBase64Encode"),
        (("Qos", "2"), illegal),
        (("PayloadFormatIndicator", "2"), illegal),
        (("Retained", "true"), illegal),
        (("MessageExpiryInterval", "4294967296"), illegal),
        (("ContentType", &long), illegal),
        (("ContentType", "a\0"), illegal),
        (("UserProp.1.Key", "k"), illegal),
        (("UserProp.1.Value", "v"), illegal),
        (("UserProp.21.Key", "v"), illegal),
        (("UserProp.x", "v"), illegal),
    ] {
        let fixture = answering();
        let got = fixture.send(&publish(&[params])).await;
        assert_eq!(failed(&got), expected, "{:.40}", format!("{params:?}"));
        assert!(fixture.publications.lock().unwrap().is_empty());
    }
    let binary = [("MessageContent", "/w=="), ("PayloadFormatIndicator", "1")];
    assert_eq!(failed(&answering().send(&publish(&binary)).await), illegal);
}

#[tokio::test]
async fn answers_go_to_no_other_device() {
    for (topic, allowed) in [
        ("/a1testPK001/dev-ok/user/x", true),
        ("servers/one/answers", true),
        ("clients/one/responses", true),
        ("/a1testPK001/dev-ok/user/", false),
        ("/a1testPK001/dev-ok/thing/service/lock", false),
        ("/a1testPK001/other/user/x", false),
        ("/sys/a1testPK001/other/rrpc/request/1", false),
        ("/ext/rrpc/1/a1testPK001/dev-ok/user/x", false),
        ("devices/native/d", false),
        ("gateways/gateways/one/calls", false),
        ("KL4J2TEST1/d/control", false),
        ("$rrpc/rxd/KL4J2TEST1/d/1", false),
        ("$SYS/x", false),
        ("servers/+", false),
        ("servers/#", false),
    ] {
        let fixture = answering();
        let got = fixture.send(&publish(&[("ResponseTopic", topic)])).await;
        assert_eq!(got.body["Success"], allowed, "{topic}");
        assert_eq!(fixture.publications.lock().unwrap().len(), usize::from(allowed));
    }
}

proptest! {
    #[test]
    fn no_signed_request_panics(
        action in prop::sample::select(vec!["RRpc", "InvokeThingService", "Pub", "x"]),
        values in prop::collection::btree_map(
            prop::sample::select(vec![
                "ProductKey", "DeviceName", "Timeout", "Topic", "RequestBase64Byte", "Identifier",
                "Args", "TopicFullName", "MessageContent", "Qos", "ResponseTopic", "UserProp.1.Key",
                "CorrelationData", "MessageExpiryInterval", "PayloadFormatIndicator", "IotId",
            ]),
            prop_oneof![".{0,12}", "(/|a1testPK001|dev-ok|user|[+#$]){0,8}", "[{\\[\"]{0,200}"],
            0..8,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let params: Vec<_> = values.iter().map(|(name, value)| (*name, &**value)).collect();
        let sent = super::of_action(action, &params, &[("Timeout", "1000")]);
        let got = runtime.block_on(answering().send(&sent));
        prop_assert!(got.body["RequestId"].is_string());
        prop_assert_ne!(got.outcome.result, "unauthorized");
    }
}

//! A vendor's device answers our requester.

use std::time::Duration;

use tower::ServiceExt;
use tower_mqtt::RequestError;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};

use crate::broker::{Broker, Kind};
use crate::programs::soon;
use crate::{AIR_CONDITIONER, LAMP, Spectator, ask, call, device, impatient, requester};

on_every_broker! {
    over_aliyuns_system_topics,
    over_aliyuns_custom_topics,
    over_other_custom_topics,
    services_of_aliyuns_sdk_for_python,
    services_of_aliyuns_sdk_for_node,
    services_by_the_dialect_of_services,
    over_tencents_topics,
    what_is_not_json_is_not_answered_by_tencents_sdk_for_python,
    any_bytes_are_answered_by_tencents_sdk_for_c,
}

async fn over_aliyuns_system_topics(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "aliyun_device.py", &[]).await;
    let requester = requester(&broker, aliyun::system()).await;
    let mut spectator = Spectator::new(&broker).await;
    assert_eq!(ask(&requester, LAMP, "hello").await, b"hello");
    assert_eq!(ask(&requester, LAMP, "").await, b"");
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(ask(&requester, LAMP, binary.clone()).await, binary);

    let answers = spectator.see(6).await.into_iter().filter(|m| m.topic.contains("/response/"));
    assert_eq!(answers.map(|answer| answer.qos).collect::<Vec<_>>(), [0, 0, 0]);
    spectator.has_seen_everything().await;
}

/// With MQTT 5 neither side hears itself. Had the device heard its first answer, it would have
/// answered that before it answered the second request.
async fn over_aliyuns_custom_topics(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "aliyun_device.py", &["--protocol", "5"]).await;
    let requester = requester(&broker, aliyun::custom()).await;
    let mut spectator = Spectator::new(&broker).await;
    let address = format!("{LAMP}/user/get");
    assert_eq!(ask(&requester, &address, "one").await, b"one");
    assert_eq!(ask(&requester, &address, "two").await, b"two");

    assert_eq!(spectator.see_payloads(4).await, ["one", "one", "two", "two"]);
    spectator.has_seen_everything().await;
    assert_eq!(requester.stats().duplicate, 0);
}

async fn over_other_custom_topics(kind: Kind) {
    let broker = Broker::start(kind).await;
    let topics = ["--protocol", "5", "--topic", "user/door/open", "--topic", "user/get"];
    let _device = device(&broker, "aliyun_device.py", &topics).await;
    let requester = requester(&broker, aliyun::custom()).await;
    assert_eq!(ask(&requester, &format!("{LAMP}/user/door/open"), "1").await, b"1");
    assert_eq!(ask(&requester, &format!("{LAMP}/user/get"), "2").await, b"2");
    let other = impatient(&format!("{LAMP}/user/door"), "3");
    let error = soon(requester.clone().oneshot(other)).await.err();
    // mosquitto counts the caller's own subscription, which has the topic of the request.
    let mosquitto = kind == Kind::Mosquitto;
    let expected = if mosquitto { RequestError::Timeout } else { RequestError::NotSubscribed };
    assert_eq!(error, Some(expected));
}

/// The request of a service, with an id as the device reads it.
fn invoke(id: &str) -> String {
    format!(
        r#"{{"method":"thing.service.light","id":{id},"params":{{"lock":1}},"version":"1.0.0"}}"#
    )
}

/// Here they are asked as if they were custom topics, to see the bytes.
async fn services_of_aliyuns_sdk_for_python(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "aliyun_device.py", &["--services"]).await;
    let requester = requester(&broker, aliyun::custom()).await;
    let address = format!("sys/{LAMP}/thing/service/light");
    let answer = ask(&requester, &address, invoke(r#""1757653911""#)).await;
    let expected = r#"{"id": "1757653911", "code": 200, "data": {"echo": {"lock": 1}}}"#;
    assert_eq!(String::from_utf8(answer).expect("UTF-8"), expected);
    // The id is text, or there is no answer.
    let outcome = soon(requester.clone().oneshot(impatient(&address, invoke("1")))).await;
    assert_eq!(outcome.err(), Some(RequestError::Timeout));
}

async fn services_of_aliyuns_sdk_for_node(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "aliyun_node_device.py", &[]).await;
    let requester = requester(&broker, aliyun::system()).await;
    let answer = ask(&requester, LAMP, invoke(r#""1757653911""#)).await;
    let expected = r#"{"id":"1757653911","code":200,"data":{"echo":{"lock":1}}}"#;
    assert_eq!(String::from_utf8(answer).expect("UTF-8"), expected);
    let outcome = soon(requester.clone().oneshot(impatient(LAMP, "not JSON"))).await;
    assert_eq!(outcome.err(), Some(RequestError::Timeout));
}

async fn services_by_the_dialect_of_services(kind: Kind) {
    let broker = Broker::start(kind).await;
    let address = format!("{LAMP}/light");
    let over_custom = requester(&broker, aliyun::thing_service()).await;
    {
        let _device = device(&broker, "aliyun_device.py", &["--services"]).await;
        let answer = ask(&over_custom, &address, r#"{"lock":1}"#).await;
        assert_eq!(answer, br#"{"echo": {"lock": 1}}"#);
    }
    {
        let arguments = ["--services", "--code", "403", "--device", "device2"];
        let _device = device(&broker, "aliyun_device.py", &arguments).await;
        let refused = call(&over_custom, "a1testPK001/device2/light", "{}").await;
        assert_eq!(refused.expect("answered").status().code(), 403);
    }
    let _device = device(&broker, "aliyun_node_device.py", &[]).await;
    let over_system = requester(&broker, aliyun::thing_service().over_system_topics()).await;
    let answer = ask(&over_system, &address, r#"{"lock":1}"#).await;
    assert_eq!(answer, br#"{"echo":{"lock":1}}"#);
}

async fn over_tencents_topics(kind: Kind) {
    let broker = Broker::start(kind).await;
    // As it comes from the vendor, the SDK for Python speaks MQTT 3.1.
    for protocol in ["3.1", "3.1.1", "5"] {
        let _device = device(&broker, "tencent_device.py", &["--protocol", protocol]).await;
        let requester = requester(&broker, tencent::rrpc()).await;
        let mut spectator = Spectator::new(&broker).await;
        // Its answer is JSON of its own making.
        assert_eq!(ask(&requester, AIR_CONDITIONER, r#"{"on":true}"#).await, br#"{"on": true}"#);
        assert_eq!(ask(&requester, AIR_CONDITIONER, r#""é""#).await, br#""\u00e9""#);
        let seen = spectator.see(4).await;
        let answers = seen.iter().filter(|message| message.topic.starts_with("$rrpc/txd/"));
        assert_eq!(answers.map(|answer| answer.qos).collect::<Vec<_>>(), [0, 0]);
        spectator.has_seen_everything().await;
    }
}

async fn what_is_not_json_is_not_answered_by_tencents_sdk_for_python(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "tencent_device.py", &[]).await;
    let requester = requester(&broker, tencent::rrpc()).await;
    for payload in ["closed", "", "42"] {
        let request = impatient(AIR_CONDITIONER, payload).timeout(Duration::from_millis(200));
        let outcome = soon(requester.clone().oneshot(request)).await;
        assert_eq!(outcome.err(), Some(RequestError::Timeout), "{payload:?}");
    }
    assert_eq!(ask(&requester, AIR_CONDITIONER, r#""closed""#).await, br#""closed""#);
}

async fn any_bytes_are_answered_by_tencents_sdk_for_c(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "tencent_device.py", &["--sdk", "c"]).await;
    let requester = requester(&broker, tencent::rrpc()).await;
    for payload in ["closed", "42", ""] {
        assert_eq!(ask(&requester, AIR_CONDITIONER, payload).await, payload.as_bytes());
    }
}

//! Native requesters who call devices of other dialects.

use super::*;
use crate::hub::Hub;
use crate::message::Request;
use crate::requester::Requester;

async fn asked(requester: &Requester, topic: &str) -> (u16, Bytes) {
    let response = requester.clone().oneshot(Request::new(topic, "").unwrap()).await.unwrap();
    (response.status().code(), response.into_payload())
}

#[tokio::test]
async fn native_requesters_call_devices_of_other_dialects() {
    let network = Network::new();
    let _devices = [
        device(&network, aliyun::custom(), Router::new().route("custom/d/user/get", tell_id)).await,
        device(&network, aliyun::thing_service(), Router::new().route("custom/d/get", tell_id))
            .await,
        device(&network, tencent::rrpc(), Router::new().route("hub/d", tell_id)).await,
    ];
    let platform = platform(&network).await;
    let requester = Requester::builder(network.link("app")).build().await.unwrap();
    for address in ["devices/custom/d/user/get", "devices/custom/d/get", "devices/hub/d"] {
        let request = Request::new(address, "").unwrap();
        let response = requester.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().code(), 200, "{address}: {}", response.status());
        let id = response.user_properties().get("message-id").unwrap();
        assert_eq!(response.payload(), id, "{address}");
    }
    for (address, code) in [
        ("devices/hub/absent", 503),
        ("devices/hub/ghost", 404),
        ("devices/hub/d/service", 400),
        ("devices/hub/d/a/b", 404),
    ] {
        assert_eq!(asked(&requester, address).await.0, code, "{address}");
    }
    platform.shutdown(Duration::from_secs(1), ready(())).await;
    let request = Request::new("devices/hub/d", "").unwrap();
    let error = requester.oneshot(request).await.unwrap_err();
    assert_eq!(error, crate::error::RequestError::NoResponder, "it has unsubscribed");
}

#[tokio::test]
async fn a_native_requester_is_told_of_one_call_too_many() {
    let network = Network::new();
    let (_device, mut questions) = silent(&network).await;
    let limits = config::Limits { in_flight: 1, ..config::Limits::default() };
    let settings = Settings { limits, ..settings(network.link("gateway")) };
    let _platform = Platform::start(settings).await.unwrap();
    let requester = Requester::builder(network.link("app")).build().await.unwrap();
    let request = Request::new("devices/ali/d", "").unwrap();
    let first = tokio::spawn(requester.clone().oneshot(request));
    questions.recv().await.unwrap();
    assert_eq!(asked(&requester, "devices/ali/d").await.0, 429);
    first.abort();
}

/// With these response topics beside the default, requests are answered on all of `right`, and on none
/// of `wrong`.
async fn is_answered_on(allowed: &[&str], wrong: &[&str], right: &[&str]) {
    let network = Network::new();
    let (answered, mut answers) = mpsc::unbounded_channel();
    let _device = device(&network, tencent::rrpc(), Router::new().route("hub/d", tell_id)).await;
    network.on_message(move |message| {
        let _ = answered.send(message.topic.to_string());
        crate::link::memory::Fate::Deliver
    });
    let mut settings = settings(network.link("gateway"));
    settings.response_topics.extend(allowed.iter().map(|text| TopicFilter::new(*text).unwrap()));
    let _platform = Platform::start(settings).await.unwrap();
    // What nobody hears is not seen.
    let everything = Router::new().route("{all*}", async || ());
    let _witness = device(&network, crate::dialect::Native::new(), everything).await;
    let outlet = Outlet::open(&network.link("app"), 100).await.unwrap();
    for response_topic in wrong.iter().chain(right) {
        let mut message = crate::core::packet::Message::new(topic("devices/hub/d"), "");
        message.properties.response_topic = Some(topic(response_topic));
        outlet.publish(message).await.unwrap();
    }
    let mut missing = right.to_vec();
    while !missing.is_empty() {
        let seen = answers.recv().await.unwrap();
        assert!(!wrong.contains(&&*seen), "{seen}");
        missing.retain(|topic| *topic != seen);
    }
}

#[tokio::test]
async fn the_gateway_answers_on_no_topic_that_devices_listen_on() {
    let wrong =
        ["devices/native/d", "/ali/d/user/x", "explorer/d/control", "gateways/g/a/call", "$rrpc/x"];
    // Whatever the configuration says.
    is_answered_on(&["#", "$rrpc/#"], &wrong, &["answers/1"]).await;
}

/// The gateway may publish more than who asks.
#[tokio::test]
async fn the_gateway_answers_on_response_topics_alone() {
    let wrong = ["plant/valves/open", "clients/app", "clients/app/other", "answers"];
    let right = ["clients/app/responses", "clients/app/responses/1", "answers/1"];
    is_answered_on(&["answers/+"], &wrong, &right).await;
}

#[tokio::test]
async fn a_device_that_reconnects_may_answer_on_its_new_connection() {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
    let (asked, mut questions) = mpsc::unbounded_channel();
    let router = Router::new().route("ali/d", async move |parts: Parts| {
        let _ = asked.send(parts.correlation_data.unwrap());
        pending::<()>().await;
    });
    let before = Responder::builder(hub.link("ali.d")).dialect(aliyun::system());
    let _before = before.serve(router).await.unwrap();
    let platform = Platform::start(settings(hub.link("gateway"))).await.unwrap();
    let running = tokio::spawn(platform.calls().oneshot(call("ali", "d")));
    let id = questions.recv().await.unwrap();
    let id = std::str::from_utf8(&id).unwrap();

    let after = Outlet::open(&hub.link("ali.d"), 1).await.unwrap();
    let answer = topic(&format!("/sys/ali/d/rrpc/response/{id}"));
    after.publish(crate::core::packet::Message::new(answer, "back")).await.unwrap();
    let answer = running.await.unwrap().unwrap();
    assert_eq!((&*answer.payload, answer.message_id.to_string().as_str()), (&b"back"[..], id));

    // It is connected, and has not subscribed this time.
    assert_eq!(refused(&platform, call("ali", "d")).await, CallError::NotSubscribed);
    assert_eq!(refused(&platform, call("ali", "e")).await, CallError::Offline);
    hub.shutdown(Duration::from_secs(1)).await;
}

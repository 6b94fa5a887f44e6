//! Clients that we did not write, both ways round: they need the packages `mosquitto` and
//! `mosquitto-clients`, and Python with `tests/foreign/requirements.txt`.
#![cfg(feature = "ntex")]

#[path = "end_to_end/broker.rs"]
#[macro_use]
mod broker;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/programs.rs"]
mod programs;

use std::time::{Duration, Instant};

use tower::ServiceExt;
use tower_mqtt::hub::{Change, Hub};
use tower_mqtt::responder::extract::Path as Capture;
use tower_mqtt::{Request, RequestError, Requester, Responder, Router, Status};

use self::broker::{Broker, Kind};
use self::programs::{mosquitto_client, output, python, soon, spawn, spawn_ready};

on_every_broker! {
    mosquitto_rr_is_answered,
    paho_is_answered,
    paho_answers,
}

fn request(topic: &str, payload: &'static str) -> Request {
    Request::new(topic, payload).expect("a topic name")
}

async fn greeter(broker: &Broker) -> Responder {
    let router = Router::new().route(
        "greet/{name}",
        async |Capture(name): Capture<String>, request: Request| {
            let payload = String::from_utf8_lossy(request.payload()).into_owned();
            if payload == "rude" {
                return Err(Status::FORBIDDEN.with_message("be polite"));
            }
            Ok(format!("{payload}, {name}"))
        },
    );
    let link = broker.responder_link("responder").await;
    Responder::builder(link).serve(router).await.expect("subscribed")
}

async fn mosquitto_rr_is_answered(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _responder = greeter(&broker).await;
    let mut ask = mosquitto_client("mosquitto_rr", broker.address().port());
    ask.args(["-t", "greet/anna", "-e", "answers/rr", "-m", "hello", "-W", "20"]);
    assert_eq!(output(ask).await.trim_end(), "hello, anna");
    let mut ask = mosquitto_client("mosquitto_rr", broker.address().port());
    ask.args(["-t", "greet/anna", "-e", "answers/rr", "-m", "hello", "-W", "20", "-q", "1"]);
    ask.args(["-D", "publish", "correlation-data", "42", "-F", "%D %p"]);
    assert_eq!(output(ask).await.trim_end(), "42 hello, anna");
}

async fn paho_is_answered(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _responder = greeter(&broker).await;
    let mut ask = python("ask.py", broker.address().port());
    ask.args(["greet/anna", "hello", "rude", "good evening"]);
    let answers = output(ask).await;
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(
        answers,
        ["hello 200 hello, anna", "rude 403 ", "good evening 200 good evening, anna"]
    );
}

async fn paho_answers(kind: Kind) {
    let broker = Broker::start(kind).await;
    let mut serve = python("answer.py", broker.address().port());
    serve.arg("shout/#");
    let mut paho = spawn_ready(serve).await;
    let link = broker.responder_link("requester").await;
    let requester = Requester::builder(link).build().await.expect("subscribed");
    let calls: Vec<_> = ["one", "two", "three"]
        .map(|text| (text, tokio::spawn(requester.clone().oneshot(request("shout/x", text)))))
        .into();
    for (text, call) in calls {
        let response = soon(call).await.expect("no panic").expect("answered");
        assert_eq!(response.payload(), &text.to_uppercase());
        assert!(response.status().is_success());
    }
    let silent = request("shout/x", "").timeout(Duration::from_millis(200));
    let error = soon(requester.clone().oneshot(silent)).await.err();
    assert_eq!(error, Some(RequestError::Timeout));
    // The end of its input is the end of the program, and then nobody is there.
    drop(paho.stdin.take());
    assert!(soon(paho.wait()).await.expect("it runs").success());
    let started = Instant::now();
    let error = soon(async {
        loop {
            match requester.clone().oneshot(request("shout/x", "anybody?")).await {
                // The broker may notice a moment later.
                Err(RequestError::Timeout) => {}
                result => break result.map(drop),
            }
        }
    })
    .await;
    assert_eq!(error, Err(RequestError::NoResponder));
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_3_1_1_client_connects_to_the_hub_and_gets_and_sends_messages() {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await.expect("started");
    let port = hub.local_addr().expect("bound").port();
    let (_, mut presence) = hub.presence();
    let mut subscribe = mosquitto_client("mosquitto_sub", port);
    subscribe.args(["-V", "mqttv311", "-i", "old", "-t", "news/#", "-q", "1", "-C", "2", "-v"]);
    let subscriber = spawn(subscribe);
    match soon(presence.next()).await {
        Some(Change::Connected(info)) => assert_eq!(&*info.client_id, "old"),
        other => panic!("{other:?}"),
    }
    // The first one counts once it is subscribed; a retained message is not refused in 3.1.1.
    let requester = Requester::builder(hub.link("requester")).build().await.expect("built");
    let news = || request("news/first", "from us").timeout(Duration::from_millis(50));
    soon(async {
        while requester.clone().oneshot(news()).await.err() == Some(RequestError::NoResponder) {}
    })
    .await;
    let mut publish = mosquitto_client("mosquitto_pub", port);
    publish.args(["-V", "mqttv311", "-t", "news/second", "-m", "from them", "-q", "1", "-r"]);
    output(publish).await;
    let printed = soon(subscriber.wait_with_output()).await.expect("it runs").stdout;
    assert_eq!(String::from_utf8_lossy(&printed), "news/first from us\nnews/second from them\n");
}

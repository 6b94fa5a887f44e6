//! Request and answer on one topic, on a server that does not know No Local.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use support::*;
use tower_mqtt::dialect::Message;
use tower_mqtt::dialect::rrpc::aliyun;
#[cfg(feature = "json")]
use tower_mqtt::dialect::rrpc::tencent;
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Router};

/// A network without No Local, and how many messages it has seen.
fn network() -> (Network, Arc<AtomicUsize>) {
    let network = Network::new();
    network.honour_no_local(false);
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    network.on_message(move |_: &Message| {
        count.fetch_add(1, Ordering::SeqCst);
        Fate::Deliver
    });
    (network, seen)
}

#[tokio::test(start_paused = true)]
async fn a_responder_does_not_answer_its_own_answer() {
    let (network, seen) = network();
    let router = Router::new().route("pk/dn/user/get", async || "yes");
    let device = Responder::builder(network.link("device")).dialect(aliyun::custom());
    let device = device.serve(router).await.unwrap();
    let requester = Requester::builder(network.link("server")).dialect(aliyun::custom());
    let requester = requester.build().await.unwrap();

    let answer = call(&requester, to("pk/dn/user/get")).await.unwrap();
    assert_eq!(answer.payload(), "yes");
    settle().await;
    assert_eq!(seen.load(Ordering::SeqCst), 2, "the request and the answer");
    let stats = device.stats();
    assert_eq!((stats.received, stats.answered, stats.echoes), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_requester_does_not_take_its_own_request_for_the_answer() {
    let (network, _) = network();
    let requester = Requester::builder(network.link("server")).dialect(aliyun::custom());
    let requester = requester.build().await.unwrap();
    let request = Request::new("pk/dn/user/get", "question").unwrap();
    let error = call(&requester, request).await.unwrap_err();
    assert_eq!(error, RequestError::Timeout, "nobody but itself has heard it");
}

#[cfg(feature = "json")]
#[tokio::test(start_paused = true)]
async fn one_topic_is_asked_again_and_again_where_the_token_is_in_the_payload() {
    let (network, _) = network();
    let router = Router::new().route("pk/dn/control", async || "yes");
    let device = Responder::builder(network.link("device")).dialect(tencent::client_token());
    let device = device.serve(router).await.unwrap();
    let requester = Requester::builder(network.link("server")).dialect(tencent::client_token());
    let requester = requester.peers(filter("pk/dn/control")).build().await.unwrap();
    for _ in 0..3 {
        let request = Request::new("pk/dn/control", "{ }\n").unwrap();
        assert_eq!(call(&requester, request).await.unwrap().payload(), "yes");
    }
    settle().await;
    assert_eq!(device.stats().answered, 3);
}

#[tokio::test(start_paused = true)]
async fn what_comes_for_others_on_the_link_is_not_read_as_an_answer() {
    let network = Network::new();
    let asked: Arc<Mutex<Option<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    network.on_message(move |message| {
        seen.lock().unwrap().get_or_insert_with(|| message.topic.to_string());
        Fate::Deliver
    });
    let device = Responder::builder(network.link("device")).dialect(EchoTopic);
    let never = async || std::future::pending::<()>().await;
    let _device = device.serve(Router::new().route("ask", never)).await.unwrap();
    let link = network.link("server");
    let requester = Requester::builder(link.clone()).dialect(EchoTopic).peers(filter("ask"));
    let requester = requester.build().await.unwrap();
    let router = Router::new().route("echo/{id}/other", async || ());
    let other = Responder::builder(link).serve(router).await.unwrap();
    let call = start(&requester, to("ask")).await;
    let same_id = asked.lock().unwrap().take().unwrap().replace("/ask", "/other");
    publish(&network, Message::new(topic(&same_id), "stray")).await;
    assert_eq!(other.stats().malformed, 1, "it is offered to the next on the link");
    assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Timeout);
}

#[tokio::test(start_paused = true)]
async fn of_dialects_with_the_same_topics_the_first_reads_them() {
    let network = Network::new();
    let builder = Responder::builder(network.link("device"))
        .dialect(Altered::response(|answer| answer.payload = "first".into()))
        .dialect(Altered::response(|answer| answer.payload = "second".into()));
    let _device = builder.serve(Router::new().route("ask", async || ())).await.unwrap();
    let requester = Requester::builder(network.link("server")).build().await.unwrap();
    assert_eq!(call(&requester, to("ask")).await.unwrap().payload(), "first");
}

#[cfg(feature = "json")]
#[tokio::test(start_paused = true)]
async fn the_dialect_with_the_narrower_topics_reads_them() {
    let network = Network::new();
    let router = Router::new()
        .route("{rest*}", async |request: Request| format!("{:?}", request.topic().as_str()));
    let device = Responder::builder(network.link("device"))
        .dialect(aliyun::custom())
        .dialect(aliyun::thing_service());
    let _device = device.serve(router).await.unwrap();
    let server = network.link("server");
    let services = Requester::builder(server.clone()).dialect(aliyun::thing_service());
    let services = services.build().await.unwrap();
    let answer = call(&services, to("pk/dn/get")).await.unwrap();
    assert_eq!(answer.payload(), r#""pk/dn/get""#);
    let custom = Requester::builder(server).dialect(aliyun::custom()).build().await.unwrap();
    let answer = call(&custom, to("pk/dn/user/get")).await.unwrap();
    assert_eq!(answer.payload(), r#""pk/dn/user/get""#);
}

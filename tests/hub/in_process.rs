//! Links of the hub's own process.

use std::time::Duration;

use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_mqtt::hub::{Access, HubLimits};
use tower_mqtt::{
    Hub, InvalidRequest, Request, RequestError, Requester, Responder, Router, Status,
};

use super::raw::{Connect, Packet, Properties, Raw, property};
use super::{client, hub, soon};

fn request(topic: &str) -> Request {
    Request::new(topic, "").expect("a topic name")
}

async fn requester(hub: &Hub, client_id: &str) -> Requester {
    soon(Requester::builder(hub.link(client_id)).build()).await.expect("subscribed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_ask_each_other_and_overload_is_answered() {
    for workers in [1, 2] {
        let hub = Hub::builder().workers(workers).start().await.expect("started");
        assert_eq!(hub.local_addr(), None);
        let router = Router::new().route("q", async || {
            tokio::task::yield_now().await;
            "answer"
        });
        // One slot: most requests are refused where they arrive, inside the sender's publish.
        let responder = Responder::builder(hub.link("responder")).concurrency(1).serve(router);
        let responder = responder.await.expect("subscribed");
        let mut calls = JoinSet::new();
        for n in 0..4 {
            let requester = requester(&hub, &format!("requester {n}")).await;
            for _ in 0..250 {
                calls.spawn(requester.clone().oneshot(request("q")));
            }
        }
        let (mut answered, mut overloaded) = (0, 0);
        while let Some(call) = soon(calls.join_next()).await {
            let response = call.expect("no panic").expect("answered");
            match response.status().code() {
                200 => answered += 1,
                503 => overloaded += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!(answered + overloaded, 1000);
        let stats = responder.stats();
        assert_eq!((stats.received, stats.overloaded), (answered, overloaded));
    }
}

#[tokio::test]
async fn a_panic_on_a_link_closes_that_link_only() {
    for workers in [1, 2] {
        let (hub, address) = hub(workers).await;
        let serve = |name: &'static str, topic: &'static str| {
            let router = Router::new().route(topic, async || "answer");
            Responder::builder(hub.link(name))
                .allow_response_topic(move |_, _| topic != "bad" || panic!("on purpose"))
                .serve(router)
        };
        let bad = soon(serve("bad", "bad")).await.expect("subscribed");
        let _good = soon(serve("good", "good")).await.expect("subscribed");
        let mut raw = client(address, "raw").await;
        let answers = "clients/raw/responses";
        assert_eq!(raw.subscribe(answers, 1).await, 1);
        let properties = Properties::none().text(property::RESPONSE_TOPIC, answers);
        raw.publish(0x30, "bad", b"", &properties).await;
        soon(bad.link().disconnected()).await;
        assert!(!soon(bad.link().connected()).await);
        raw.publish(0x30, "good", b"", &properties).await;
        assert_eq!(raw.message().await.payload, b"answer");
        while raw.ask("bad", b"", &properties).await != 0x10 {}
        assert_eq!(hub.presence().0.len(), 2);
    }
}

#[tokio::test]
async fn a_panic_in_the_authorization_hook_costs_one_connection() {
    let hub = Hub::builder().bind("127.0.0.1:0").authorize(|_, client_id, _| {
        assert_ne!(client_id, "bad");
        true
    });
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let mut good = client(address, "good").await;
    let mut bad = client(address, "bad").await;
    bad.send_subscribe("t", 1).await;
    assert_eq!(bad.read().await, None);
    assert_eq!(good.subscribe("t", 1).await, 1);
    // The hub goes on, and the place and the name are free again.
    let mut bad = client(address, "bad").await;
    bad.ping().await;
    assert_eq!(bad.read().await, Some(Packet::PingResp));
    assert_eq!(hub.presence().0.len(), 2);
}

/// The will is published while the first panic is on its way: a second one would end the process.
#[tokio::test]
async fn a_hook_that_panics_for_the_will_as_well_costs_one_connection() {
    for version in [5, 4] {
        let hub = Hub::builder().bind("127.0.0.1:0").authorize(|_, client_id, access| {
            assert!(client_id != "bad" || !matches!(access, Access::Publish(_)));
            true
        });
        let hub = hub.start().await.expect("started");
        let address = hub.local_addr().expect("bound");
        let mut good = client(address, "good").await;
        let connect = Connect::new("bad").version(version).will("gone", "", 1, false);
        let mut bad = Raw::connect(address, &connect).await;
        bad.publish(0x30, "t", b"", &Properties::none()).await;
        assert_eq!(bad.read().await, None);
        // Lost without a first panic.
        drop(Raw::connect(address, &connect).await);
        let mut bad = client(address, "bad").await;
        bad.ping().await;
        assert_eq!(bad.read().await, Some(Packet::PingResp));
        good.ping().await;
        assert_eq!(good.read().await, Some(Packet::PingResp));
        assert_eq!(hub.presence().0.len(), 2);
    }
}

#[tokio::test]
async fn what_a_link_sends_has_the_same_limits() {
    let hub = Hub::builder().limits(|limits: &mut HubLimits| limits.packet = 1000);
    let hub = hub.start().await.expect("started");
    let router = Router::new().route("q", async || "answer");
    let _responder = Responder::builder(hub.link("responder")).serve(router).await.expect("served");
    let requester = requester(&hub, "requester").await;
    let large = Request::new("q", vec![0; 1001]).expect("a topic name");
    let error = soon(requester.clone().oneshot(large)).await.expect_err("too large");
    let RequestError::InvalidRequest(InvalidRequest::TooLarge { limit: 1000, .. }) = error else {
        panic!("{error:?}");
    };
    let odd = request("q").with_content_type("x".repeat(70_000));
    assert!(soon(requester.clone().oneshot(odd)).await.is_err());
    let response = soon(requester.oneshot(request("q"))).await.expect("answered");
    assert_eq!(response.payload(), "answer");
}

#[tokio::test]
async fn a_link_to_a_stopped_hub_is_closed() {
    let hub = Hub::builder().start().await.expect("started");
    let before = hub.link("before");
    hub.shutdown(Duration::from_secs(5)).await;
    assert!(!soon(before.connected()).await);
    let refused = soon(Requester::builder(before).build()).await;
    assert!(refused.is_err());
}

/// Clients come, take each other over and go, on both workers, while others ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_and_going_leaves_nothing_behind() {
    let (hub, address) = hub(2).await;
    let router = Router::new().route("q/{n}", async || Err::<&str, _>(Status::NOT_FOUND));
    let responder = Responder::builder(hub.link("responder")).serve(router).await.expect("served");
    let mut visitors = JoinSet::new();
    for n in 0..200_u32 {
        visitors.spawn(async move {
            let name = format!("visitor {}", n % 20);
            let (mut raw, _) = Raw::try_connect(address, &Connect::new(&name)).await;
            let answers = format!("clients/{}/responses", name.replace(' ', "%20"));
            let properties = Properties::none().text(property::RESPONSE_TOPIC, &answers);
            raw.send_subscribe(&answers, 1).await;
            raw.send_subscribe("q/+", 1).await;
            raw.publish(0x32, &format!("q/{n}"), b"", &properties).await;
            if n % 3 == 0 {
                raw.disconnect().await;
            }
        });
    }
    let requester = requester(&hub, "requester").await;
    for n in 0..200 {
        let response = soon(requester.clone().oneshot(request(&format!("q/{n}")))).await;
        assert_eq!(response.expect("answered").status(), &Status::NOT_FOUND);
    }
    while let Some(visitor) = soon(visitors.join_next()).await {
        visitor.expect("no panic");
    }
    soon(async {
        while hub.stats().connections > 0 || hub.presence().0.len() > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // No route of a visitor is left on any worker.
    drop(responder);
    for name in ["one worker", "the other"] {
        let mut raw = client(address, name).await;
        soon(async { while raw.ask("q/1", b"", &Properties::none()).await != 0x10 {} }).await;
    }
}

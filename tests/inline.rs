//! Handlers on the connection's own thread.

mod support;

use std::time::Duration;

use support::*;
use tokio::sync::mpsc;
use tower::ServiceExt;
use tower_mqtt::link::memory::Network;
use tower_mqtt::{RequestError, Requester, Responder, Response, Router};

async fn inline(router: Router) -> (Network, Requester, Responder) {
    let network = Network::new();
    let builder = Responder::builder(network.link("answerer")).inline();
    let responder = builder.serve(router).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    (network, requester, responder)
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_answered_and_the_others_go_on() {
    let router = Router::new()
        .route("wait", async || {
            tokio::time::sleep(SECOND).await;
            "waited"
        })
        .route("boom", async || -> &'static str { panic!("on purpose") })
        .route("quick", async || "quick");
    let (_network, requester, responder) = inline(router).await;
    let waiting = start(&requester, to("wait")).await;
    assert_eq!(status(&requester, to("boom")).await, 500);
    assert_eq!(call(&requester, to("quick")).await.unwrap().payload(), "quick");
    assert_eq!(waiting.await.unwrap().unwrap().payload(), "waited");
    assert_eq!((responder.stats().panicked, responder.stats().in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_at_its_deadline_and_when_the_responder_stops() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let router = Router::new().route("never", async move || {
        let _guard = says_when_dropped(&dropped);
        std::future::pending::<&str>().await
    });
    let (_network, requester, responder) = inline(router).await;
    let (elapsed, ended) = timed(call(&requester, to("never").timeout(SECOND))).await;
    assert_eq!((elapsed, ended.unwrap_err()), (SECOND, RequestError::Timeout));
    drops.recv().await.unwrap();

    let stopped = start(&requester, to("never")).await;
    responder.shutdown(Duration::ZERO).await;
    assert_eq!(stopped.await.unwrap().unwrap().status().code(), 408);
    drops.recv().await.unwrap();
}

fn says_when_dropped(dropped: &mpsc::UnboundedSender<()>) -> impl Drop + use<> {
    struct Guard(mpsc::UnboundedSender<()>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    Guard(dropped.clone())
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_call_over_the_link_that_it_is_served_on() {
    let network = Network::new();
    let link = network.link("answerer");
    let nested = Requester::builder(link.clone()).build().await.unwrap();
    let router = Router::new().route("inner", async || "inner").route("outer", async move || {
        nested.clone().oneshot(to("inner")).await.map(Response::into_payload)
    });
    let _responder = Responder::builder(link).inline().serve(router).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    assert_eq!(call(&requester, to("outer")).await.unwrap().payload(), "inner");
}

#[cfg(feature = "ntex")]
#[tokio::test]
async fn in_the_hub_it_runs_on_the_worker() {
    let hub = tower_mqtt::Hub::builder().start().await.unwrap();
    let place = async || std::thread::current().name().unwrap_or_default().to_owned();
    let inline = Router::new().route("inline", place);
    let spawned = Router::new().route("spawned", place);
    let link = hub.link("answerer");
    let _inline = Responder::builder(link.clone()).inline().serve(inline).await.unwrap();
    let _spawned = Responder::builder(link).serve(spawned).await.unwrap();
    let requester = Requester::builder(hub.link("asker")).build().await.unwrap();
    assert_eq!(call(&requester, to("inline")).await.unwrap().payload(), "mqtt-hub-0");
    let elsewhere = call(&requester, to("spawned")).await.unwrap();
    assert_ne!(elsewhere.payload(), "mqtt-hub-0");
}

#[cfg(feature = "ntex")]
#[tokio::test]
async fn what_runs_beside_the_connection_is_on_its_thread_and_may_ask_there() {
    let hub = tower_mqtt::Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
    let place = async || std::thread::current().name().unwrap_or_default().to_owned();
    let router = Router::new().route("place", place);
    let _responder = Responder::builder(hub.link("answerer")).inline().serve(router).await.unwrap();
    let address = format!("mqtt://{}?client_id=asker", hub.local_addr().unwrap());
    for link in [hub.link("in the hub"), tower_mqtt::Client::connect(&address).await.unwrap()] {
        let requester = Requester::builder(link.clone()).build().await.unwrap();
        let here = link.run_local(async move {
            let there = call(&requester, to("place")).await.unwrap();
            assert_eq!(there.payload(), "mqtt-hub-0");
            std::thread::current().name().unwrap_or_default().to_owned()
        });
        assert!(["mqtt-hub-0", "tower-mqtt-aske"].contains(&here.await.unwrap().as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_beside_the_connection_ends_with_its_caller_with_the_link_or_with_a_panic() {
    let network = Network::new();
    let link = network.link("beside");
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let forever = |dropped: &mpsc::UnboundedSender<()>| {
        let guard = says_when_dropped(dropped);
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        }
    };
    let given_up = tokio::time::timeout(SECOND, link.run_local(forever(&dropped))).await;
    assert!(given_up.is_err());
    drops.recv().await.unwrap();

    let (other, panicking) = (link.clone(), link.clone());
    let closed = tokio::spawn(async move { other.run_local(forever(&dropped)).await });
    let panic = async { panic!("on purpose") };
    let panicked = tokio::spawn(async move { panicking.run_local::<_>(panic).await });
    assert!(panicked.await.unwrap_err().is_panic());
    link.close();
    assert_eq!(closed.await.unwrap(), Err(tower_mqtt::link::LinkClosed));
    drops.recv().await.unwrap();
    assert_eq!(link.run_local(async {}).await, Err(tower_mqtt::link::LinkClosed));
}

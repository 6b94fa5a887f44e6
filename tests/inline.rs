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
    assert_eq!(stopped.await.unwrap().unwrap().status().code(), 503);
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

//! A requester that is used on other runtimes than the one it was made on.
#![cfg(feature = "ntex")]

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use tower_mqtt::hub::Hub;
use tower_mqtt::{Request, Requester, Responder, Router, link::Client};

/// So many that several are answered in one turn of the connection.
const CALLS: usize = 200;

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// On a thread of its own: what serves must not wait for what asks.
fn several_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

struct Served {
    runtime: Runtime,
    address: String,
    _hub: Hub,
    _responder: Responder,
}

fn serve() -> Served {
    let runtime = several_threads();
    let (hub, responder) = runtime.block_on(async {
        let hub = Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
        let router = Router::new().route("double", async |payload: String| payload.repeat(2));
        let responder = Responder::builder(hub.link("responder")).serve(router).await.unwrap();
        (hub, responder)
    });
    let address = format!("mqtt://{}", hub.local_addrs()[0]);
    Served { runtime, address, _hub: hub, _responder: responder }
}

async fn requester(address: &str) -> Requester {
    let link = Client::connect(address).await.unwrap();
    Requester::builder(link).timeout(Duration::from_mins(1)).build().await.unwrap()
}

async fn ask(requester: &Requester) {
    let calls = (0..CALLS).map(async |n| {
        let request = Request::new("double", n.to_string()).unwrap();
        let response = requester.clone().oneshot(request).await?;
        assert_eq!(response.payload(), n.to_string().repeat(2).as_bytes());
        Ok::<_, tower_mqtt::RequestError>(())
    });
    try_join_all(calls).await.unwrap();
}

#[test]
fn everywhere_calls_are_answered() {
    let served = serve();
    let home = one_thread();
    let requester = home.block_on(requester(&served.address));
    home.block_on(ask(&requester));
    // Nothing runs the runtime that it was made on.
    one_thread().block_on(ask(&requester));
    several_threads().block_on(ask(&requester));
    home.block_on(ask(&requester));
    drop(home);
    // A new runtime may have the number of the one that is gone.
    for _ in 0..3 {
        one_thread().block_on(ask(&requester));
    }
    served.runtime.block_on(ask(&requester));
}

#[test]
fn calls_that_end_without_an_answer_are_told() {
    let served = serve();
    let home = one_thread();
    home.block_on(async {
        let requester = requester(&served.address).await;
        let calls = (0..CALLS).map(async |_| {
            let request = Request::new("nobody/there", "").unwrap();
            requester.clone().oneshot(request).await.unwrap_err()
        });
        for error in futures_util::future::join_all(calls).await {
            assert_eq!(error, tower_mqtt::RequestError::NoResponder);
        }
    });
}

//! The end of a hub. A program of its own, because it counts threads.
#![cfg(all(feature = "ntex", target_os = "linux"))]

#[path = "support/raw.rs"]
mod raw;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tower::ServiceExt;
use tower_mqtt::hub::HubError;
use tower_mqtt::{Hub, Request, RequestError, Requester};

use self::raw::{Connect, Packet, Raw};

/// Hubs of other tests would be counted as well.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.as_deref().is_ok_and(|name| name.starts_with("mqtt-hub-"))).count()
}

/// A thread that was joined is shown for a moment longer.
async fn no_threads() {
    soon(async {
        while threads() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Only a listener shows in this way that the port is not in use.
fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

async fn start(workers: usize) -> (Hub, SocketAddr) {
    let hub = Hub::builder().bind("127.0.0.1:0").workers(workers).start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    assert_eq!(threads(), workers);
    assert!(!is_free(address));
    (hub, address)
}

#[tokio::test]
async fn shutdown_says_good_bye_and_leaves_nothing() {
    let _alone = ALONE.lock().await;
    for workers in [1, 2] {
        let (hub, address) = start(workers).await;
        let mut five = Raw::connect(address, &Connect::new("five")).await;
        let mut old = Raw::connect(address, &Connect::new("old").version(4)).await;
        let link = hub.link("in process");
        assert!(soon(link.connected()).await);
        let started = Instant::now();
        soon(hub.shutdown(Duration::from_mins(1))).await;
        assert!(started.elapsed() < Duration::from_secs(20), "it waits for nobody that is gone");
        assert_eq!(five.read().await, Some(Packet::Disconnect { reason: 0x8B }));
        assert_eq!(five.read().await, None);
        assert_eq!(old.read().await, None);
        assert!(!link.is_connected() && !soon(link.connected()).await);
        no_threads().await;
        assert!(is_free(address));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_waited_for_longer_than_the_grace() {
    let _alone = ALONE.lock().await;
    let (hub, address) = start(1).await;
    let mut deaf = Raw::connect(address, &Connect::new("deaf")).await;
    assert_eq!(deaf.subscribe("t", 0).await, 0);
    let mut sender = Raw::connect(address, &Connect::new("sender")).await;
    let payload = vec![0; 512 * 1024];
    while hub.stats().overflowed == 0 {
        sender.ask("t", &payload, &raw::Properties::none()).await;
    }
    soon(hub.shutdown(Duration::from_millis(100))).await;
    no_threads().await;
    assert!(is_free(address));
}

#[tokio::test]
async fn dropping_the_hub_ends_everything_at_once() {
    let _alone = ALONE.lock().await;
    for workers in [1, 2] {
        let (hub, address) = start(workers).await;
        let mut a = Raw::connect(address, &Connect::new("a")).await;
        let link = hub.link("in process");
        let mut requester = Requester::builder(link.clone()).build().await.expect("built");
        let open = Raw::open(address).await;
        drop(hub);
        no_threads().await;
        assert!(is_free(address));
        assert_eq!(a.read().await, None);
        assert!(!link.is_connected() && !soon(link.connected()).await);
        let call = async {
            let request = Request::new("t", "").expect("valid");
            requester.ready().await?;
            requester.oneshot(request).await
        };
        assert_eq!(soon(call).await.err(), Some(RequestError::Closed));
        drop(open);
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error_and_leaves_nothing() {
    let _alone = ALONE.lock().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let error = Hub::builder().bind(&address).start().await.expect_err("in use");
    assert!(matches!(error, HubError::Bind { .. }) && error.to_string().contains(&address));
    no_threads().await;
    let error = Hub::builder().bind("nowhere").start().await.expect_err("no address");
    assert!(matches!(error, HubError::Bind { .. }));
}

#[tokio::test]
async fn giving_up_a_shutdown_stops_at_once() {
    let _alone = ALONE.lock().await;
    let (hub, address) = start(2).await;
    let _a = Raw::connect(address, &Connect::new("a")).await;
    let given_up = tokio::time::timeout(Duration::ZERO, hub.shutdown(Duration::from_mins(1)));
    let _ = given_up.await;
    no_threads().await;
    assert!(is_free(address));
}

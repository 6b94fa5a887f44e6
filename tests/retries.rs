//! Retry and dedup through real brokers: what is asked for again is executed once.
#![cfg(feature = "ntex")]

#[path = "support/mosquitto.rs"]
mod mosquitto;
#[cfg(target_os = "linux")]
#[path = "support/resident.rs"]
mod resident;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{DedupLayer, RetryLayer, TimeoutLayer};
use tower_mqtt::link::Reconnect;
use tower_mqtt::{
    Client, Hub, Link, Qos, Request, RequestError, Requester, Responder, Response, Router,
};

use self::mosquitto::Mosquitto;
#[cfg(target_os = "linux")]
use self::resident::resident;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

async fn link(port: u16) -> Link {
    let reconnect = Reconnect { shortest: ms(10), longest: ms(50) };
    let client = Client::builder(&format!("mqtt://127.0.0.1:{port}")).reconnect(reconnect);
    client.connect().await.expect("connected")
}

/// Runs the test through mosquitto.
async fn with_mosquitto(test: impl AsyncFnOnce(u16)) {
    let broker = Mosquitto::start(&["set_tcp_nodelay true"]).await;
    test(broker.port()).await;
}

/// Runs the test through the hub.
async fn with_hub(test: impl AsyncFnOnce(u16)) {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
    test(hub.local_addr().as_ref().map(SocketAddr::port).expect("bound")).await;
}

/// 30 s in all, a short while for each attempt, and as many attempts as fit.
fn patient(
    requester: Requester,
) -> impl Service<Request, Response = Response, Error = RequestError, Future: Send> + Clone + Send {
    let policy = RetryPolicy::default().max_attempts(1000).backoff(ms(5), ms(50));
    ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(30)))
        .layer(RetryLayer::new(policy.budget(Unlimited).responder_deduplicates()))
        .layer(TimeoutLayer::new(ms(200)))
        .service(requester)
}

/// The tests make one call each, of which a budget would allow few retries.
struct Unlimited;

impl tower::retry::budget::Budget for Unlimited {
    fn deposit(&self) {}

    fn withdraw(&self) -> bool {
        true
    }
}

/// A way to the broker. When told, it loses what the client sends next, and then the connection.
async fn lossy_way(broker: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let lose = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&lose);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::select! {
                    () = forward(&mut from_client, &mut to_server, &told) => {}
                    _ = copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    (port, lose)
}

async fn forward(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    lose: &AtomicBool,
) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if lose.swap(false, Ordering::SeqCst) || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn a_lost_answer_is_executed_once(broker: u16) {
    let (way, lose) = lossy_way(broker).await;
    let executed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&executed);
    let brew = async move || {
        lose.store(true, Ordering::SeqCst);
        format!("pot {}", count.fetch_add(1, Ordering::SeqCst) + 1)
    };
    let router = Router::new().route("brew", brew).layer(DedupLayer::default());
    let responder = Responder::builder(link(way).await).serve(router).await.unwrap();
    let requester = Requester::builder(link(broker).await).build().await.unwrap();

    // At QoS 0 the responder does not notice the loss: only asking again helps.
    let request = Request::new("brew", "").unwrap().qos(Qos::AtMostOnce);
    let answer = patient(requester).oneshot(request).await.unwrap();
    assert_eq!(answer.payload(), "pot 1");
    assert_eq!(executed.load(Ordering::SeqCst), 1);
    assert!(responder.stats().received > 1, "asked for again");
}

async fn a_responder_that_dies_leaves_the_request_to_another(broker: u16) {
    let (died, mut funerals) = mpsc::unbounded_channel();
    let mortal = link(broker).await;
    let own = mortal.clone();
    let mortals = Router::new().route("brew", async move || -> &'static str {
        own.close();
        died.send(()).unwrap();
        std::future::pending().await
    });
    let _first = Responder::builder(mortal).share("kitchen").serve(mortals).await.unwrap();
    let requester = Requester::builder(link(broker).await).build().await.unwrap();
    let call = tokio::spawn(patient(requester).oneshot(Request::new("brew", "").unwrap()));
    funerals.recv().await.expect("executed, and not answered");
    let lives = Router::new().route("brew", async || "pot of another");
    let second = Responder::builder(link(broker).await).share("kitchen").serve(lives);
    let _second = second.await.unwrap();
    assert_eq!(call.await.unwrap().unwrap().payload(), "pot of another");
}

#[cfg(target_os = "linux")]
async fn duplicates_leave_the_memory_flat(broker: u16) {
    const IDS: u8 = 4;
    const COPIES: usize = 25_000;
    const SLACK: usize = 16 * 1024 * 1024;

    let executed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&executed);
    let brew = async move || {
        count.fetch_add(1, Ordering::SeqCst);
        vec![b'x'; 512]
    };
    let router = Router::new().route("brew", brew).layer(DedupLayer::default());
    let _responder = Responder::builder(link(broker).await).serve(router).await.unwrap();
    let requester = Requester::builder(link(broker).await).build().await.unwrap();
    let copies = async |copies: usize| {
        let mut callers = JoinSet::new();
        for id in 0..IDS {
            let mut requester = requester.clone();
            callers.spawn(async move {
                for _ in 0..copies {
                    let request = Request::new("brew", "").unwrap().correlation_data(vec![id; 16]);
                    let answer = requester.ready().await.unwrap().call(request).await.unwrap();
                    assert_eq!(answer.payload().len(), 512);
                }
            });
        }
        callers.join_all().await;
    };
    copies(COPIES / 10).await;
    let before = resident();
    copies(COPIES).await;
    let after = resident();
    assert!(after < before + SLACK, "{before} bytes before, {after} after");
    assert_eq!(executed.load(Ordering::SeqCst), u32::from(IDS));
}

macro_rules! through_both {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        mod through_mosquitto {
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::with_mosquitto(super::$name).await;
            })+
        }

        mod through_the_hub {
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::with_hub(super::$name).await;
            })+
        }
    };
}

through_both! {
    a_lost_answer_is_executed_once,
    a_responder_that_dies_leaves_the_request_to_another,
    #[cfg(target_os = "linux")]
    duplicates_leave_the_memory_flat,
}

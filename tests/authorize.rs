//! Signed requests and device proofs end to end: in memory, through the hub, through mosquitto.
#![cfg(all(feature = "auth", feature = "ntex"))]

#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tower::util::MapRequestLayer;
use tower::{Layer, ServiceExt};
use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::hub::{Credentials, Identity};
use tower_mqtt::layer::authorize::device::{ChallengeLayer, Device, ProofLayer};
use tower_mqtt::layer::authorize::hmac::{HmacSigner, HmacVerifier};
use tower_mqtt::layer::authorize::hub_identity::{ClientId, HubIdentity};
use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller, Key};
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{DedupLayer, RetryLayer, TimeoutLayer};
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::responder::extract::Extension;
use tower_mqtt::{Client, Hub, Link, Request, Requester, Responder, Response, Router};

use self::mosquitto::Mosquitto;

const ANSWERS: &str = "machines/M7/answers";

fn topic(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn key(byte: u8) -> Key {
    Key::new([byte; 32]).unwrap()
}

/// Keeps every request that arrives.
#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Vec<Request>>>);

impl Tap {
    fn layer(&self) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + use<>> {
        let tap = self.clone();
        MapRequestLayer::new(move |request: Request| {
            tap.0.lock().unwrap().push(request.clone());
            request
        })
    }

    fn last(&self) -> Request {
        self.0.lock().unwrap().last().cloned().unwrap()
    }
}

/// An oven that takes signed requests, and counts how often it heats.
struct Oven {
    tap: Tap,
    heated: Arc<AtomicU32>,
    /// How far its clock is ahead.
    ahead: Arc<Mutex<Duration>>,
    _responder: Responder,
}

impl Oven {
    async fn new(link: Link) -> Self {
        let (tap, heated) = (Tap::default(), Arc::new(AtomicU32::new(0)));
        let ahead = Arc::new(Mutex::new(Duration::ZERO));
        let (count, clock) = (Arc::clone(&heated), Arc::clone(&ahead));
        let heat = async move || (count.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        let verifier = HmacVerifier::with_keys([("M7".to_owned(), key(7))].into())
            .clock(move || SystemTime::now() + *clock.lock().unwrap());
        let router = Router::new()
            .route("oven/heat", heat)
            .layer(DedupLayer::default())
            .layer(AuthorizeLayer::new(verifier))
            .layer(tap.layer());
        let responder = Responder::builder(link).serve(router).await.unwrap();
        Self { tap, heated, ahead, _responder: responder }
    }
}

/// Somebody who sends as it is what was recorded.
struct Attacker {
    same_topic: Requester,
    other_topic: Requester,
}

impl Attacker {
    async fn new(link: Link) -> Self {
        let builder = Requester::builder(link);
        let same_topic = builder.clone().response_topic(topic(ANSWERS)).build().await.unwrap();
        let other_topic = builder.response_topic(topic("attacker/answers")).build().await.unwrap();
        Self { same_topic, other_topic }
    }
}

async fn sent(requester: &Requester, request: Request) -> (u16, String) {
    let response = requester.clone().oneshot(request).await.unwrap();
    let payload = String::from_utf8(response.payload().to_vec()).unwrap();
    (response.status().code(), payload)
}

/// One attack after another on a signed request. `link` connects under a name.
async fn signed_requests_withstand(link: impl AsyncFn(&'static str) -> Link) {
    let oven = Oven::new(link("oven").await).await;
    let attacker = Attacker::new(link("attacker").await).await;
    let builder = Requester::builder(link("M7").await).response_topic(topic(ANSWERS));
    let requester = builder.build().await.unwrap();
    let sign = |key| AuthorizeLayer::new(HmacSigner::new("M7", key, topic(ANSWERS)));
    let heat = || Request::new("oven/heat", "200").unwrap();

    let response = sign(key(7)).layer(requester.clone()).oneshot(heat()).await.unwrap();
    assert_eq!(response.payload(), "1");
    let recorded = oven.tap.last();
    // It is done, and must not get in the way of the attacker's own subscription.
    drop(requester);

    assert_eq!(sent(&attacker.same_topic, recorded.clone()).await, (200, "1".into()), "replay");
    assert_eq!(sent(&attacker.other_topic, recorded.clone()).await.0, 403, "answer to elsewhere");
    let altered = Request::from_parts(recorded.parts().clone(), "900".into());
    assert_eq!(sent(&attacker.same_topic, altered).await.0, 403, "altered");
    let unsigned = sent(&attacker.same_topic, heat()).await;
    assert_eq!(unsigned.0, 401, "unsigned");
    let foreign = sign(key(8)).layer(attacker.same_topic.clone()).oneshot(heat()).await.unwrap();
    assert_eq!(foreign.status().code(), 403, "foreign key");
    *oven.ahead.lock().unwrap() = Duration::from_secs(61);
    assert_eq!(sent(&attacker.same_topic, recorded).await.0, 403, "expired");
    assert_eq!(oven.heated.load(Ordering::Relaxed), 1, "executed once in all");
}

#[tokio::test]
async fn in_memory() {
    let network = Network::new();
    signed_requests_withstand(async |name| network.link(name)).await;
}

#[tokio::test]
async fn through_the_hub() {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
    let url = format!("mqtt://{}", hub.local_addr().unwrap());
    signed_requests_withstand(async |name| {
        Client::connect(&format!("{url}?client_id={name}")).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn through_mosquitto() {
    let broker = Mosquitto::start(&[]).await;
    signed_requests_withstand(async |name| {
        Client::connect(&format!("{}?client_id={name}", broker.url())).await.unwrap()
    })
    .await;
}

/// A retry outside of what signs, or challenges, is one request for dedup.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_executed_once() {
    let network = Network::new();
    let executed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&executed);
    let unlock = async move || (count.fetch_add(1, Ordering::Relaxed) + 1).to_string();
    let router = Router::new()
        .route("unlock", unlock)
        .layer(DedupLayer::default())
        .layer(ProofLayer::new("lock-7", key(7)))
        .layer(AuthorizeLayer::new(HmacVerifier::new(|_| Some(key(1)))));
    let _responder = Responder::builder(network.link("lock")).serve(router).await.unwrap();
    let builder = Requester::builder(network.link("server")).response_topic(topic(ANSWERS));
    let client = (
        RetryLayer::new(RetryPolicy::default().responder_deduplicates()),
        TimeoutLayer::new(Duration::from_millis(100)),
        ChallengeLayer::new(topic(ANSWERS), |_| Some(key(7))),
        AuthorizeLayer::new(HmacSigner::new("server", key(1), topic(ANSWERS))),
    )
        .layer(builder.build().await.unwrap());

    let mut losses = 2;
    network.on_message(move |message| {
        if message.topic.as_str() != ANSWERS || losses == 0 {
            return Fate::Deliver;
        }
        losses -= 1;
        Fate::Lose
    });
    let mut request = Request::new("unlock", "").unwrap();
    request.parts_mut().extensions.insert(Device::new("lock-7"));
    let response: Response = client.oneshot(request).await.unwrap();
    assert_eq!(response.payload(), "1");
    assert_eq!(executed.load(Ordering::Relaxed), 1);
}

/// What a responder behind the hub is told about a sender that says of itself that it is the chef.
async fn forged_identity(hub: tower_mqtt::hub::HubBuilder) -> [(u16, String); 2] {
    let hub = hub.bind("127.0.0.1:0").start().await.unwrap();
    let router = Router::new()
        .route("who", async |caller: Caller, Extension(ClientId(id)): Extension<ClientId>| {
            format!("{caller} on {id}")
        })
        .layer(AuthorizeLayer::new(HubIdentity::new()));
    let _responder = Responder::builder(hub.link("kitchen")).serve(router).await.unwrap();
    let url = format!("mqtt://anna@{}?client_id=M7", hub.local_addr().unwrap());
    let remote = Requester::builder(Client::connect(&url).await.unwrap()).build().await.unwrap();
    let local = Requester::builder(hub.link("oven")).build().await.unwrap();
    let forged = || {
        let request = Request::new("who", "").unwrap();
        request
            .with_user_property("hub-identity", "chef")
            .with_user_property("hub-client-id", "knife")
    };
    [sent(&remote, forged()).await, sent(&local, forged()).await]
}

#[tokio::test]
async fn behind_the_hub_nobody_can_be_somebody_else() {
    let by_user_name = async |credentials: Credentials| {
        credentials.username.map(Identity::new).ok_or(ReasonCode::NOT_AUTHORIZED)
    };
    let known = forged_identity(Hub::builder().authenticate(by_user_name)).await;
    assert_eq!(known, [(200, "anna on M7".into()), (200, "oven on oven".into())]);
    let [remote, local] = forged_identity(Hub::builder()).await;
    assert_eq!((remote.0, local.0), (401, 401), "it knows nobody");
}

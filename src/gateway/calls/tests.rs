mod cluster;
mod connection;
mod ended;
mod front;
mod hang_up;
mod reply_topic;

use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Barrier, mpsc};
use tower::ServiceExt;

use super::*;
use crate::core::packet::Qos;
use crate::core::packet::UserProperties;
use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::dialect::rrpc::aliyun;
use crate::dialect::rrpc::tencent;
use crate::gateway::call::{Answer, Call, CallError, Failure, InFlight, Publication, Target};
use crate::gateway::config::{AccessKey, Device, Dialect, Product};
use crate::gateway::devices::{Found, StoreUnavailable};
use crate::gateway::listing::Wanted;
use crate::link::memory::Network;
use crate::message::{Parts, Status};
use crate::responder::Router;

/// Has every device but `ghost`; cannot say of `hidden`; `off` is disabled.
struct Store;

impl DeviceStore for Store {
    fn find<'a>(&'a self, _: &'a str, device: &'a str) -> Found<'a> {
        let found = match device {
            "ghost" => Ok(None),
            "hidden" => Err(StoreUnavailable),
            "off" => Ok(Some(Device::new("off", "secret").disabled())),
            name => Ok(Some(Device::new(name, "secret"))),
        };
        Box::pin(std::future::ready(found))
    }
}

fn product(id: &str, dialect: Dialect) -> Product {
    let one_in_flight = matches!(dialect, Dialect::Tencent | Dialect::TencentExplorer);
    let id = id.to_owned();
    Product { id, dialect, timeout: None, one_in_flight, ext: false, devices: Vec::new() }
}

/// One product of each kind.
fn products() -> Vec<Product> {
    vec![
        product("ali", Dialect::Aliyun),
        Product { ext: true, ..product("custom", Dialect::Aliyun) },
        product("hub", Dialect::Tencent),
        product("explorer", Dialect::TencentExplorer),
        product("native", Dialect::Native),
    ]
}

fn settings(link: Link) -> Settings {
    let key = |id: &str, products| AccessKey {
        id: id.to_owned(),
        secret: Some("secret".into()),
        bearer: None,
        products,
    };
    let keys = [key("all", None), key("one", Some(vec!["hub".to_owned()]))];
    Settings {
        link,
        products: Arc::new(Products::new(&products())),
        store: Arc::new(Store),
        keys: Arc::new(Keys::new(&keys)),
        replay: Arc::new(Replay::new(config::Http::default().replay_window)),
        roster: None,
        limits: config::Limits::default(),
        response_topics: config::Mqtt::default().response_topics,
        cluster: None,
    }
}

async fn platform(network: &Network) -> Platform {
    Platform::start(settings(network.link("gateway"))).await.unwrap()
}

fn call(product: &str, device: &str) -> Call {
    Call {
        product: product.into(),
        device: device.into(),
        target: Target::Device,
        payload: Bytes::new(),
        content_type: None,
        timeout: None,
        key: None,
        api: "plain",
    }
}

fn topic(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn on(text: &str) -> Target {
    Target::Topic(topic(text))
}

fn service(name: &str) -> Target {
    Target::Service(name.into())
}

async fn make(platform: &Platform, call: Call) -> Result<Answer, Failure> {
    platform.calls().oneshot(call).await
}

async fn refused(platform: &Platform, call: Call) -> CallError {
    make(platform, call).await.unwrap_err().why
}

async fn device(
    network: &Network,
    dialect: impl crate::dialect::Dialect,
    router: Router,
) -> Responder {
    let name = format!("device of {}", dialect.name());
    Responder::builder(network.link(&name)).dialect(dialect).serve(router).await.unwrap()
}

/// Answers with the id of the request as a number.
async fn tell_id(parts: Parts) -> String {
    let id = parts.correlation_data.expect("every request has an id");
    message_id::number(&id).expect("it is a number").to_string()
}

#[tokio::test]
async fn every_dialect_has_its_way_and_tells_the_id_on_the_wire() {
    let network = Network::new();
    let router = |route: &str| Router::new().route(route, tell_id);
    let over_system = aliyun::thing_service().over_system_topics();
    let _devices = [
        device(&network, aliyun::system(), router("ali/raw")).await,
        device(&network, aliyun::custom(), router("custom/custom/user/get")).await,
        device(&network, aliyun::thing_service(), router("custom/thing/get")).await,
        device(&network, tencent::rrpc(), router("hub/d")).await,
        device(&network, tencent::explorer(), router("explorer/d")).await,
        device(&network, crate::dialect::Native::new(), router("devices/native/{rest*}")).await,
        Responder::builder(network.link("ali thing"))
            .dialect(over_system)
            .serve(router("ali/thing/get"))
            .await
            .unwrap(),
    ];
    let platform = platform(&network).await;
    for (product, name, target) in [
        ("ali", "raw", Target::Device),
        ("ali", "raw", on("/ali/raw/user/get")),
        ("custom", "custom", on("/custom/custom/user/get")),
        ("custom", "thing", service("get")),
        ("ali", "thing", service("get")),
        ("hub", "d", Target::Device),
        ("explorer", "d", Target::Device),
        ("native", "d", Target::Device),
        ("native", "d", service("get")),
        ("native", "d", on("devices/native/d/a/b")),
    ] {
        let answer = make(&platform, Call { target: target.clone(), ..call(product, name) }).await;
        let answer = answer.unwrap_or_else(|why| panic!("{product} {target:?}: {why}"));
        assert_eq!(answer.payload, answer.message_id.to_string(), "{product} {target:?}");
        assert_eq!(answer.status, Status::OK);
        assert!(answer.message_id > 0 && answer.message_id >> 63 == 0);
    }
    assert_eq!(platform.in_flight(), 0);
}

#[tokio::test]
async fn the_custom_mode_of_explorer_is_subscribed_to_only_for_a_call() {
    let network = Network::new();
    let both = Arc::new(Barrier::new(2));
    let control = async move |object: String| {
        both.wait().await;
        object.split_once(',').map(|(_, rest)| rest.to_owned())
    };
    let control = async move |object: String| control(object).await.unwrap_or_default();
    let router = Router::new().route("explorer/d/control", control);
    let _device = device(&network, tencent::client_token(), router).await;
    let platform = platform(&network).await;
    let light = |n: u32| Call {
        target: on("explorer/d/control"),
        payload: format!(r#"{{"light":{n}}}"#).into(),
        ..call("explorer", "d")
    };
    // Both are in flight at once.
    let (first, second) = tokio::join!(make(&platform, light(1)), make(&platform, light(2)));
    assert_eq!(first.unwrap().payload, r#""light":1}"#);
    assert_eq!(second.unwrap().payload, r#""light":2}"#);
    while network.has_subscriber(&topic("explorer/d/telemetry")) {
        tokio::task::yield_now().await;
    }
}

/// Both listen on `/sys/+/+/rrpc/response/+`.
#[tokio::test]
async fn raw_calls_and_services_over_system_topics_do_not_take_each_others_answers() {
    const CALLS: usize = 20;
    let network = Network::new();
    let all = Arc::new(Barrier::new(2 * CALLS));
    let answer = async move |payload: String| {
        all.wait().await;
        let Ok(request) = serde_json::from_str::<serde_json::Value>(&payload) else {
            return payload;
        };
        let (id, data) = (&request["id"], &request["params"]);
        serde_json::json!({ "id": id, "code": 200, "data": data }).to_string()
    };
    let router = Router::new().route("ali/d", answer);
    let _device = device(&network, aliyun::system(), router).await;
    let limits = config::Limits { per_device: 2 * CALLS, ..config::Limits::default() };
    let settings = Settings { limits, ..settings(network.link("gateway")) };
    let platform = Platform::start(settings).await.unwrap();
    let calls = (0..CALLS).flat_map(|n| {
        let raw = (Target::Device, format!("raw {n}"));
        [raw, (service("get"), format!(r#"{{"n":{n}}}"#))]
    });
    let made = calls.map(async |(target, payload)| {
        let call = Call { target, payload: payload.clone().into(), ..call("ali", "d") };
        assert_eq!(make(&platform, call).await.unwrap().payload, payload);
    });
    futures_util::future::join_all(made).await;
    let device = platform.board.products.get("ali").unwrap();
    for way in [ways::Way::AliyunSystem, ways::Way::AliyunServiceOverSystem] {
        let stats = platform.board.ways.asker(way, device, "d", &Target::Device).await.unwrap();
        let stats = stats.requester.stats();
        assert_eq!(stats.answered, CALLS as u64);
        assert_eq!(stats.late + stats.duplicate + stats.malformed, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_as_long_as_it_was_told_within_what_the_dialect_allows() {
    let network = Network::new();
    let never = |route: &str| Router::new().route(route, async || pending::<()>().await);
    let _devices = [
        device(&network, aliyun::system(), never("ali/d")).await,
        device(&network, tencent::rrpc(), never("hub/{d}")).await,
    ];
    let platform = platform(&network).await;
    let millis = Duration::from_millis;
    for (product, name, timeout, expected) in [
        ("hub", "a", None, millis(4000)),
        ("hub", "b", Some(millis(3000)), millis(3000)),
        ("hub", "c", Some(millis(20_000)), millis(20_000)),
        ("ali", "d", None, millis(8000)),
        ("ali", "d", Some(millis(20_000)), millis(8000)),
        ("ali", "d", Some(millis(500)), millis(500)),
    ] {
        let start = tokio::time::Instant::now();
        let failure = make(&platform, Call { timeout, ..call(product, name) }).await.unwrap_err();
        assert_eq!(failure.why, CallError::Timeout);
        assert!(failure.message_id.is_some(), "it was asked");
        // A timer has millisecond steps.
        assert!(start.elapsed().abs_diff(expected) < millis(5), "{product} {timeout:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_its_turn_costs_a_call_its_time() {
    let network = Network::new();
    let never = Router::new().route("hub/d", async || pending::<()>().await);
    let _device = device(&network, tencent::rrpc(), never).await;
    let platform = platform(&network).await;
    let start = tokio::time::Instant::now();
    let both = tokio::join!(
        make(&platform, call("hub", "d")),
        make(&platform, Call { timeout: Some(Duration::from_secs(2)), ..call("hub", "d") })
    );
    assert_eq!(both.0.unwrap_err().why, CallError::Timeout);
    assert_eq!(both.1.unwrap_err().why, CallError::Timeout);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn who_may_call_whom() {
    let network = Network::new();
    let platform = platform(&network).await;
    let by = |key: &str, product: &str| Call { key: Some(key.into()), ..call(product, "d") };
    let not_allowed = |product: &str| CallError::NotAllowed(product.into());
    assert_eq!(refused(&platform, by("one", "ali")).await, not_allowed("ali"));
    assert_eq!(refused(&platform, by("nobody", "hub")).await, not_allowed("hub"));
    assert_eq!(refused(&platform, by("one", "hub")).await, CallError::Offline);
    assert_eq!(refused(&platform, by("all", "ali")).await, CallError::Offline);
    assert_eq!(refused(&platform, call("x", "d")).await, CallError::NoSuchProduct("x".into()));
    for name in ["", "a/b", "+", "#", &"x".repeat(129), "ghost"] {
        let unknown = CallError::NoSuchDevice(name.into());
        assert_eq!(refused(&platform, call("hub", name)).await, unknown);
    }
    let hidden = refused(&platform, call("hub", "hidden")).await;
    assert!(matches!(hidden, CallError::Unavailable(_)), "{hidden}");
    let other = Call { target: on("/ali/other/user/get"), ..call("ali", "d") };
    assert!(matches!(refused(&platform, other).await, CallError::Invalid(_)));
    let no_json = Call { target: service("get"), payload: "x".into(), ..call("ali", "d") };
    assert!(matches!(refused(&platform, no_json).await, CallError::Invalid(_)));
    assert_eq!(platform.in_flight(), 0);
}

/// A device that says when it is asked, and never answers.
async fn silent(network: &Network) -> (Responder, mpsc::UnboundedReceiver<Bytes>) {
    let (asked, questions) = mpsc::unbounded_channel();
    let router = Router::new().route("ali/d", async move |payload: Bytes| {
        let _ = asked.send(payload);
        pending::<()>().await;
    });
    (device(network, aliyun::system(), router).await, questions)
}

#[tokio::test]
async fn a_call_that_is_dropped_frees_everything_and_cancels_its_exchange() {
    let network = Network::new();
    let (_device, mut questions) = silent(&network).await;
    let limits = config::Limits { in_flight: 10, per_device: 1, per_key: 1 };
    let settings = Settings { limits, ..settings(network.link("gateway")) };
    let platform = Platform::start(settings).await.unwrap();
    let asked = Call { key: Some("all".into()), ..call("ali", "d") };
    let first = tokio::spawn(platform.calls().oneshot(asked.clone()));
    questions.recv().await.unwrap();
    let too_many = CallError::TooMany(InFlight::Device(1));
    assert_eq!(refused(&platform, asked.clone()).await, too_many);
    let elsewhere = Call { device: "e".into(), ..asked.clone() };
    let too_many = CallError::TooMany(InFlight::Key(1));
    assert_eq!(refused(&platform, elsewhere).await, too_many);
    let states = platform.devices(&Wanted { limit: 10, is: &|_| true }).first;
    assert_eq!(states.len(), 1);
    assert_eq!((&*states[0].device, states[0].in_flight, states[0].connected), ("d", 1, None));

    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(platform.in_flight(), 0);
    let product = platform.board.products.get("ali").unwrap();
    let way = platform.board.ways.asker(ways::Way::AliyunSystem, product, "d", &Target::Device);
    let way = way.await.unwrap();
    while way.requester.stats().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    let again = tokio::spawn(platform.calls().oneshot(asked));
    questions.recv().await.expect("there is room for it");
    again.abort();
}

#[tokio::test]
async fn shutting_down_takes_no_new_calls_and_lets_the_others_end() {
    let network = Network::new();
    let (asked, mut questions) = mpsc::unbounded_channel();
    let (answer, answers) = tokio::sync::watch::channel(false);
    let router = Router::new().route("ali/d", async move || {
        let _ = asked.send(());
        let _ = answers.clone().wait_for(|answer| *answer).await;
        "done"
    });
    let _device = device(&network, aliyun::system(), router).await;
    let platform = Arc::new(platform(&network).await);
    let running = tokio::spawn(platform.calls().oneshot(call("ali", "d")));
    questions.recv().await.unwrap();
    let mut ending = tokio_test::task::spawn(platform.shutdown(Duration::from_mins(1), ready(())));
    assert!(ending.poll().is_pending());
    let refusal = refused(&platform, call("ali", "d")).await;
    assert_eq!(refusal, CallError::Unavailable("the gateway is shutting down"));
    answer.send(true).unwrap();
    ending.await;
    assert_eq!(running.await.unwrap().unwrap().payload, "done");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_given_up() {
    let network = Network::new();
    let (_device, mut questions) = silent(&network).await;
    let platform = platform(&network).await;
    let running = tokio::spawn(platform.calls().oneshot(call("ali", "d")));
    questions.recv().await.unwrap();
    platform.shutdown(Duration::from_secs(1), ready(())).await;
    let why = running.await.unwrap().unwrap_err().why;
    assert_eq!(why, CallError::Lost("the gateway has shut down"), "the device was asked");
    assert_eq!(platform.in_flight(), 0);
}

fn publication(product: &str, to: &str) -> Publication {
    Publication {
        product: product.into(),
        device: "d".into(),
        topic: topic(to),
        payload: "news".into(),
        qos: Qos::AtLeastOnce,
        response_topic: Some(topic("answers/1")),
        correlation_data: Some("7".into()),
        content_type: Some("text/plain".into()),
        utf8_payload: true,
        user_properties: [("k", "v")].into_iter().collect::<UserProperties>(),
        message_expiry: Some(60),
        key: Some("all".into()),
    }
}

#[tokio::test]
async fn a_publication_reaches_the_device_with_all_its_properties() {
    let network = Network::new();
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let router = Router::new().route("/ali/d/user/get", async move |parts: Parts, text: String| {
        let _ = heard.send((parts, text));
    });
    let _device = device(&network, crate::dialect::Native::new(), router).await;
    let platform = platform(&network).await;
    let (seen, mut formats) = mpsc::unbounded_channel();
    network.on_message(move |message| {
        let _ = seen.send(message.properties.utf8_payload);
        crate::link::memory::Fate::Deliver
    });
    let publish = |publication| platform.publisher().oneshot(publication);
    let id = publish(publication("ali", "/ali/d/user/get")).await.unwrap();
    assert!(id > 0);
    assert_eq!(formats.recv().await, Some(true));
    let (parts, text) = hearing.recv().await.unwrap();
    assert_eq!((&*text, parts.response_topic), ("news", Some(topic("answers/1"))));
    assert_eq!(parts.correlation_data, Some("7".into()));
    assert_eq!(parts.content_type.as_deref(), Some("text/plain"));
    assert_eq!(parts.user_properties.get("k"), Some("v"));

    let why = |result: Result<u64, Failure>| result.unwrap_err().why;
    let nobody = publish(publication("ali", "/ali/d/user/other")).await;
    assert_eq!(why(nobody), CallError::Offline);
    for wrong in ["/ali/e/user/get", "/sys/ali/d/rrpc/request/1", "ali/d/x"] {
        let refused = why(publish(publication("ali", wrong)).await);
        assert!(matches!(refused, CallError::Invalid(_)), "{wrong}");
    }
    let ghost = Publication { device: "ghost".into(), ..publication("ali", "/ali/ghost/user/x") };
    assert_eq!(why(publish(ghost).await), CallError::NoSuchDevice("ghost".into()));
    assert_eq!(platform.in_flight(), 0);
}

#[tokio::test]
async fn a_publication_to_a_device_that_there_is_not_says_so_over_the_hub_too() {
    let hub = crate::hub::Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
    let roster = Some(Arc::new(Roster::of(&hub)));
    let settings = Settings { roster, ..settings(hub.link("gateway")) };
    let platform = Platform::start(settings).await.unwrap();
    for (name, expected) in
        [("ghost", CallError::NoSuchDevice("ghost".into())), ("absent", CallError::Offline)]
    {
        let to = publication("ali", &format!("/ali/{name}/user/get"));
        let published = platform.publisher().oneshot(Publication { device: name.into(), ..to });
        assert_eq!(published.await.unwrap_err().why, expected);
    }
    hub.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_wrong_product_is_refused_at_the_start() {
    let network = Network::new();
    let products = Arc::new(Products::new(&[product("a/+", Dialect::Native)]));
    let settings = Settings { products, ..settings(network.link("gateway")) };
    let error = Platform::start(settings).await.unwrap_err();
    assert!(error.to_string().contains("a/+"), "{error}");
    network.refuse_subscription(
        TopicFilter::new("/sys/+/+/rrpc/response/+").unwrap(),
        crate::core::packet::ReasonCode::NOT_AUTHORIZED,
    );
    let refused = Platform::start(self::settings(network.link("gateway"))).await;
    assert!(matches!(refused, Err(ServeError::Subscribe { .. })));
}

#[tokio::test]
async fn one_product_decides_for_all_of_tencents_whether_calls_wait() {
    let network = Network::new();
    let apart = Product { one_in_flight: false, ..product("hub2", Dialect::Tencent) };
    let list = [product("hub", Dialect::Tencent), apart];
    let products = Arc::new(Products::new(&list));
    let settings = Settings { products, ..settings(network.link("gateway")) };
    let _platform = Platform::start(settings).await.expect("their short ids do not meet");
}

//! Every dialect bridged to every other: answers, statuses, timeouts, absent devices, copies.
#![cfg(feature = "json")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::*;
use tower_mqtt::bridge::Bridge;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::{Dialect, Message, Native};
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::requester::RequesterBuilder;
use tower_mqtt::responder::ResponderBuilder;
use tower_mqtt::{Link, Request, RequestError, Requester, Responder, Response, Router, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Native,
    System,
    Custom,
    Service,
    Tencent,
}

const ALL: [Speaks; 5] =
    [Speaks::Native, Speaks::System, Speaks::Custom, Speaks::Service, Speaks::Tencent];

impl Speaks {
    /// Where the device `dn` of the product `pk` is asked, as a template of the bridge.
    fn template(self) -> &'static str {
        match self {
            Self::Native => "devices/{product}/{device}",
            Self::System | Self::Tencent => "{product}/{device}",
            Self::Custom => "{product}/{device}/user/get",
            Self::Service => "{product}/{device}/lock",
        }
    }

    fn address(self) -> String {
        self.template().replace("{product}", "pk").replace("{device}", "dn")
    }

    fn carries_status(self) -> bool {
        self.dialect().carries().status
    }

    fn dialect(self) -> Arc<dyn Dialect> {
        match self {
            Self::Native => Arc::new(Native::new()),
            Self::System => Arc::new(aliyun::system()),
            Self::Custom => Arc::new(aliyun::custom()),
            Self::Service => Arc::new(aliyun::thing_service()),
            Self::Tencent => Arc::new(tencent::rrpc()),
        }
    }

    /// Whether a message is on its way to the device.
    fn is_request(self, message: &Message) -> bool {
        let dialect = self.dialect();
        let subscriptions = dialect.request_subscriptions(&filter(&self.address()));
        let asks = message.properties.user.get("rrpc-request").is_some();
        subscriptions.iter().any(|s| s.filter.matches(&message.topic))
            && (asks || !dialect.answers_on_request_topic())
    }

    fn requester(self, link: Link) -> RequesterBuilder {
        // Whoever listens to all answers of a dialect that has one topic for both is a subscriber of
        // all requests as well, and hides that a device is away.
        let all = if self == Self::Native { "#" } else { "pk/#" };
        Requester::builder(link).peers(filter(all)).dialect(self.dialect())
    }

    fn responder(self, link: Link) -> ResponderBuilder {
        Responder::builder(link).dialect(self.dialect())
    }
}

/// A caller that speaks one dialect, a bridge, and perhaps a device that speaks another.
struct Bench {
    network: Network,
    caller: Requester,
    asks: Speaks,
    bridge: Responder,
    asked: Arc<AtomicUsize>,
}

impl Bench {
    /// Where both speak the same, the bridge stands between two networks.
    async fn new(caller: Speaks, device: Speaks) -> (Self, Network) {
        let network = Network::new();
        let other = if caller == device { Network::new() } else { network.clone() };
        let requester = device.requester(other.link("bridge-back")).build().await.unwrap();
        let bridge = Bridge::new(requester).route(caller.template(), device.template()).unwrap();
        let bridge = bridge.serve(caller.responder(network.link("bridge"))).await.unwrap();
        let requester = caller.requester(network.link("caller")).build().await.unwrap();
        let asked = Arc::default();
        (Self { network, caller: requester, asks: caller, bridge, asked }, other)
    }

    async fn device(&self, network: &Network, speaks: Speaks, answer: Response) -> Responder {
        let asked = Arc::clone(&self.asked);
        let handler = async move |request: Request| {
            asked.fetch_add(1, Ordering::SeqCst);
            let echo = answer.payload().is_empty() && answer.status().is_success();
            if echo { Response::new(request.payload().clone()) } else { answer }
        };
        let router = Router::new().route(&speaks.address(), handler);
        speaks.responder(network.link("pk/dn")).serve(router).await.unwrap()
    }

    async fn call(&self) -> Result<Response, RequestError> {
        let request = Request::new(self.asks.address(), r#"{"turn":"left"}"#).unwrap();
        call(&self.caller, request).await
    }
}

fn pairs() -> impl Iterator<Item = (Speaks, Speaks)> {
    ALL.into_iter().flat_map(|a| ALL.into_iter().map(move |b| (a, b)))
}

#[tokio::test(start_paused = true)]
async fn an_answer_crosses_every_pair() {
    for (caller, device) in pairs() {
        let (bench, other) = Bench::new(caller, device).await;
        let _device = bench.device(&other, device, Response::default()).await;
        for _ in 0..3 {
            let answer = bench.call().await.unwrap();
            assert_eq!(answer.payload(), r#"{"turn":"left"}"#, "{caller:?} {device:?}");
        }
        assert_eq!(bench.asked.load(Ordering::SeqCst), 3);
        assert_eq!(bench.bridge.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_crosses_as_far_as_both_dialects_can_say_it() {
    for (caller, device) in pairs() {
        let (bench, other) = Bench::new(caller, device).await;
        let failure = Response::error(Status::CONFLICT.with_message("the door is open"));
        let device_responder = bench.device(&other, device, failure).await;
        let outcome = bench.call().await.map(|answer| answer.status().clone());
        let gives_up_first =
            device.dialect().default_timeout() < caller.dialect().default_timeout();
        let expected = match (caller.carries_status(), device.carries_status()) {
            (true, true) => Ok(Status::CONFLICT.with_message("the door is open")),
            (true, false) if gives_up_first => {
                Ok(Status::TIMEOUT.with_message("the device has not answered"))
            }
            _ => Err(RequestError::Timeout),
        };
        assert_eq!(outcome, expected, "{caller:?} {device:?}");
        let unsaid = u64::from(!device.carries_status());
        assert_eq!(device_responder.stats().unsaid, unsaid, "silence is counted");
    }
}

#[tokio::test(start_paused = true)]
async fn an_absent_device_is_said_at_once_where_the_caller_can_hear_it() {
    for (caller, device) in pairs() {
        let (bench, _other) = Bench::new(caller, device).await;
        let (took, outcome) = timed(bench.call()).await;
        if caller.carries_status() {
            let status = outcome.unwrap().status().clone();
            assert_eq!(status.code(), 503, "{caller:?} {device:?}");
            assert_eq!(status.message(), Some(&*RequestError::NoResponder.to_string()));
            assert!(took.is_zero());
        } else {
            assert_eq!(outcome.unwrap_err(), RequestError::Timeout);
            assert_eq!(bench.bridge.stats().unsaid, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_costs_no_more_than_the_shorter_limit() {
    for (caller, device) in pairs() {
        let (bench, other) = Bench::new(caller, device).await;
        let silent = Router::new().route(&device.address(), async || {
            std::future::pending::<()>().await;
        });
        let _device = device.responder(other.link("pk/dn")).serve(silent).await.unwrap();
        let request = Request::new(bench.asks.address(), "{}").unwrap();
        let (took, outcome) = timed(call(&bench.caller, request.timeout(3 * SECOND))).await;
        assert_eq!(outcome.unwrap_err(), RequestError::Timeout, "{caller:?} {device:?}");
        assert_eq!(took, 3 * SECOND);
        settle().await;
        assert_eq!(bench.bridge.stats().in_flight, 0, "the bridge has given up as well");
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_twice_is_asked_once() {
    for (caller, device) in pairs() {
        let (bench, other) = Bench::new(caller, device).await;
        let _device = bench.device(&other, device, Response::default()).await;
        // Everything comes twice, but for what the device gets: it has no memory here.
        bench.network.on_message(|_| Fate::Repeat(2));
        other.on_message(
            move |message| {
                if device.is_request(message) { Fate::Deliver } else { Fate::Repeat(2) }
            },
        );
        let answer = bench.call().await.unwrap();
        assert_eq!(answer.payload(), r#"{"turn":"left"}"#);
        settle().await;
        assert_eq!(bench.asked.load(Ordering::SeqCst), 1, "{caller:?} {device:?}");
        assert_eq!(bench.bridge.stats().in_flight, 0);
        let stats = bench.caller.stats();
        assert_eq!((stats.answered, stats.in_flight), (1, 0));
        assert!(stats.duplicate > 0, "{caller:?} {device:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bridge_is_busy_with_as_many_requests_as_it_may_be() {
    let network = Network::new();
    let requester = Speaks::Tencent.requester(network.link("bridge-back")).build().await.unwrap();
    let bridge = Bridge::new(requester).route("devices/{p}/{d}", "{p}/{d}").unwrap();
    let front = Responder::builder(network.link("bridge")).concurrency(2);
    let bridge = bridge.serve(front).await.unwrap();
    let silent = Router::new().route("pk/dn", async || {
        std::future::pending::<()>().await;
    });
    let _device = Speaks::Tencent.responder(network.link("dn")).serve(silent).await.unwrap();
    let caller = Requester::builder(network.link("caller")).build().await.unwrap();
    let waiting =
        [start(&caller, to("devices/pk/dn")).await, start(&caller, to("devices/pk/dn")).await];
    assert_eq!(status(&caller, to("devices/pk/dn")).await, 503);
    assert_eq!(bridge.stats().overloaded, 1);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().status().code(), 408, "the shorter limit");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_goes_as_far_as_the_dialects_carry_it() {
    let (one, two) = (Network::new(), Network::new());
    let requester = Requester::builder(two.link("bridge")).build().await.unwrap();
    let bridge = Bridge::new(requester).route("in/{rest*}", "out/{rest*}").unwrap();
    let _bridge = bridge.serve(Responder::builder(one.link("bridge"))).await.unwrap();
    let handler = async |request: Request| {
        let parts = request.parts();
        let who = parts.user_properties.get("who").unwrap_or_default().to_owned();
        let kind = parts.content_type.clone().unwrap_or_default();
        let left = parts.deadline.unwrap() - tokio::time::Instant::now().into_std();
        Response::new(format!("{who} {kind} {left:?}")).with_user_property("by", "lamp")
    };
    let router = Router::new().route("out/a/b", handler);
    let _device = Responder::builder(two.link("device")).serve(router).await.unwrap();
    let caller = Requester::builder(one.link("caller")).build().await.unwrap();
    let request = to("in/a/b").with_user_property("who", "anna").with_content_type("text/x");
    let answer = call(&caller, request.timeout(2 * SECOND)).await.unwrap();
    assert_eq!(answer.payload(), "anna text/x 2s");
    assert_eq!(answer.user_properties().get("by"), Some("lamp"));
}

#[test]
fn routes_that_cannot_be_translated_are_errors() {
    let network_free = tower::service_fn(async |_: Request| Ok(Response::default()));
    let route = |from: &str, to: &str| {
        Bridge::new(network_free).route(from, to).map(drop).unwrap_err().to_string()
    };
    assert_eq!(route("a/{x}", "b/{y}"), "b/{y}: nothing fills {y}");
    assert_eq!(route("a/{x*}", "b/{x}/c"), "b/{x}/c: nothing fills {x}");
    assert!(route("a/{x", "b").starts_with("a/{x: "));
}

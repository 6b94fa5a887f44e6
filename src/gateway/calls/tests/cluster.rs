//! Three gateways on one server, and what becomes of calls when one of them goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::core::packet::ReasonCode;
use crate::error::RequestError;
use crate::hub::Hub;

const GATEWAYS: [&str; 3] = ["a", "b", "c"];
const DEVICES: usize = 30;

struct Setup {
    hub: Hub,
    links: Vec<Link>,
    platforms: Vec<Arc<Platform>>,
    _devices: Responder,
}

async fn gateway(link: Link, id: &str) -> Arc<Platform> {
    let cluster = config::Cluster { id: Some(id.to_owned()), ..config::Cluster::default() };
    let settings = Settings { cluster: Some(cluster), ..settings(link) };
    Arc::new(Platform::start(settings).await.unwrap())
}

/// Devices that say who they are and what they were asked; those called `never…` say only that they are
/// asked.
async fn setup(asked: mpsc::UnboundedSender<String>) -> Setup {
    let hub = Hub::builder().bind("127.0.0.1:0").workers(1).start().await.unwrap();
    let answer = async move |parts: Parts, question: String| {
        let device = parts.topic.levels().last().unwrap_or_default().to_owned();
        if device.starts_with("never") {
            let _ = asked.send(device);
            return pending().await;
        }
        format!("{device}:{question}")
    };
    let router = Router::new().route("hub/{device}", answer);
    let devices = Responder::builder(hub.link("devices")).dialect(tencent::rrpc());
    let devices = devices.concurrency(1000).serve(router).await.unwrap();
    let links = GATEWAYS.map(|id| hub.link(id));
    let started = links.iter().zip(GATEWAYS).map(|(link, id)| gateway(link.clone(), id));
    let platforms = futures_util::future::join_all(started).await;
    Setup { hub, links: links.into(), platforms, _devices: devices }
}

fn owner(platform: &Platform, device: &str) -> String {
    let cluster = platform.board.cluster.as_ref().unwrap();
    let other = cluster.owner("hub", device);
    other.map_or("itself".to_owned(), |member| member.to_string())
}

/// The first device of this kind that belongs to the third gateway.
fn of_the_third(platform: &Platform, kind: &str) -> String {
    let mut names = (0..).map(|n| format!("{kind}{n}"));
    names.find(|name| owner(platform, name) == "c").unwrap()
}

async fn ask(platform: &Platform, device: &str, question: String) -> Result<(), CallError> {
    let asked = Call { payload: question.clone().into(), ..call("hub", device) };
    let answer = make(platform, asked).await.map_err(|failure| failure.why)?;
    assert_eq!(answer.payload, format!("{device}:{question}"), "it is the answer to another call");
    assert!((10_000..=65_535).contains(&answer.message_id));
    Ok(())
}

/// Asks all devices through this gateway again and again, until told to stop. Returns what failed.
async fn load(
    platform: Arc<Platform>,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
) -> Vec<CallError> {
    let mut errors = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        errors.extend(ask(&platform, &format!("d{}", n % DEVICES), format!("{n}")).await.err());
        made.fetch_add(1, Ordering::Relaxed);
        // What fails at once does not wait for anything.
        tokio::task::yield_now().await;
    }
    errors
}

async fn reach(made: &AtomicUsize, more: usize) {
    let goal = made.load(Ordering::Relaxed) + more;
    while made.load(Ordering::Relaxed) < goal {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_gateway_reaches_every_device_and_its_answers_and_failures() {
    let setup = setup(mpsc::unbounded_channel().0).await;
    let owners: Vec<_> = setup.platforms.iter().map(|it| owner(it, "d0")).collect();
    assert_eq!(owners.iter().filter(|owner| *owner == "itself").count(), 1, "{owners:?}");
    for platform in &setup.platforms {
        for n in 0..DEVICES {
            ask(platform, &format!("d{n}"), "who".to_owned()).await.unwrap();
        }
        for name in ["ghost", "absent"] {
            let expected = match name {
                "ghost" => CallError::NoSuchDevice("ghost".into()),
                _ => CallError::Offline,
            };
            // Whoever owns it.
            let call = Call { product: "explorer".into(), ..call("", name) };
            assert_eq!(refused(platform, call).await, expected);
        }
        let mut invalid = call("ali", "d");
        invalid.target = on("/ali/e/user/get");
        assert!(matches!(refused(platform, invalid).await, CallError::Invalid(_)));
        assert_eq!(platform.in_flight(), 0);
    }
    setup.hub.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_that_a_call_came_to_tells_of_it() {
    let setup = setup(mpsc::unbounded_channel().0).await;
    let (first, third) = (&setup.platforms[0], &setup.platforms[2]);
    let (mut calls, mut others) = (first.ended().watch(), third.ended().watch());
    let device = of_the_third(first, "d");
    ask(first, &device, "who".to_owned()).await.unwrap();
    let ended = calls.recv().await.unwrap();
    assert_eq!((&*ended.device, ended.outcome), (&*device, "ok"));
    assert!(others.try_recv().is_err(), "it is told once");
    setup.hub.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_under_load_is_replaced_at_once() {
    let (asked, mut questions) = mpsc::unbounded_channel();
    let setup = setup(asked).await;
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicUsize::new(0));
    let mut loads = JoinSet::new();
    for platform in setup.platforms.iter().flat_map(|platform| [platform; 4]) {
        loads.spawn(load(Arc::clone(platform), Arc::clone(&stop), Arc::clone(&made)));
    }
    // It is at a call that was passed on to it.
    let never = of_the_third(&setup.platforms[0], "never");
    let long = Call { timeout: Some(Duration::from_mins(10)), ..call("hub", &never) };
    let stuck = tokio::spawn(setup.platforms[0].calls().oneshot(long));
    questions.recv().await.unwrap();
    reach(&made, 200).await;

    setup.links[2].close();
    setup.links[2].disconnected().await;
    let why = stuck.await.unwrap().unwrap_err().why;
    assert_eq!(why, CallError::Lost("the gateway that calls the device has died"));
    for platform in &setup.platforms[..2] {
        for n in 0..DEVICES {
            ask(platform, &format!("d{n}"), "after".to_owned()).await.unwrap();
        }
        assert_ne!(owner(platform, &never), "c");
    }
    reach(&made, 200).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(errors) = loads.join_next().await {
        for error in errors.unwrap() {
            assert!(matches!(error, CallError::Unavailable(_) | CallError::Lost(_)), "{error}");
        }
    }
    let dead = refused(&setup.platforms[2], call("hub", "d0")).await;
    assert!(matches!(dead, CallError::Unavailable(_)), "{dead}");
    assert!(setup.platforms.iter().all(|platform| platform.in_flight() == 0));
    setup.hub.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_shuts_down_costs_no_call() {
    let setup = setup(mpsc::unbounded_channel().0).await;
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicUsize::new(0));
    let mut loads = JoinSet::new();
    for platform in setup.platforms[..2].iter().flat_map(|platform| [platform; 4]) {
        loads.spawn(load(Arc::clone(platform), Arc::clone(&stop), Arc::clone(&made)));
    }
    reach(&made, 100).await;
    setup.platforms[2].shutdown(Duration::from_mins(1), ready(())).await;
    reach(&made, 100).await;
    // And comes back.
    let again = gateway(setup.hub.link("c"), "c").await;
    let theirs = of_the_third(&setup.platforms[0], "d");
    ask(&again, &theirs, "back".to_owned()).await.unwrap();
    ask(&setup.platforms[1], &theirs, "back".to_owned()).await.unwrap();
    reach(&made, 100).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(errors) = loads.join_next().await {
        assert_eq!(errors.unwrap(), []);
    }
    setup.hub.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_dropped_leaves_although_somebody_could_still_call() {
    let mut setup = setup(mpsc::unbounded_channel().0).await;
    let theirs = of_the_third(&setup.platforms[0], "d");
    let platform = setup.platforms.pop().unwrap();
    let calls = platform.calls();
    drop(platform);
    let why = calls.oneshot(call("hub", "d0")).await.unwrap_err().why;
    assert_eq!(why, CallError::Unavailable("the gateway is shutting down"));
    for platform in &setup.platforms {
        while owner(platform, &theirs) == "c" {
            tokio::task::yield_now().await;
        }
    }
    for platform in &setup.platforms {
        ask(platform, &theirs, "who".to_owned()).await.unwrap();
    }
    setup.hub.shutdown(Duration::from_secs(1)).await;
}

/// Until it knows of the others it takes all devices for its own.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_comes_takes_no_calls_before_it_knows_the_others() {
    let network = Network::new();
    let starting = tokio::spawn(gateway(network.link("a"), "a"));
    while !network.has_subscriber(&topic("gateways/gateways/alive/b")) {
        tokio::task::yield_now().await;
    }
    assert!(network.has_subscriber(&topic("gateways/gateways/a/call")), "others may pass calls on");
    let requests = topic("devices/hub/d");
    assert!(!network.has_subscriber(&requests));
    let _platform = starting.await.unwrap();
    assert!(network.has_subscriber(&requests));
}

/// That it leaves may be heard later than that nobody is subscribed.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_leaves_unheard_ends_what_was_passed_on_to_it() {
    let network = Network::new();
    let (asked, mut questions) = mpsc::unbounded_channel();
    let (answer, answers) = tokio::sync::watch::channel(false);
    let router = Router::new().route("ali/{device}", async move || {
        let _ = asked.send(());
        let _ = answers.clone().wait_for(|answer| *answer).await;
        "done"
    });
    let _device = device(&network, aliyun::system(), router).await;
    let leaving = gateway(network.link("b"), "b").await;
    let platform = gateway(network.link("a"), "a").await;
    let cluster = platform.board.cluster.as_ref().unwrap();
    let names = (0..).map(|n| format!("d{n}"));
    let mut theirs = names.filter(|name| cluster.owner("ali", name).is_some());
    let mut ask = || {
        let call = call("ali", &theirs.next().unwrap());
        tokio::spawn(platform.calls().oneshot(call))
    };
    let before = ask();
    questions.recv().await.unwrap();
    network.on_message(|message| {
        let leaves = &*message.payload == b"leaving";
        if leaves { crate::link::memory::Fate::Lose } else { crate::link::memory::Fate::Deliver }
    });
    let leaving =
        tokio::spawn(async move { leaving.shutdown(Duration::from_mins(1), ready(())).await });
    // The clock stands until nobody has anything to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let after = ask();
    questions.recv().await.unwrap();
    answer.send(true).unwrap();
    for call in [before, after] {
        assert_eq!(call.await.unwrap().unwrap().payload, "done");
    }
    leaving.await.unwrap();
    assert!(!network.has_subscriber(&topic("gateways/gateways/b/call")));
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_the_owner_are_told_to_the_caller() {
    let network = Network::new();
    let (asked, mut questions) = mpsc::unbounded_channel();
    let never = async move || {
        let _ = asked.send(());
        pending::<()>().await;
    };
    let _device = device(&network, aliyun::system(), Router::new().route("ali/{d}", never)).await;
    let cluster = config::Cluster { id: Some("b".to_owned()), ..config::Cluster::default() };
    let limits = config::Limits { in_flight: 1, ..config::Limits::default() };
    let busy = Settings { cluster: Some(cluster), limits, ..settings(network.link("b")) };
    let _busy = Platform::start(busy).await.unwrap();
    let platform = gateway(network.link("a"), "a").await;
    let cluster = platform.board.cluster.as_ref().unwrap();
    let theirs =
        (0..1000).map(|n| format!("d{n}")).find(|name| cluster.owner("ali", name).is_some());
    let theirs = theirs.unwrap();
    let first = tokio::spawn(platform.calls().oneshot(call("ali", &theirs)));
    questions.recv().await.unwrap();
    let too_many = CallError::TooMany(InFlight::Gateway(1));
    assert_eq!(refused(&platform, call("ali", &theirs)).await, too_many);
    first.abort();
}

#[tokio::test]
async fn a_cluster_has_a_name_that_fits_into_a_topic() {
    let network = Network::new();
    for (name, id) in [("a/b", "x"), ("+", "x"), ("g", "#"), ("g", "alive"), ("", "x")] {
        let (name, id) = (name.to_owned(), Some(id.to_owned()));
        let cluster = Some(config::Cluster { name, id, ..config::Cluster::default() });
        let settings = Settings { cluster, ..settings(network.link("gateway")) };
        assert!(matches!(Platform::start(settings).await, Err(ServeError::Configuration(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_same_failure_whoever_was_to_call() {
    let quota = RequestError::Rejected(ReasonCode::QUOTA_EXCEEDED).to_string();
    for (reason, expected) in [
        (ReasonCode::PACKET_TOO_LARGE, CallError::TooLarge),
        (ReasonCode::QUOTA_EXCEEDED, CallError::Failed(quota.into())),
    ] {
        let network = Network::new();
        let (a, _b) =
            (gateway(network.link("a"), "a").await, gateway(network.link("b"), "b").await);
        for filter in ["gateways/gateways/b/call", "/sys/ali/#"] {
            network.refuse_messages(TopicFilter::new(filter).unwrap(), reason);
        }
        let cluster = a.board.cluster.as_ref().unwrap();
        let mut names = (0..).map(|n| format!("d{n}"));
        let mut device = |is_relayed| {
            names.find(|name| cluster.owner("ali", name).is_some() == is_relayed).unwrap()
        };
        for name in [device(true), device(false)] {
            assert_eq!(refused(&a, call("ali", &name)).await, expected, "{name}");
        }
    }
}

/// Control characters would not arrive as they are.
#[tokio::test(start_paused = true)]
async fn what_is_invalid_is_not_passed_on() {
    let network = Network::new();
    let (a, _b) = (gateway(network.link("a"), "a").await, gateway(network.link("b"), "b").await);
    let cluster = a.board.cluster.as_ref().unwrap();
    let names = (0..).map(|n| format!("d{n}"));
    let theirs = names.into_iter().find(|name| cluster.owner("native", name).is_some()).unwrap();
    network.on_message(|message| panic!("{message:?}"));
    for target in [service("a\0b"), on("devices/native/another")] {
        let invalid = Call { target, ..call("native", &theirs) };
        assert!(matches!(refused(&a, invalid).await, CallError::Invalid(_)));
    }
    network.on_message(|_| crate::link::memory::Fate::Deliver);
}

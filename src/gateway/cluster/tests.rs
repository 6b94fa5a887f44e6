use std::future::pending;

use bytes::Bytes;

use super::*;
use crate::core::packet::ReasonCode;
use crate::gateway::call::Target;
use crate::gateway::calls::Outlet;
use crate::gateway::keys::Keys;
use crate::gateway::replay::{Refused, Replay};
use crate::link::OutgoingLimits;
use crate::link::memory::{Fate, Network};

const WINDOW: Duration = Duration::from_mins(15);

async fn member(network: &Network, id: &str) -> (Arc<Cluster>, Link, Joining) {
    member_with(network, id, Arc::new(Replay::new(WINDOW))).await
}

async fn member_with(
    network: &Network,
    id: &str,
    replay: Arc<Replay>,
) -> (Arc<Cluster>, Link, Joining) {
    let link = network.link(id);
    let (cluster, joining) = cluster(&link, id, replay).await;
    (Arc::new(cluster), link, joining)
}

/// One that takes nonces of the key `k`.
async fn cluster(link: &Link, id: &str, replay: Arc<Replay>) -> (Cluster, Joining) {
    let config = config::Cluster { id: Some(id.to_owned()), ..config::Cluster::default() };
    let outlet = Outlet::open(link, 10).await.unwrap();
    let keys = Keys::new(&[config::AccessKey::new("k").with_secret("s")]);
    let nonces = Nonces::new(replay, Arc::new(keys));
    Cluster::new(link, &config, 10, outlet, nonces).await.unwrap()
}

async fn joined(network: &Network, id: &str) -> (Arc<Cluster>, Link) {
    let (cluster, link, joining) = member(network, id).await;
    cluster.join(&link, joining).await.unwrap();
    (cluster, link)
}

fn call(device: &str) -> Call {
    Call {
        product: "p".into(),
        device: device.into(),
        target: Target::Device,
        payload: Bytes::new(),
        content_type: None,
        timeout: None,
        key: None,
        api: "plain",
    }
}

/// A device that belongs to another than `cluster`, and its owner.
fn elsewhere(cluster: &Cluster) -> Option<(String, Member)> {
    let mut names = (0..100).map(|n| format!("d{n}"));
    names.find_map(|name| cluster.owner("p", &name).map(|owner| (name, owner)))
}

/// The paused clock stands until nobody has anything to do.
async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// So much later by the clock.
fn later(time: Duration) -> Instant {
    (tokio::time::Instant::now() + time).into_std()
}

#[tokio::test(start_paused = true)]
async fn who_joins_knows_the_others_and_is_known() {
    let network = Network::new();
    let (a, _a) = joined(&network, "a").await;
    assert!(elsewhere(&a).is_none(), "alone, it owns all");
    let (b, _b) = joined(&network, "b").await;
    assert_eq!(&*elsewhere(&a).unwrap().1.id, "b");
    assert_eq!(&*elsewhere(&b).unwrap().1.id, "a");
    for name in (0..100).map(|n| format!("d{n}")) {
        let owners = (a.owner("p", &name).is_none(), b.owner("p", &name).is_none());
        assert!(owners.0 != owners.1, "{name} has one owner");
    }
    b.leave().await;
    while elsewhere(&a).is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_falls_silent_is_dead_and_whoever_waits_for_it_learns_it() {
    let network = Network::new();
    let (a, _a) = joined(&network, "a").await;
    let (b, link, joining) = member(&network, "b").await;
    let (asked, mut questions) = mpsc::channel(1);
    let make = move |_| {
        let asked = asked.clone();
        async move {
            let _ = asked.send(()).await;
            pending().await
        }
    };
    let _responder = b.serve(&link, make).await.unwrap();
    b.join(&link, joining).await.unwrap();
    let (name, owner) = elsewhere(&a).unwrap();
    let waiting = tokio::spawn({
        let (a, owner) = (Arc::clone(&a), owner.clone());
        async move { a.relay(&owner, &call(&name), later(Duration::from_mins(10))).await }
    });
    questions.recv().await.unwrap();
    network.on_message(|message| {
        if message.topic.as_str().ends_with("/alive/b") { Fate::Lose } else { Fate::Deliver }
    });
    owner.dead.cancelled().await;
    let Relayed::Ended(Err(failure)) = waiting.await.unwrap() else { panic!("it has died") };
    let died = CallError::Lost("the gateway that calls the device has died");
    assert_eq!(failure.why, died);
    assert!(elsewhere(&a).is_none());
    network.on_message(|_| Fate::Deliver);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(elsewhere(&a).is_some(), "it is heard again");
}

/// Of several calls one is told first.
#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_has_got_goes_on_although_its_owner_is_known_to_be_dead() {
    let network = Network::new();
    let (a, _a) = joined(&network, "a").await;
    let _b = joined(&network, "b").await;
    let (name, owner) = elsewhere(&a).unwrap();
    network.hold_acknowledgements(true);
    let waiting = tokio::spawn({
        let (a, owner, name) = (Arc::clone(&a), owner.clone(), name.clone());
        async move { a.relay(&owner, &call(&name), later(Duration::from_mins(10))).await }
    });
    idle().await;
    a.members.died("b");
    idle().await;
    network.hold_acknowledgements(false);
    assert!(matches!(waiting.await.unwrap(), Relayed::NotThere), "nobody has got it");

    network.on_message(|message| panic!("{message:?}"));
    let relayed = a.relay(&owner, &call(&name), later(Duration::from_secs(1))).await;
    assert!(matches!(relayed, Relayed::NotThere), "{relayed:?}");
    network.on_message(|_| Fate::Deliver);
}

/// It is the owner who knows under which id the device was asked.
#[tokio::test(start_paused = true)]
async fn a_call_that_times_out_has_its_message_id() {
    let network = Network::new();
    let (a, _a) = joined(&network, "a").await;
    let (b, link, joining) = member(&network, "b").await;
    let make = |call: Call| async move {
        tokio::time::sleep(call.timeout.expect("it has one")).await;
        Some(Err(Failure { why: CallError::Timeout, message_id: Some(7) }))
    };
    let _responder = b.serve(&link, make).await.unwrap();
    b.join(&link, joining).await.unwrap();
    let (name, owner) = elsewhere(&a).unwrap();
    for time in [Duration::from_millis(100), Duration::from_secs(4)] {
        let relayed = a.relay(&owner, &call(&name), later(time)).await;
        let Relayed::Ended(Err(failure)) = relayed else { panic!("{relayed:?}") };
        assert_eq!(failure, Failure { why: CallError::Timeout, message_id: Some(7) });
    }
}

/// It ends what it has passed on.
#[tokio::test(start_paused = true)]
async fn who_leaves_notices_all_the_same_that_another_dies() {
    let network = Network::new();
    let (a, _a) = joined(&network, "a").await;
    let (b, link, joining) = member(&network, "b").await;
    let _responder = b.serve(&link, |_| pending()).await.unwrap();
    b.join(&link, joining).await.unwrap();
    let (name, owner) = elsewhere(&a).unwrap();
    let passed_on = call(&name);
    let relayed = a.relay(&owner, &passed_on, later(Duration::from_mins(10)));
    let (relayed, ()) = tokio::join!(relayed, async {
        a.leave().await;
        network.on_message(|_| Fate::Lose);
    });
    let Relayed::Ended(Err(failure)) = relayed else { panic!("{relayed:?}") };
    assert_eq!(failure.why, CallError::Lost("the gateway that calls the device has died"));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_say_that_it_leaves_does_not_wait_for_it() {
    let network = Network::new();
    network.receive_maximum(1);
    let link = network.link_with("a", OutgoingLimits { messages: 1, ..OutgoingLimits::default() });
    let (a, joining) = cluster(&link, "a", Arc::new(Replay::new(WINDOW))).await;
    a.join(&link, joining).await.unwrap();
    network.hold_acknowledgements(true);
    // One is not acknowledged, and one waits for that.
    for _ in 0..2 {
        let topic = TopicName::new("elsewhere").unwrap();
        a.outlet.tell(Message { qos: Qos::AtLeastOnce, ..Message::new(topic, "x") });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let left = tokio::time::timeout(Duration::from_mins(10), a.leave()).await;
    assert!(left.is_ok(), "nobody will say that it has left");
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_keeps_what_it_knows() {
    let network = Network::new();
    let (a, link) = joined(&network, "a").await;
    let _b = joined(&network, "b").await;
    network.disconnect("a");
    link.disconnected().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(elsewhere(&a).is_some(), "it cannot know");
    let (name, owner) = elsewhere(&a).unwrap();
    let relayed = a.relay(&owner, &call(&name), later(Duration::from_secs(1))).await;
    let Relayed::Ended(Err(failure)) = relayed else { panic!("{relayed:?}") };
    assert_eq!(failure.why, CallError::Unavailable("the broker is away"));
    // And not at once after it is back, either.
    network.reconnect("a");
    assert!(link.connected().await);
    assert!(elsewhere(&a).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_takes_no_more_is_passed_over() {
    let network = Network::new();
    let (a, _a) = joined(&network, "a").await;
    let (b, link, joining) = member(&network, "b").await;
    let responder = b.serve(&link, |_| std::future::ready(None)).await.unwrap();
    b.join(&link, joining).await.unwrap();
    let (name, owner) = elsewhere(&a).unwrap();
    let relayed = a.relay(&owner, &call(&name), later(Duration::from_secs(1))).await;
    assert!(matches!(relayed, Relayed::NotThere), "{relayed:?}");
    assert!(elsewhere(&a).is_none() && !owner.dead.is_cancelled());
    // It has not said that it leaves, so it is back with its next word.
    tokio::time::sleep(Duration::from_secs(2)).await;
    responder.shutdown(Duration::ZERO).await;
    let (name, owner) = elsewhere(&a).unwrap();
    let relayed = a.relay(&owner, &call(&name), later(Duration::from_secs(1))).await;
    assert!(matches!(relayed, Relayed::NotThere), "nobody is subscribed: {relayed:?}");
    assert!(elsewhere(&a).is_none() && owner.dead.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_announcement_is_passed_over() {
    let network = Network::new();
    let (a, _a) = joined(&network, "a").await;
    let outlet = Outlet::open(&network.link("stranger"), 10).await.unwrap();
    for (id, text) in [("a", "3000"), ("x", "soon"), ("y", "-1"), ("z", ""), ("w", "\u{fffd}")] {
        let topic = TopicName::new(format!("gateways/gateways/alive/{id}")).unwrap();
        outlet.publish(Message::new(topic, text)).await.unwrap();
    }
    assert!(elsewhere(&a).is_none());
    let topic = TopicName::new("gateways/gateways/alive/v").unwrap();
    let for_ever = Message::new(topic, u64::MAX.to_string());
    outlet.publish(for_ever).await.unwrap();
    while elsewhere(&a).is_none() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(elsewhere(&a).is_none(), "nobody is believed for ever");
}

#[tokio::test]
async fn a_broker_that_lets_it_hear_no_other_is_an_error() {
    let network = Network::new();
    let filter = TopicFilter::new("gateways/gateways/alive/+").unwrap();
    network.refuse_subscription(filter, ReasonCode::NOT_AUTHORIZED);
    let (a, link, joining) = member(&network, "a").await;
    assert!(matches!(a.join(&link, joining).await, Err(ServeError::Subscribe { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_used_at_all_gateways_that_hear_of_it() {
    let network = Network::new();
    let replays = ["a", "b", "c"].map(|_| Arc::new(Replay::new(WINDOW)));
    let [a, b, c] = &replays;
    let mut members = Vec::new();
    for (id, replay) in ["a", "b"].into_iter().zip(&replays) {
        let (cluster, link, joining) = member_with(&network, id, Arc::clone(replay)).await;
        cluster.join(&link, joining).await.unwrap();
        members.push((cluster, link));
    }
    let now = std::time::SystemTime::now();
    assert_eq!(a.take("k", "1", now, now), Ok(()));
    let (cluster, link, joining) = member_with(&network, "c", Arc::clone(c)).await;
    cluster.join(&link, joining).await.unwrap();
    assert_eq!(b.take("k", "1", now, now), Err(Refused::Used));
    assert_eq!(c.take("k", "1", now, now), Ok(()), "it was not there");

    network.disconnect("a");
    members[0].1.disconnected().await;
    assert_eq!(a.take("k", "2", now, now), Ok(()));
    idle().await;
    network.reconnect("a");
    assert!(members[0].1.connected().await);
    assert_eq!(a.take("k", "3", now, now), Ok(()));
    idle().await;
    assert_eq!(b.take("k", "2", now, now), Ok(()), "it could not be told");
    for other in [b, c] {
        assert_eq!(other.take("k", "3", now, now), Err(Refused::Used));
    }
}

//! Chosen packets, and the calls that they belong to.

use std::time::Duration;

use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::layer::DedupLayer;
use tower_mqtt::requester::OnDisconnect;
use tower_mqtt::test_util::{Cut, Direction, Fault, Kind, Packets};
use tower_mqtt::{Delivery, RequestError, Requester};

use super::*;

fn requests() -> Packets {
    Packets::to_server().publish("echo/#")
}

fn answers() -> Packets {
    Packets::to_client().kind(Kind::Publish)
}

fn acknowledgements() -> Packets {
    Packets::to_client().kind(Kind::PubAck)
}

#[tokio::test]
async fn without_faults_everything_passes_and_is_seen() {
    for broker in Broker::both().await {
        let mut setup = Setup::new(broker).await;
        let [mut sent, mut got] =
            [Packets::to_server(), Packets::to_client()].map(|all| setup.proxy.watch(all));
        let requester = setup.requester("M7").await;
        answered(ask(&requester, echo("miso")), "miso").await;
        assert_eq!(setup.arrival().await, "miso");

        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(soon(sent.next()).await.expect("passed"));
        }
        let kinds: Vec<_> = seen.iter().map(|packet| packet.kind).collect();
        assert_eq!(kinds, [Kind::Connect, Kind::Subscribe, Kind::Publish]);
        assert!(seen.iter().all(|packet| packet.client_id.as_deref() == Some("M7")));
        let publish = &seen[2];
        assert_eq!(
            (publish.topic.as_deref(), publish.qos, publish.dup),
            (Some("echo/soup"), 1, false)
        );
        assert_eq!((&publish.payload[..], publish.connection), (&b"miso"[..], 1));

        let connack = soon(got.next()).await.expect("passed");
        assert_eq!((connack.kind, connack.reason), (Kind::ConnAck, Some(ReasonCode::SUCCESS)));
        loop {
            let packet = soon(got.next()).await.expect("passed");
            if packet.kind == Kind::PubAck {
                assert_eq!(packet.packet_id, publish.packet_id);
                assert_eq!(packet.reason, Some(ReasonCode::SUCCESS));
                break;
            }
        }
        let stats = setup.proxy.stats();
        assert_eq!((stats.opened, stats.closed, stats.lost, stats.copies), (1, 0, 0, 0));
    }
}

#[tokio::test]
async fn a_lost_request_times_out_and_the_next_is_answered() {
    for broker in Broker::both().await {
        let mut setup = Setup::new(broker).await;
        let requester = setup.requester("M7").await;
        let rule = setup.proxy.rule(requests().nth(2), Fault::Lose);
        answered(ask(&requester, echo("one")), "one").await;
        let lost = ask(&requester, echo("two").timeout(Duration::from_millis(200)));
        assert_eq!(failed(lost).await, RequestError::Timeout);
        answered(ask(&requester, echo("three")), "three").await;
        assert_eq!([setup.arrival().await, setup.arrival().await], ["one", "three"]);
        assert_eq!((rule.hits(), setup.proxy.stats().lost), (1, 1));
    }
}

#[tokio::test]
async fn a_repeated_answer_is_dropped_and_counted() {
    for broker in Broker::both().await {
        let setup = Setup::new(broker).await;
        let requester = setup.requester("M7").await;
        setup.proxy.rule(answers().first(1), Fault::Repeat(3));
        let passed = setup.proxy.watch(answers());
        answered(ask(&requester, echo("one")), "one").await;
        assert!(soon(passed.reached(3)).await);
        // What is behind the copies was read after them.
        answered(ask(&requester, echo("two")), "two").await;
        assert_eq!((requester.stats().answered, requester.stats().duplicate), (2, 2));
        assert_eq!(setup.proxy.stats().copies, 2);
    }
}

#[tokio::test]
async fn a_repeated_request_is_executed_once_with_dedup() {
    for broker in Broker::both().await {
        let mut setup = Setup::with(broker, |router| router.layer(DedupLayer::default())).await;
        let requester = setup.requester("M7").await;
        setup.proxy.rule(requests().first(1), Fault::Repeat(2));
        let got = setup.proxy.watch(answers());
        answered(ask(&requester, echo("one")), "one").await;
        assert!(soon(got.reached(2)).await, "both copies are answered");
        answered(ask(&requester, echo("two")), "two").await;
        assert_eq!([setup.arrival().await, setup.arrival().await], ["one", "two"]);
    }
}

#[tokio::test]
async fn a_repeated_request_is_executed_twice_without() {
    let mut setup = Setup::new(Broker::hub().await).await;
    let requester = setup.requester("M7").await;
    setup.proxy.rule(requests(), Fault::Repeat(2));
    answered(ask(&requester, echo("one")), "one").await;
    assert_eq!([setup.arrival().await, setup.arrival().await], ["one", "one"]);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_dropped_and_counted() {
    for broker in Broker::both().await {
        let setup = Setup::new(broker).await;
        let requester = setup.requester("M7").await;
        let held = setup.proxy.rule(answers().first(1), Fault::Hold);
        let call = ask(&requester, echo("one").timeout(Duration::from_millis(500)));
        assert!(soon(held.hit(1)).await);
        assert_eq!(failed(call).await, RequestError::Timeout);
        assert_eq!((setup.proxy.held(), requester.stats().late), (1, 0));
        held.release();
        answered(ask(&requester, echo("two")), "two").await;
        assert_eq!((setup.proxy.held(), requester.stats().late), (0, 1));
    }
}

#[tokio::test]
async fn a_call_is_answered_before_it_is_acknowledged() {
    for broker in Broker::both().await {
        let setup = Setup::new(broker).await;
        let requester = setup.requester("M7").await;
        let held = setup.proxy.rule(acknowledgements(), Fault::Hold);
        let passed = setup.proxy.watch(acknowledgements());
        for payload in ["one", "two", "three"] {
            answered(ask(&requester, echo(payload)), payload).await;
        }
        assert!(soon(held.hit(3)).await);
        assert_eq!(passed.count(), 0);
        held.remove();
        assert!(soon(passed.reached(3)).await);
        answered(ask(&requester, echo("four")), "four").await;
        assert!(requester.link().is_connected());
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_makes_the_request_come_again_and_dedup_executes_it_once() {
    let broker = Broker::mosquitto().await;
    let mut setup = Setup::with(broker, |router| router.layer(DedupLayer::default())).await;
    let link = link_with(setup.proxy.addr(), "client_id=M7&session_expiry=60").await;
    let requester = Requester::builder(link).on_disconnect(OnDisconnect::RideThrough);
    let requester = requester.build().await.expect("subscribed");
    // The answer must not come before the connection is lost.
    let answers = setup.proxy.rule(answers().connection(1), Fault::Lose);
    setup.proxy.rule(acknowledgements().connection(1), Fault::Cut(Cut::Reset));
    let mut sent = setup.proxy.watch(requests());
    answered(ask(&requester, echo("one")), "one").await;
    drop(answers);
    let mut packet_ids = Vec::new();
    for (connection, dup) in [(1, false), (2, true)] {
        let request = soon(sent.next()).await.expect("passed");
        assert_eq!((request.connection, &request.payload[..]), (connection, &b"one"[..]));
        assert_eq!(request.dup, dup, "[MQTT-3.3.1-1]");
        packet_ids.push(request.packet_id);
    }
    assert_eq!(packet_ids[0], packet_ids[1], "[MQTT-4.4.0-1]");
    answered(ask(&requester, echo("two")), "two").await;
    assert_eq!([setup.arrival().await, setup.arrival().await], ["one", "two"]);
}

#[tokio::test]
async fn packets_of_two_connections_change_places() {
    for broker in Broker::both().await {
        let mut setup = Setup::new(broker).await;
        let [a, b] = [setup.requester("a").await, setup.requester("b").await];
        let until = requests().client("b");
        let held = setup.proxy.rule(requests().client("a"), Fault::HoldUntil(until));
        let first = ask(&a, echo("first"));
        assert!(soon(held.hit(1)).await);
        let second = ask(&b, echo("second"));
        answered(first, "first").await;
        answered(second, "second").await;
        assert_eq!([setup.arrival().await, setup.arrival().await], ["second", "first"]);
        // The rule is over.
        answered(ask(&a, echo("third")), "third").await;
        assert!(!soon(held.hit(2)).await);
    }
}

#[tokio::test]
async fn a_delayed_request_arrives_all_the_same() {
    let mut setup = Setup::new(Broker::hub().await).await;
    let requester = setup.requester("M7").await;
    let late = setup.proxy.rule(requests().first(1), Fault::Delay(Duration::from_millis(20)));
    answered(ask(&requester, echo("one")), "one").await;
    assert_eq!((setup.arrival().await.as_str(), late.hits()), ("one", 1));
}

#[tokio::test]
async fn what_is_in_flight_fails_fast_when_the_connection_is_lost() {
    for (broker, how) in Broker::both().await.into_iter().zip([Cut::Reset, Cut::Close]) {
        let mut setup = Setup::new(broker).await;
        let requester = setup.requester("M7").await;
        // The request has arrived; its answer never does.
        setup.proxy.rule(answers().first(1), Fault::Cut(how));
        let error = failed(ask(&requester, echo("one").timeout(Duration::from_secs(25)))).await;
        assert_eq!(error, RequestError::Disconnected(Delivery::Unknown));
        assert_eq!(setup.arrival().await, "one");
        assert!(soon(requester.link().connected()).await);
        answered(ask(&requester, echo("two")), "two").await;
        let stats = setup.proxy.stats();
        assert_eq!((stats.opened, stats.closed, requester.stats().in_flight), (2, 1, 0));
    }
}

#[tokio::test]
async fn a_call_rides_through_a_connection_that_is_lost_with_its_request() {
    for broker in Broker::both().await {
        let mut setup = Setup::new(broker).await;
        let link = link(setup.proxy.addr(), "M7").await;
        let requester = Requester::builder(link).on_disconnect(OnDisconnect::RideThrough);
        let requester = requester.build().await.expect("subscribed");
        let lost = setup.proxy.rule(requests().first(2), Fault::Cut(Cut::Reset));
        answered(ask(&requester, echo("one").idempotent()), "one").await;
        assert_eq!((setup.arrival().await.as_str(), lost.hits()), ("one", 2));
        // First the subscription, then the request.
        let mut sent = setup.proxy.watch(Packets::to_server().connection(4));
        setup.proxy.cut_all(Cut::Reset);
        soon(requester.link().disconnected()).await;
        answered(ask(&requester, echo("two").idempotent()), "two").await;
        let mut kinds = Vec::new();
        for _ in 0..3 {
            kinds.push(soon(sent.next()).await.expect("passed").kind);
        }
        assert_eq!(kinds, [Kind::Connect, Kind::Subscribe, Kind::Publish]);
    }
}

#[tokio::test]
async fn a_connection_is_cut_after_a_packet_has_passed() {
    let mut setup = Setup::new(Broker::hub().await).await;
    let requester = setup.requester("M7").await;
    setup.proxy.rule(requests().first(1), Fault::CutAfter(Cut::Close));
    let error = failed(ask(&requester, echo("one").timeout(Duration::from_secs(25)))).await;
    assert_eq!(error, RequestError::Disconnected(Delivery::Unknown));
    assert_eq!(setup.arrival().await, "one", "it passed");
}

#[tokio::test]
async fn a_call_through_a_black_hole_ends_at_its_deadline() {
    for direction in Direction::BOTH {
        for broker in Broker::both().await {
            let mut setup = Setup::new(broker).await;
            let requester = setup.requester("M7").await;
            setup.proxy.blackhole(direction);
            let call = ask(&requester, echo("one").timeout(Duration::from_millis(200)));
            assert_eq!(failed(call).await, RequestError::Timeout);
            soon(setup.proxy.until(|stats| stats.lost > 0)).await;
            setup.proxy.heal();
            answered(ask(&requester, echo("two")), "two").await;
            if direction == Direction::ToClient {
                assert_eq!(setup.arrival().await, "one");
            }
            assert_eq!(setup.arrival().await, "two");
        }
    }
}

#[tokio::test]
async fn a_pause_loses_nothing() {
    for broker in Broker::both().await {
        let mut setup = Setup::new(broker).await;
        let requester = setup.requester("M7").await;
        let sent = setup.proxy.watch(requests());
        setup.proxy.pause(Direction::ToServer);
        let seen = setup.proxy.rule(requests(), Fault::Deliver);
        let call = ask(&requester, echo("one").timeout(Duration::from_secs(25)));
        assert!(soon(seen.hit(1)).await);
        assert_eq!(sent.count(), 0);
        setup.proxy.heal();
        answered(call, "one").await;
        assert_eq!(setup.arrival().await, "one");
        assert_eq!(setup.proxy.stats().lost, 0);
    }
}

//! What happens to whole connections, and how both sides notice.

use std::time::Duration;

use tower::ServiceExt;
use tower_mqtt::test_util::{Conditions, Connection, Cut, Direction, FaultProxy, Kind, Packets};
use tower_mqtt::{RequestError, Requester, Responder, Router};

use super::*;

#[tokio::test]
async fn a_server_that_is_gone_without_a_word_is_noticed_within_one_and_a_half_keep_alives() {
    for broker in Broker::both().await {
        let proxy = FaultProxy::start(broker.address()).await.expect("started");
        let link = link_with(proxy.addr(), "client_id=M7&keep_alive=1").await;
        let mut pings = proxy.watch(Packets::to_server().kind(Kind::PingReq));
        let answers = proxy.watch(Packets::to_client().kind(Kind::PingResp));
        // The connection is quiet, and lives.
        assert!(soon(pings.next()).await.is_some() && soon(answers.reached(1)).await);
        let before = pings.count();
        proxy.blackhole(Direction::ToClient);
        soon(link.disconnected()).await;
        // A PINGREQ leaves every keep-alive: with a third one it would have been two and more.
        assert!(pings.count() - before <= 2, "{} pings", pings.count() - before);
        proxy.heal();
        assert!(soon(link.connected()).await);
    }
}

#[tokio::test]
async fn a_client_that_is_gone_without_a_word_is_noticed_by_the_broker() {
    for broker in Broker::both().await {
        let proxy = FaultProxy::start(broker.address()).await.expect("started");
        let kitchen = link_with(proxy.addr(), "client_id=kitchen&keep_alive=1").await;
        let router = Router::new().route("ask", async || "answer");
        let _responder = Responder::builder(kitchen).serve(router).await.expect("subscribed");
        let machine = link(broker.address(), "M7").await;
        let requester = Requester::builder(machine).build().await.expect("subscribed");
        let request =
            || Request::new("ask", "").expect("a topic").timeout(Duration::from_millis(100));
        assert!(soon(requester.clone().oneshot(request())).await.is_ok());

        // Neither side hears of the other any more, and the kitchen cannot come back.
        proxy.refuse(true);
        for direction in Direction::BOTH {
            proxy.blackhole(direction);
        }
        // Nobody has noticed yet: the request is lost.
        let first = soon(requester.clone().oneshot(request())).await;
        assert_eq!(first.expect_err("lost"), RequestError::Timeout);
        let error = soon(async {
            loop {
                match requester.clone().oneshot(request()).await {
                    Err(RequestError::Timeout) => {}
                    other => return other.expect_err("nobody answers"),
                }
            }
        });
        assert_eq!(error.await, RequestError::NoResponder);
        // Both sides have closed, so the connection is over although nothing passes.
        soon(proxy.until(|stats| stats.closed == 1)).await;

        proxy.heal();
        soon(async { while requester.clone().oneshot(request()).await.is_err() {} }).await;
    }
}

#[tokio::test]
async fn clients_come_back_when_they_are_accepted_again() {
    for broker in Broker::both().await {
        let setup = Setup::new(broker).await;
        let requester = setup.requester("M7").await;
        setup.proxy.refuse(true);
        setup.proxy.cut_all(Cut::Reset);
        soon(setup.proxy.until(|stats| stats.refused >= 2)).await;
        assert!(!requester.link().is_connected());
        setup.proxy.refuse(false);
        assert!(soon(requester.link().connected()).await);
        answered(ask(&requester, echo("one")), "one").await;
    }
}

#[tokio::test]
async fn one_client_is_cut_and_another_stays() {
    let setup = Setup::new(Broker::hub().await).await;
    let [a, b] = [setup.requester("a").await, setup.requester("b").await];
    let numbers: Vec<u64> = setup.proxy.connections().iter().map(Connection::number).collect();
    assert_eq!(numbers, [1, 2]);
    setup.proxy.client("a").expect("it is connected").cut(Cut::Close);
    soon(setup.proxy.until(|stats| stats.opened == 3)).await;
    assert!(soon(a.link().connected()).await);
    let numbers: Vec<u64> = setup.proxy.connections().iter().map(Connection::number).collect();
    assert_eq!(numbers, [2, 3]);
    answered(ask(&b, echo("b")), "b").await;
    answered(ask(&a, echo("a")), "a").await;
}

#[tokio::test]
async fn a_black_hole_for_one_client_is_none_for_another() {
    let setup = Setup::new(Broker::hub().await).await;
    let [a, b] = [setup.requester("a").await, setup.requester("b").await];
    let hole = setup.proxy.client("a").expect("it is connected");
    hole.blackhole(Direction::ToServer);
    let lost = ask(&a, echo("a").timeout(Duration::from_millis(200)));
    answered(ask(&b, echo("b")), "b").await;
    assert_eq!(failed(lost).await, RequestError::Timeout);
    hole.heal();
    answered(ask(&a, echo("a")), "a").await;
}

#[tokio::test]
async fn connections_to_come_go_to_another_broker() {
    let (first, second) = (Broker::hub().await, Setup::new(Broker::hub().await).await);
    let proxy = FaultProxy::start(first.address()).await.expect("started");
    let link = link(proxy.addr(), "M7").await;
    let requester = Requester::builder(link).build().await.expect("subscribed");
    assert_eq!(failed(ask(&requester, echo("one"))).await, RequestError::NoResponder);
    proxy.set_upstream(second.broker.address());
    proxy.cut_all(Cut::Close);
    soon(proxy.until(|stats| stats.opened == 2)).await;
    assert!(soon(requester.link().connected()).await);
    answered(ask(&requester, echo("one")), "one").await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_a_refusal() {
    let setup = Setup::new(Broker::hub().await).await;
    let requester = setup.requester("M7").await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = closed.local_addr().expect("bound");
    drop(closed);
    setup.proxy.set_upstream(nobody);
    setup.proxy.cut_all(Cut::Reset);
    soon(setup.proxy.until(|stats| stats.refused > 0)).await;
    setup.proxy.set_upstream(setup.broker.address());
    assert!(soon(requester.link().connected()).await);
}

#[tokio::test]
async fn a_slow_network_makes_calls_end_at_their_deadline() {
    let setup = Setup::new(Broker::hub().await).await;
    let requester = setup.requester("M7").await;
    let slow =
        Conditions { bytes_per_second: std::num::NonZeroU32::new(1), ..Conditions::default() };
    setup.proxy.conditions(Direction::ToClient, slow);
    let call = ask(&requester, echo("one").timeout(Duration::from_millis(300)));
    assert_eq!(failed(call).await, RequestError::Timeout);
    setup.proxy.heal();
    answered(ask(&requester, echo("two")), "two").await;
    assert_eq!(requester.stats().late, 1, "it came whole, and too late");
}

#[tokio::test]
async fn with_the_last_handle_the_proxy_ends() {
    let setup = Setup::new(Broker::hub().await).await;
    let Setup { proxy, .. } = setup;
    let mut everything = proxy.watch(Packets::all().publish("nothing"));
    let link = link(proxy.addr(), "M7").await;
    let other = proxy.clone();
    drop(proxy);
    assert!(link.is_connected());
    drop(other);
    soon(link.disconnected()).await;
    assert!(!soon(everything.reached(1)).await && soon(everything.next()).await.is_none());
}

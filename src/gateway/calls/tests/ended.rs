//! Who looks on is told of each call that has ended.

use super::*;
use crate::dialect::Native;
use crate::gateway::ended::Watch;
use crate::message::Request;
use crate::requester::Requester;

async fn told(calls: &mut Watch) -> (Box<str>, Box<str>, &'static str, &'static str) {
    let ended = calls.recv().await.unwrap();
    (ended.product.clone(), ended.device.clone(), ended.api, ended.outcome)
}

#[tokio::test]
async fn whatever_it_came_through_and_however_it_ended() {
    let network = Network::new();
    let (_silent, mut questions) = silent(&network).await;
    let _device = device(&network, tencent::rrpc(), Router::new().route("hub/d", tell_id)).await;
    let platform = platform(&network).await;
    let mut calls = platform.ended().watch();

    make(&platform, Call { api: "tencent", ..call("hub", "d") }).await.unwrap();
    assert_eq!(told(&mut calls).await, ("hub".into(), "d".into(), "tencent", "ok"));
    refused(&platform, call("hub", "absent")).await;
    assert_eq!(told(&mut calls).await, ("hub".into(), "absent".into(), "plain", "offline"));
    let given_up = tokio::spawn(platform.calls().oneshot(call("ali", "d")));
    questions.recv().await.unwrap();
    given_up.abort();
    assert_eq!(told(&mut calls).await, ("ali".into(), "d".into(), "plain", "cancelled"));
    let requester = Requester::builder(network.link("app")).build().await.unwrap();
    requester.oneshot(Request::new("devices/hub/d", "").unwrap()).await.unwrap();
    assert_eq!(told(&mut calls).await, ("hub".into(), "d".into(), "native", "ok"));
}

#[tokio::test]
async fn a_status_of_400_and_above_is_an_error_of_the_device() {
    let network = Network::new();
    let refuse = async || Status::NOT_FOUND;
    let router = Router::new().route("devices/native/d", refuse);
    let _device = device(&network, Native::new(), router).await;
    let platform = platform(&network).await;
    let mut calls = platform.ended().watch();
    make(&platform, call("native", "d")).await.unwrap();
    let ended = calls.recv().await.unwrap();
    assert_eq!((ended.dialect, ended.outcome), ("native", "device_error"));
}

#[tokio::test]
async fn nobody_is_told_of_what_has_no_name_or_when_nobody_looks_on() {
    let network = Network::new();
    let platform = platform(&network).await;
    refused(&platform, call("ali", "unseen")).await;
    let mut calls = platform.ended().watch();
    refused(&platform, call("nothing", "d")).await;
    refused(&platform, call("ali", "a/b")).await;
    refused(&platform, call("ali", &"x".repeat(100_000))).await;
    refused(&platform, call("ali", "seen")).await;
    assert_eq!(&*told(&mut calls).await.1, "seen");
}

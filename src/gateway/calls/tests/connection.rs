//! A broker that goes away and comes back.

use super::*;
use crate::link::Client;
use crate::link::ntex::tests::mosquitto::Mosquitto;

#[tokio::test]
async fn calls_fail_at_once_while_the_broker_is_away_and_go_on_afterwards() {
    let mut broker = Mosquitto::start(&[]).await;
    let (asked, mut questions) = mpsc::unbounded_channel();
    let router =
        Router::new().route("ali/quick", async || "ok").route("ali/never", async move || {
            let _ = asked.send(());
            pending::<()>().await;
        });
    let device_link = Client::connect(&broker.url()).await.unwrap();
    let device = Responder::builder(device_link.clone()).dialect(aliyun::system());
    let _device = device.serve(router).await.unwrap();
    let link = Client::connect(&broker.url()).await.unwrap();
    let platform = Platform::start(settings(link.clone())).await.unwrap();
    assert_eq!(make(&platform, call("ali", "quick")).await.unwrap().payload, "ok");
    assert!(platform.is_ready());

    let running = tokio::spawn(platform.calls().oneshot(call("ali", "never")));
    questions.recv().await.unwrap();
    broker.kill();
    link.disconnected().await;
    let away = CallError::Unavailable("the broker is away");
    let failure = running.await.unwrap().unwrap_err();
    let lost = CallError::Lost("the broker went away");
    assert_eq!((failure.why, failure.message_id.is_some()), (lost, true));
    assert_eq!(refused(&platform, call("ali", "quick")).await, away);
    let unsent = platform.publisher().oneshot(publication("ali", "/ali/d/user/get")).await;
    assert_eq!(unsent.unwrap_err().why, away);
    assert!(!platform.is_ready() && platform.in_flight() == 0);

    broker.restart().await;
    assert!(device_link.connected().await && link.connected().await);
    assert_eq!(make(&platform, call("ali", "quick")).await.unwrap().payload, "ok");
    assert_eq!(refused(&platform, call("ali", "absent")).await, CallError::Offline);

    // As when another client takes its identifier over.
    let running = tokio::spawn(platform.calls().oneshot(call("ali", "never")));
    questions.recv().await.unwrap();
    link.close();
    let lost = CallError::Lost("the connection to the broker was closed");
    assert_eq!(running.await.unwrap().unwrap_err().why, lost, "it may have been executed");
    assert_eq!(refused(&platform, call("ali", "quick")).await, away);
}

/// It subscribes for each call.
#[tokio::test(start_paused = true)]
async fn the_custom_mode_does_not_wait_for_a_broker_that_is_away() {
    let network = Network::new();
    let link = network.link("gateway");
    let platform = Platform::start(settings(link.clone())).await.unwrap();
    network.disconnect("gateway");
    link.disconnected().await;
    let custom = Call { target: on("explorer/d/control"), ..call("explorer", "d") };
    let away = CallError::Unavailable("the broker is away");
    assert_eq!(refused(&platform, custom).await, away);
}

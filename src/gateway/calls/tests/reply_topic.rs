//! The custom mode of IoT Explorer, when the answer comes on a topic that the caller names.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_may_come_on_another_of_the_devices_topics() {
    let network = Network::new();
    let dialect = tencent::client_token().answers_on(topic("explorer/d/up"));
    let _device =
        device(&network, dialect, Router::new().route("explorer/d/down", async || "on")).await;
    let platform = platform(&network).await;
    let ask = |replies: &str| {
        let replies = TopicFilter::new(replies).unwrap();
        let target = Target::Topics { request: topic("explorer/d/down"), replies };
        Call { target, payload: "{}".into(), ..call("explorer", "d") }
    };
    for replies in ["explorer/d/up", "explorer/d/+"] {
        assert_eq!(make(&platform, ask(replies)).await.unwrap().payload, "on", "{replies}");
    }
    assert_eq!(refused(&platform, ask("explorer/d/elsewhere")).await, CallError::Timeout);
    for replies in ["explorer/e/up", "explorer/+/up", "#"] {
        let invalid = refused(&platform, ask(replies)).await;
        assert!(matches!(invalid, CallError::Invalid(_)), "{replies}");
    }
    while network.has_subscriber(&topic("explorer/d/up")) {
        tokio::task::yield_now().await;
    }
}

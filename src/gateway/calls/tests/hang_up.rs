//! A caller that hangs up at one gateway, when the device belongs to another.

use super::*;

async fn member(network: &Network, id: &str) -> Platform {
    let cluster = config::Cluster { id: Some(id.to_owned()), ..config::Cluster::default() };
    let settings = Settings { cluster: Some(cluster), ..settings(network.link(id)) };
    Platform::start(settings).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_frees_the_device_at_its_owner() {
    let network = Network::new();
    let (asked, mut questions) = mpsc::unbounded_channel();
    let router = Router::new().route("hub/{device}", async move |payload: String| {
        asked.send(payload.clone()).unwrap();
        if payload == "wait" {
            pending::<()>().await;
        }
        payload
    });
    let _device = device(&network, tencent::rrpc(), router).await;
    let owner = member(&network, "b").await;
    let other = member(&network, "a").await;
    let cluster = other.board.cluster.as_ref().unwrap();
    let theirs = (0..).map(|n| format!("d{n}"));
    let theirs = theirs.into_iter().find(|name| cluster.owner("hub", name).is_some()).unwrap();
    let ask = |payload: &'static str, seconds| Call {
        payload: payload.into(),
        timeout: Some(Duration::from_secs(seconds)),
        ..call("hub", &theirs)
    };
    let waiting = tokio::spawn(other.calls().oneshot(ask("wait", 1000)));
    assert_eq!(questions.recv().await.unwrap(), "wait");
    assert_eq!((owner.in_flight(), other.in_flight()), (1, 1));
    waiting.abort();
    // One call at a time goes to the device, so it waits for the end of the first.
    let answer = make(&owner, ask("next", 100)).await.unwrap();
    assert_eq!(answer.payload, "next");
    assert_eq!((owner.in_flight(), other.in_flight()), (0, 0));
    // What has its answer is not given up afterwards.
    assert_eq!(make(&other, ask("after", 100)).await.unwrap().payload, "after");
}

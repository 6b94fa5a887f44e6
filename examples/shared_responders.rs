//! Three responders share the requests of one route: `cargo run --example shared_responders`.
//!
//! All subscribe under one share name, so each request goes to one of them. That is how an
//! application grows beyond one process: start it once more. Nothing is configured.

use std::error::Error;
use std::time::Duration;

use tower::{Service, ServiceExt};
use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};

const CALLS: usize = 30;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await?;
    let mut cooks = Vec::new();
    for name in ["Ada", "Ben", "Cleo"] {
        let router = Router::new().route("peel", async move || name);
        let responder = Responder::builder(hub.link(name)).share("cooks").serve(router).await?;
        cooks.push((name, responder));
    }

    let address = hub.local_addr().ok_or("the hub is not bound")?;
    let link = Client::connect(&format!("mqtt://{address}")).await?;
    let requester = Requester::builder(link).build().await?;
    let calls: Vec<_> = (0..CALLS).map(|_| tokio::spawn(peel(requester.clone()))).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await??);
    }

    println!("{CALLS} calls, {} answers", answers.len());
    for (name, responder) in cooks {
        let answered = answers.iter().filter(|cook| *cook == name).count();
        println!("{name} answered {answered}");
        assert!(answered > 0, "everybody gets a part");
        assert_eq!(responder.stats().received, answered as u64, "no request goes to two");
        responder.shutdown(Duration::from_secs(1)).await;
    }
    assert_eq!(requester.stats().answered, CALLS as u64, "every call has one answer");
    assert_eq!(requester.stats().duplicate, 0, "every call has one answer");
    drop(requester);
    hub.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Who peeled.
async fn peel(mut requester: Requester) -> Result<String, Box<dyn Error + Send + Sync>> {
    let response = requester.ready().await?.call(Request::new("peel", "a potato")?).await?;
    Ok(String::from_utf8(response.error_for_status()?.into_payload().into())?)
}

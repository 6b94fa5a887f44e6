//! A responder stops without leaving a caller alone: `cargo run --example graceful_shutdown`.
//!
//! What is being handled may finish within the grace period. What takes longer is stopped, and its
//! caller is told 408 at once, instead of waiting for a timeout. New requests are not taken any more.

use std::error::Error;
use std::time::Duration;

use tokio::sync::mpsc;
use tower::{Service, ServiceExt};
use tower_mqtt::link::memory;
use tower_mqtt::responder::extract::{Path, State};
use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router};

const GRACE: Duration = Duration::from_millis(500);

/// Tells the caller's side that work has begun.
type Started = State<mpsc::Sender<()>>;

async fn cook(Path(millis): Path<u64>, State(started): Started) -> &'static str {
    let _ = started.send(()).await;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    "done"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (machine, kitchen) = memory::pair();
    let (started, mut is_started) = mpsc::channel(2);
    let router = Router::new().route("cook/{millis}", cook).with_state(started);
    let responder = Responder::builder(kitchen).serve(router).await?;
    let requester = Requester::builder(machine).build().await?;

    let slow = tokio::spawn(ask(requester.clone(), "cook/100"));
    let too_slow = tokio::spawn(ask(requester.clone(), "cook/3600000"));
    for _ in 0..2 {
        is_started.recv().await.ok_or("the responder is gone")?;
    }
    println!("two requests are being handled; shutting down with {GRACE:?} of grace");
    responder.shutdown(GRACE).await;

    let slow = slow.await??;
    println!("the slow one: {}", slow.status());
    assert_eq!(slow.payload(), "done", "it finished");

    let too_slow = too_slow.await??;
    println!("the one that is too slow: {}", too_slow.status());
    assert_eq!(too_slow.status().code(), 408, "it was stopped, and its caller was told");

    let late = ask(requester, "cook/1").await;
    println!("one that comes after: {}", late.as_ref().expect_err("nobody serves it"));
    assert_eq!(late.err(), Some(RequestError::NoResponder), "its caller knows at once");
    Ok(())
}

async fn ask(mut requester: Requester, topic: &str) -> Result<Response, RequestError> {
    requester.ready().await?.call(Request::new(topic, "")?).await
}

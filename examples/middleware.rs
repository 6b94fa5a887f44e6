//! One stack of layers on both sides: `cargo run --example middleware --features auth`.

use std::error::Error;
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};
use tower_mqtt::layer::authorize::bearer::{BearerCheck, BearerToken};
use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller};
use tower_mqtt::layer::retry::{RetryLayer, RetryPolicy};
use tower_mqtt::layer::{ConcurrencyLimitLayer, DedupLayer, PayloadLimitLayer};
use tower_mqtt::layer::{TimeoutLayer, TraceLayer};
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Router, Status};
use tracing_subscriber::fmt::format::FmtSpan;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
    log.with_span_events(FmtSpan::CLOSE).init();

    // A tuple of layers is a layer; the first is the outermost. These do their work on either side.
    let both = (
        TraceLayer::new(),
        PayloadLimitLayer::new(1024),
        ConcurrencyLimitLayer::new(64),
        TimeoutLayer::new(Duration::from_secs(2)),
    );
    let check = BearerCheck::tokens([("mF_9.B5f-4.1JqM", Caller::new("anna"))]);
    let sign = BearerToken::new("mF_9.B5f-4.1JqM")?;
    let retry = RetryLayer::new(RetryPolicy::default().responder_deduplicates());
    let attempt = TimeoutLayer::new(Duration::from_millis(200));

    let network = Network::new();
    let router = Router::new()
        .route("greet", async |caller: Caller| format!("hello {caller}"))
        .layer((both.clone(), AuthorizeLayer::new(check), DedupLayer::default()));
    let _responder = Responder::builder(network.link("kitchen")).serve(router).await?;

    let requester = Requester::builder(network.link("machine")).build().await?;
    let mut client = (both, retry, attempt, AuthorizeLayer::new(sign)).layer(requester.clone());

    let mut losses = 1; // the first answer is lost on the way
    network.on_message(move |message| match message.topic.as_str() {
        "greet" => Fate::Deliver,
        _ if losses == 0 => Fate::Deliver,
        _ => {
            losses -= 1;
            Fate::Lose
        }
    });
    let response = client.ready().await?.call(Request::new("greet", "")?).await?;
    assert_eq!(response.payload(), "hello anna");

    let large = client.ready().await?.call(Request::new("greet", vec![b'x'; 2000])?).await;
    assert!(matches!(large, Err(RequestError::Refused(status)) if status.code() == 413));

    let nobody = requester.oneshot(Request::new("greet", "")?).await?;
    assert_eq!(nobody.status().code(), Status::UNAUTHORIZED.code());
    println!("{}", nobody.status());
    Ok(())
}

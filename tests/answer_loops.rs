//! A device that answers its own answers is noticed.

mod support;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use support::*;
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, Requester, Responder, Router};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// The fields of all warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, "{field}={value:?};").unwrap();
            }
        }
        if *event.metadata().level() == Level::WARN {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

/// Asks a device whose answers arrive so many times.
async fn ask(repeat: usize, echo: bool) -> (Requester, Vec<String>) {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(warnings.clone()));
    let network = Network::new();
    network.on_message(move |message| match &message.payload[..] {
        b"answer" => Fate::Repeat(repeat),
        _ => Fate::Deliver,
    });
    let router = Router::new().route("ask", async || "answer");
    let device = Responder::builder(network.link("device"));
    let asker = Requester::builder(network.link("asker"));
    let (device, asker) =
        if echo { (device.dialect(EchoTopic), asker.dialect(EchoTopic)) } else { (device, asker) };
    let _device = device.serve(router).await.unwrap();
    let requester = asker.build().await.unwrap();
    for _ in 0..3 {
        call(&requester, Request::new("ask", "secret").unwrap()).await.unwrap();
    }
    settle().await;
    let warnings = std::mem::take(&mut *warnings.0.lock().unwrap());
    (requester, warnings)
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_counted_and_reported_once() {
    let (requester, warnings) = ask(1000, true).await;
    let stats = requester.stats();
    assert_eq!((stats.answered, stats.duplicate, stats.loops), (3, 3 * 999, 3));
    assert_eq!(warnings.len(), 3);
    for warning in warnings {
        assert!(warning.contains("topic=echo/") && warning.contains("/ask;"), "{warning}");
        assert!(!warning.contains("secret"), "{warning}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_answers_too_many_are_no_loop() {
    let (requester, warnings) = ask(4, true).await;
    assert_eq!((requester.stats().duplicate, requester.stats().loops), (9, 0));
    assert!(warnings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn there_is_none_where_answers_have_a_topic_of_their_own() {
    let (requester, warnings) = ask(1000, false).await;
    assert_eq!((requester.stats().duplicate, requester.stats().loops), (3 * 999, 0));
    assert!(warnings.is_empty());
}

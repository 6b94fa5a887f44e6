//! One trace through real brokers: the spans of both sides belong together.
#![cfg(feature = "ntex")]

#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt};
use tower_mqtt::layer::trace::{TraceContext, TraceLayer};
use tower_mqtt::{Client, Hub, Link, Request, Requester, Responder, Router, Status};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use self::mosquitto::Mosquitto;

type Fields = HashMap<&'static str, String>;

/// Keeps the fields of all spans, in the order in which they begin.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(Id, Fields)>>>);

struct Recorder<'a>(&'a mut Fields);

impl Visit for Recorder<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Recorder(&mut fields));
        self.0.lock().unwrap().push((id.clone(), fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        // An id is used again when its span has ended: the last one has it.
        let (_, fields) = spans.iter_mut().rfind(|(own, _)| own == id).unwrap();
        values.record(&mut Recorder(fields));
    }
}

impl Spans {
    fn of_exchanges(&self) -> Vec<Fields> {
        let spans = std::mem::take(&mut *self.0.lock().unwrap()).into_iter();
        spans.map(|(_, fields)| fields).filter(|f| f.contains_key("otel.name")).collect()
    }
}

/// A handler that asks another route, which answers with the id of the trace; and a call to it.
async fn the_spans_of_both_sides_share_one_trace(link: impl AsyncFn() -> Link) {
    // The spans of this thread's tasks belong to this subscriber.
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(spans.clone()));

    let traced = async || {
        let requester = Requester::builder(link().await).build().await.unwrap();
        ServiceBuilder::new().layer(TraceLayer::new()).service(requester)
    };
    let inner = traced().await;
    let cook = async move || inner.clone().oneshot(Request::new("stove/2", "").unwrap()).await;
    let stove = async || TraceContext::current().map(|c| c.trace_id()).ok_or(Status::INTERNAL);
    let router =
        Router::new().route("cook", cook).route("stove/{n}", stove).layer(TraceLayer::new());
    let responder = Responder::builder(link().await).serve(router).await.unwrap();
    let mut client = traced().await;
    let request = Request::new("cook", "soup").unwrap();
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    responder.shutdown(Duration::from_secs(5)).await;

    let spans = spans.of_exchanges();
    let names: Vec<_> = spans.iter().map(|span| &*span["otel.name"]).collect();
    assert_eq!(names, ["request cook", "respond cook", "request stove/2", "respond stove/{n}"]);
    assert!(!spans[0].contains_key("parent_span_id"), "a new trace");
    for pair in spans.windows(2) {
        assert_eq!(pair[0]["trace_id"], pair[1]["trace_id"]);
        assert_eq!(pair[0]["span_id"], pair[1]["parent_span_id"]);
    }
    assert_eq!(response.payload(), &spans[0]["trace_id"], "the handler saw the caller's trace");
}

async fn connect(port: u16) -> Link {
    Client::connect(&format!("mqtt://127.0.0.1:{port}")).await.expect("connected")
}

#[tokio::test]
async fn through_mosquitto() {
    let broker = Mosquitto::start(&["set_tcp_nodelay true"]).await;
    the_spans_of_both_sides_share_one_trace(async || connect(broker.port()).await).await;
}

#[tokio::test]
async fn through_the_hub() {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
    let port = hub.local_addr().as_ref().map(SocketAddr::port).expect("bound");
    the_spans_of_both_sides_share_one_trace(async || connect(port).await).await;
}

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tower::{ServiceBuilder, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context as SpanContext, Layer as SubscriberLayer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::super::mock::{keeps_the_contract, request, requester, responder, start};
use super::*;
use crate::link::memory;
use crate::message::Status;
use crate::{Requester, Responder, Router};

type Fields = HashMap<&'static str, String>;

/// Keeps the fields of every span that has ended.
#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<Fields>>>);

struct Recorder<'a>(&'a mut Fields);

impl Visit for Recorder<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> SubscriberLayer<S> for Ended {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: SpanContext<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Recorder(&mut fields));
        cx.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: SpanContext<'_, S>) {
        let span = cx.span(id).unwrap();
        values.record(&mut Recorder(span.extensions_mut().get_mut().unwrap()));
    }

    fn on_close(&self, id: Id, cx: SpanContext<'_, S>) {
        let fields = cx.span(&id).unwrap().extensions_mut().remove().unwrap();
        self.0.lock().unwrap().push(fields);
    }
}

impl Ended {
    /// Runs `work` under a subscriber with this layer, and returns the spans that ended.
    async fn during(work: impl Future<Output = ()>) -> Vec<Fields> {
        let ended = Self::default();
        work.with_subscriber(Registry::default().with(ended.clone())).await;
        std::mem::take(&mut *ended.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract() {
    keeps_the_contract(TraceLayer::new()).await;
    Ended::during(keeps_the_contract(TraceLayer::new())).await;
}

/// A handler that asks another route, both under the layer, and a call to it.
async fn nested_call() {
    let network = memory::Network::new();
    let inner = Requester::builder(network.link("kitchen")).build().await.unwrap();
    let inner = TraceLayer::new().layer(inner);
    let outer = async move || {
        let request = Request::new("stove/2", "").unwrap();
        inner.clone().oneshot(request).await
    };
    let router = Router::new()
        .route("cook", outer)
        .route("stove/{n}", async || Status::CONFLICT)
        .layer(TraceLayer::new());
    let responder = Responder::builder(network.link("stove")).serve(router).await.unwrap();
    let requester = Requester::builder(network.link("machine")).build().await.unwrap();
    let mut client = ServiceBuilder::new().layer(TraceLayer::new()).service(requester);
    let request = Request::new("cook", "soup").unwrap().correlation_data("id-1");
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status().code(), 409);
    responder.shutdown(std::time::Duration::from_secs(1)).await;
}

#[tokio::test]
async fn all_spans_of_an_exchange_share_one_trace() {
    // Spans that the responder's tasks make belong to the default subscriber of this thread.
    let ended = Ended::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(ended.clone()));
    nested_call().await;
    let spans = std::mem::take(&mut *ended.0.lock().unwrap());

    let find = |name: &str| spans.iter().find(|span| span["otel.name"] == name).unwrap();
    let chain = [
        find("request cook"),
        find("respond cook"),
        find("request stove/2"),
        find("respond stove/{n}"),
    ];
    assert_eq!(spans.len(), 4);
    assert!(!chain[0].contains_key("parent_span_id"), "a new trace");
    for pair in chain.windows(2) {
        assert_eq!(pair[0]["trace_id"], pair[1]["trace_id"]);
        assert_eq!(pair[0]["span_id"], pair[1]["parent_span_id"]);
        assert_ne!(pair[0]["span_id"], pair[1]["span_id"]);
    }
    for (field, value) in [
        ("messaging.system", "mqtt"),
        ("messaging.operation.name", "respond"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "cook"),
        ("messaging.destination.template", "cook"),
        ("messaging.message.conversation_id", "id-1"),
        ("messaging.message.body.size", "4"),
        ("otel.kind", "server"),
        ("response.status", "409"),
        ("error.type", "409"),
    ] {
        assert_eq!(chain[1][field], value, "{field}");
    }
    assert_eq!(chain[0]["otel.status_code"], "ERROR");
    assert!(!chain[1].contains_key("otel.status_code"), "409 is no error of the responder");
    assert!(!spans.iter().flat_map(HashMap::values).any(|value| value.contains("soup")));
}

#[tokio::test]
async fn where_nobody_listens_the_context_is_passed_on_and_none_is_made() {
    let above_debug = Registry::default().with(tracing_subscriber::filter::LevelFilter::INFO);
    let _guard = tracing::subscriber::set_default(above_debug);
    let (mut service, mut handle) = requester(&TraceLayer::new());
    let _call = start(&mut service, request("1"));
    assert!(handle.next_request().await.unwrap().0.parts().user_properties.is_empty());

    let parent = TraceContext::root();
    let asked = request("1").with_user_property("traceparent", parent.traceparent());
    let _call = start(&mut service, asked);
    let (seen, _) = handle.next_request().await.unwrap();
    assert_eq!(TraceContext::read(&seen.parts().user_properties), Some(parent));
}

#[tokio::test]
async fn a_call_says_how_it_ended() {
    let spans = Ended::during(async {
        let (mut service, mut handle) = requester(&TraceLayer::new());
        let call = start(&mut service, request("1"));
        let (_, send) = handle.next_request().await.unwrap();
        send.send_error(crate::RequestError::NoResponder);
        call.await.unwrap_err();

        drop(start(&mut service, request("2")));

        let (mut service, mut handle) = responder(&TraceLayer::new());
        let call = start(&mut service, request("\u{1}"));
        handle.next_request().await.unwrap().1.send_response(Response::error(Status::INTERNAL));
        call.await.unwrap();
    });
    let spans = spans.await;
    let ends: Vec<_> =
        spans.iter().map(|span| (&*span["error.type"], &*span["otel.status_code"])).collect();
    assert_eq!(ends, [("no_responder", "ERROR"), ("cancelled", "ERROR"), ("500", "ERROR")]);
    assert_eq!(spans[2]["messaging.message.conversation_id"], "01");
}

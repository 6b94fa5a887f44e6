//! One span for each exchange on each side, in one trace.
//!
//! A requester writes the trace's context into the request, as the user properties `traceparent` and
//! `tracestate` ([W3C Trace Context](https://www.w3.org/TR/trace-context/)); a responder reads it and
//! goes on. What a handler asks of others belongs to the same trace.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::trace::{TraceContext, TraceLayer};
//! use tower_mqtt::responder::extract::Extension;
//! use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::sink);
//! # let _guard = tracing::subscriber::set_default(subscriber.finish());
//! let (a, b) = memory::pair();
//! let router = Router::new()
//!     .route("greet", async |Extension(context): Extension<TraceContext>| context.trace_id())
//!     .layer(TraceLayer::new());
//! let _responder = Responder::builder(b).serve(router).await?;
//!
//! let requester = Requester::builder(a).build().await?;
//! let mut client = ServiceBuilder::new().layer(TraceLayer::new()).service(requester);
//! let request = Request::new("greet", "")?
//!     .with_user_property("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
//! let response = client.ready().await?.call(request).await?;
//! assert_eq!(response.payload(), "4bf92f3577b34da6a3ce929d0e0e4736");
//! # Ok(())
//! # }
//! ```
//!
//! # The span
//!
//! It is called `exchange`, at level `debug`, with the fields of OpenTelemetry's
//! [conventions for messaging](https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/):
//!
//! | field | value |
//! |---|---|
//! | `otel.name` | `request` or `respond`, and the route if it is known, else the topic |
//! | `otel.kind` | `client` or `server`: one side waits for the other |
//! | `messaging.system` | `mqtt` |
//! | `messaging.operation.name` | `request` or `respond` |
//! | `messaging.operation.type` | `send` or `process` |
//! | `messaging.destination.name` | the topic |
//! | `messaging.destination.template` | on a responder inside a router: the route |
//! | `messaging.message.conversation_id` | the correlation data, as text or hexadecimal; on a requester only when a layer outside has chosen it |
//! | `messaging.message.body.size` | bytes of the request's payload |
//! | `trace_id`, `span_id`, `parent_span_id` | as in `traceparent` |
//! | `response.status` | the status of the answer |
//! | `error.type` | a status of 400 or above, the kind of error, or `cancelled` when the call was given up |
//! | `otel.status_code` | `ERROR` for an error; on a responder only from 500 on: the rest are mistakes of the caller |
//!
//! No payload and no credentials are in it. Nothing else is logged. Without a subscriber that wants
//! the span, the layer passes on the context that a request or the calling handler has, and makes
//! none.
//!
//! # OpenTelemetry
//!
//! This crate does not depend on it. The `otel.*` fields are those that `tracing-opentelemetry`
//! knows. To make OpenTelemetry's own span the parent, write its context into the request with
//! [`TraceContext::write`] before this layer: a request that has a `traceparent` keeps its trace.

mod context;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::{Empty, display};

pub use self::context::TraceContext;
use self::context::{Hex, enter};
use super::Side;
use super::outcome::{CANCELLED, Outcome};
use crate::core::template::TopicTemplate;
use crate::message::{Parts, Request, Response};

/// One span for each exchange; the [module](self) says what is in it.
///
/// Outermost it covers everything, and on a responder the events of layers inside belong to the span.
/// Inside a retry each attempt has a span of its own; with one outside and one inside, those are
/// children of the first.
///
/// # Differences from tower-http's
///
/// `tower_http::trace` makes the span by a callback and leaves the context to others. This one knows
/// what an exchange is: there is nothing to set, and both sides are linked.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TraceLayer;

impl TraceLayer {
    /// For either side.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner }
    }
}

/// The service of a [`TraceLayer`].
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
}

impl<S> Service<Request> for Trace<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let on_responder = S::Error::IS_RESPONDER;
        let parent = TraceContext::read(&request.parts().user_properties);
        // A request that arrives belongs to its sender's trace or to a new one.
        let parent = if on_responder { parent } else { parent.or_else(TraceContext::current) };
        let span = span(&request, on_responder);
        let context = if span.is_disabled() {
            parent
        } else {
            let context = parent.as_ref().map_or_else(TraceContext::root, TraceContext::child);
            span.record("trace_id", display(context.trace_id()));
            span.record("span_id", display(context.span_id()));
            if let Some(parent) = parent {
                span.record("parent_span_id", display(parent.span_id()));
            }
            Some(context)
        };
        if let Some(context) = context.clone() {
            let parts = request.parts_mut();
            context.write(&mut parts.user_properties);
            parts.extensions.insert(context);
        }
        let inner = span.in_scope(|| enter(context, || self.inner.call(request)));
        ResponseFuture { inner, end: End { span, on_responder, is_known: false } }
    }
}

fn span(request: &Request, on_responder: bool) -> Span {
    let parts = request.parts();
    let (name, kind, operation) =
        if on_responder { ("respond", "server", "process") } else { ("request", "client", "send") };
    let topic = parts.topic.as_str();
    let template = parts.route.as_ref().map(TopicTemplate::as_str);
    let span = tracing::debug_span!(
        "exchange",
        otel.name = %format_args!("{name} {}", template.unwrap_or(topic)),
        otel.kind = kind,
        otel.status_code = Empty,
        messaging.system = "mqtt",
        messaging.operation.name = name,
        messaging.operation.type = operation,
        messaging.destination.name = topic,
        messaging.destination.template = template,
        messaging.message.conversation_id = Empty,
        messaging.message.body.size = request.payload().len(),
        trace_id = Empty,
        span_id = Empty,
        parent_span_id = Empty,
        response.status = Empty,
        error.type = Empty,
    );
    if !span.is_disabled() {
        record_conversation(&span, parts);
    }
    span
}

fn record_conversation(span: &Span, parts: &Parts) {
    const FIELD: &str = "messaging.message.conversation_id";
    let Some(data) = &parts.correlation_data else { return };
    match std::str::from_utf8(data) {
        Ok(text) if data.iter().all(u8::is_ascii_graphic) => span.record(FIELD, text),
        _ => span.record(FIELD, display(Hex(data))),
    };
}

/// Writes into the span how it ended, at the latest when it is dropped.
#[derive(Debug)]
struct End {
    span: Span,
    on_responder: bool,
    is_known: bool,
}

impl End {
    fn record(&mut self, outcome: Outcome) {
        self.is_known = true;
        let least_error = if self.on_responder { 500 } else { 400 };
        match outcome {
            Outcome::Answered(code) => {
                self.span.record("response.status", code);
                if outcome.is_error() {
                    self.span.record("error.type", display(code));
                }
                if code >= least_error {
                    self.span.record("otel.status_code", "ERROR");
                }
            }
            Outcome::Failed(kind) => {
                self.span.record("error.type", kind);
                self.span.record("otel.status_code", "ERROR");
            }
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.is_known {
            self.record(Outcome::Failed(CANCELLED));
        }
    }
}

pin_project! {
    /// The future of [`Trace`].
    ///
    /// # Cancel safety
    /// Dropping it drops the future inside; the span then says `cancelled`.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: TaskLocalFuture<Option<TraceContext>, F>,
        end: End,
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Side,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.end.span.in_scope(|| this.inner.poll(cx)));
        this.end.record(Outcome::of(&result));
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("end", &self.end).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

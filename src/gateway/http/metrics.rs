//! Numbers for Prometheus, in its text format.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `rrpc_gateway_calls_total` | counter | `api`, `product`, `outcome` | requests to call a device that have ended |
//! | `rrpc_gateway_call_duration_seconds` | histogram | `api`, `product` | from a request's head to its answer |
//! | `rrpc_gateway_calls_in_flight` | gauge | | requests to call a device that have not ended |
//! | `rrpc_gateway_connections` | gauge | | HTTP connections |
//! | `rrpc_gateway_connections_limit` | gauge | | as many as there may be; one more waits |
//!
//! - `api` is `plain`, `aliyun` or `tencent`.
//! - `product` is a configured one, or empty: nobody makes a time series by asking for another.
//! - `outcome` is `ok`, `device_error` (a status of 400 or above), the `code` of the
//!   [problem](super::problem) (`too_many` when a limit refused it, `unauthorized` for a wrong key), or
//!   `cancelled` when the caller hung up.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Front;
use super::caller::{Caller, not_allowed};
use super::outcome::Outcome;
use super::problem::Problem;
use super::routes::App;
use super::vendor;
use crate::gateway::products::Products;

/// From a device next door to the longest timeout there is.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    api: &'static str,
    product: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lasted {
    api: &'static str,
    product: String,
}

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    products: Arc<Products>,
    calls: Family<Ended, Counter>,
    durations: Family<Lasted, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
}

impl Metrics {
    pub(super) fn new(front: &Front, connections_limit: usize) -> Self {
        let products = Arc::clone(&front.products);
        let calls = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> _);
        let (in_flight, connections) = (Gauge::default(), Gauge::default());
        let limit: Gauge = Gauge::default();
        limit.set(i64::try_from(connections_limit).unwrap_or(i64::MAX));

        let mut registry = Registry::with_prefix("rrpc_gateway");
        registry.register("calls", "Requests to call a device that have ended", calls.clone());
        registry.register_with_unit(
            "call_duration",
            "From a request's head to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let text = "Requests to call a device that have not ended";
        registry.register("calls_in_flight", text, in_flight.clone());
        registry.register("connections", "HTTP connections", connections.clone());
        let text = "As many HTTP connections as there may be";
        registry.register("connections_limit", text, limit);
        registry.register_collector(Box::new(front.clone()));
        Self { registry, products, calls, durations, in_flight, connections }
    }

    /// One more connection, until it is dropped.
    pub(super) fn connection(&self) -> Held {
        Held::new(&self.connections)
    }

    fn count(&self, start: Instant, api: &'static str, ended: Outcome) {
        let Outcome { product, result: outcome } = ended;
        let configured = product.filter(|product| self.products.get(product).is_some());
        let product = configured.map(String::from).unwrap_or_default();
        let lasted = Lasted { api, product: product.clone() };
        self.durations.get_or_create(&lasted).observe(start.elapsed().as_secs_f64());
        self.calls.get_or_create(&Ended { api, product, outcome }).inc();
    }
}

/// One of what a gauge counts.
#[derive(Debug)]
pub(super) struct Held(Gauge);

impl Held {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request to call a device. It is counted at its end, at the latest when it is dropped.
struct Measurement {
    app: Arc<App>,
    api: &'static str,
    start: Instant,
    _in_flight: Held,
    /// `None` when it was no call.
    ended: Option<Outcome>,
}

impl Drop for Measurement {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.app.metrics.count(self.start, self.api, ended);
        }
    }
}

/// Counts what goes through a route.
pub(super) async fn count(
    State(app): State<Arc<App>>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let product = path.iter().flatten().find(|(name, _)| *name == "product");
    let product: Option<Box<str>> = product.map(|(_, value)| value.into());
    let api = match request.uri().path() {
        "/" => vendor::api(request.headers()).name(),
        _ => "plain",
    };
    let mut measurement = Measurement {
        api,
        start: Instant::now(),
        _in_flight: Held::new(&app.metrics.in_flight),
        ended: Some(Outcome { product, result: "cancelled" }),
        app,
    };
    let mut response = next.run(request).await;
    let of_the_path = measurement.ended.take().and_then(|it| it.product);
    let ended = response.extensions_mut().remove::<Outcome>();
    measurement.ended = ended.map(|it| Outcome { product: it.product.or(of_the_path), ..it });
    response
}

/// `GET /metrics`.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    Caller(key): Caller,
) -> Result<Response, Problem> {
    let hidden = app.front.products.iter().find(|product| !key.may_call(&product.id));
    if let Some(product) = hidden {
        return Err(not_allowed(&product.id));
    }
    let mut text = String::new();
    prometheus_text::encode(&mut text, &app.metrics.registry).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the numbers cannot be written")
    })?;
    Ok(([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response())
}

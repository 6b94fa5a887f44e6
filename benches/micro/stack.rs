//! What all layers together add to a request: timeout, retry, authorize, trace and metrics, on both
//! sides.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::TryFutureExt;
use futures_util::future::MapErr;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_util::registry::{AtomicStorage, Registry};
use tower::{Layer, Service};
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{MetricsLayer, RetryLayer, TimeoutLayer, TraceLayer};
use tower_mqtt::{Request, RequestError, Response};

use crate::cpu_time::Criterion;
use crate::layer::{Nothing, TIMEOUT, bench, check, clock, token};

pub(crate) fn benchmarks(criterion: &mut Criterion) {
    let runtime = clock();
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("Full stack, both sides");
    bench(&mut group, "none", Across(Nothing::new()));
    bench(&mut group, "all", all());
    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        bench(&mut group, "all, with a subscriber", all());
        metrics::with_local_recorder(&Recorded::new(), || {
            bench(&mut group, "all, with a subscriber and a recorder", all());
        });
    });
}

fn all() -> impl Service<Request, Response = Response, Error = RequestError> {
    let both = (TraceLayer::new(), MetricsLayer::new(), TimeoutLayer::new(TIMEOUT));
    let retry = RetryLayer::new(RetryPolicy::default());
    let responder = (both.clone(), retry.clone(), check()).layer(Nothing::new());
    (both, retry, token()).layer(Across(responder))
}

/// A requester's way to a responder that is next to it: what is between the two costs nothing.
#[derive(Clone)]
struct Across<S>(S);

impl<S> Service<Request> for Across<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = RequestError;
    type Future = MapErr<S::Future, fn(Infallible) -> RequestError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.0.poll_ready(context).map_err(|never| match never {})
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request).map_err(|never| match never {})
    }
}

/// Metrics as an exporter holds them.
struct Recorded(Registry<Key, AtomicStorage>);

impl Recorded {
    fn new() -> Self {
        Self(Registry::atomic())
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0.get_or_create_counter(key, |counter| Counter::from_arc(Arc::clone(counter)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.get_or_create_gauge(key, |gauge| Gauge::from_arc(Arc::clone(gauge)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.get_or_create_counter(key, |it| Histogram::from_arc(Arc::new(Sum(Arc::clone(it)))))
    }
}

/// Stands for a histogram, as a real one would grow with each request here.
struct Sum(Arc<AtomicU64>);

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        self.0.fetch_add(value.to_bits(), Ordering::Relaxed);
    }
}

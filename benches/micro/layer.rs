//! What each layer adds to a call, around a service that does nothing.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId};
use tokio::runtime::Runtime;
use tower::layer::util::Identity;
use tower::{Layer, Service};
use tower_mqtt::layer::authorize::Caller;
use tower_mqtt::layer::authorize::bearer::{BearerCheck, BearerToken};
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{
    AuthorizeLayer, CatchPanicLayer, ConcurrencyLimitLayer, DedupLayer, MetricsLayer,
    PayloadLimitLayer, RateLimitLayer, RetryLayer, TimeoutLayer, TraceLayer,
};
use tower_mqtt::{Request, RequestError, Response};

use crate::cpu_time::{BenchmarkGroup, Criterion};

pub(crate) const TOKEN: &str = "mF_9.B5f-4.1JqM";
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn benchmarks(criterion: &mut Criterion) {
    let runtime = clock();
    let _entered = runtime.enter();
    requester(criterion.benchmark_group("Layer on a requester"));
    responder(criterion.benchmark_group("Layer on a responder"));
}

/// Timeouts need a clock; nothing else here needs a runtime.
pub(crate) fn clock() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts")
}

pub(crate) fn token() -> AuthorizeLayer<BearerToken> {
    AuthorizeLayer::new(BearerToken::new(TOKEN).expect("it is a token"))
}

pub(crate) fn check() -> AuthorizeLayer<BearerCheck> {
    AuthorizeLayer::new(BearerCheck::tokens([(TOKEN, Caller::new("anna"))]))
}

fn requester(mut group: BenchmarkGroup<'_>) {
    let group = &mut group;
    let inner = Nothing::<RequestError>::new();
    bench(group, "none", Identity::new().layer(inner));
    bench(group, "timeout", TimeoutLayer::new(TIMEOUT).layer(inner));
    bench(group, "retry", RetryLayer::new(RetryPolicy::default()).layer(inner));
    bench(group, "authorize (bearer)", token().layer(inner));
    bench(group, "trace", TraceLayer::new().layer(inner));
    bench(group, "metrics", MetricsLayer::new().layer(inner));
    bench(group, "limit, concurrency", ConcurrencyLimitLayer::new(1_000).layer(inner));
    bench(group, "limit, rate", endless_rate().layer(inner));
    bench(group, "limit, payload", PayloadLimitLayer::new(1_000).layer(inner));
    bench(group, "catch_panic", CatchPanicLayer::new().layer(inner));
}

fn responder(mut group: BenchmarkGroup<'_>) {
    let group = &mut group;
    let inner = Nothing::<Infallible>::new();
    bench(group, "none", Identity::new().layer(inner));
    bench(group, "timeout", TimeoutLayer::new(TIMEOUT).layer(inner));
    bench(group, "authorize (bearer)", check().layer(inner));
    bench(group, "dedup", DedupLayer::default().layer(inner));
    bench(group, "trace", TraceLayer::new().layer(inner));
    bench(group, "metrics", MetricsLayer::new().layer(inner));
    bench(group, "limit, concurrency", ConcurrencyLimitLayer::new(1_000).layer(inner));
    bench(group, "limit, rate", endless_rate().layer(inner));
    bench(group, "limit, payload", PayloadLimitLayer::new(1_000).layer(inner));
    bench(group, "catch_panic", CatchPanicLayer::new().layer(inner));
}

fn endless_rate() -> RateLimitLayer {
    RateLimitLayer::new(u32::MAX, Duration::from_secs(1))
}

pub(crate) fn bench<S>(group: &mut BenchmarkGroup<'_>, name: &str, mut service: S)
where
    S: Service<Request, Response = Response>,
    S::Error: Debug,
{
    let mut request = requests();
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        let call = |request| call(&mut service, request);
        bencher.iter_batched(&mut request, call, BatchSize::SmallInput);
    });
}

/// A request as a responder gets it, with a token and an id of its own each time.
pub(crate) fn requests() -> impl FnMut() -> Request {
    let mut asked = 0_u128;
    let mut request = Request::new("kitchens/7/recipes/soup/get", "miso")
        .expect("it is a topic")
        .with_user_property("authorization", format!("Bearer {TOKEN}"));
    let response_topic = "clients/machine-7/responses".parse().expect("it is a topic");
    request.parts_mut().response_topic = Some(response_topic);
    move || {
        asked += 1;
        request.clone().correlation_data(Bytes::copy_from_slice(&asked.to_be_bytes()))
    }
}

/// Makes a call, and polls until its answer is there.
pub(crate) fn call<S>(service: &mut S, request: Request) -> Response
where
    S: Service<Request, Response = Response>,
    S::Error: Debug,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready(), "the services here are always ready");
    let mut future = pin!(service.call(request));
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result.expect("the services here do not fail");
        }
    }
}

/// Answers after it has kept its caller waiting once, as anything does that is far away: a timeout
/// has to start its timer.
pub(crate) struct Nothing<E>(PhantomData<fn() -> E>);

impl<E> Nothing<E> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> Clone for Nothing<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Nothing<E> {}

impl<E> Service<Request> for Nothing<E> {
    type Response = Response;
    type Error = E;
    type Future = Later<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Later<E> {
        Later { waited: false, result: ready(Ok(Response::default())) }
    }
}

/// The future of [`Nothing`].
pub(crate) struct Later<E> {
    waited: bool,
    result: Ready<Result<Response, E>>,
}

// Nothing in it is pinned.
impl<E> Unpin for Later<E> {}

impl<E> Future for Later<E> {
    type Output = Result<Response, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.waited {
            return Pin::new(&mut self.result).poll(context);
        }
        self.waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

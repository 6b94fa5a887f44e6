//! How many requests a caller may make in a time.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tower::{Layer, Service};

use super::{CallerOf, ResponseFuture};
use crate::layer::{LONGEST, Side, now};
use crate::message::{Parts, Request, Response, Status};

/// Bounds how many requests each caller makes in a time. Refuses what is beyond, with 429 and when
/// to come again.
///
/// A token bucket for each caller: it holds [`burst`](Self::burst) requests and is filled evenly.
///
/// ```
/// # use std::time::Duration;
/// # use tower::{Service, ServiceExt};
/// use tower_mqtt::layer::RateLimitLayer;
/// use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (a, b) = memory::pair();
/// let limit = RateLimitLayer::new(2, Duration::from_secs(60));
/// let router = Router::new().route("brew", async || ()).layer(limit);
/// let _responder = Responder::builder(b).serve(router).await?;
/// let mut requester = Requester::builder(a).build().await?;
/// for _ in 0..2 {
///     let response = requester.ready().await?.call(Request::new("brew", "")?).await?;
///     assert!(response.status().is_success());
/// }
/// let response = requester.ready().await?.call(Request::new("brew", "")?).await?;
/// assert_eq!(response.status().code(), 429);
/// assert_eq!(response.status().message(), Some("the limit is 2 in 60s; again in 30s"));
/// # Ok(())
/// # }
/// ```
///
/// # Bounds
///
/// It remembers a caller only while its bucket is not full: a full one says nothing. At most 65,536
/// callers ([`callers`](Self::callers)) in about 100 bytes each; while it knows so many, a request
/// of another caller is refused with 503. Each request costs O(log n); nothing is scanned.
///
/// # Differences from tower's
///
/// `tower::limit::RateLimit` makes callers wait in `poll_ready`, counts all together in fixed
/// windows, and is not `Clone`. This one refuses, counts each caller for itself, and clones share
/// the limit.
//
// The crate `governor` has the same algorithm, but its table of keys grows until somebody scans it,
// and it brings a clock of its own; what is left of it is a dozen lines.
#[derive(Debug, Clone)]
pub struct RateLimitLayer {
    requests: u32,
    per: Duration,
    burst: u32,
    callers: usize,
    caller: CallerOf,
    buckets: Arc<Mutex<Buckets>>,
}

impl RateLimitLayer {
    /// So many requests of each caller, at least 1, in each `per`.
    pub fn new(requests: u32, per: Duration) -> Self {
        let requests = requests.max(1);
        Self {
            requests,
            per: per.min(LONGEST),
            burst: requests,
            callers: 65_536,
            caller: CallerOf::default(),
            buckets: Arc::default(),
        }
    }

    /// How many requests a caller that has been silent may make at once, at least 1. As many as in
    /// one `per` by default; 1 enforces an even distance.
    pub fn burst(mut self, requests: u32) -> Self {
        self.burst = requests.max(1);
        self
    }

    /// How many callers are remembered at once. 65,536 by default: about 6 MiB when all are busy.
    pub fn callers(mut self, callers: usize) -> Self {
        self.callers = callers;
        self
    }

    /// Who a caller is. Its response topic by default; `|_| ()` counts all together.
    pub fn caller<K: Hash>(mut self, caller: impl Fn(&Parts) -> K + Send + Sync + 'static) -> Self {
        self.caller = CallerOf::new(caller);
        self
    }

    fn admit(&self, parts: &Parts) -> Result<(), Status> {
        let caller = self.caller.get(parts);
        let interval = self.per / self.requests;
        let tolerance = interval.saturating_mul(self.burst - 1).min(LONGEST);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.admit(caller, now(), interval, tolerance, self.callers).map_err(|refusal| {
            match refusal {
                Refusal::TooFast { wait } => Status::TOO_MANY_REQUESTS.with_message(format!(
                    "the limit is {} in {:?}; again in {wait:?}",
                    self.requests, self.per
                )),
                Refusal::TooManyCallers => {
                    Status::UNAVAILABLE.with_message("too many callers at once to count another")
                }
            }
        })
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner, limit: self.clone() }
    }
}

/// The service of a [`RateLimitLayer`].
#[derive(Debug, Clone)]
pub struct RateLimit<S> {
    inner: S,
    limit: RateLimitLayer,
}

impl<S> Service<Request> for RateLimit<S>
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

    fn call(&mut self, request: Request) -> Self::Future {
        match self.limit.admit(request.parts()) {
            Ok(()) => ResponseFuture::admitted(self.inner.call(request), None),
            Err(status) => ResponseFuture::refused(status),
        }
    }
}

/// When the bucket of each caller is full again (the theoretical arrival time of the generic cell
/// rate algorithm, ITU-T I.371). A full bucket is as good as none, and is not kept.
#[derive(Debug, Default)]
struct Buckets {
    full_at: HashMap<u64, Instant>,
    // Invariant: the same pairs, by time.
    by_time: BTreeSet<(Instant, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    TooFast { wait: Duration },
    TooManyCallers,
}

impl Buckets {
    /// Takes one token, which comes back after `interval`; the bucket may lack as many as come back
    /// in `tolerance` beside it.
    fn admit(
        &mut self,
        caller: u64,
        now: Instant,
        interval: Duration,
        tolerance: Duration,
        callers: usize,
    ) -> Result<(), Refusal> {
        self.forget_full(now);
        let full_at = self.full_at.get(&caller).copied();
        if full_at.is_none() && self.full_at.len() >= callers {
            return Err(Refusal::TooManyCallers);
        }
        let lacking = full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let wait = lacking.saturating_sub(tolerance);
        if !wait.is_zero() {
            return Err(Refusal::TooFast { wait });
        }
        if let Some(full_at) = full_at {
            self.by_time.remove(&(full_at, caller));
        }
        let full_at = now + lacking + interval;
        self.full_at.insert(caller, full_at);
        self.by_time.insert((full_at, caller));
        Ok(())
    }

    fn forget_full(&mut self, now: Instant) {
        while let Some(&(full_at, caller)) = self.by_time.first()
            && full_at <= now
        {
            self.by_time.pop_first();
            self.full_at.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;
    use crate::layer::authorize::Caller;
    use crate::layer::mock::{
        at_once, code, keeps_the_contract, ms, request, requester, responder, start,
    };

    fn from(caller: &str) -> Request {
        let mut request = request("1");
        request.parts_mut().extensions.insert(Caller::new(caller));
        request
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        keeps_the_contract(RateLimitLayer::new(10, ms(1000))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_too_fast_is_refused_and_others_are_not() {
        let (mut service, _handle) = responder(&RateLimitLayer::new(2, ms(100)));
        for _ in 0..2 {
            drop(start(&mut service, from("a")));
        }
        let refusal = at_once(&mut service, from("a")).unwrap();
        assert_eq!(refusal.status().message(), Some("the limit is 2 in 100ms; again in 50ms"));
        drop(start(&mut service, from("b")));
        advance(ms(50)).await;
        drop(start(&mut service, from("a")));
        assert_eq!(code(at_once(&mut service, from("a"))), 429);
    }

    #[tokio::test(start_paused = true)]
    async fn a_requester_is_refused_before_anything_is_sent() {
        let (mut service, mut handle) = requester(&RateLimitLayer::new(100, ms(100)).burst(1));
        let _call = start(&mut service, Request::new("a", "").unwrap());
        assert_eq!(code(at_once(&mut service, Request::new("b", "").unwrap())), 429);
        assert!(handle.poll_request().is_ready());
        assert!(handle.poll_request().is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_are_bounded_and_forgotten_when_their_bucket_is_full() {
        let layer = RateLimitLayer::new(1, ms(100)).callers(2);
        let (mut service, _handle) = responder(&layer);
        for caller in ["a", "b"] {
            drop(start(&mut service, from(caller)));
        }
        assert_eq!(code(at_once(&mut service, from("c"))), 503);
        advance(ms(100)).await;
        drop(start(&mut service, from("c")));
        let buckets = layer.buckets.lock().unwrap();
        assert_eq!((buckets.full_at.len(), buckets.by_time.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn extreme_settings_are_no_trouble() {
        let (mut service, _handle) =
            responder(&RateLimitLayer::new(0, Duration::MAX).burst(u32::MAX));
        for _ in 0..2 {
            drop(start(&mut service, from("a")));
        }
        let (mut service, _handle) = responder(&RateLimitLayer::new(u32::MAX, Duration::ZERO));
        drop(start(&mut service, from("a")));
    }

    /// A bucket as one would draw it, in thousandths of a token.
    struct Model {
        tokens: u64,
        at: u64,
    }

    proptest! {
        #[test]
        fn behaves_like_a_bucket(steps in prop::collection::vec((0..3_u64, 0..40_u64), 1..200)) {
            const BURST: u64 = 3;
            const INTERVAL: u64 = 10;
            let begin = Instant::now();
            let mut buckets = Buckets::default();
            let mut models: HashMap<u64, Model> = HashMap::new();
            let mut time = 0;
            for (caller, pause) in steps {
                time += pause;
                let model = models.entry(caller).or_insert(Model { tokens: BURST * INTERVAL, at: 0 });
                model.tokens = (model.tokens + time - model.at).min(BURST * INTERVAL);
                model.at = time;
                let allowed = model.tokens >= INTERVAL;
                if allowed {
                    model.tokens -= INTERVAL;
                }
                let tolerance = ms(INTERVAL * (BURST - 1));
                let result = buckets.admit(caller, begin + ms(time), ms(INTERVAL), tolerance, 10);
                prop_assert_eq!(result.is_ok(), allowed, "{:?}", result);
                prop_assert_eq!(buckets.full_at.len(), buckets.by_time.len());
            }
        }
    }
}

//! How many requests may be in progress at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{CallerOf, ResponseFuture};
use crate::layer::Side;
use crate::message::{Parts, Request, Response, Status};

/// Bounds how many requests are in progress at once, in all and per caller. Refuses what is beyond,
/// with 503 in all and 429 per caller.
///
/// A request counts until its future is done or dropped. Its memory is bounded by the requests in
/// progress: callers that have none are not remembered.
///
/// ```
/// # use tower::{Service, ServiceExt};
/// use tower_mqtt::layer::ConcurrencyLimitLayer;
/// use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (a, b) = memory::pair();
/// let router = Router::new()
///     .route("heat", async || std::future::pending::<()>().await)
///     .layer(ConcurrencyLimitLayer::new(64).per_caller(1));
/// let _responder = Responder::builder(b).serve(router).await?;
/// let mut requester = Requester::builder(a).build().await?;
///
/// let _first = requester.ready().await?.call(Request::new("heat", "")?);
/// let second = requester.ready().await?.call(Request::new("heat", "")?).await?;
/// assert_eq!(second.status().code(), 429);
/// assert_eq!(second.status().message(), Some("1 of yours in progress, the limit is 1"));
/// # Ok(())
/// # }
/// ```
///
/// # Differences from tower's
///
/// `tower::limit::ConcurrencyLimit` lets callers wait in `poll_ready`, which is right on a
/// requester (whose [`max_in_flight`](crate::requester::RequesterBuilder::max_in_flight) does the
/// same). A responder cannot make callers on the other side wait, so this one refuses and is always
/// as ready as what is inside. It knows callers, and clones of the layer share the limit.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimitLayer {
    limits: Limits,
    caller: CallerOf,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    total: usize,
    per_caller: Option<usize>,
}

impl ConcurrencyLimitLayer {
    /// At most so many requests at once, of all callers together.
    pub fn new(total: usize) -> Self {
        let limits = Limits { total, per_caller: None };
        Self { limits, caller: CallerOf::default(), taken: Arc::default() }
    }

    /// At most so many requests of one caller at once. As many as of all by default.
    pub fn per_caller(mut self, requests: usize) -> Self {
        self.limits.per_caller = Some(requests);
        self
    }

    /// Who a caller is. Its response topic by default.
    pub fn caller<K: Hash>(mut self, caller: impl Fn(&Parts) -> K + Send + Sync + 'static) -> Self {
        self.caller = CallerOf::new(caller);
        self
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit { inner, limit: self.clone() }
    }
}

/// The service of a [`ConcurrencyLimitLayer`].
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    limit: ConcurrencyLimitLayer,
}

impl<S> Service<Request> for ConcurrencyLimit<S>
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
        match self.limit.take(request.parts()) {
            Ok(slot) => ResponseFuture::admitted(self.inner.call(request), Some(slot)),
            Err(status) => ResponseFuture::refused(status),
        }
    }
}

impl ConcurrencyLimitLayer {
    fn take(&self, parts: &Parts) -> Result<Slot, Status> {
        let Limits { total, per_caller } = self.limits;
        let caller = per_caller.map(|limit| (self.caller.get(parts), limit));
        let mut taken = lock(&self.taken);
        if taken.total >= total {
            let reason = format!("{} in progress, the limit is {total}", taken.total);
            return Err(Status::UNAVAILABLE.with_message(reason));
        }
        if let Some((caller, limit)) = caller {
            let of_caller = taken.by_caller.get(&caller).copied().unwrap_or(0);
            if of_caller >= limit {
                let reason = format!("{of_caller} of yours in progress, the limit is {limit}");
                return Err(Status::TOO_MANY_REQUESTS.with_message(reason));
            }
            taken.by_caller.insert(caller, of_caller + 1);
        }
        taken.total += 1;
        Ok(Slot { taken: Arc::clone(&self.taken), caller: caller.map(|(caller, _)| caller) })
    }
}

/// The requests in progress.
#[derive(Debug, Default)]
struct Taken {
    total: usize,
    // Invariant: no zeros.
    by_caller: HashMap<u64, usize>,
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    // Nothing panics under the lock.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request in progress.
#[derive(Debug)]
pub(super) struct Slot {
    taken: Arc<Mutex<Taken>>,
    caller: Option<u64>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.total -= 1;
        let Some(caller) = self.caller else { return };
        match taken.by_caller.get_mut(&caller) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = taken.by_caller.remove(&caller),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::assert_ready_ok;

    use super::*;
    use crate::layer::authorize::Caller;
    use crate::layer::mock::{
        at_once, code, keeps_the_contract, request, requester, responder, start,
    };

    fn from(caller: &str) -> Request {
        let mut request = request("1");
        request.parts_mut().extensions.insert(Caller::new(caller));
        request
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        keeps_the_contract(ConcurrencyLimitLayer::new(1).per_caller(1)).await;
    }

    #[tokio::test]
    async fn what_is_beyond_the_limits_is_refused() {
        let layer = ConcurrencyLimitLayer::new(3).per_caller(2);
        let (mut service, mut handle) = responder(&layer);
        let mut other = service.clone();
        let mut refused = |caller| code(at_once(&mut other, from(caller)));
        let mut first = start(&mut service, from("a"));
        let _second = start(&mut service, from("a"));
        assert_eq!(refused("a"), 429);
        let _third = start(&mut service, from("b"));
        assert_eq!(refused("c"), 503);
        handle.next_request().await.unwrap().1.send_response(Response::default());
        assert_ready_ok!(first.poll());
        drop(start(&mut service, from("a")));
    }

    #[tokio::test]
    async fn a_requester_is_refused_before_anything_is_sent() {
        let (mut service, mut handle) = requester(&ConcurrencyLimitLayer::new(0));
        assert_eq!(code(at_once(&mut service, request("1"))), 503);
        assert!(handle.poll_request().is_pending());
    }

    #[tokio::test]
    async fn idle_callers_are_not_remembered_and_clones_share_the_limit() {
        let layer = ConcurrencyLimitLayer::new(5).per_caller(5).caller(|parts| parts.topic.clone());
        let (mut one, _one) = responder(&layer);
        let (mut two, _two) = responder(&layer.clone());
        let calls = [start(&mut one, from("a")), start(&mut two, from("b"))];
        assert_eq!(lock(&layer.taken).by_caller.values().collect::<Vec<_>>(), [&2]);
        drop(calls);
        assert!(lock(&layer.taken).by_caller.is_empty());
        assert_eq!(lock(&layer.taken).total, 0);
    }
}

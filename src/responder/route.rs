//! One route: any service, its type erased.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service, ServiceExt};

use super::handler::Handler;
use super::into_response::IntoResponse;
use crate::message::{Request, Response};

/// A handler or a service on a route: what [`Router::layer`](super::Router::layer) wraps.
///
/// Cloning it is cheap. It is always ready: a service inside is waited for as part of its call.
#[derive(Clone)]
pub struct Route(Arc<dyn Call>);

type BoxFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

trait Call: Send + Sync {
    fn call(&self, request: Request) -> BoxFuture;
}

impl Route {
    pub(super) fn from_handler<H, T, S>(handler: H, state: S) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Self(Arc::new(WithState { handler, state, arguments: PhantomData }))
    }

    pub(super) fn from_service<V>(service: V) -> Self
    where
        V: Service<Request> + Clone + Send + Sync + 'static,
        V::Response: IntoResponse,
        V::Error: Into<Infallible>,
        V::Future: Send,
    {
        Self(Arc::new(Erased(service)))
    }

    pub(super) fn layer<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse,
        <L::Service as Service<Request>>::Error: Into<Infallible>,
        <L::Service as Service<Request>>::Future: Send,
    {
        Self::from_service(layer.layer(self))
    }

    pub(super) fn answer(&self, request: Request) -> RouteFuture {
        RouteFuture(self.0.call(request))
    }
}

impl Service<Request> for Route {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> RouteFuture {
        self.answer(request)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

/// The future of a [`Route`] and of a [`Router`](super::Router).
#[must_use = "futures do nothing unless polled"]
pub struct RouteFuture(BoxFuture);

impl Future for RouteFuture {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for RouteFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteFuture").finish_non_exhaustive()
    }
}

struct WithState<H, T, S> {
    handler: H,
    state: S,
    arguments: PhantomData<fn() -> T>,
}

impl<H, T, S> Call for WithState<H, T, S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    fn call(&self, request: Request) -> BoxFuture {
        Box::pin(self.handler.clone().call(request, self.state.clone()))
    }
}

struct Erased<V>(V);

impl<V> Call for Erased<V>
where
    V: Service<Request> + Clone + Send + Sync + 'static,
    V::Response: IntoResponse,
    V::Error: Into<Infallible>,
    V::Future: Send,
{
    fn call(&self, request: Request) -> BoxFuture {
        let service = self.0.clone();
        Box::pin(async move {
            match service.oneshot(request).await {
                Ok(response) => response.into_response(),
                Err(error) => match error.into() {},
            }
        })
    }
}

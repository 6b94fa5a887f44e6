//! Turns a panic inside into an answer and an error event.
//!
//! ```
//! use tower::{Service, ServiceExt};
//! use tower_mqtt::layer::CatchPanicLayer;
//! use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # std::panic::set_hook(Box::new(|_| {}));
//! async fn divide(divisor: String) -> String {
//!     (100 / divisor.parse().unwrap_or(0)).to_string()
//! }
//!
//! let (a, b) = memory::pair();
//! let router = Router::new().route("divide", divide).layer(CatchPanicLayer::new());
//! let _responder = Responder::builder(b).serve(router).await?;
//!
//! let requester = Requester::builder(a).build().await?;
//! let response = requester.oneshot(Request::new("divide", "0")?).await?;
//! assert_eq!(response.status().to_string(), "500 internal error");
//! # Ok(())
//! # }
//! ```

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::Side;
use crate::core::topic::TopicName;
use crate::error::LayerError;
use crate::message::{Request, Response};

/// Turns a panic inside into an answer with 500, and an error event with the panic's own text. On a
/// requester the result is [`RequestError::Layer`](crate::RequestError::Layer): the request may
/// have been executed. The caller never sees the text.
///
/// A [`Responder`](crate::Responder) answers 500 after a panic by itself: there the whole task
/// ends, and with it every layer. This one is for stacks that must go on after it: a
/// [`DedupLayer`](super::DedupLayer) outside remembers the 500 instead of executing the request
/// again, and what counts or traces answers outside sees one.
///
/// A panic in `poll_ready` is not caught: a service that cannot say whether it is ready cannot be
/// called. Nothing is caught in a program built with `panic = "abort"`.
///
/// # Differences from tower-http's
///
/// The answer has no body to choose; a status says it. It works on requesters too.
#[derive(Debug, Clone, Copy, Default)]
pub struct CatchPanicLayer(());

impl CatchPanicLayer {
    /// Catches panics.
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

/// The service of a [`CatchPanicLayer`].
#[derive(Debug, Clone)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S> Service<Request> for CatchPanic<S>
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
        let topic = request.topic().clone();
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(inner) => ResponseFuture { inner: Some(inner), topic },
            Err(panic) => {
                report(&topic, &*panic);
                ResponseFuture { inner: None, topic }
            }
        }
    }
}

fn report(topic: &TopicName, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(%topic, panic = text.unwrap_or("no text"), "a service panicked");
}

pin_project! {
    /// The future of [`CatchPanic`].
    ///
    /// # Cancel safety
    /// Dropping it drops the future inside.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // `None` after a panic.
        #[pin]
        inner: Option<F>,
        topic: TopicName,
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Side,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(poll) => return Poll::Ready(ready!(poll)),
                Err(panic) => report(this.topic, &*panic),
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| this.inner.set(None))) {
                report(this.topic, &*panic);
            }
        }
        Poll::Ready(E::broken(LayerError::new("a service panicked")))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fmt::Debug;

    use tower::{ServiceExt, service_fn};

    use super::super::mock::{keeps_the_contract, request};
    use super::*;
    use crate::error::{Delivery, RequestError};

    #[tokio::test]
    async fn it_keeps_the_contract() {
        keeps_the_contract(CatchPanicLayer::new()).await;
    }

    /// Panics in its future, or already when it is called.
    async fn panics<E: Side + Debug>(at_once: bool) -> Result<Response, E> {
        let service = service_fn(move |_| {
            assert!(!at_once, "on purpose");
            async { panic!("on {}", "purpose") }
        });
        CatchPanicLayer::new().layer(service).oneshot(request("1")).await
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_on_a_responder() {
        for at_once in [true, false] {
            let response = panics::<Infallible>(at_once).await.unwrap();
            assert_eq!(response.status().to_string(), "500 internal error");
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_on_a_requester_and_the_request_may_have_been_executed() {
        for at_once in [true, false] {
            let error = panics::<RequestError>(at_once).await.unwrap_err();
            assert_eq!(error.to_string(), "a layer failed: a service panicked");
            assert_eq!(error.delivery(), Delivery::Unknown);
        }
    }
}

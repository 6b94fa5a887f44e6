//! Turns the errors of layers into answers, so that layers which can fail may sit on a router.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::into_response::IntoResponse;
use crate::error::RequestError;
use crate::message::{Request, Response, Status};

/// Turns the errors of the layers inside into answers.
///
/// A router's services cannot fail, and tower's `load_shed`, `buffer` and `timeout` can. This
/// layer, outside them, calls an async function with the error; what it returns is the answer.
///
/// ```
/// # use std::time::Duration;
/// use tower::{BoxError, ServiceBuilder};
/// use tower_mqtt::responder::HandleErrorLayer;
/// use tower_mqtt::{Router, Status};
///
/// let router: Router = Router::new().route("heat", async || "hot").layer(
///     ServiceBuilder::new()
///         .layer(HandleErrorLayer::new(async |error: BoxError| {
///             Status::UNAVAILABLE.with_message(error.to_string())
///         }))
///         .load_shed()
///         .concurrency_limit(2),
/// );
/// ```
///
/// [`HandleErrorLayer::default`] has a fitting status for everything that the layers of this crate
/// and of tower say.
///
/// It is always ready: what is inside is waited for as part of the call, so that an error there is
/// an answer too.
#[derive(Debug, Clone, Copy)]
pub struct HandleErrorLayer<F> {
    handler: F,
}

impl<F> HandleErrorLayer<F> {
    /// Answers with what the async function makes of the error.
    pub const fn new(handler: F) -> Self {
        Self { handler }
    }
}

impl Default for HandleErrorLayer<fn(BoxError) -> Ready<Status>> {
    /// Answers, by what the error says as a [`RequestError`]: the refusal's own status; 408 for
    /// `Timeout`; 503 for `Overloaded`; and for everything else 500, with an event that has the
    /// error's text.
    fn default() -> Self {
        Self::new(|error| ready(status(error)))
    }
}

fn status(error: BoxError) -> Status {
    match RequestError::from(error) {
        RequestError::Refused(status) => status,
        RequestError::Timeout => Status::TIMEOUT,
        RequestError::Overloaded => Status::UNAVAILABLE.with_message("too busy"),
        error => {
            tracing::error!(%error, "a layer failed");
            Status::INTERNAL
        }
    }
}

impl<S, F: Clone> Layer<S> for HandleErrorLayer<F> {
    type Service = HandleError<S, F>;

    fn layer(&self, inner: S) -> HandleError<S, F> {
        HandleError { inner, handler: self.handler.clone() }
    }
}

/// The service of a [`HandleErrorLayer`].
#[derive(Debug, Clone)]
pub struct HandleError<S, F> {
    inner: S,
    handler: F,
}

impl<S, F, Fut> Service<Request> for HandleError<S, F>
where
    S: Service<Request> + Clone,
    S::Response: IntoResponse,
    F: FnOnce(S::Error) -> Fut + Clone,
    Fut: Future,
    Fut::Output: IntoResponse,
{
    type Response = Response;
    type Error = Infallible;
    type Future = HandleErrorFuture<S, F, Fut>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone).oneshot(request);
        HandleErrorFuture { state: State::Calling { inner, handler: Some(self.handler.clone()) } }
    }
}

pin_project! {
    /// The future of [`HandleError`].
    ///
    /// # Cancel safety
    /// Dropping it drops the future inside.
    #[must_use = "futures do nothing unless polled"]
    pub struct HandleErrorFuture<S: Service<Request>, F, Fut> {
        #[pin]
        state: State<S, F, Fut>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S: Service<Request>, F, Fut> {
        Calling { #[pin] inner: Oneshot<S, Request>, handler: Option<F> },
        Handling { #[pin] answer: Fut },
    }
}

impl<S, F, Fut> Future for HandleErrorFuture<S, F, Fut>
where
    S: Service<Request>,
    S::Response: IntoResponse,
    F: FnOnce(S::Error) -> Fut,
    Fut: Future,
    Fut::Output: IntoResponse,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let answer = match state.as_mut().project() {
                StateProjection::Calling { inner, handler } => match ready!(inner.poll(cx)) {
                    Ok(response) => return Poll::Ready(Ok(response.into_response())),
                    Err(error) => {
                        let handler = handler.take().expect("the call ends once");
                        handler(error)
                    }
                },
                StateProjection::Handling { answer } => {
                    return Poll::Ready(Ok(ready!(answer.poll(cx)).into_response()));
                }
            };
            state.set(State::Handling { answer });
        }
    }
}

impl<S: Service<Request>, F, Fut> fmt::Debug for HandleErrorFuture<S, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleErrorFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tower::service_fn;

    use super::*;

    async fn answer(error: impl Into<BoxError>) -> u16 {
        let error = std::sync::Mutex::new(Some(error.into()));
        let error = std::sync::Arc::new(error);
        let service = service_fn(move |_: Request| {
            let error = error.lock().unwrap().take().expect("called once");
            async move { Err::<Response, _>(error) }
        });
        let service = HandleErrorLayer::default().layer(service);
        let Ok(response) = service.oneshot(Request::new("a", "").unwrap()).await;
        response.status().code()
    }

    #[tokio::test]
    async fn the_default_has_a_status_for_what_layers_say() {
        assert_eq!(answer(RequestError::Refused(Status::FORBIDDEN)).await, 403);
        assert_eq!(answer(RequestError::Timeout).await, 408);
        assert_eq!(answer(tower::load_shed::error::Overloaded::new()).await, 503);
        assert_eq!(answer("the fuse is blown").await, 500);
    }

    #[derive(Clone)]
    struct NeverReady;

    impl Service<Request> for NeverReady {
        type Response = Response;
        type Error = &'static str;
        type Future = Ready<Result<Response, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err("never"))
        }

        fn call(&mut self, _: Request) -> Self::Future {
            unreachable!("it was never ready")
        }
    }

    #[tokio::test]
    async fn an_error_of_poll_ready_is_an_answer_too() {
        let mut service =
            HandleErrorLayer::new(async |error: &'static str| error).layer(NeverReady);
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(response) = service.call(Request::new("a", "").unwrap()).await;
        assert_eq!(response.payload(), "never");
    }
}

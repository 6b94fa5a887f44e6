//! The future of a request that has come through a limit, or has not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::concurrency::Slot;
use crate::layer::Side;
use crate::message::{Response, Status};

pin_project! {
    /// The future of the limits.
    ///
    /// # Cancel safety
    /// Dropping it drops the future inside and gives back what the request held.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Admitted { #[pin] inner: F, slot: Option<Slot> },
        Refused { status: Option<Status> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, slot: Option<Slot>) -> Self {
        Self { state: State::Admitted { inner, slot } }
    }

    pub(super) fn refused(status: Status) -> Self {
        Self { state: State::Refused { status: Some(status) } }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Side,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Admitted { inner, slot } => {
                let result = ready!(inner.poll(cx));
                // Free before anybody knows the result.
                *slot = None;
                Poll::Ready(result)
            }
            StateProjection::Refused { status } => {
                Poll::Ready(E::refuse(status.take().unwrap_or(Status::UNAVAILABLE)))
            }
        }
    }
}

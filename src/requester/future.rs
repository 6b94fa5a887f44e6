//! The future of one call. Dropping it gives the call up.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::{Answered, Command, Shared};
use crate::error::RequestError;
use crate::message::Response;

pin_project! {
    /// The future of a call on a [`Requester`](super::Requester).
    ///
    /// # Cancel safety
    /// Dropping it gives the call up: the slot is freed and a later answer is counted as late.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State {
        Waiting {
            answer: Answered,
            // The connection expires the call as well; this one fires when the connection's thread
            // is busy or gone.
            #[pin]
            deadline: Sleep,
            cancel: CancelOnDrop,
        },
        Failed { error: Option<RequestError> },
    }
}

impl ResponseFuture {
    pub(super) fn waiting(
        answer: Answered,
        deadline: Instant,
        key: Bytes,
        serial: u64,
        shared: Arc<Shared>,
    ) -> Self {
        let deadline = tokio::time::sleep_until(tokio::time::Instant::from_std(deadline));
        let cancel = CancelOnDrop { call: Some((key, serial)), shared };
        Self { state: State::Waiting { answer, deadline, cancel } }
    }

    pub(super) fn failed(error: RequestError) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response, RequestError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            // The answer is looked at first: one that is there beats a clock that has run out.
            StateProjection::Waiting { answer, deadline, cancel } => {
                if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
                    cancel.call = None;
                    return Poll::Ready(answer.unwrap_or(Err(RequestError::Closed)));
                }
                deadline.poll(cx).map(|()| Err(RequestError::Timeout))
            }
            StateProjection::Failed { error } => {
                Poll::Ready(Err(error.take().unwrap_or(RequestError::Closed)))
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

struct CancelOnDrop {
    /// `None` once the call has its outcome.
    call: Option<(Bytes, u64)>,
    shared: Arc<Shared>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some((key, serial)) = self.call.take() {
            // It fails only when the connection is gone, and the table with it.
            let _ = self.shared.commands.send(Command::Cancel { key, serial });
        }
    }
}

//! The stages of one request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tower::Service;

use super::memory::Execution;
use super::store::{Claim, DedupStore, StoreFuture};
use crate::layer::Side;
use crate::message::{Request, Response, Status};

/// How the store learns the answer.
pub(super) struct Settle {
    pub(super) store: Arc<dyn DedupStore>,
    pub(super) request: Request,
}

pin_project! {
    /// The future of [`Dedup`](super::Dedup).
    ///
    /// # Cancel safety
    /// Dropping it drops the execution, if it is the one that executes; the request is forgotten.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, F> {
        #[pin]
        pub(super) state: State<S, F>,
    }
}

pin_project! {
    #[project = StateProjection]
    pub(super) enum State<S, F> {
        Passing { #[pin] inner: F },
        Executing { #[pin] inner: F, execution: Option<Execution>, settle: Option<Settle> },
        Waiting { answer: oneshot::Receiver<Response> },
        Claiming {
            claim: StoreFuture<Claim>,
            next: Option<Box<(S, Settle)>>,
            execution: Option<Execution>,
        },
        Settling {
            settled: StoreFuture<()>,
            response: Option<Response>,
            execution: Option<Execution>,
        },
        Done { result: Option<Result<Response, Status>> },
    }
}

impl<S> Future for ResponseFuture<S, S::Future>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    type Output = Result<Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Passing { inner } => return inner.poll(cx),
                StateProjection::Executing { inner, execution, settle } => {
                    let response = ready!(inner.poll(cx))?;
                    let execution = execution.take();
                    match settle.take() {
                        None => finished(execution, response),
                        Some(Settle { store, request }) => State::Settling {
                            settled: store.settle(&request, &response),
                            response: Some(response),
                            execution,
                        },
                    }
                }
                StateProjection::Waiting { answer } => State::Done {
                    result: Some(ready!(Pin::new(answer).poll(cx)).map_err(|_| given_up())),
                },
                StateProjection::Claiming { claim, next, execution } => {
                    let claim = ready!(claim.as_mut().poll(cx));
                    claimed(claim, next.take(), execution.take())
                }
                StateProjection::Settling { settled, response, execution } => {
                    ready!(settled.as_mut().poll(cx));
                    finished(execution.take(), response.take().unwrap_or_default())
                }
                StateProjection::Done { result } => {
                    let result = result.take().unwrap_or_else(|| Err(given_up()));
                    return Poll::Ready(result.or_else(S::Error::refuse));
                }
            };
            state.set(next);
        }
    }
}

/// The store has spoken.
fn claimed<S: Service<Request>>(
    claim: Claim,
    next: Option<Box<(S, Settle)>>,
    execution: Option<Execution>,
) -> State<S, S::Future> {
    match (claim, next) {
        (Claim::Execute, Some(next)) => {
            let (mut service, settle) = *next;
            let inner = service.call(settle.request.clone());
            State::Executing { inner, execution, settle: Some(settle) }
        }
        (Claim::Answered(response), _) => finished(execution, response),
        (Claim::Refuse(status), _) => State::Done { result: Some(Err(status)) },
        (Claim::Execute, None) => State::Done { result: Some(Err(given_up())) },
    }
}

fn finished<S, F>(execution: Option<Execution>, response: Response) -> State<S, F> {
    if let Some(execution) = execution {
        execution.finish(&response);
    }
    State::Done { result: Some(Ok(response)) }
}

fn given_up() -> Status {
    Status::UNAVAILABLE.with_message("the first copy of the request was given up; ask again")
}

impl<S, F> fmt::Debug for ResponseFuture<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

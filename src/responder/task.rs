//! One request on its way through the service, on a task of its own.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tower::{Service, ServiceExt};

use super::relay::Relay;
use crate::dialect::ReplyTo;
use crate::link::AckId;
use crate::message::{Request, Response, Status};
use crate::scope;

/// What tasks and handles send to the connection. The channel has no bound of its own: each request
/// that holds a slot is once in a [`Command::Done`].
pub(super) enum Command {
    Done(Vec<(Exchange, Outcome)>),
    Shutdown { grace: Duration, done: Option<oneshot::Sender<()>> },
}

/// What became of a request.
pub(super) enum Outcome {
    Answered(Response),
    Panicked,
    /// The task was stopped before it was done.
    Stopped,
    /// The caller's deadline passed: it has gone, so nothing is said.
    Expired,
}

/// What is needed to answer one request.
pub(super) struct Exchange {
    pub(super) serial: u64,
    /// Which of the responder's dialects it came in.
    pub(super) dialect: usize,
    pub(super) reply_to: ReplyTo,
    pub(super) deadline: Option<Instant>,
    pub(super) ack: Option<AckId>,
    /// Freed when the answer has been handed to the connection, so that slots bound the channel.
    pub(super) slot: Option<OwnedSemaphorePermit>,
}

/// Answers its request whatever happens: with a response, after a panic, or when it is dropped.
pub(super) struct Answerer {
    exchange: Option<Exchange>,
    way: Way,
}

/// How it is told what has become of a request.
#[derive(Clone)]
pub(super) enum Way {
    /// To a connection on the same thread.
    Direct(mpsc::UnboundedSender<Command>),
    Relayed(Relay),
}

impl Answerer {
    pub(super) fn new(exchange: Exchange, way: Way) -> Self {
        Self { exchange: Some(exchange), way }
    }

    fn finish(&mut self, outcome: Outcome) {
        let Some(exchange) = self.exchange.take() else { return };
        match &self.way {
            // It fails only when the connection is gone, and with it the way to the caller.
            Way::Direct(commands) => {
                let _ = commands.send(Command::Done(vec![(exchange, outcome)]));
            }
            Way::Relayed(relay) => relay.ended(exchange, outcome),
        }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.finish(if panicked { Outcome::Panicked } else { Outcome::Stopped });
    }
}

/// Runs the service; drops its future at the deadline.
pub(super) async fn handle<S>(service: S, request: Request, deadline: Option<Instant>) -> Outcome
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let handling = scope::enter(deadline, service.oneshot(request));
    let handled = match deadline {
        None => Some(handling.await),
        // It looks at the answer first: one that is there beats a clock that has run out.
        Some(deadline) => {
            tokio::time::timeout_at(tokio::time::Instant::from_std(deadline), handling).await.ok()
        }
    };
    handled.map_or(Outcome::Expired, |Ok(response)| Outcome::Answered(response))
}

/// Handles a request without waiting for anything. Gives back what has to wait.
pub(super) fn try_now<F>(handling: F) -> Result<Outcome, Pin<Box<F>>>
where
    F: Future<Output = Outcome>,
{
    let mut handling = Box::pin(handling);
    let handled = catch_unwind(AssertUnwindSafe(move || {
        // Nobody has to be woken: who takes it back polls it once more.
        match handling.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => Err(handling),
        }
    }));
    handled.unwrap_or(Ok(Outcome::Panicked))
}

/// Answers with the outcome.
pub(super) async fn run(handling: impl Future<Output = Outcome>, mut answerer: Answerer) {
    answerer.finish(handling.await);
}

impl Outcome {
    /// What the caller is told; `None`: nothing.
    pub(super) fn into_response(self) -> Option<Response> {
        match self {
            Self::Answered(response) => Some(response),
            Self::Panicked => Some(Response::error(Status::INTERNAL)),
            // Not 503, which says that it was not executed: it was, in part.
            Self::Stopped => {
                Some(Response::error(Status::TIMEOUT.with_message("the responder is stopping")))
            }
            Self::Expired => None,
        }
    }
}

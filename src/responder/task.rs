//! One request on its way through the service, on a task of its own.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tower::{Service, ServiceExt};

use crate::dialect::ReplyTo;
use crate::link::AckId;
use crate::message::{Request, Response, Status};
use crate::scope;

/// What tasks and handles send to the connection. The channel has no bound of its own: there is
/// one [`Command::Done`] for each request that holds a slot.
#[expect(
    clippy::large_enum_variant,
    reason = "all but one of a responder's commands are the large one"
)]
pub(super) enum Command {
    Done(Exchange, Outcome),
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
    commands: mpsc::UnboundedSender<Command>,
}

impl Answerer {
    pub(super) fn new(exchange: Exchange, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { exchange: Some(exchange), commands }
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(exchange) = self.exchange.take() {
            // It fails only when the connection is gone, and with it the way to the caller.
            let _ = self.commands.send(Command::Done(exchange, outcome));
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
pub(super) async fn run<S>(
    service: S,
    request: Request,
    deadline: Option<Instant>,
    mut answerer: Answerer,
) where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let handling = scope::enter(deadline, service.oneshot(request));
    let outcome = match deadline {
        None => Some(handling.await),
        // It looks at the answer first: one that is there beats a clock that has run out.
        Some(deadline) => {
            tokio::time::timeout_at(tokio::time::Instant::from_std(deadline), handling).await.ok()
        }
    };
    answerer.finish(match outcome {
        Some(Ok(response)) => Outcome::Answered(response),
        None => Outcome::Expired,
    });
}

impl Outcome {
    /// What the caller is told; `None`: nothing.
    pub(super) fn into_response(self) -> Option<Response> {
        match self {
            Self::Answered(response) => Some(response),
            Self::Panicked => Some(Response::error(Status::INTERNAL)),
            Self::Stopped => {
                Some(Response::error(Status::UNAVAILABLE.with_message("the responder is stopping")))
            }
            Self::Expired => None,
        }
    }
}

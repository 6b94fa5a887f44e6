//! What one process remembers.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::answer::{Answer, size};
use crate::core::Waiters;
use crate::core::inbox::{Admission, Inbox, InboxKey, InboxLimits};
use crate::layer::now;
use crate::message::{Request, Response, Status};

/// A copy that waits for the answer. Nothing for the first, which has it.
type Waiter = Option<oneshot::Sender<Response>>;

/// The requests that are remembered.
pub(super) struct Memory {
    // Invariant: no code of others runs under the lock, so a panic cannot leave it half changed.
    inbox: Mutex<Inbox<Waiter, Answer>>,
    hasher: RandomState,
}

/// What to do with a request.
pub(super) enum Entrance {
    Pass,
    Execute(Execution),
    Wait(oneshot::Receiver<Response>),
    Done(Result<Response, Status>),
}

impl Memory {
    pub(super) fn new(limits: InboxLimits) -> Self {
        Self { inbox: Mutex::new(Inbox::new(limits)), hasher: RandomState::new() }
    }

    pub(super) fn admit(self: &Arc<Self>, request: &Request) -> Entrance {
        let parts = request.parts();
        let (Some(topic), Some(data)) = (&parts.response_topic, &parts.correlation_data) else {
            return Entrance::Pass;
        };
        let key = InboxKey::new(topic.as_str(), data);
        let fingerprint = self.hasher.hash_one((parts.topic.as_str(), request.payload()));
        let mut inbox = self.lock();
        let (waiter, answer) = inbox.is_in_progress(&key).then(oneshot::channel).unzip();
        let admission = inbox.admit(key, fingerprint, now(), waiter);
        drop(inbox);
        match admission {
            Admission::Execute => {
                Entrance::Execute(Execution { memory: self.clone(), key: Some(key) })
            }
            Admission::Joined => {
                Entrance::Wait(answer.expect("it was in progress, so there is a channel"))
            }
            Admission::Answered { answer, .. } => Entrance::Done(Ok(answer.into_response())),
            Admission::Mismatch(_) => Entrance::Done(Err(
                Status::CONFLICT.with_message("another request has used this correlation data")
            )),
            Admission::Full(_) => Entrance::Done(Err(Status::UNAVAILABLE
                .with_message("too many requests in progress to remember another"))),
        }
    }

    fn remember(&self, key: &InboxKey, response: &Response) {
        let (answer, size) = (Answer::of(response), size(response));
        let waiters = self.lock().finish(key, answer, size, now());
        tell(waiters, response);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inbox<Waiter, Answer>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in progress. Dropped before its end, it is remembered as cut short: it has been executed
/// in part, and must not be executed again.
pub(super) struct Execution {
    memory: Arc<Memory>,
    key: Option<InboxKey>,
}

impl Execution {
    pub(super) fn finish(mut self, response: &Response) {
        let Some(key) = self.key.take() else { return };
        if response.status().invites_retry() {
            let waiters = self.memory.lock().abandon(&key);
            tell(waiters, response);
        } else {
            self.memory.remember(&key, response);
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        self.memory.remember(
            &key,
            &Response::error(if std::thread::panicking() {
                Status::INTERNAL
            } else {
                Status::TIMEOUT.with_message("its execution was cut short, and is not repeated")
            }),
        );
    }
}

/// Gives the answer to those who wait.
fn tell(waiters: Waiters<Waiter>, response: &Response) {
    for waiter in waiters.flatten() {
        // It fails for those that have gone.
        let _ = waiter.send(Answer::of(response).into_response());
    }
}

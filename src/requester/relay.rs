//! The way of answers to the runtime on which their callers wait.
//!
//! To wake another thread costs more than to read an answer, and a runtime of one thread is woken for
//! each task anew. So the answers of one turn of the connection go there in one go, and a task there
//! gives them out. A runtime of several threads wakes its own without that.

use tokio::runtime::{Handle, Id, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use crate::error::RequestError;
use crate::message::Response;

/// The outcome of a call, with whom it is for.
pub(super) type Settled =
    (oneshot::Sender<Result<Response, RequestError>>, Result<Response, RequestError>);

/// Answers that are worth waking the runtime for, though more may come in this turn.
const ENOUGH: usize = 64;

/// The connection's end. The channel has no bound of its own: a caller makes no other call before it
/// has been told of this one, and its runtime is the one that takes them out.
pub(super) struct Relay {
    answers: mpsc::UnboundedSender<Vec<Settled>>,
    /// The answers of this turn.
    turn: Vec<Settled>,
}

impl Relay {
    /// To this runtime, if answers need it there. Calls that are made on the runtime with this id are
    /// for it; others may wait where nothing runs it.
    pub(super) fn to(runtime: &Handle) -> Option<(Self, Id)> {
        if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
            return None;
        }
        let (answers, mut queue) = mpsc::unbounded_channel();
        runtime.spawn(async move {
            while let Some(turn) = queue.recv().await {
                tell_all(turn);
            }
        });
        Some((Self { answers, turn: Vec::new() }, runtime.id()))
    }

    pub(super) fn push(&mut self, settled: Settled) {
        self.turn.push(settled);
        if self.turn.len() == ENOUGH {
            self.flush();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turn.is_empty()
    }

    /// Lets the answers of this turn go. One alone wakes its caller by itself.
    pub(super) fn flush(&mut self) {
        match self.turn.len() {
            0 => {}
            1 => tell_all(self.turn.drain(..)),
            count => {
                let turn = std::mem::replace(&mut self.turn, Vec::with_capacity(count));
                if let Err(mpsc::error::SendError(turn)) = self.answers.send(turn) {
                    tell_all(turn); // The runtime is gone, and perhaps its number is another's.
                }
            }
        }
    }
}

/// It fails when the caller has gone, and then nobody is to be told.
fn tell_all(settled: impl IntoIterator<Item = Settled>) {
    for (caller, result) in settled {
        let _ = caller.send(result);
    }
}

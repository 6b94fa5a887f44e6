//! How a responder stops: it unsubscribes, waits for its handlers, and then for their answers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Endpoint, UNSUBSCRIBE};
use crate::link::Outbox;

/// How long a stopping responder waits for its last answers to be acknowledged, at least.
const SETTLE: Duration = Duration::from_secs(1);

/// How far the responder has come.
pub(super) enum Stage {
    Serving,
    /// Waits for the broker's acknowledgement that nothing more will come.
    Unsubscribing(Stop),
    /// Waits for the handlers.
    Draining(Stop),
    /// Waits for the handlers to be dropped; one that blocks its thread is not waited for.
    Aborting(Stop),
    /// Waits for the answers to be acknowledged.
    Settling(Stop),
    Failed,
}

/// The next thing that happens to a responder that is stopping, unless it is done earlier.
pub(super) struct Stop {
    pub(super) deadline: Instant,
    done: Option<oneshot::Sender<()>>,
}

enum Step {
    Wait(Stage),
    Next(Stage),
    Stopped,
}

impl<S> Endpoint<S> {
    pub(super) fn shutdown(
        &mut self,
        grace: Duration,
        done: Option<oneshot::Sender<()>>,
        out: &mut Outbox<'_>,
    ) {
        let deadline = out.now() + grace.min(Duration::from_hours(24));
        match &mut self.stage {
            Stage::Serving => {}
            // The future of the shutdown was dropped.
            Stage::Unsubscribing(stop) | Stage::Draining(stop) => {
                stop.deadline = stop.deadline.min(deadline);
                return;
            }
            Stage::Aborting(_) | Stage::Settling(_) | Stage::Failed => return,
        }
        let stop = Stop { deadline, done };
        let waits = out.unsubscribe(&self.settings.subscriptions, UNSUBSCRIBE);
        self.stage = if waits { Stage::Unsubscribing(stop) } else { Stage::Draining(stop) };
    }

    /// Drops the handlers that are running; nobody will hear of them.
    pub(super) fn abandon(&mut self) {
        let abandoned = self.tasks.abandon() as u64;
        self.settings.counters.in_flight.fetch_sub(abandoned, Ordering::Relaxed);
    }

    /// Nothing more will come.
    pub(super) fn unsubscribed(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Unsubscribing(stop) => Stage::Draining(stop),
            stage => stage,
        };
    }

    /// Takes the steps of stopping that can be taken. `true`: it has stopped.
    pub(super) fn advance(&mut self, out: &mut Outbox<'_>) -> bool {
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Failed);
            match self.step(stage, out) {
                Step::Wait(stage) => {
                    self.stage = stage;
                    return false;
                }
                Step::Next(stage) => self.stage = stage,
                Step::Stopped => return true,
            }
        }
    }

    fn step(&mut self, stage: Stage, out: &mut Outbox<'_>) -> Step {
        let now = out.now();
        match stage {
            Stage::Serving => Step::Wait(stage),
            Stage::Unsubscribing(ref stop) if now < stop.deadline => Step::Wait(stage),
            Stage::Unsubscribing(stop) => Step::Next(Stage::Draining(stop)),
            Stage::Draining(stop) | Stage::Aborting(stop) if self.tasks.is_empty() => {
                let deadline = stop.deadline.max(now + SETTLE);
                Step::Next(Stage::Settling(Stop { deadline, ..stop }))
            }
            Stage::Draining(ref stop) | Stage::Aborting(ref stop) if now < stop.deadline => {
                Step::Wait(stage)
            }
            Stage::Draining(stop) => {
                self.tasks.abort();
                Step::Next(Stage::Aborting(Stop { deadline: now + SETTLE, ..stop }))
            }
            Stage::Aborting(stop) => Step::Next(Stage::Settling(stop)),
            Stage::Settling(ref stop)
                if now < stop.deadline && (out.is_unsettled() || !self.unsent.is_empty()) =>
            {
                Step::Wait(stage)
            }
            Stage::Settling(stop) => {
                self.abandon(); // Those that block their thread.
                if let Some(done) = stop.done {
                    let _ = done.send(());
                }
                Step::Stopped
            }
            Stage::Failed => {
                out.unsubscribe(&self.settings.subscriptions, UNSUBSCRIBE);
                self.abandon();
                Step::Stopped
            }
        }
    }
}

//! Where the handlers of a responder run: on a runtime, or on the connection's own thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::relay::{Relay, Task};
use super::task::{self, Answerer, Command, Exchange, Outcome, Way};

type Inline = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Handlers that are worth waking the runtime for, though more may come in this turn.
const ENOUGH: usize = 32;

/// The handlers that are running.
pub(super) struct Tasks {
    place: Place,
    way: Way,
    running: usize,
}

enum Place {
    /// With those that are started in this turn of the connection.
    Runtime(Relay, Vec<Task>),
    Inline(Inline),
}

impl Tasks {
    /// Each handler is a task of its own on this runtime; `commands` are told when it has ended.
    pub(super) fn on(runtime: &Handle, commands: mpsc::UnboundedSender<Command>) -> Self {
        let relay = Relay::new(runtime, commands);
        let way = Way::Relayed(relay.clone());
        let place = Place::Runtime(relay, Vec::new());
        Self { place, way, running: 0 }
    }

    /// Handlers run when [`poll`](Self::poll) is called.
    pub(super) fn inline(commands: mpsc::UnboundedSender<Command>) -> Self {
        let place = Place::Inline(Inline::new());
        Self { place, way: Way::Direct(commands), running: 0 }
    }

    pub(super) fn are_inline(&self) -> bool {
        matches!(self.place, Place::Inline(_))
    }

    pub(super) fn start(
        &mut self,
        exchange: Exchange,
        handling: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let task = task::run(handling, Answerer::new(exchange, self.way.clone()));
        self.running += 1;
        match &mut self.place {
            Place::Runtime(relay, starting) => {
                starting.push(Box::pin(task));
                if starting.len() == ENOUGH {
                    relay.start(std::mem::take(starting));
                }
            }
            Place::Inline(tasks) => tasks.push(Box::pin(task)),
        }
    }

    /// Whether there is something that only [`poll`](Self::poll) moves on.
    pub(super) fn needs_poll(&self) -> bool {
        match &self.place {
            Place::Runtime(_, starting) => !starting.is_empty(),
            Place::Inline(tasks) => !tasks.is_empty(),
        }
    }

    /// Sends what runs elsewhere on its way, and runs what runs inline, as far as it goes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let tasks = match &mut self.place {
            Place::Inline(tasks) => tasks,
            Place::Runtime(_, starting) if starting.is_empty() => return,
            Place::Runtime(relay, starting) => return relay.start(std::mem::take(starting)),
        };
        loop {
            // A handler that panics answers 500 as it is dropped; the others go on.
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *tasks).poll_next(cx)));
            if matches!(polled, Ok(Poll::Ready(None) | Poll::Pending)) {
                return;
            }
        }
    }

    /// One that was started has ended.
    pub(super) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    pub(super) fn len(&self) -> usize {
        self.running
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running == 0
    }

    /// Drops the handlers; each that can be dropped says that it has ended.
    pub(super) fn abort(&mut self) {
        match &mut self.place {
            Place::Runtime(relay, starting) => {
                starting.clear();
                relay.abort();
            }
            Place::Inline(tasks) => tasks.clear(),
        }
    }

    /// As [`abort`](Self::abort), without waiting for those that block their thread; how many there
    /// were.
    pub(super) fn abandon(&mut self) -> usize {
        self.abort();
        std::mem::take(&mut self.running)
    }
}

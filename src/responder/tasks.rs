//! Where the handlers of a responder run: on a runtime, or on the connection's own thread.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::relay::{Relay, Task};
use super::task::{self, Answerer, Command, Exchange, Outcome, Way};

type Inline = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Handlers that are worth waking the runtime for, though more may come in this turn.
const ENOUGH: usize = 32;

/// The handlers that are running, by the serial number of their request.
pub(super) struct Tasks {
    place: Place,
    way: Way,
    /// `None` for those that run inline.
    running: HashMap<u64, Option<AbortHandle>>,
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
        Self { place, way, running: HashMap::new() }
    }

    /// Handlers run when [`poll`](Self::poll) is called.
    pub(super) fn inline(commands: mpsc::UnboundedSender<Command>) -> Self {
        let place = Place::Inline(Inline::new());
        Self { place, way: Way::Direct(commands), running: HashMap::new() }
    }

    pub(super) fn are_inline(&self) -> bool {
        matches!(self.place, Place::Inline(_))
    }

    pub(super) fn start(
        &mut self,
        exchange: Exchange,
        handling: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let serial = exchange.serial;
        let task = task::run(handling, Answerer::new(exchange, self.way.clone()));
        let abort = match &mut self.place {
            Place::Runtime(relay, starting) => {
                let (task, abort) = abortable(task);
                starting.push(Box::pin(task.map(drop)));
                if starting.len() == ENOUGH {
                    relay.start(std::mem::take(starting));
                }
                Some(abort)
            }
            Place::Inline(tasks) => {
                tasks.push(Box::pin(task));
                None
            }
        };
        self.running.insert(serial, abort);
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

    /// The handler of this request has ended.
    pub(super) fn ended(&mut self, serial: u64) {
        if !self.running.is_empty() {
            self.running.remove(&serial);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Drops the handlers; each that can be dropped says that it has ended.
    pub(super) fn abort(&mut self) {
        match &mut self.place {
            Place::Runtime(_, starting) => starting.clear(),
            Place::Inline(tasks) => tasks.clear(),
        }
        self.running.values().flatten().for_each(AbortHandle::abort);
    }

    /// As [`abort`](Self::abort), without waiting for those that block their thread; how many there
    /// were.
    pub(super) fn abandon(&mut self) -> usize {
        self.abort();
        self.running.drain().count()
    }
}

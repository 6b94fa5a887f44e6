//! Where the handlers of a responder run: on a runtime, or on the connection's own thread.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

type Inline = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// The handlers that are running, by the serial number of their request.
pub(super) struct Tasks {
    place: Place,
    /// `None` for those that run inline.
    running: HashMap<u64, Option<AbortHandle>>,
}

enum Place {
    Runtime(Handle),
    Inline(Inline),
}

impl Tasks {
    /// Each handler is a task of its own on this runtime.
    pub(super) fn on(runtime: Handle) -> Self {
        Self { place: Place::Runtime(runtime), running: HashMap::new() }
    }

    /// Handlers run when [`poll`](Self::poll) is called.
    pub(super) fn inline() -> Self {
        Self { place: Place::Inline(Inline::new()), running: HashMap::new() }
    }

    pub(super) fn start(&mut self, serial: u64, task: impl Future<Output = ()> + Send + 'static) {
        let abort = match &self.place {
            Place::Runtime(runtime) => Some(runtime.spawn(task).abort_handle()),
            Place::Inline(tasks) => {
                tasks.push(Box::pin(task));
                None
            }
        };
        self.running.insert(serial, abort);
    }

    /// Whether there is something that only [`poll`](Self::poll) moves on.
    pub(super) fn needs_poll(&self) -> bool {
        matches!(&self.place, Place::Inline(tasks) if !tasks.is_empty())
    }

    /// Runs what runs inline, as far as it goes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let Place::Inline(tasks) = &mut self.place else { return };
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
        self.running.remove(&serial);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Drops the handlers; each that can be dropped says that it has ended.
    pub(super) fn abort(&mut self) {
        if let Place::Inline(tasks) = &mut self.place {
            tasks.clear();
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

//! The way between a connection and the runtime on which its handlers run.
//!
//! To wake another thread costs more than a short handler. So a task on the runtime starts the
//! handlers, and sends back what has become of them: all that is there in one go, for which each side
//! is woken once.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::task::{Command, Exchange, Outcome};

/// How many are taken in one go.
const BATCH: usize = 64;

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The channel has no bound of its own: there are at most two of these for each request that holds
/// a slot.
#[expect(clippy::large_enum_variant, reason = "half of them are the large one")]
enum Work {
    Start(Vec<Task>),
    Ended(Exchange, Outcome),
    Abort,
}

/// Both ends of the way use it.
#[derive(Clone)]
pub(super) struct Relay {
    work: mpsc::UnboundedSender<Work>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Relay {
    /// To this runtime, and back to whom these commands are for.
    pub(super) fn new(runtime: &Handle, commands: mpsc::UnboundedSender<Command>) -> Self {
        let (work, queue) = mpsc::unbounded_channel();
        let alone = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        runtime.spawn(run(Queue { queue, commands: commands.clone() }, alone));
        Self { work, commands }
    }

    /// Starts tasks. When the runtime is gone they are dropped.
    pub(super) fn start(&self, tasks: Vec<Task>) {
        let _ = self.work.send(Work::Start(tasks));
    }

    /// Drops the tasks that have not ended; each says so.
    pub(super) fn abort(&self) {
        let _ = self.work.send(Work::Abort);
    }

    pub(super) fn ended(&self, exchange: Exchange, outcome: Outcome) {
        if let Err(mpsc::error::SendError(Work::Ended(exchange, outcome))) =
            self.work.send(Work::Ended(exchange, outcome))
        {
            // The runtime is shutting down.
            let _ = self.commands.send(Command::Done(vec![(exchange, outcome)]));
        }
    }
}

struct Queue {
    queue: mpsc::UnboundedReceiver<Work>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Queue {
    fn pass(&self, batch: &mut Vec<Work>, tasks: &mut impl Tasks) {
        let mut done = Vec::new();
        for work in batch.drain(..) {
            match work {
                Work::Start(started) => started.into_iter().for_each(|task| tasks.start(task)),
                Work::Abort => tasks.abort(),
                Work::Ended(exchange, outcome) => done.push((exchange, outcome)),
            }
        }
        if !done.is_empty() {
            // It fails only when the connection is gone, and with it the way to the caller.
            let _ = self.commands.send(Command::Done(done));
        }
    }
}

impl Drop for Queue {
    /// The runtime may be shut down: what is on its way still arrives.
    fn drop(&mut self) {
        self.queue.close();
        let mut rest: Vec<Work> = std::iter::from_fn(|| self.queue.try_recv().ok()).collect();
        self.pass(&mut rest, &mut Gone);
    }
}

async fn run(mut queue: Queue, alone: bool) {
    let mut batch = Vec::new();
    let mut tasks = Running { alone, set: JoinSet::new() };
    // It ends with the last who may send: every task that runs has a way back, so there is none then.
    while poll_fn(|cx| {
        while let Poll::Ready(Some(_)) = tasks.set.poll_join_next(cx) {}
        queue.queue.poll_recv_many(cx, &mut batch, BATCH)
    })
    .await
        > 0
    {
        queue.pass(&mut batch, &mut tasks);
    }
}

/// What becomes of tasks.
trait Tasks {
    fn start(&mut self, task: Task);
    fn abort(&mut self);
}

/// The runtime is gone: they are dropped.
struct Gone;

impl Tasks for Gone {
    fn start(&mut self, _: Task) {}
    fn abort(&mut self) {}
}

/// Those that have not ended.
struct Running {
    /// The runtime has one thread.
    alone: bool,
    set: JoinSet<()>,
}

impl Tasks for Running {
    fn start(&mut self, mut task: Task) {
        if !self.alone {
            self.set.spawn(task);
            return;
        }
        // Where there is one thread, most handlers are done before others could start. One that panics
        // answers 500 as it is dropped.
        let polled = catch_unwind(AssertUnwindSafe(move || {
            // Nobody has to be woken: who starts it polls it once more.
            let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            polled.is_pending().then_some(task)
        }));
        if let Ok(Some(task)) = polled {
            self.set.spawn(task);
        }
    }

    fn abort(&mut self) {
        self.set.abort_all();
    }
}

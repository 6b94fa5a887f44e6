//! Answering: a [`Router`] of handlers is a tower service, and a [`Responder`] runs it on a link.

mod builder;
mod endpoint;
pub mod extract;
mod handle_error;
mod handler;
mod into_response;
pub mod rejection;
mod relay;
mod route;
mod router;
mod stats;
mod subscriptions;
mod task;
mod tasks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use self::builder::{Acknowledge, ResponderBuilder};
pub use self::handle_error::{HandleError, HandleErrorFuture, HandleErrorLayer};
pub use self::handler::Handler;
pub use self::into_response::IntoResponse;
pub use self::route::{Route, RouteFuture};
pub use self::router::{Router, StateFor};
use self::stats::Counters;
pub use self::stats::ResponderStats;
use self::task::Command;
use crate::link::Link;

/// Answers requests that arrive on a [`Link`]. Dropping it stops it at once; [`shutdown`] lets
/// handlers finish.
///
/// For each request, in this order:
///
/// 1. what is not a request of its dialect is refused with 400, or dropped and counted when it does
///    not even say where a refusal could go;
/// 2. a request whose response topic the [policy](ResponderBuilder::allow_response_topic) does not
///    allow is dropped and counted: answering it is what must not happen;
/// 3. a request whose caller is gone (its deadline has passed) is dropped and counted;
/// 4. when [`concurrency`](ResponderBuilder::concurrency) is exhausted, the answer is 503;
/// 5. the service runs as a task of its own on the runtime where [`serve`](ResponderBuilder::serve)
///    was called. At the caller's deadline its future is dropped and nothing is answered. A panic
///    is answered with 500.
///
/// [`shutdown`]: Self::shutdown
#[must_use = "a responder stops when it is dropped"]
pub struct Responder {
    link: Link,
    commands: mpsc::UnboundedSender<Command>,
    counters: Arc<Counters>,
}

impl Responder {
    /// Configures a responder on this link.
    pub fn builder(link: Link) -> ResponderBuilder {
        ResponderBuilder::new(link)
    }

    /// The link that it answers on.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What happened so far, and how many requests are being handled.
    pub fn stats(&self) -> ResponderStats {
        self.counters.read()
    }

    /// Stops politely: unsubscribes, so that others of the same share name take over; lets the
    /// handlers that are running finish for at most `grace`; answers 408 for those that did
    /// not, since they may have done a part of their work; and returns when the answers are sent.
    ///
    /// # Cancel safety
    /// Dropping the future stops the responder at once, as dropping the responder does.
    pub async fn shutdown(self, grace: Duration) {
        let (done, is_done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { grace, done: Some(done) }).is_ok() {
            let _ = is_done.await;
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Shutdown { grace: Duration::ZERO, done: None });
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("link", &self.link).finish_non_exhaustive()
    }
}

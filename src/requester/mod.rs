//! Asking: [`Requester`] is a [`tower::Service`] from [`Request`] to [`Response`].

mod builder;
mod endpoint;
mod future;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::PollSemaphore;
use tower::Service;

pub use self::builder::{OnDisconnect, RequesterBuilder};
pub use self::future::ResponseFuture;
use self::stats::Counters;
pub use self::stats::RequesterStats;
use crate::dialect::{Dialect, IdFormat};
use crate::error::RequestError;
use crate::id;
use crate::link::Link;
use crate::message::{Request, Response};
use crate::scope::current_deadline;

/// Asks over a [`Link`], from any tokio task.
///
/// A clone asks over the same link and shares the in-flight limit. Many calls may be in flight at
/// once; each is answered as its answer comes, in any order.
///
/// `poll_ready` takes one of the in-flight slots and keeps it for the next `call` (or gives it back
/// when this handle is dropped). When all are taken, it waits: that is the back-pressure. A clone
/// does not inherit readiness.
///
/// ```
/// use tower::{Service, ServiceExt};
/// use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (machine, kitchen) = memory::pair();
/// let router = Router::new().route("greet/{name}", async || "hello");
/// let responder = Responder::builder(kitchen).serve(router).await?;
///
/// let mut requester = Requester::builder(machine).build().await?;
/// let response = requester.ready().await?.call(Request::new("greet/anna", "")?).await?;
/// assert_eq!(response.payload(), "hello");
/// # drop(responder);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// See [`RequestError`]; [`RequestError::delivery`] says whether the request may have been executed.
///
/// # Cancel safety
/// Dropping the future of a call gives the call up: its slot is freed, and an answer that comes
/// later is dropped and counted. The responder is not told.
pub struct Requester {
    shared: Arc<Shared>,
    slots: PollSemaphore,
    slot: Option<OwnedSemaphorePermit>,
}

struct Shared {
    commands: mpsc::UnboundedSender<Command>,
    dialect: Arc<dyn Dialect>,
    timeout: std::time::Duration,
    counters: Arc<Counters>,
    slots: Arc<Semaphore>,
    max_in_flight: usize,
    link: Link,
}

/// What handles send to the connection. The channel has no bound of its own: a call holds one of
/// the in-flight slots, and there is at most one cancel for each.
#[expect(clippy::large_enum_variant, reason = "most commands are calls")]
enum Command {
    Call(Call),
    Cancel { key: Bytes, serial: u64 },
}

struct Call {
    request: Request,
    id: Bytes,
    /// What its answer is found by.
    key: Bytes,
    serial: u64,
    deadline: Instant,
    reply: oneshot::Sender<Result<Response, RequestError>>,
    slot: OwnedSemaphorePermit,
}

impl Requester {
    /// Configures a requester on this link.
    pub fn builder(link: Link) -> RequesterBuilder {
        RequesterBuilder::new(link)
    }

    /// The link that it asks over.
    pub fn link(&self) -> &Link {
        &self.shared.link
    }

    /// What happened so far, and how many calls are in flight.
    pub fn stats(&self) -> RequesterStats {
        let free = self.shared.slots.available_permits();
        self.shared.counters.read(self.shared.max_in_flight - free)
    }
}

impl Clone for Requester {
    fn clone(&self) -> Self {
        let slots = PollSemaphore::new(Arc::clone(&self.shared.slots));
        Self { shared: Arc::clone(&self.shared), slots, slot: None }
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("dialect", &self.shared.dialect)
            .field("link", &self.shared.link)
            .finish_non_exhaustive()
    }
}

impl Service<Request> for Requester {
    type Response = Response;
    type Error = RequestError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        if self.slot.is_none() {
            self.slot = ready!(self.slots.poll_acquire(cx));
        }
        Poll::Ready(self.slot.as_ref().map(|_| ()).ok_or(RequestError::Closed))
    }

    /// # Panics
    /// When `poll_ready` did not say that it is ready, as tower's contract allows.
    fn call(&mut self, request: Request) -> ResponseFuture {
        let slot = self.slot.take().expect("poll_ready must be ready before call");
        self.shared.start(request, slot)
    }
}

impl Shared {
    fn start(self: &Arc<Self>, mut request: Request, slot: OwnedSemaphorePermit) -> ResponseFuture {
        let now = tokio::time::Instant::now().into_std();
        let parts = request.parts_mut();
        let timeout = parts.timeout.unwrap_or(self.timeout);
        // A timeout beyond what the clock can express is as good as none.
        let by_timeout = now.checked_add(timeout).unwrap_or_else(|| now + builder::LONGEST);
        let bounds = [Some(by_timeout), parts.deadline, current_deadline()];
        let deadline = bounds.into_iter().flatten().min().unwrap_or(by_timeout);
        if deadline <= now {
            return ResponseFuture::failed(RequestError::Timeout);
        }
        let id = self.id(parts.correlation_data.take());
        let key = match self.dialect.request_key(&request, &id) {
            Ok(key) => key,
            Err(error) => return ResponseFuture::failed(error.into()),
        };
        let (reply, answer) = oneshot::channel();
        let serial = self.counters.next_serial();
        let call = Call { request, id, key: key.clone(), serial, deadline, reply, slot };
        if self.commands.send(Command::Call(call)).is_err() {
            return ResponseFuture::failed(RequestError::Closed);
        }
        ResponseFuture::waiting(answer, deadline, key, serial, Arc::clone(self))
    }

    /// The caller's own id, where the dialect can carry it, or a fresh one.
    fn id(&self, chosen: Option<Bytes>) -> Bytes {
        match self.dialect.id_format() {
            IdFormat::Ulid => chosen.unwrap_or_else(id::fresh),
            IdFormat::UlidText => chosen.unwrap_or_else(id::fresh_text),
            IdFormat::Decimal { bits } => id::fresh_decimal(bits),
            IdFormat::Short { first, .. } => first.to_string().into(),
        }
    }
}

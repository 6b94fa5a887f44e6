//! Asking: [`Requester`] is a [`tower::Service`] from [`Request`] to [`Response`].

mod builder;
mod endpoint;
mod future;
mod loan;
mod loops;
mod relay;
mod stats;
mod turns;
mod waiter;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::PollSemaphore;
use tower::Service;

pub use self::builder::{OnDisconnect, RequesterBuilder};
pub use self::future::ResponseFuture;
use self::loan::{Lender, Loan};
use self::stats::Counters;
pub use self::stats::RequesterStats;
pub use self::turns::OneInFlight;
use crate::core::topic::TopicFilter;
use crate::dialect::{Dialect, IdFormat};
use crate::error::{InvalidRequest, RequestError};
use crate::id;
use crate::link::Link;
use crate::message::{Parts, Request, Response};
use crate::scope::current_deadline;

/// Asks over a [`Link`], from any tokio task.
///
/// A clone asks over the same link and shares the in-flight limit. Many calls may be in flight at
/// once; each is answered as its answer comes, in any order.
///
/// `poll_ready` takes one of the in-flight slots and keeps it for the next `call` (or gives it back
/// when this handle is dropped). When all are taken, it waits: that is the back-pressure. A clone
/// does not inherit readiness. `call` sends at once: its future brings the answer, and sends nothing
/// by being polled.
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
    /// When a request does not say.
    timeout: Duration,
    /// What a request may say.
    timeouts: RangeInclusive<Duration>,
    /// Whom it asks, when that is not everybody.
    peers: Option<TopicFilter>,
    /// The runtime that the relay of answers leads to.
    relayed: Option<runtime::Id>,
    /// For dialects with short ids.
    lender: Option<Arc<Lender>>,
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
    /// It is made on the runtime that the relay leads to.
    relayed: bool,
    slot: OwnedSemaphorePermit,
    loan: Option<Loan>,
}

/// What a [`ResponseFuture`] waits for.
type Answered = oneshot::Receiver<Result<Response, RequestError>>;

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
    fn start(self: &Arc<Self>, request: Request, slot: OwnedSemaphorePermit) -> ResponseFuture {
        let (call, answer) = match self.prepare(request, slot) {
            Ok(prepared) => prepared,
            Err(error) => return ResponseFuture::failed(error),
        };
        let (id, deadline) = (call.id.clone(), call.deadline);
        let (key, serial) = (call.key.clone(), call.serial);
        if self.commands.send(Command::Call(call)).is_err() {
            return ResponseFuture::failed(RequestError::Closed);
        }
        ResponseFuture::waiting(answer, deadline, id, (key, serial), Arc::clone(self))
    }

    fn prepare(
        &self,
        mut request: Request,
        slot: OwnedSemaphorePermit,
    ) -> Result<(Call, Answered), RequestError> {
        let now = tokio::time::Instant::now().into_std();
        let parts = request.parts_mut();
        let deadline = self.deadline(parts, now)?;
        let chosen = parts.correlation_data.take();
        let (id, key, loan) = self.id(&request, chosen, now)?;
        if let Some(peers) = &self.peers
            && !peers.matches(request.topic())
        {
            let what = format!("the topic is not one of the requester's peers, {peers}").into();
            return Err(InvalidRequest::Dialect { dialect: self.dialect.name(), what }.into());
        }
        let (reply, answer) = oneshot::channel();
        let serial = self.counters.next_serial();
        let relayed = self.relayed.is_some() && self.relayed == current_runtime();
        Ok((Call { request, id, key, serial, deadline, reply, relayed, slot, loan }, answer))
    }

    /// # Errors
    /// [`InvalidRequest`] when the request's timeout is not one of the dialect's;
    /// [`RequestError::Timeout`] when the deadline has passed.
    fn deadline(&self, parts: &Parts, now: Instant) -> Result<Instant, RequestError> {
        if let Some(timeout) = parts.timeout
            && !self.timeouts.contains(&timeout)
        {
            let (&shortest, &longest) = (self.timeouts.start(), self.timeouts.end());
            return Err(InvalidRequest::Timeout { timeout, shortest, longest }.into());
        }
        let by_timeout = after(now, parts.timeout.unwrap_or(self.timeout));
        let bounds = [Some(by_timeout), parts.deadline, current_deadline()];
        let deadline = bounds.into_iter().flatten().min().unwrap_or(by_timeout);
        if deadline <= now { Err(RequestError::Timeout) } else { Ok(deadline) }
    }

    /// The caller's own id, where it is one that the dialect can carry, or a fresh one; and what the
    /// answer is found by.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] when there is none left; [`InvalidRequest`] when the request is none of
    /// the dialect's.
    fn id(
        &self,
        request: &Request,
        chosen: Option<Bytes>,
        now: Instant,
    ) -> Result<(Bytes, Bytes, Option<Loan>), RequestError> {
        let id = match self.dialect.id_format() {
            IdFormat::Ulid => chosen.unwrap_or_else(id::fresh),
            IdFormat::UlidText => chosen.map_or_else(id::fresh_text, id::into_text),
            IdFormat::Decimal { bits } => id::fresh_decimal(bits),
            IdFormat::Short { .. } => {
                let lender = self.lender.as_ref().ok_or(RequestError::Overloaded)?;
                let loan = lender.lend(now, &*self.dialect, request);
                let mut loan = loan.ok_or(RequestError::Overloaded)?;
                let id = loan.id();
                let key = self.dialect.request_key(request, &id)?;
                loan.pairs_by(&key);
                return Ok((id, key, Some(loan)));
            }
        };
        let key = self.dialect.request_key(request, &id)?;
        Ok((id, key, None))
    }
}

fn current_runtime() -> Option<runtime::Id> {
    runtime::Handle::try_current().ok().map(|runtime| runtime.id())
}

/// So much later. What is beyond the clock is as good as never.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + builder::LONGEST)
}

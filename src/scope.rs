//! What a handler's task knows about the request it is working on: how long it may take, and
//! whether it still matters. Calls made inside inherit what is left.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

tokio::task_local! {
    static SCOPE: Scope;
}

/// The scope of one request. Dropping it, finished or not, triggers its cancellation.
#[derive(Debug)]
struct Scope {
    deadline: Option<Instant>,
    /// Made only when somebody asks for it, so that most requests do not pay for it.
    cancellation: OnceLock<CancellationToken>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(token) = self.cancellation.get() {
            token.cancel();
        }
    }
}

/// When the request that this task is handling must be over, if it has a deadline.
///
/// A [`Requester`](crate::Requester) called in a handler looks here: no call outlives the request
/// that made it. A task that the handler spawns is outside; hand the value over and pass it to
/// [`Request::deadline`](crate::Request::deadline).
///
/// ```
/// assert_eq!(tower_mqtt::current_deadline(), None); // not in a handler
/// ```
pub fn current_deadline() -> Option<Instant> {
    SCOPE.try_with(|scope| scope.deadline).ok().flatten()
}

/// Runs `future` as the handling of a request with this deadline.
pub(crate) fn enter<F: Future>(
    deadline: Option<Instant>,
    future: F,
) -> impl Future<Output = F::Output> {
    let scoped: TaskLocalFuture<Scope, F> =
        SCOPE.scope(Scope { deadline, cancellation: OnceLock::new() }, future);
    scoped
}

/// Tells work that a handler started elsewhere that the request is over: answered, given up by its
/// caller, or past its deadline.
///
/// A handler's own future is simply dropped then; this is for what it spawned. As an extractor:
///
/// ```
/// use tower_mqtt::Cancellation;
///
/// async fn brew(cancellation: Cancellation) -> &'static str {
///     tokio::spawn(async move {
///         tokio::select! {
///             () = cancellation.cancelled() => { /* switch the heater off */ }
///             () = std::future::pending() => { /* heat */ }
///         }
///     });
///     "brewing"
/// }
/// # let _ = tower_mqtt::Router::<()>::new().route("brew", brew);
/// ```
#[derive(Debug, Clone)]
pub struct Cancellation(CancellationToken);

impl Cancellation {
    /// The cancellation of the request that this task is handling; `None` outside a handler.
    pub fn current() -> Option<Self> {
        SCOPE
            .try_with(|scope| Self(scope.cancellation.get_or_init(CancellationToken::new).clone()))
            .ok()
    }

    /// Whether the request is over.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when the request is over.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { inner: self.0.clone().cancelled_owned() }
    }
}

pin_project! {
    /// The future of [`Cancellation::cancelled`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Cancelled {
        #[pin]
        inner: WaitForCancellationFutureOwned,
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_scope_ends_with_its_future() {
        let deadline = Instant::now() + Duration::from_secs(1);
        let (seen, cancellation) = enter(Some(deadline), async {
            (current_deadline(), Cancellation::current().expect("inside a scope"))
        })
        .await;
        assert_eq!(seen, Some(deadline));
        cancellation.cancelled().await;
        assert!(cancellation.is_cancelled());
        assert!(current_deadline().is_none() && Cancellation::current().is_none());
    }
}

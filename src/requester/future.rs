//! The future of one call. Dropping it gives the call up.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::{Answered, Command, Shared};
use crate::error::RequestError;
use crate::message::Response;

pin_project! {
    /// The future of a call on a [`Requester`](super::Requester). The call is sent, and ends at its deadline,
    /// whether this is polled or not.
    ///
    /// # Cancel safety
    /// Dropping it gives the call up: the slot is freed and a later answer is counted as late.
    #[must_use = "dropping it gives the call up"]
    pub struct ResponseFuture {
        #[pin]
        state: State,
        id: Option<Bytes>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State {
        Waiting {
            answer: Answered,
            // The connection expires the call as well; this one fires when the connection's thread
            // is busy or gone.
            #[pin]
            deadline: Sleep,
            cancel: CancelOnDrop,
        },
        Failed { error: Option<RequestError> },
    }
}

impl ResponseFuture {
    /// The id of the request as it is on the wire, in the form that the
    /// [dialect](crate::dialect::Dialect::id_format) has: the correlation data of the native one, the
    /// digits that stand in the topic of others. For logs, and for those who must name the exchange to
    /// somebody else.
    ///
    /// It is known from the beginning, and stays when the call has ended. `None`: the call has failed
    /// before it got one.
    ///
    /// ```
    /// # use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
    /// use tower::{Service, ServiceExt};
    /// use tower_mqtt::dialect::rrpc::tencent;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (link, device) = memory::pair();
    /// # let router = Router::new().route("pk/lamp", async || "ok");
    /// # let _device = Responder::builder(device).dialect(tencent::rrpc()).serve(router).await?;
    /// let mut requester = Requester::builder(link).dialect(tencent::rrpc()).build().await?;
    /// let call = requester.ready().await?.call(Request::new("pk/lamp", "on")?);
    /// let id = call.id().cloned().expect("it could be sent");
    /// assert_eq!(id.len(), 5); // Tencent's process id
    /// assert_eq!(call.await?.payload(), "ok");
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> Option<&Bytes> {
        self.id.as_ref()
    }

    pub(super) fn waiting(
        answer: Answered,
        deadline: Instant,
        id: Bytes,
        (key, serial): (Bytes, u64),
        shared: Arc<Shared>,
    ) -> Self {
        let deadline = tokio::time::sleep_until(tokio::time::Instant::from_std(deadline));
        let cancel = CancelOnDrop { call: Some((key, serial)), shared };
        Self { state: State::Waiting { answer, deadline, cancel }, id: Some(id) }
    }

    pub(super) fn failed(error: RequestError) -> Self {
        Self { state: State::Failed { error: Some(error) }, id: None }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response, RequestError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            // The answer is looked at first: one that is there beats a clock that has run out.
            StateProjection::Waiting { answer, deadline, cancel } => {
                if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
                    cancel.call = None;
                    return Poll::Ready(answer.unwrap_or(Err(RequestError::Closed)));
                }
                deadline.poll(cx).map(|()| Err(RequestError::Timeout))
            }
            StateProjection::Failed { error } => {
                Poll::Ready(Err(error.take().unwrap_or(RequestError::Closed)))
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("id", &self.id).finish_non_exhaustive()
    }
}

struct CancelOnDrop {
    /// `None` once the call has its outcome.
    call: Option<(Bytes, u64)>,
    shared: Arc<Shared>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some((key, serial)) = self.call.take() {
            // It fails only when the connection is gone, and the table with it.
            let _ = self.shared.commands.send(Command::Cancel { key, serial });
        }
    }
}

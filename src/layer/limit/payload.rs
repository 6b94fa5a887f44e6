//! How large a request's payload may be.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::ResponseFuture;
use crate::layer::Side;
use crate::message::{Request, Response, Status};

/// Refuses requests whose payload is too large, with 413.
///
/// What a client accepts at all is bounded by its Maximum Packet Size; this is for routes that take
/// less.
///
/// ```
/// # use tower::{Service, ServiceExt};
/// use tower_mqtt::layer::PayloadLimitLayer;
/// use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (a, b) = memory::pair();
/// let router = Router::new().route("note", async || ()).layer(PayloadLimitLayer::new(4));
/// let _responder = Responder::builder(b).serve(router).await?;
/// let requester = Requester::builder(a).build().await?;
/// let response = requester.oneshot(Request::new("note", "miso soup")?).await?;
/// assert_eq!(response.status().to_string(), "413 payload too large: 9 bytes, the limit is 4");
/// # Ok(())
/// # }
/// ```
///
/// # Differences from tower-http's `RequestBodyLimit`
///
/// A payload is here as a whole, so its size is known before anything is done with it.
#[derive(Debug, Clone, Copy)]
pub struct PayloadLimitLayer {
    bytes: usize,
}

impl PayloadLimitLayer {
    /// At most so many bytes.
    pub const fn new(bytes: usize) -> Self {
        Self { bytes }
    }
}

impl<S> Layer<S> for PayloadLimitLayer {
    type Service = PayloadLimit<S>;

    fn layer(&self, inner: S) -> PayloadLimit<S> {
        PayloadLimit { inner, bytes: self.bytes }
    }
}

/// The service of a [`PayloadLimitLayer`].
#[derive(Debug, Clone)]
pub struct PayloadLimit<S> {
    inner: S,
    bytes: usize,
}

impl<S> Service<Request> for PayloadLimit<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let size = request.payload().len();
        if size > self.bytes {
            let reason = format!("{size} bytes, the limit is {}", self.bytes);
            return ResponseFuture::refused(Status::TOO_LARGE.with_message(reason));
        }
        ResponseFuture::admitted(self.inner.call(request), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::mock::{
        at_once, code, keeps_the_contract, request, requester, responder, start,
    };

    #[tokio::test]
    async fn it_keeps_the_contract() {
        keeps_the_contract(PayloadLimitLayer::new(5)).await;
    }

    #[tokio::test]
    async fn one_byte_too_many_is_refused_on_either_side() {
        let layer = PayloadLimitLayer::new("soup?".len() - 1);
        let (mut service, mut handle) = requester(&layer);
        assert_eq!(code(at_once(&mut service, request("1"))), 413);
        assert!(handle.poll_request().is_pending());
        let (mut service, _handle) = responder(&layer);
        assert_eq!(code(at_once(&mut service, request("1"))), 413);
        let (mut service, mut handle) = responder(&PayloadLimitLayer::new("soup?".len()));
        let _call = start(&mut service, request("1"));
        assert!(handle.poll_request().is_ready());
    }
}

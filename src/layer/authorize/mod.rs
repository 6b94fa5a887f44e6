//! Who may ask: requests are checked on a responder and given credentials on a requester, by the
//! same layer.
//!
//! An [`Authorize`] takes a request and gives it back, or says no with a [`Status`]. On a responder
//! it reads credentials and leaves a [`Caller`] for the handler; on a requester it writes them. What
//! is shipped:
//!
//! | scheme | a requester's side | a responder's side | proves |
//! |---|---|---|---|
#![cfg_attr(
    feature = "auth",
    doc = "| [bearer token](bearer) | [`BearerToken`](bearer::BearerToken) | [`BearerCheck`](bearer::BearerCheck) | the caller knows a secret; so does everybody who has seen the request |
| [HMAC-SHA256 signature](hmac) | [`HmacSigner`](hmac::HmacSigner) | [`HmacVerifier`](hmac::HmacVerifier) | this caller made this very request just now |
| [device proof](device) | [`ChallengeLayer`](device::ChallengeLayer) | [`ProofLayer`](device::ProofLayer) | as above, and that the answer is from the device that was asked |"
)]
//! | [the hub's connection](hub_identity) | the hub writes it | [`HubIdentity`](hub_identity::HubIdentity) | who the connection belongs to; good only behind the hub |
//!
//! # What goes outside what
//!
//! - On a responder, [dedup](crate::layer::dedup) belongs *inside*: a redelivery and a retry are the same
//!   signed request, so they pass the check, and dedup's memory is what makes a replay harmless.
//!   Dedup outside would give a stored answer to somebody who was never checked.
//! - Limits [per caller](crate::layer::limit) belong inside too: outside nobody has said who calls.
//! - On a requester, [retry](crate::layer::retry) may be on either side. Outside, each attempt is signed
//!   anew; the responder takes it for the same request all the same, because dedup does not look at
//!   credentials.
//! - A [timeout](crate::layer::timeout) outside bounds the check as well, which matters when it
//!   asks a database.
//!
//! # Example
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller};
//! use tower_mqtt::{Request, Requester, Responder, Router, Status, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let check = AuthorizeLayer::sync(|mut request: Request| {
//!     let parts = request.parts_mut();
//!     let apron = parts.user_properties.remove("apron").ok_or(Status::UNAUTHORIZED)?;
//!     parts.extensions.insert(Caller::new(apron));
//!     Ok(request)
//! });
//! let wear = AuthorizeLayer::new(async |request: Request| Ok(request.with_user_property("apron", "white")));
//!
//! let (a, b) = memory::pair();
//! let router = Router::new().route("greet", async |who: Caller| format!("hello {who}")).layer(check);
//! let _responder = Responder::builder(b).serve(router).await?;
//! let requester = Requester::builder(a).build().await?;
//!
//! let response = requester.clone().oneshot(Request::new("greet", "")?).await?;
//! assert_eq!(response.status(), &Status::UNAUTHORIZED);
//!
//! let mut cook = ServiceBuilder::new().layer(wear).service(requester);
//! let response = cook.ready().await?.call(Request::new("greet", "")?).await?;
//! assert_eq!(response.payload(), "hello white");
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "auth")]
pub mod bearer;
mod caller;
#[cfg(feature = "auth")]
mod clock;
#[cfg(feature = "auth")]
pub mod device;
#[cfg(feature = "auth")]
pub mod hmac;
pub mod hub_identity;
#[cfg(feature = "auth")]
mod mac;

use std::fmt;
use std::future::{Future, Ready, ready};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

pub use self::caller::Caller;
#[cfg(feature = "auth")]
pub use self::mac::{Key, KeyTooShort};
use super::Side;
#[cfg(feature = "auth")]
use crate::message::Parts;
use crate::message::{Request, Response, Status};

/// Takes a request and gives it back, changed or not, or says no.
///
/// A closure or function from [`Request`] to a future of `Result<Request, Status>` is one. For a
/// closure that is not async there is [`AuthorizeLayer::sync`]: one blanket implementation cannot
/// serve both.
///
/// ```
/// use std::future::{Ready, ready};
/// use tower_mqtt::layer::authorize::Authorize;
/// use tower_mqtt::{Request, Status};
///
/// /// Lets nobody in at night.
/// #[derive(Clone)]
/// struct OpeningHours(std::ops::Range<u8>);
///
/// impl Authorize for OpeningHours {
///     type Future = Ready<Result<Request, Status>>;
///
///     fn authorize(&self, request: Request) -> Self::Future {
/// #       let hour_now = || 12;
///         ready(if self.0.contains(&hour_now()) { Ok(request) } else { Err(Status::FORBIDDEN) })
///     }
/// }
/// # let open = OpeningHours(8..20).authorize(Request::new("a", "").unwrap());
/// # assert!(open.into_inner().is_ok());
/// ```
pub trait Authorize {
    /// What [`authorize`](Self::authorize) returns.
    type Future: Future<Output = Result<Request, Status>>;

    /// Checks a request, or adds to it. 401 is for who has not said who it is, 403 for who has and
    /// may not. The message of the status goes to the caller: no secrets.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    fn authorize(&self, request: Request) -> Self::Future;
}

impl<F, Fut> Authorize for F
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Result<Request, Status>>,
{
    type Future = Fut;

    fn authorize(&self, request: Request) -> Fut {
        self(request)
    }
}

/// A closure that is not async, as an [`Authorize`]. Made by [`AuthorizeLayer::sync`].
#[derive(Clone, Copy)]
pub struct SyncFn<F>(F);

impl<F> Authorize for SyncFn<F>
where
    F: Fn(Request) -> Result<Request, Status>,
{
    type Future = Ready<Result<Request, Status>>;

    fn authorize(&self, request: Request) -> Self::Future {
        ready((self.0)(request))
    }
}

impl<F> fmt::Debug for SyncFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncFn(..)")
    }
}

/// Passes on only what an [`Authorize`] lets through; on a requester, with the credentials that it
/// adds.
///
/// A request that is refused does not reach the service inside. On a requester the result is
/// [`RequestError::Refused`](crate::RequestError::Refused), on a responder an answer with the status.
///
/// # Differences from tower-http's
///
/// `tower_http::auth::AsyncRequireAuthorizationLayer` is for servers alone, and a refusal is a whole
/// response. Here a refusal is a [`Status`], and the side decides what becomes of it; so credentials
/// are checked and added by one trait. Closures that are not async have a constructor of their own.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizeLayer<A> {
    authorize: A,
}

impl<A: Authorize> AuthorizeLayer<A> {
    /// Asks `authorize`: one of those shipped, an async closure, or a type of your own.
    pub const fn new(authorize: A) -> Self {
        Self { authorize }
    }
}

impl<F: Fn(Request) -> Result<Request, Status>> AuthorizeLayer<SyncFn<F>> {
    /// Asks a closure that is not async.
    pub const fn sync(authorize: F) -> Self {
        Self { authorize: SyncFn(authorize) }
    }
}

/// The value of the user property of this name; `None` when it is absent or comes twice.
#[cfg(feature = "auth")]
fn only<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let mut values = parts.user_properties.iter().filter(|(n, _)| *n == name);
    let (_, value) = values.next()?;
    values.next().is_none().then_some(value)
}

impl<S, A: Clone> Layer<S> for AuthorizeLayer<A> {
    type Service = AuthorizeService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthorizeService { inner, authorize: self.authorize.clone() }
    }
}

/// The service of an [`AuthorizeLayer`].
#[derive(Debug, Clone)]
pub struct AuthorizeService<S, A> {
    inner: S,
    authorize: A,
}

impl<S, A> Service<Request> for AuthorizeService<S, A>
where
    S: Service<Request, Response = Response> + Clone,
    S::Error: Side,
    A: Authorize,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The service that is ready is the one that is called; the clone is for the next request.
        let clone = self.inner.clone();
        let service = mem::replace(&mut self.inner, clone);
        let asking = self.authorize.authorize(request);
        ResponseFuture { state: State::Asking { asking, service } }
    }
}

pin_project! {
    /// The future of [`AuthorizeService`].
    ///
    /// # Cancel safety
    /// Dropping it gives up the check, or the call behind it.
    pub struct ResponseFuture<S, A>
    where
        S: Service<Request>,
        A: Authorize,
    {
        #[pin]
        state: State<A::Future, S::Future, S>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<A, F, S> {
        Asking {
            #[pin]
            asking: A,
            // It keeps the slot that `poll_ready` has taken.
            service: S,
        },
        Calling {
            #[pin]
            call: F,
        },
        Refused,
    }
}

impl<S, A> Future for ResponseFuture<S, A>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
    A: Authorize,
{
    type Output = Result<Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Asking { asking, service } => match ready!(asking.poll(cx)) {
                    Ok(request) => {
                        let call = service.call(request);
                        state.set(State::Calling { call });
                    }
                    Err(status) => {
                        state.set(State::Refused);
                        tracing::debug!(%status, "request refused");
                        return Poll::Ready(S::Error::refuse(status));
                    }
                },
                StateProjection::Calling { call } => return call.poll(cx),
                StateProjection::Refused => unreachable!("polled after it was ready"),
            }
        }
    }
}

impl<S: Service<Request>, A: Authorize> fmt::Debug for ResponseFuture<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::oneshot;
    use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
    use tower::ServiceExt;

    use super::super::mock::{keeps_the_contract, request, requester, responder, start};
    use super::*;
    use crate::error::RequestError;

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        keeps_the_contract(AuthorizeLayer::sync(Ok)).await;
        keeps_the_contract(AuthorizeLayer::new(async |request| Ok(request))).await;
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_or_an_answer_and_goes_no_further() {
        let no = AuthorizeLayer::sync(|_| Err(Status::FORBIDDEN.with_message("not your lock")));
        let status = Status::FORBIDDEN.with_message("not your lock");

        let (mut service, mut handle) = requester(&no);
        let mut call = task::spawn(service.ready().await.unwrap().call(request("1")));
        assert_eq!(assert_ready_err!(call.poll()), RequestError::Refused(status.clone()));
        assert!(handle.poll_request().is_pending());

        let (mut service, mut handle) = responder(&no);
        let mut call = task::spawn(service.ready().await.unwrap().call(request("1")));
        assert_eq!(assert_ready_ok!(call.poll()).status(), &status);
        assert!(handle.poll_request().is_pending());
    }

    #[tokio::test]
    async fn what_it_changes_is_passed_on() {
        let sign =
            AuthorizeLayer::new(async |request: Request| Ok(request.with_user_property("k", "v")));
        let (mut service, mut handle) = requester(&sign);
        let _call = start(&mut service, request("1"));
        let (seen, _) = handle.next_request().await.unwrap();
        assert_eq!(seen.parts().user_properties.get("k"), Some("v"));
    }

    #[tokio::test]
    async fn a_check_may_wait_and_is_dropped_with_the_call() {
        let (allow, allowed) = oneshot::channel::<()>();
        let allowed = Arc::new(Mutex::new(Some(allowed)));
        let ask = AuthorizeLayer::new(move |request: Request| {
            let allowed = allowed.lock().unwrap().take();
            async move {
                allowed.ok_or(Status::FORBIDDEN)?.await.map_err(|_| Status::UNAVAILABLE)?;
                Ok(request)
            }
        });
        let (mut service, mut handle) = responder(&ask);
        let mut call = start(&mut service, request("1"));
        assert!(handle.poll_request().is_pending());
        allow.send(()).unwrap();
        assert_pending!(call.poll());
        handle.next_request().await.unwrap().1.send_response(Response::new("in"));
        assert_eq!(assert_ready_ok!(call.poll()).payload(), "in");
    }
}

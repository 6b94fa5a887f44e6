//! The server's side.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::super::mac::{FindKey, Key};
use super::{
    CHALLENGE, DEVICE_ID, DEVICE_PROOF, Device, LONGEST_ID, Signed, Token, challenge_fields,
};
use crate::core::topic::TopicName;
use crate::error::LayerError;
use crate::layer::Side;
use crate::message::{Request, Response, Status};

/// Challenges the [`Device`] that a request is for, and accepts the answer only with its proof.
///
/// On a requester. A request without a `Device` in its extensions, or for one whose key is not known,
/// is refused with 400 and not sent. An answer without the proof ends the call with
/// [`RequestError::Layer`](crate::RequestError::Layer), a [`ProofError`](super::ProofError) inside.
///
/// The correlation data of the request, when it has one, becomes the request id: it must be a ULID,
/// 16 bytes, as [retry](crate::layer::retry) stamps it. So the attempts of a retry outside are the same
/// challenge, and dedup on the device knows them. A timeout goes outside too.
#[derive(Clone)]
pub struct ChallengeLayer {
    server: Server,
}

#[derive(Clone)]
struct Server {
    response_topic: TopicName,
    find: Arc<FindKey>,
}

impl ChallengeLayer {
    /// `find` says the key of a device. `response_topic` is the one that the requester was
    /// [built with](crate::requester::RequesterBuilder::response_topic).
    pub fn new(
        response_topic: TopicName,
        find: impl Fn(&str) -> Option<Key> + Send + Sync + 'static,
    ) -> Self {
        Self { server: Server { response_topic, find: Arc::new(find) } }
    }
}

impl Server {
    /// Writes the challenge into the request, and says what the answer is to be checked with.
    fn challenge(&self, request: &mut Request) -> Result<Expected, Status> {
        let refuse = |message: &'static str| Status::BAD_REQUEST.with_message(message);
        let parts = request.parts();
        let device = parts.extensions.get::<Device>().ok_or_else(|| refuse("for no device"))?;
        if !(1..=LONGEST_ID).contains(&device.as_str().len()) {
            return Err(refuse("a device id has 1 to 64 bytes"));
        }
        let key = (self.find)(device.as_str()).ok_or_else(|| refuse("for an unknown device"))?;
        let id = parts.correlation_data.clone().unwrap_or_else(crate::id::fresh);
        let id: &[u8; 16] =
            id.as_ref().try_into().map_err(|_| refuse("correlation data is no ULID"))?;
        let fields = challenge_fields(request, device.as_str(), id, &self.response_topic);
        let token = Token::write(id, &key.tag(CHALLENGE, &fields), device.as_str());
        request.parts_mut().correlation_data = Some(token.clone());
        Ok(Expected { key, correlation_data: token, topic: request.topic().clone() })
    }
}

/// What an answer must prove.
struct Expected {
    key: Key,
    correlation_data: Bytes,
    topic: TopicName,
}

impl<S> Layer<S> for ChallengeLayer {
    type Service = Challenge<S>;

    fn layer(&self, inner: S) -> Challenge<S> {
        Challenge { inner, server: self.server.clone() }
    }
}

/// The service of a [`ChallengeLayer`].
#[derive(Clone)]
pub struct Challenge<S> {
    inner: S,
    server: Server,
}

impl<S> Service<Request> for Challenge<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ChallengeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let state = match self.server.challenge(&mut request) {
            Ok(expected) => State::Asked { call: self.inner.call(request), expected },
            Err(status) => State::Refused { status: Some(status) },
        };
        ChallengeFuture { state }
    }
}

pin_project! {
    /// The future of [`Challenge`].
    ///
    /// # Cancel safety
    /// Dropping it gives the call up.
    pub struct ChallengeFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Asked {
            #[pin]
            call: F,
            expected: Expected,
        },
        Refused { status: Option<Status> },
    }
}

impl<F, E> Future for ChallengeFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Side,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProjection::Asked { call, expected } => match ready!(call.poll(cx)) {
                Ok(response) => expected.accept(response),
                Err(error) => Err(error),
            },
            StateProjection::Refused { status } => {
                E::refuse(status.take().expect("polled after it was ready"))
            }
        })
    }
}

impl Expected {
    fn accept<E: Side>(&self, mut response: Response) -> Result<Response, E> {
        let Self { key, correlation_data, topic } = self;
        let signed = Signed { correlation_data, topic, response: &response };
        if let Err(error) = signed.check(key) {
            tracing::debug!(%error, "answer not accepted");
            return E::broken(LayerError::new(error));
        }
        let properties = response.user_properties_mut();
        properties.remove(DEVICE_ID);
        properties.remove(DEVICE_PROOF);
        Ok(response)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("response_topic", &self.response_topic)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChallengeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeLayer").field("server", &self.server).finish()
    }
}

impl<S: fmt::Debug> fmt::Debug for Challenge<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("inner", &self.inner)
            .field("server", &self.server)
            .finish()
    }
}

impl<F> fmt::Debug for ChallengeFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeFuture").finish_non_exhaustive()
    }
}

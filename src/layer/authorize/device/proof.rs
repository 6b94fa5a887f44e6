//! The device's side.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::super::Key;
use super::super::clock::{Clock, WINDOW};
use super::{CHALLENGE, DEVICE_ID, DEVICE_PROOF, Signed, Token, challenge_fields};
use crate::core::topic::TopicName;
use crate::layer::Side;
use crate::message::{Request, Response, Status};

/// Takes only requests that the server has made for this device, and proves the answers.
///
/// On a responder. What is refused does not reach the service inside:
///
/// | the request | answer |
/// |---|---|
/// | has correlation data that is no challenge | 401 |
/// | is for another device | 403 |
/// | was not made by the server, or was changed | 403 |
/// | has an id from outside the time window | 403, which says so |
///
/// A refusal carries no proof; so do answers of layers outside, and of the responder itself. Put
/// this layer outside [dedup](crate::layer::dedup), and inside what may answer in place of the handler
/// only as far as the server need not believe it.
#[derive(Debug, Clone)]
pub struct ProofLayer {
    device: Arc<Device>,
}

#[derive(Debug, Clone)]
struct Device {
    id: Box<str>,
    key: Key,
    window: Duration,
    clock: Clock,
}

impl ProofLayer {
    /// This device, with the key that the server knows too.
    pub fn new(id: impl AsRef<str>, key: Key) -> Self {
        let id = id.as_ref().into();
        Self { device: Arc::new(Device { id, key, window: WINDOW, clock: Clock::default() }) }
    }

    /// How far the time in the request's id may be from now, before or after. 60 s by default, as
    /// for [`HmacVerifier`](super::super::hmac::HmacVerifier::window); dedup must remember twice as
    /// long. [`Duration::MAX`] for a device without a clock.
    pub fn window(self, window: Duration) -> Self {
        self.change(|device| device.window = window)
    }

    /// Takes the time from here; the system's clock by default.
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.change(|device| device.clock = Clock::new(clock))
    }

    fn change(mut self, change: impl FnOnce(&mut Device)) -> Self {
        change(Arc::make_mut(&mut self.device));
        self
    }
}

impl Device {
    fn check(&self, request: &Request) -> Result<Asked, Status> {
        let refuse = |message: &'static str| Status::FORBIDDEN.with_message(message);
        let parts = request.parts();
        let data = parts.correlation_data.as_ref();
        let challenged = data.and_then(|data| Some((data, Token::parse(data)?)));
        let Some((data, token)) = challenged else {
            return Err(Status::UNAUTHORIZED.with_message("correlation data is no challenge"));
        };
        if *token.device != *self.id {
            return Err(refuse("for another device"));
        }
        let topic = parts.response_topic.as_ref().ok_or(Status::BAD_REQUEST)?;
        let fields = challenge_fields(request, &self.id, token.request_id, topic);
        if !self.key.verify(CHALLENGE, &fields, token.challenge) {
            return Err(refuse("not made by the server"));
        }
        // Only the server is told how the clock stands.
        if !self.clock.is_near(token.millis(), self.window) {
            return Err(refuse("made outside the time window"));
        }
        let request_id = *token.request_id;
        Ok(Asked { correlation_data: data.clone(), request_id, topic: request.topic().clone() })
    }

    fn prove(&self, asked: &Asked, mut response: Response) -> Response {
        let Asked { correlation_data, request_id, topic } = asked;
        let signed = Signed { correlation_data, topic, response: &response };
        let proof = signed.prove(&self.key, request_id);
        let properties = response.user_properties_mut();
        properties.remove(DEVICE_ID);
        properties.remove(DEVICE_PROOF);
        properties.push(DEVICE_ID, self.id.to_string());
        properties.push(DEVICE_PROOF, proof);
        response
    }
}

/// What an answer is the answer to.
#[derive(Debug)]
struct Asked {
    correlation_data: Bytes,
    request_id: [u8; 16],
    topic: TopicName,
}

impl<S> Layer<S> for ProofLayer {
    type Service = Proof<S>;

    fn layer(&self, inner: S) -> Proof<S> {
        Proof { inner, device: Arc::clone(&self.device) }
    }
}

/// The service of a [`ProofLayer`].
#[derive(Debug, Clone)]
pub struct Proof<S> {
    inner: S,
    device: Arc<Device>,
}

impl<S> Service<Request> for Proof<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ProofFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let state = match self.device.check(&request) {
            Ok(asked) => State::Asked {
                call: self.inner.call(request),
                asked,
                device: Arc::clone(&self.device),
            },
            Err(status) => State::Refused { status: Some(status) },
        };
        ProofFuture { state }
    }
}

pin_project! {
    /// The future of [`Proof`].
    ///
    /// # Cancel safety
    /// Dropping it drops the future inside.
    #[derive(Debug)]
    pub struct ProofFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Asked {
            #[pin]
            call: F,
            asked: Asked,
            device: Arc<Device>,
        },
        Refused { status: Option<Status> },
    }
}

impl<F, E> Future for ProofFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Side,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProjection::Asked { call, asked, device } => {
                ready!(call.poll(cx)).map(|response| device.prove(asked, response))
            }
            StateProjection::Refused { status } => {
                let status = status.take().expect("polled after it was ready");
                tracing::debug!(%status, "request refused");
                E::refuse(status)
            }
        })
    }
}

//! What the tests of all layers share: a service on either side whose answers the test gives.

use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::limit::ConcurrencyLimit;
use tower::util::MapErr;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_test::mock::{self, Mock};

use crate::error::RequestError;
use crate::message::{Request, Response};

pub(super) type Handle = mock::Handle<Request, Response>;

/// Takes a slot in `poll_ready`, and panics when called without one: tower's contract to the
/// letter.
pub(super) type MockService<E> =
    MapErr<ConcurrencyLimit<Mock<Request, Response>>, fn(BoxError) -> E>;

fn mock<E, L: Layer<MockService<E>>>(
    layer: &L,
    slots: usize,
    to_error: fn(BoxError) -> E,
) -> (L::Service, Handle) {
    let (mock, mut handle) = mock::pair();
    handle.allow(u64::MAX);
    (layer.layer(ConcurrencyLimit::new(mock, slots).map_err(to_error)), handle)
}

/// The layer on a requester with plenty of slots.
pub(super) fn requester<L: Layer<MockService<RequestError>>>(layer: &L) -> (L::Service, Handle) {
    mock(layer, 100, RequestError::from)
}

/// The layer on a responder with plenty of slots.
pub(super) fn responder<L: Layer<MockService<Infallible>>>(layer: &L) -> (L::Service, Handle) {
    mock(layer, 100, |error| unreachable!("a responder's service does not fail: {error}"))
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A request as a responder gets it.
pub(super) fn request(id: &'static str) -> Request {
    let mut request = Request::new("a/b", "soup?").unwrap().correlation_data(id);
    request.parts_mut().response_topic = Some("clients/a/responses".parse().unwrap());
    request
}

/// Makes a call and polls it once, so that it starts.
pub(super) fn start<S>(service: &mut S, request: Request) -> task::Spawn<S::Future>
where
    S: Service<Request, Response = Response>,
    S::Error: Debug,
{
    let mut call = call(service, request);
    assert_pending!(call.poll());
    call
}

/// Makes a call that ends at once.
pub(super) fn at_once<S>(service: &mut S, request: Request) -> Result<Response, S::Error>
where
    S: Service<Request, Response = Response>,
    S::Error: Debug,
{
    assert_ready!(call(service, request).poll())
}

fn call<S>(service: &mut S, request: Request) -> task::Spawn<S::Future>
where
    S: Service<Request>,
    S::Error: Debug,
{
    assert_ready_ok!(task::spawn(service.ready()).poll().map_ok(|_| ()));
    task::spawn(service.call(request))
}

/// The status of an answer or of a refusal.
pub(super) fn code<E: super::Side + Debug>(result: Result<Response, E>) -> u16 {
    match result {
        Ok(response) => response.status().code(),
        Err(error) => match error.as_request_error() {
            Some(RequestError::Refused(status)) => status.code(),
            _ => panic!("{error:?}"),
        },
    }
}

/// Checks on both sides that `layer` keeps to tower's contract.
pub(super) async fn keeps_the_contract<L, A, B>(layer: L)
where
    L: Layer<MockService<RequestError>, Service = A> + Layer<MockService<Infallible>, Service = B>,
    A: Service<Request, Response = Response, Error = RequestError> + Clone,
    B: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let requests = ["1", "2", "3", "4"].map(request);
    keeps_the_contract_with(layer, requests, |_, response| response).await;
}

/// The same, where `layer` asks for more of a request, or of the answer to it.
pub(super) async fn keeps_the_contract_with<L, A, B>(
    layer: L,
    [first, second, third, fourth]: [Request; 4],
    complete: impl Fn(&Request, Response) -> Response,
) where
    L: Layer<MockService<RequestError>, Service = A> + Layer<MockService<Infallible>, Service = B>,
    A: Service<Request, Response = Response, Error = RequestError> + Clone,
    B: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let (service, handle) = mock(&layer, 1, RequestError::from);
    contract(service, handle, [first, second], &complete).await;
    let (service, handle) = mock::<Infallible, L>(&layer, 1, |error| unreachable!("{error}"));
    contract(service, handle, [third, fourth], &complete).await;
}

async fn contract<S>(
    mut service: S,
    mut handle: Handle,
    [answered, dropped]: [Request; 2],
    complete: &impl Fn(&Request, Response) -> Response,
) where
    S: Service<Request, Response = Response> + Clone,
    S::Error: Debug,
{
    // It is ready when the service inside is.
    handle.allow(0);
    assert_pending!(task::spawn(service.ready()).poll().map_ok(|_| ()));
    handle.allow(u64::MAX);
    assert_ready_ok!(task::spawn(service.ready()).poll().map_ok(|_| ()));

    // A clone does not inherit that, and gets the slot when the first one goes without a call.
    let mut clone = service.clone();
    {
        let mut waits = task::spawn(clone.ready());
        assert_pending!(waits.poll().map_ok(|_| ()));
        drop(service);
        assert!(waits.is_woken());
        assert_ready_ok!(waits.poll().map_ok(|_| ()));
    }

    // The service that was ready is the one that is called, and the answer is passed on.
    let call = clone.call(answered);
    let mut next = clone.clone();
    {
        let mut call = pin!(call);
        assert_pending!(task::spawn(&mut call).poll().map_ok(|_| ()));
        let (arrived, send) = handle.next_request().await.unwrap();
        assert_pending!(task::spawn(next.ready()).poll().map_ok(|_| ()));
        send.send_response(complete(&arrived, Response::new("miso")));
        assert_eq!(assert_ready!(task::spawn(&mut call).poll()).unwrap().payload(), "miso");
    }

    // A call that is given up gives its slot back.
    let given_up = start(&mut next, dropped);
    assert_pending!(task::spawn(clone.ready()).poll().map_ok(|_| ()));
    drop(given_up);
    assert_ready_ok!(task::spawn(clone.ready()).poll().map_ok(|_| ()));
}

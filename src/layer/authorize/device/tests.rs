use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Service, ServiceExt};

use super::super::super::mock::{
    Handle, code, keeps_the_contract_with, requester, responder, start,
};
use super::*;
use crate::error::{Delivery, RequestError};

const ANSWERS: &str = "server/answers";

fn topic(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn key(byte: u8) -> Key {
    Key::new([byte; 32]).unwrap()
}

fn server() -> ChallengeLayer {
    ChallengeLayer::new(topic(ANSWERS), |device| {
        (device == "lock-7" || device == "lock-8").then(|| key(device.as_bytes()[5]))
    })
}

fn lock(number: char) -> ProofLayer {
    ProofLayer::new(format!("lock-{number}"), key(number as u8))
}

fn unlock() -> Request {
    let mut request = Request::new("locks/7/unlock", "5 s").unwrap();
    request.parts_mut().extensions.insert(Device::new("lock-7"));
    request
}

/// The request as it arrives at the lock.
async fn arrives(handle: &mut Handle) -> (Request, tower_test::mock::SendResponse<Response>) {
    let (mut request, send) = handle.next_request().await.unwrap();
    request.parts_mut().response_topic = Some(topic(ANSWERS));
    (request, send)
}

/// What this lock answers.
async fn answer(lock: ProofLayer, request: Request) -> Response {
    let (mut service, mut handle) = responder(&lock);
    let mut call = task::spawn(service.ready().await.unwrap().call(request));
    if let Poll::Ready(refused) = call.poll() {
        return refused.unwrap();
    }
    handle.next_request().await.unwrap().1.send_response(Response::new("unlocked"));
    call.await.unwrap()
}

/// How a call ends when the answer is made like this from the request as it arrives.
async fn verdict(change: impl AsyncFnOnce(Request) -> Response) -> Result<Response, ProofError> {
    let (mut service, mut handle) = requester(&server());
    let call = start(&mut service, unlock());
    let (request, send) = arrives(&mut handle).await;
    send.send_response(change(request).await);
    call.await.map_err(|error| {
        assert_eq!(error.delivery(), Delivery::Unknown, "the door may be open");
        let RequestError::Layer(error) = error else { panic!("{error}") };
        error.get_ref().downcast_ref::<ProofError>().unwrap().clone()
    })
}

#[tokio::test]
async fn the_challenge_keeps_the_contract() {
    let prove = |request: &Request, response: Response| {
        let data = request.parts().correlation_data.as_ref().unwrap();
        let signed = Signed { correlation_data: data, topic: request.topic(), response: &response };
        let proof = signed.prove(&key(b'7'), Token::parse(data).unwrap().request_id);
        response.with_user_property(DEVICE_ID, "lock-7").with_user_property(DEVICE_PROOF, proof)
    };
    keeps_the_contract_with(server(), [(); 4].map(|()| unlock()), prove).await;
}

#[tokio::test]
async fn the_proof_keeps_the_contract() {
    let (mut service, mut handle) = requester(&server());
    let mut challenged = async || {
        let _call = start(&mut service, unlock());
        arrives(&mut handle).await.0
    };
    let requests = [challenged().await, challenged().await, challenged().await, challenged().await];
    keeps_the_contract_with(lock('7'), requests, |_, response| response).await;
}

#[tokio::test]
async fn the_right_lock_is_believed() {
    let response = verdict(async |request| answer(lock('7'), request).await).await.unwrap();
    assert_eq!(response.payload(), "unlocked");
    assert!(response.user_properties().is_empty());
}

#[tokio::test]
async fn another_lock_is_not() {
    // It answers under its own name, and under that of lock 7; with the proof that it can make.
    for name in ["lock-8", "lock-7"] {
        let error = verdict(async |request| {
            let data = request.parts().correlation_data.clone().unwrap();
            let mut response = Response::new("unlocked");
            let signed =
                Signed { correlation_data: &data, topic: request.topic(), response: &response };
            let proof = signed.prove(&key(b'8'), Token::parse(&data).unwrap().request_id);
            response = response
                .with_user_property(DEVICE_ID, name)
                .with_user_property(DEVICE_PROOF, proof);
            response
        });
        let expected =
            if name == "lock-8" { ProofError::WrongDevice } else { ProofError::Mismatch };
        assert_eq!(error.await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn an_earlier_answer_is_not() {
    let mut recorded = None;
    let record = async |request: Request| {
        let response = answer(lock('7'), request).await;
        recorded = Some(response.clone());
        response
    };
    verdict(record).await.unwrap();
    let recorded = recorded.unwrap();
    let replay = verdict(async |_| recorded.clone()).await;
    assert_eq!(replay.unwrap_err(), ProofError::OtherRequest);

    // Even when the id in it is made to fit.
    let forged = verdict(async |request| {
        let data = request.parts().correlation_data.clone().unwrap();
        let mut response = recorded.clone();
        let proof = response.user_properties_mut().remove(DEVICE_PROOF).unwrap();
        let (_, tag) = proof.split_once('.').unwrap();
        let id = to_text(Token::parse(&data).unwrap().request_id);
        response.with_user_property(DEVICE_PROOF, format!("v1={id}.{tag}"))
    });
    assert_eq!(forged.await.unwrap_err(), ProofError::Mismatch);
}

#[tokio::test]
async fn a_changed_answer_is_not() {
    type Change = fn(Response) -> Response;
    let changes: [(Change, ProofError); 6] = [
        (|r| r.with_status(Status::CONFLICT), ProofError::Mismatch),
        (|r| r.with_status(Status::OK.with_message("!")), ProofError::Mismatch),
        (
            |r| {
                let mut other = Response::new("locked");
                let properties = r.user_properties().iter();
                let owned = properties.map(|(n, v)| (n.to_owned(), v.to_owned()));
                other.user_properties_mut().extend(owned);
                other
            },
            ProofError::Mismatch,
        ),
        (|_| Response::new("unlocked"), ProofError::Missing { status: Status::OK }),
        (
            |r| {
                Response::new("unlocked")
                    .with_user_property(DEVICE_ID, "lock-7")
                    .with_status(r.status().clone())
            },
            ProofError::Missing { status: Status::OK },
        ),
        (
            |mut r| {
                r.user_properties_mut().remove(DEVICE_PROOF);
                r.with_user_property(DEVICE_PROOF, "v1=AAAA.AAAA")
            },
            ProofError::Missing { status: Status::OK },
        ),
    ];
    for (change, expected) in changes {
        let answer = verdict(async |request| change(answer(lock('7'), request).await));
        assert_eq!(answer.await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn the_challenge_sent_back_is_no_proof() {
    let error = verdict(async |request| {
        let data = request.parts().correlation_data.clone().unwrap();
        let token = Token::parse(&data).unwrap();
        let proof = format!("v1={}.{}", to_text(token.request_id), to_text(token.challenge));
        Response::new("5 s")
            .with_user_property(DEVICE_ID, "lock-7")
            .with_user_property(DEVICE_PROOF, proof)
    });
    assert_eq!(error.await.unwrap_err(), ProofError::Mismatch);
}

#[tokio::test]
async fn the_attempts_of_a_retry_are_one_challenge() {
    let (mut service, mut handle) = requester(&server());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let request = unlock().correlation_data([3; 16].to_vec());
        let _call = start(&mut service, request);
        seen.push(handle.next_request().await.unwrap().0.parts().correlation_data.clone());
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn what_cannot_be_challenged_is_not_sent() {
    let for_device = |id: &str| {
        let mut request = unlock();
        request.parts_mut().extensions.insert(Device::new(id));
        request
    };
    let requests = [
        Request::new("locks/7/unlock", "").unwrap(),
        for_device("lock-9"),
        for_device(""),
        for_device(&"x".repeat(65)),
        unlock().correlation_data("not a ULID"),
    ];
    for request in requests {
        let (mut service, mut handle) = requester(&server());
        let mut call = task::spawn(service.ready().await.unwrap().call(request));
        let error = assert_ready_err!(call.poll());
        assert!(matches!(&error, RequestError::Refused(status) if status.code() == 400), "{error}");
        assert!(handle.poll_request().is_pending());
    }
}

#[tokio::test]
async fn a_lock_takes_only_what_the_server_made_for_it() {
    let (mut service, mut handle) = requester(&server());
    let _call = start(&mut service, unlock());
    let (genuine, _) = arrives(&mut handle).await;
    let changed = |change: fn(&mut Request)| {
        let mut request = genuine.clone();
        change(&mut request);
        request
    };
    for (request, lock, expected) in [
        (genuine.clone(), lock('7'), 200),
        (genuine.clone(), lock('8'), 403),
        (genuine.clone(), ProofLayer::new("lock-7", key(b'8')), 403),
        (changed(|r| r.parts_mut().topic = topic("locks/7/erase")), lock('7'), 403),
        (changed(|r| r.parts_mut().response_topic = Some(topic("mine"))), lock('7'), 403),
        (changed(|r| *r = Request::from_parts(r.parts().clone(), "9 s".into())), lock('7'), 403),
        (changed(|r| r.parts_mut().correlation_data = None), lock('7'), 401),
        (changed(|r| r.parts_mut().correlation_data = Some("short".into())), lock('7'), 401),
    ] {
        let response = answer(lock, request).await;
        assert_eq!(code(Ok::<_, RequestError>(response.clone())), expected);
        let is_proved = response.user_properties().get(DEVICE_PROOF).is_some();
        assert_eq!(is_proved, expected == 200, "only what the server asked is signed");
    }
}

#[tokio::test]
async fn a_recorded_request_is_refused_after_the_window() {
    let (mut service, mut handle) = requester(&server());
    let _call = start(&mut service, unlock().correlation_data([1; 16].to_vec()));
    let (request, _) = arrives(&mut handle).await;
    let made = UNIX_EPOCH + Duration::from_millis(0x0101_0101_0101);
    let minute = Duration::from_mins(1);
    let ms = Duration::from_millis(1);
    for (now, expected) in
        [(made + minute, 200), (made + minute + ms, 403), (made - minute - ms, 403)]
    {
        let lock = lock('7').clock(move || -> SystemTime { now });
        assert_eq!(answer(lock.clone(), request.clone()).await.status().code(), expected);
        let without_a_clock = lock.window(Duration::MAX);
        assert_eq!(answer(without_a_clock, request.clone()).await.status().code(), 200);
    }
}

#[tokio::test]
async fn a_slow_lock_is_waited_for() {
    let (mut service, mut handle) = responder(&lock('7'));
    let (mut asking, mut asked) = requester(&server());
    let _call = start(&mut asking, unlock());
    let (request, _) = arrives(&mut asked).await;
    let mut call = start(&mut service, request);
    assert_pending!(call.poll());
    handle.next_request().await.unwrap().1.send_response(Response::default());
    assert_ready_ok!(call.poll());
}

#[test]
fn correlation_data_of_another_form_is_no_token() {
    let token = Token::write(&[1; 16], &[2; 32], "lock-7");
    assert_eq!(Token::parse(&token).unwrap().device, "lock-7");
    for length in 0..=49 {
        assert!(Token::parse(&token[..length]).is_none(), "{length}");
    }
    assert!(Token::parse(&Token::write(&[1; 16], &[2; 32], &"x".repeat(65))).is_none());
    let mut other = token.to_vec();
    other[0] = 2;
    assert!(Token::parse(&other).is_none(), "version");
    other[0] = 1;
    other[49] = 0xff;
    assert!(Token::parse(&other).is_none(), "UTF-8");
}

proptest::proptest! {
    #[test]
    fn nothing_from_the_wire_panics(
        data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        device in "\\PC{0,8}",
        proof in "(v1=)?[A-Za-z0-9_=-]{0,24}[.]?[A-Za-z0-9_=-]{0,45}",
    ) {
        let response = Response::new("").with_user_property(DEVICE_ID, device).with_user_property(DEVICE_PROOF, proof);
        let topic = topic("a");
        let signed = Signed { correlation_data: &data, topic: &topic, response: &response };
        proptest::prop_assert!(signed.check(&key(7)).is_err());
    }
}

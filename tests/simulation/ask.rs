//! One call.

use std::sync::Arc;
use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt};
use tower_mqtt::layer::{RetryLayer, TimeoutLayer, retry::RetryPolicy};
use tower_mqtt::{Request, RequestError, Requester, Response};

use crate::plan::{Millis, Retry};
use crate::random::Random;
use crate::record::{Ending, Record, number_in, question};

/// Makes a call of the plan, and records how it ends.
pub async fn ask(record: &Arc<Record>, requester: &Requester, number: usize) {
    let call = record.plan.calls[number];
    let group = &record.plan.groups[call.group];
    let mut request = request(record, (call.group, call.answerer), number, call.timeout);
    request.parts_mut().qos = call.qos;
    request.parts_mut().idempotent = call.idempotent;
    let asking = async {
        match record.plan.asker(&call).retry {
            None => run(record, requester.clone(), request, number).await,
            Some(retry) => {
                let deduplicates = group.dedup && group.speaks.keeps_ids();
                let policy = policy(retry, deduplicates, record.plan.seed, number);
                let client = ServiceBuilder::new()
                    .layer(RetryLayer::new(policy))
                    .layer(TimeoutLayer::new(Duration::from_millis(retry.each)))
                    .service(requester.clone());
                run(record, client, request, number).await;
            }
        }
    };
    let Some(after) = call.given_up_after else { return asking.await };
    let patience = Duration::from_millis(after);
    if tokio::time::timeout(patience, asking).await.is_err() {
        end(record, number, Ending::GivenUp);
    }
}

/// Makes a call that must succeed.
pub async fn probe(
    record: &Arc<Record>,
    requester: &Requester,
    place: (usize, usize),
    number: usize,
) {
    let request = request(record, place, number, 8000);
    run(record, requester.clone(), request, number).await;
}

fn request(
    record: &Record,
    (number, answerer): (usize, usize),
    call: usize,
    timeout: Millis,
) -> Request {
    let group = &record.plan.groups[number];
    let address = group.speaks.address(&group.device(number, answerer));
    let request = Request::new(address, question(call)).expect("an address is a topic");
    request.timeout(Duration::from_millis(timeout))
}

fn policy(retry: Retry, deduplicates: bool, seed: u64, call: usize) -> RetryPolicy {
    let random = std::sync::Mutex::new(Random::of(seed, [2, call as u64, 0, 0]));
    let policy = RetryPolicy::default().max_attempts(retry.attempts).jitter(move || {
        let drawn = random.lock().expect("no panic").below(1000);
        f64::from(u32::try_from(drawn).expect("it is small")) / 1000.0
    });
    if deduplicates { policy.responder_deduplicates() } else { policy }
}

async fn run<S>(record: &Arc<Record>, mut client: S, request: Request, number: usize)
where
    S: Service<Request, Response = Response, Error = RequestError>,
{
    let ready = match client.ready().await {
        Ok(ready) => ready,
        Err(error) => return end(record, number, Ending::Failed(error)),
    };
    record.lock().calls[number].begun = Some(record.now());
    record.trace(format_args!("call {number} is made"));
    let ending = match ready.call(request).await {
        Ok(response) => {
            Ending::Answered { status: response.status().code(), of: number_in(response.payload()) }
        }
        Err(error) => Ending::Failed(error),
    };
    end(record, number, ending);
}

fn end(record: &Record, number: usize, ending: Ending) {
    record.trace(format_args!("call {number} ends: {ending:?}"));
    record.lock().calls[number].ended = Some((record.now(), ending));
}

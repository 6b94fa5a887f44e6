//! Who calls, and writes down what becomes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};
use tower_mqtt::{Qos, Request, RequestError, Response};

use super::history::{Call, End, History, PATIENCE};
use super::pairs::Pair;
use super::question::{answer, id_in, question};
use super::random::Random;
use super::station::Asker;

pub(crate) struct Caller {
    pair: Pair,
    random: Random,
    next_id: u64,
    asker: watch::Receiver<Option<Asker>>,
    history: Arc<History>,
}

/// What is decided about a call before it is made.
struct Question {
    id: u64,
    timeout: Duration,
    idempotent: bool,
    qos: Qos,
    /// When the caller loses patience.
    gives_up: Option<Duration>,
}

impl Caller {
    pub(crate) fn new(
        pair: Pair,
        seed: u64,
        base: u64,
        asker: watch::Receiver<Option<Asker>>,
        history: Arc<History>,
    ) -> Self {
        let random = Random::new(seed, &format!("caller {base}"));
        Self { pair, random, next_id: base, asker, history }
    }

    /// One call after the other.
    pub(crate) async fn call_until(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let (question, pause) = self.decide();
            let asker = tokio::select! {
                () = stop.cancelled() => return,
                asker = present(&mut self.asker) => asker,
            };
            let Some(asker) = asker else { return };
            let answered =
                ask(&self.pair, question, asker, &self.history).await == Some(End::Answered);
            tokio::time::sleep(if answered { pause } else { 4 * pause }).await;
        }
    }

    fn decide(&mut self) -> (Question, Duration) {
        let random = &mut self.random;
        self.next_id += 1;
        let question = Question {
            id: self.next_id,
            timeout: random.millis(self.pair.timeouts.clone()),
            idempotent: random.one_in(2),
            qos: if random.one_in(5) { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            gives_up: random.one_in(20).then(|| random.millis(0..=200)),
        };
        (question, random.millis(0..=30))
    }
}

/// Asks until there is an answer.
pub(crate) async fn answered(
    pair: &Pair,
    first_id: u64,
    asker: &mut watch::Receiver<Option<Asker>>,
    history: &History,
) {
    for id in first_id.. {
        let Some(asker) = present(asker).await else { return };
        let timeout = Duration::from_secs(2);
        let question =
            Question { id, timeout, idempotent: true, qos: Qos::AtLeastOnce, gives_up: None };
        if ask(pair, question, asker, history).await == Some(End::Answered) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The requester, when there is one.
async fn present(asker: &mut watch::Receiver<Option<Asker>>) -> Option<Asker> {
    asker.wait_for(Option::is_some).await.ok()?.clone()
}

/// `None`: the requester is closed.
async fn ask(pair: &Pair, question: Question, asker: Asker, history: &History) -> Option<End> {
    let Question { id, timeout: limit, idempotent, qos, gives_up } = question;
    let request = Request::new(pair.address, self::question(id)).expect("a topic name");
    let request = request.timeout(limit).qos(qos);
    let request = if idempotent { request.idempotent() } else { request };
    let mut service = asker.service;
    match timeout(PATIENCE, service.ready()).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return None,
        Err(_) => {
            history.wrong(format!("{} never has a slot for a call", pair.name));
            return None;
        }
    }
    let start = Instant::now();
    let result = timeout(gives_up.unwrap_or(limit + PATIENCE), service.call(request)).await;
    let over = Instant::now();
    let end = match result {
        Ok(result) => judge(id, result),
        Err(_) if gives_up.is_some() => End::GivenUp,
        Err(_) => End::Never,
    };
    history.call(Call { id, pair: pair.name, start, timeout: limit, over, end: end.clone() });
    Some(end)
}

fn judge(id: u64, result: Result<Response, RequestError>) -> End {
    match result {
        Err(error) => End::Failed(error),
        Ok(response) if response.status().code() != 200 => End::Status(response.status().code()),
        Ok(response) if *response.payload() == answer(id) => End::Answered,
        Ok(response) => {
            let payload = response.payload();
            End::Foreign(format!("{} bytes, for {:?}", payload.len(), id_in(payload)))
        }
    }
}

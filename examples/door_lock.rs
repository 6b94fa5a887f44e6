//! A server unlocks a door, and believes only the lock that it has asked:
//! `cargo run --example door_lock --features auth`.
//!
//! Between the two is an attacker who reads and changes every message. It shows another lock's answer,
//! an earlier one, a changed one, and a late one; it sends a recorded request again, and a changed one.
//! `tower_mqtt::layer::authorize::device` says how each is found out.

use std::error::Error;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tower::util::{MapRequestLayer, MapResponseLayer};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_mqtt::layer::authorize::Key;
use tower_mqtt::layer::authorize::device::{ChallengeLayer, Device, ProofError, ProofLayer};
use tower_mqtt::layer::{DedupLayer, TimeoutLayer};
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router, TopicName};

type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Failure> {
    let network = Network::new();
    let attacker = Attacker::default();
    let lock_7 = Lock::install(&network, 7, &attacker).await?;
    let _lock_8 = Lock::install(&network, 8, &attacker).await?;

    let answers = TopicName::new("server/answers")?;
    let requester =
        Requester::builder(network.link("server")).response_topic(answers.clone()).build().await?;
    let mut server = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_millis(500)))
        .layer(ChallengeLayer::new(answers, |device| {
            key(device.strip_prefix("lock-")?.parse().ok()?).ok()
        }))
        .service(requester.clone());
    let mut unlock = async |lock: u8| {
        let mut request = Request::new(format!("locks/{lock}/unlock"), "for 5 s")?;
        request.parts_mut().extensions.insert(Device::new(format!("lock-{lock}")));
        server.ready().await?.call(request).await
    };

    let response = unlock(7).await?;
    assert_eq!(response.payload(), "unlocked");
    println!("the right lock:     opens");
    let of_lock_7 = attacker.recorded_answer();
    let request_of_lock_7 = attacker.recorded_request();

    unlock(8).await?;
    attacker.does(Attack::Answer(attacker.recorded_answer()));
    let error = unlock(7).await.unwrap_err();
    assert_eq!(reason(&error), Some(&ProofError::WrongDevice));
    println!("a wrong device:     refused, {error}");

    attacker.does(Attack::Answer(of_lock_7));
    let error = unlock(7).await.unwrap_err();
    assert_eq!(reason(&error), Some(&ProofError::OtherRequest));
    println!("a replay:           refused, {error}");

    attacker.does(Attack::Say("the door is locked"));
    let error = unlock(7).await.unwrap_err();
    assert_eq!(reason(&error), Some(&ProofError::Mismatch));
    println!("a tampered payload: refused, {error}");

    network.on_message(|message| match message.topic.as_str() {
        "server/answers" => Fate::Delay(Duration::from_millis(700)),
        _ => Fate::Deliver,
    });
    let error = unlock(7).await.unwrap_err();
    assert_eq!(error, RequestError::Timeout);
    tokio::time::sleep(Duration::from_secs(1)).await; // the clock of this example does not wait
    assert_eq!(requester.stats().late, 1);
    println!("a late answer:      refused, {error}");

    // The lock believes nobody but the server, either.
    let opened = lock_7.opened();
    let again = lock_7.receives(request_of_lock_7.clone()).await;
    assert_eq!((again.status().code(), lock_7.opened()), (200, opened));
    println!("a request again:    answered as before, and not executed");

    let changed = Request::from_parts(request_of_lock_7.into_parts().0, "for 5 h".into());
    let refusal = lock_7.receives(changed).await;
    assert_eq!((refusal.status().code(), lock_7.opened()), (403, opened));
    println!("a changed request:  refused, {}", refusal.status());
    Ok(())
}

/// Each lock's key is made when it is built, and is in the server's store. (These are for show.)
fn key(lock: u8) -> Result<Key, Failure> {
    Ok(Key::new([lock; 32])?)
}

fn reason(error: &RequestError) -> Option<&ProofError> {
    match error {
        RequestError::Layer(error) => error.get_ref().downcast_ref(),
        _ => None,
    }
}

struct Lock {
    opened: Arc<AtomicU32>,
    router: Router,
    _responder: Responder,
}

impl Lock {
    async fn install(network: &Network, number: u8, attacker: &Attacker) -> Result<Self, Failure> {
        let opened = Arc::new(AtomicU32::new(0));
        let times = Arc::clone(&opened);
        let unlock = async move || {
            times.fetch_add(1, Ordering::Relaxed);
            "unlocked"
        };
        let name = format!("lock-{number}");
        let router = Router::new()
            .route(&format!("locks/{number}/unlock"), unlock)
            .layer(DedupLayer::default()) // inside: it is the memory of what was asked
            .layer(ProofLayer::new(&name, key(number)?));
        // What is outside of the proof is the network.
        let exposed = router.clone().layer(attacker.on_requests()).layer(attacker.on_answers());
        let responder = Responder::builder(network.link(&name)).serve(exposed).await?;
        Ok(Self { opened, router, _responder: responder })
    }

    /// How often it has opened.
    fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// What it answers to a request that anybody has sent.
    async fn receives(&self, request: Request) -> Response {
        let Ok(response) = self.router.clone().oneshot(request).await;
        response
    }
}

/// What the attacker does to the next answer.
#[derive(Default)]
enum Attack {
    #[default]
    Listen,
    /// Puts this one in its place.
    Answer(Response),
    /// Leaves its proof, and changes what it says.
    Say(&'static str),
}

#[derive(Clone, Default)]
struct Attacker(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    next: Attack,
    request: Option<Request>,
    answer: Option<Response>,
}

impl Attacker {
    fn does(&self, attack: Attack) {
        self.plan().next = attack;
    }

    fn recorded_request(&self) -> Request {
        self.plan().request.clone().expect("a request has passed")
    }

    fn recorded_answer(&self) -> Response {
        self.plan().answer.clone().expect("an answer has passed")
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().expect("nothing panics under the lock")
    }

    fn on_requests(&self) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + use<>> {
        let attacker = self.clone();
        MapRequestLayer::new(move |request: Request| {
            attacker.plan().request = Some(request.clone());
            request
        })
    }

    fn on_answers(&self) -> MapResponseLayer<impl Fn(Response) -> Response + Clone + use<>> {
        let attacker = self.clone();
        MapResponseLayer::new(move |answer: Response| {
            let mut plan = attacker.plan();
            plan.answer = Some(answer.clone());
            match mem::take(&mut plan.next) {
                Attack::Listen => answer,
                Attack::Answer(other) => other,
                Attack::Say(payload) => {
                    let mut changed = Response::new(payload);
                    changed.user_properties_mut().clone_from(answer.user_properties());
                    changed
                }
            }
        })
    }
}

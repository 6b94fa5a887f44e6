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

use tower::util::{BoxService, MapRequestLayer, MapResponseLayer};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_mqtt::layer::authorize::Key;
use tower_mqtt::layer::authorize::device::{ChallengeLayer, Device, ProofError, ProofLayer};
use tower_mqtt::layer::{DedupLayer, TimeoutLayer};
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router, TopicName};

type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Failure> {
    let mut scene = Scene::set().await?;
    let response = scene.unlock(7).await?;
    assert_eq!(response.payload(), "unlocked");
    println!("the right lock:     opens");
    let answer = scene.attacker.recorded_answer();
    let request = scene.attacker.recorded_request();

    another_device(&mut scene).await?;
    a_replay(&mut scene, answer).await;
    a_changed_answer(&mut scene).await;
    a_late_answer(&mut scene).await;

    // The lock believes nobody but the server, either.
    the_request_again(&scene.lock_7, request.clone()).await;
    a_changed_request(&scene.lock_7, request).await;
    Ok(())
}

async fn another_device(scene: &mut Scene) -> Result<(), Failure> {
    scene.unlock(8).await?;
    scene.attacker.does(Attack::Answer(scene.attacker.recorded_answer()));
    let error = scene.unlock(7).await.unwrap_err();
    assert_eq!(reason(&error), Some(&ProofError::WrongDevice));
    println!("a wrong device:     refused, {error}");
    Ok(())
}

async fn a_replay(scene: &mut Scene, answer: Response) {
    scene.attacker.does(Attack::Answer(answer));
    let error = scene.unlock(7).await.unwrap_err();
    assert_eq!(reason(&error), Some(&ProofError::OtherRequest));
    println!("a replay:           refused, {error}");
}

async fn a_changed_answer(scene: &mut Scene) {
    scene.attacker.does(Attack::Say("the door is locked"));
    let error = scene.unlock(7).await.unwrap_err();
    assert_eq!(reason(&error), Some(&ProofError::Mismatch));
    println!("a tampered payload: refused, {error}");
}

async fn a_late_answer(scene: &mut Scene) {
    scene.network.on_message(|message| match message.topic.as_str() {
        ANSWERS => Fate::Delay(Duration::from_millis(700)),
        _ => Fate::Deliver,
    });
    let error = scene.unlock(7).await.unwrap_err();
    assert_eq!(error, RequestError::Timeout);
    tokio::time::sleep(Duration::from_secs(1)).await; // the clock of this example does not wait
    assert_eq!(scene.requester.stats().late, 1);
    println!("a late answer:      refused, {error}");
}

async fn the_request_again(lock: &Lock, request: Request) {
    let opened = lock.opened();
    let again = lock.receives(request).await;
    assert_eq!((again.status().code(), lock.opened()), (200, opened));
    println!("a request again:    answered as before, and not executed");
}

async fn a_changed_request(lock: &Lock, request: Request) {
    let opened = lock.opened();
    let changed = Request::from_parts(request.into_parts().0, "for 5 h".into());
    let refusal = lock.receives(changed).await;
    assert_eq!((refusal.status().code(), lock.opened()), (403, opened));
    println!("a changed request:  refused, {}", refusal.status());
}

const ANSWERS: &str = "server/answers";

/// A server, two locks, and the attacker between them.
struct Scene {
    network: Network,
    attacker: Attacker,
    requester: Requester,
    server: BoxService<Request, Response, RequestError>,
    lock_7: Lock,
    _lock_8: Lock,
}

impl Scene {
    async fn set() -> Result<Self, Failure> {
        let network = Network::new();
        let attacker = Attacker::default();
        let lock_7 = Lock::install(&network, 7, &attacker).await?;
        let lock_8 = Lock::install(&network, 8, &attacker).await?;

        let answers = TopicName::new(ANSWERS)?;
        let requester = Requester::builder(network.link("server"));
        let requester = requester.response_topic(answers.clone()).build().await?;
        let server = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_millis(500)))
            .layer(ChallengeLayer::new(answers, |device| {
                key(device.strip_prefix("lock-")?.parse().ok()?).ok()
            }))
            .service(requester.clone())
            .boxed();
        Ok(Self { network, attacker, requester, server, lock_7, _lock_8: lock_8 })
    }

    async fn unlock(&mut self, lock: u8) -> Result<Response, RequestError> {
        let mut request = Request::new(format!("locks/{lock}/unlock"), "for 5 s")?;
        request.parts_mut().extensions.insert(Device::new(format!("lock-{lock}")));
        self.server.ready().await?.call(request).await
    }
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

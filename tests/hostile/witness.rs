//! Who goes on working while others attack.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tower::ServiceExt;
use tower_mqtt::{Client, Request, Requester, Responder, Router};

use super::soon;

/// A requester `M7` and a responder `kitchen`, each with a connection of its own.
pub(super) struct Witness {
    pub(super) requester: Requester,
    _responder: Responder,
}

/// What the attacker has done so far.
#[derive(Clone, Default)]
pub(super) struct Steps(Arc<AtomicUsize>);

impl Steps {
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Witness {
    pub(super) async fn new(address: SocketAddr) -> Self {
        let link = async |client_id: &str| {
            let client = Client::builder(&format!("mqtt://{address}")).client_id(client_id);
            soon(client.connect()).await.expect("connected")
        };
        let echo = async |request: Request| request.payload().clone();
        let responder = Responder::builder(link("kitchen").await);
        let responder = responder.serve(Router::new().route("echo/{name}", echo)).await;
        let requester = Requester::builder(link("M7").await).build().await.expect("subscribed");
        Self { requester, _responder: responder.expect("subscribed") }
    }

    pub(super) async fn call(&self, number: usize) {
        let payload = number.to_string();
        let request = Request::new("echo/soup", payload.clone()).expect("a topic");
        let response = soon(self.requester.clone().oneshot(request)).await.expect("answered");
        assert_eq!(response.payload(), payload.as_bytes());
    }

    /// Makes its calls until there were so many, and the attacker has come so far meanwhile.
    pub(super) async fn works_during<T>(
        &self,
        calls: usize,
        steps: usize,
        attack: impl AsyncFnOnce(Steps) -> T,
    ) {
        let done = Steps::default();
        let witness = async {
            let mut number = 0;
            while number < calls || done.count() < steps {
                self.call(number).await;
                number += 1;
            }
        };
        // The first who ends: an attack that ends before is not the one that was meant.
        tokio::select! {
            () = witness => {}
            _ = attack(done.clone()) => panic!("the attack is over after {} steps", done.count()),
        }
        let stats = self.requester.stats();
        assert_eq!((stats.in_flight, stats.late, stats.duplicate), (0, 0, 0));
    }
}

/// Does the same again and again.
pub(super) async fn forever<F: Future<Output = ()>>(
    steps: &Steps,
    mut once: impl FnMut(usize) -> F,
) {
    for number in 0.. {
        once(number).await;
        steps.step();
    }
}

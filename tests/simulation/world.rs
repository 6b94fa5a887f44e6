//! One schedule, played.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tower_mqtt::layer::DedupLayer;
use tower_mqtt::link::OutgoingLimits;
use tower_mqtt::link::memory::Network;
use tower_mqtt::requester::OnDisconnect;
use tower_mqtt::responder::Acknowledge;
use tower_mqtt::{Link, Request, Requester, Responder, Response, Router};

use crate::ask::ask;
use crate::forge::Forger;
use crate::plan::{Act, Answerer, Asker, Fault, Group, Millis, Place, QUIET, What};
use crate::record::{AtWork, Record, answer, is_answer, number_in};
use crate::shrink::NEVER;

pub struct World {
    pub record: Arc<Record>,
    network: Network,
    links: BTreeMap<Place, Link>,
    askers: BTreeMap<(usize, usize), Requester>,
    answerers: Mutex<BTreeMap<(usize, usize), Responder>>,
    /// How many responders of this place are being shut down.
    stopping: Mutex<BTreeMap<(usize, usize), usize>>,
    memories: Vec<Option<DedupLayer>>,
    forger: Forger,
}

/// Longer than any rest and any quarantine.
const LULL: Duration = Duration::from_mins(1);

/// Plays the plan of the record, which tells what happened.
pub async fn play(record: &Arc<Record>) {
    let world = Arc::new(World::build(Arc::clone(record)).await);
    let mut tasks = JoinSet::new();
    for call in 0..record.plan.calls.len() {
        let world = Arc::clone(&world);
        tasks.spawn(async move { world.call(call).await });
    }
    for fault in record.plan.faults.clone() {
        let world = Arc::clone(&world);
        tasks.spawn(async move { world.befall(fault).await });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    let late = Duration::from_millis(2 * QUIET);
    if tokio::time::timeout(late, all).await.is_err() {
        record.violation("a call or a shutdown hangs".to_owned());
        tasks.shutdown().await;
    }
    tokio::time::sleep_until(record.instant(2 * QUIET)).await;
    tokio::time::sleep(LULL).await;
    world.look_for_leftovers("after quiet");
    world.probe().await;
    world.look_for_leftovers("after the probes");
    let world = Arc::into_inner(world).expect("every task has ended");
    world.leave().await;
}

impl World {
    async fn build(record: Arc<Record>) -> Self {
        let network = Network::new();
        network.keep_sessions(record.plan.weather.keeps_sessions);
        if let Some(messages) = record.plan.weather.receive_maximum {
            network.receive_maximum(messages);
        }
        let memories = record.plan.groups.iter().map(|g| g.dedup.then(DedupLayer::default));
        let mut world = Self {
            memories: memories.collect(),
            forger: Forger::new(&network).await,
            record,
            network,
            links: BTreeMap::new(),
            askers: BTreeMap::new(),
            answerers: Mutex::default(),
            stopping: Mutex::default(),
        };
        let plan = world.record.plan.clone();
        for (number, group) in plan.groups.iter().enumerate() {
            for (at, asker) in group.askers.iter().enumerate() {
                let link = world.link(Place::Asker(number, at), asker.queue);
                let requester = requester(group, asker, link).await;
                world.askers.insert((number, at), requester);
            }
            for at in 0..group.answerers.len() {
                world.link(world.place_of(number, at), None);
                world.serve(number, at).await;
            }
        }
        let oracle = Arc::clone(&world.record);
        world.network.on_message(move |message| oracle.pass(message));
        world
    }

    fn link(&mut self, place: Place, queue: Option<usize>) -> Link {
        let link = self.links.entry(place).or_insert_with(|| {
            let limits = OutgoingLimits::default();
            let limits = OutgoingLimits { messages: queue.unwrap_or(limits.messages), ..limits };
            self.network.link_with(&name(place), limits)
        });
        link.clone()
    }

    /// The place of a responder's link.
    fn place_of(&self, group: usize, answerer: usize) -> Place {
        if self.record.plan.groups[group].joint && answerer == 0 {
            Place::Asker(group, 0)
        } else {
            Place::Answerer(group, answerer)
        }
    }

    /// Serves a device, as far as the network lets it.
    async fn serve(&self, number: usize, at: usize) {
        let group = &self.record.plan.groups[number];
        let Answerer { concurrency, inline, after_answer } = group.answerers[at];
        let link = self.links[&self.place_of(number, at)].clone();
        let mut builder =
            Responder::builder(link).dialect(group.speaks.dialect()).concurrency(concurrency);
        if group.shared {
            builder = builder.share("all");
        }
        if inline {
            builder = builder.inline();
        }
        if after_answer {
            builder = builder.acknowledge(Acknowledge::AfterAnswer);
        }
        let record = Arc::clone(&self.record);
        let route = group.speaks.address(&group.device(number, at));
        let router = Router::new().route(&route, async move |request: Request| {
            handle(&record, (number, at), &request).await
        });
        let router = match &self.memories[number] {
            Some(memory) => router.layer(memory.clone()),
            None => router,
        };
        match builder.serve(router).await {
            Ok(responder) => {
                self.record.trace(format_args!("{number}/{at} serves"));
                self.answerers.lock().expect("no panic").insert((number, at), responder);
            }
            Err(error) => self.record.trace(format_args!("{number}/{at} serves not: {error}")),
        }
    }

    async fn call(&self, number: usize) {
        let call = self.record.plan.calls[number];
        if call.at == NEVER {
            return;
        }
        tokio::time::sleep_until(self.record.instant(call.at)).await;
        ask(&self.record, &self.askers[&(call.group, call.asker)], number).await;
    }

    async fn befall(&self, Fault { at, what }: Fault) {
        tokio::time::sleep_until(self.record.instant(at)).await;
        self.record.trace(format_args!("{what:?}"));
        match what {
            What::Cut { link, lasts } => {
                let link = self.place(link);
                self.record.lock().cuts.push((link, self.record.now()));
                self.network.disconnect(&name(link));
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                self.network.reconnect(&name(link));
            }
            What::HoldAcknowledgements { lasts } => {
                self.network.hold_acknowledgements(true);
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                self.network.hold_acknowledgements(false);
            }
            What::Close { link } => {
                let link = self.place(link);
                self.record.lock().closed.push(link);
                self.links[&link].close();
            }
            What::Shutdown { group, answerer, grace, again } => {
                self.shut_down(group, answerer, grace).await;
                if let Some(later) = again {
                    tokio::time::sleep(Duration::from_millis(later)).await;
                    if !self.is_serving(group, answerer) {
                        self.serve(group, answerer).await;
                    }
                }
            }
            What::Drop { group, answerer } => {
                let responder = self.answerers.lock().expect("no panic").remove(&(group, answerer));
                drop(responder);
            }
            What::Forge { call, how } => self.forger.forge(&self.record, call, how).await,
        }
    }

    fn place(&self, link: Place) -> Place {
        match link {
            Place::Answerer(group, answerer) => self.place_of(group, answerer),
            asker @ Place::Asker(..) => asker,
        }
    }

    fn is_serving(&self, group: usize, answerer: usize) -> bool {
        self.answerers.lock().expect("no panic").contains_key(&(group, answerer))
    }

    async fn shut_down(&self, group: usize, answerer: usize, grace: Millis) {
        let taken = self.answerers.lock().expect("no panic").remove(&(group, answerer));
        let Some(responder) = taken else { return };
        let begun = self.record.now();
        *self.stopping.lock().expect("no panic").entry((group, answerer)).or_default() += 1;
        responder.shutdown(Duration::from_millis(grace)).await;
        let took = self.record.now() - begun;
        self.record.trace(format_args!("{group}/{answerer} is shut down"));
        if took > grace + 2000 {
            let text = format!("{group}/{answerer}: a shutdown with {grace} ms took {took} ms");
            self.record.violation(text);
        }
        let closed = self.record.lock().closed.contains(&self.place_of(group, answerer));
        let alive = self.record.lock().alive.get(&(group, answerer)).copied();
        let others = {
            let mut stopping = self.stopping.lock().expect("no panic");
            let count = stopping.entry((group, answerer)).or_default();
            *count -= 1;
            *count > 0
        };
        // Then those that are alive may be another's.
        let others = others || self.is_serving(group, answerer);
        if !closed && !others && alive.is_some_and(|alive| alive > 0) {
            let text = format!("{group}/{answerer}: a handler has survived the shutdown");
            self.record.violation(text);
        }
    }

    fn look_for_leftovers(&self, when: &str) {
        for ((group, asker), requester) in &self.askers {
            let in_flight = requester.stats().in_flight;
            if in_flight > 0 {
                let text = format!("{when}: {in_flight} in flight at asker {group}/{asker}");
                self.record.violation(text);
            }
        }
        for ((group, at), responder) in &*self.answerers.lock().expect("no panic") {
            let in_flight = responder.stats().in_flight;
            if in_flight > 0 {
                self.record.violation(format!("{when}: {in_flight} in flight at {group}/{at}"));
            }
        }
        for &place in self.links.keys() {
            let unacknowledged = self.network.unacknowledged(&name(place));
            if unacknowledged > 0 {
                let text = format!("{when}: {unacknowledged} unacknowledged at {place:?}");
                self.record.violation(text);
            }
        }
        let alive = self.record.lock().alive.values().sum::<usize>();
        if alive > 0 {
            self.record.violation(format!("{when}: {alive} handlers are alive"));
        }
    }

    /// Once more from every requester, now that nothing goes wrong.
    async fn probe(&self) {
        let numbers = self.record.plan.calls.len()..;
        for (number, ((group, asker), requester)) in numbers.zip(&self.askers) {
            let closed = |place| self.record.lock().closed.contains(&place);
            let serves =
                |at: &usize| self.is_serving(*group, *at) && !closed(self.place_of(*group, *at));
            let answerers = &self.record.plan.groups[*group].answerers;
            let there = (0..answerers.len()).find(serves);
            if let Some(at) = there.filter(|_| !closed(Place::Asker(*group, *asker))) {
                ask_probe(&self.record, requester, (*group, at), number).await;
            }
        }
    }

    /// Everybody goes, and nothing is left.
    async fn leave(self) {
        let all: Vec<_> = self.answerers.lock().expect("no panic").keys().copied().collect();
        for (group, at) in all {
            if at % 2 == 0 {
                self.shut_down(group, at, 100).await;
            }
        }
        let record = Arc::clone(&self.record);
        drop(self);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if tasks > 0 {
            record.violation(format!("{tasks} tasks are left"));
        }
    }
}

async fn ask_probe(
    record: &Arc<Record>,
    requester: &Requester,
    (group, answerer): (usize, usize),
    number: usize,
) {
    let begun = record.now();
    crate::ask::probe(record, requester, (group, answerer), number).await;
    let told = record.lock().calls[number].clone();
    let right = matches!(
        told.ended,
        Some((at, crate::record::Ending::Answered { status: 200, of: Some(of) }))
            if of == number && at == begun
    );
    if !right {
        record.violation(format!("after quiet, a call to {group}/{answerer}: {:?}", told.ended));
    }
}

async fn requester(group: &Group, asker: &Asker, link: Link) -> Requester {
    let on_disconnect =
        if asker.rides_through { OnDisconnect::RideThrough } else { OnDisconnect::FailFast };
    let mut builder = Requester::builder(link)
        .dialect(group.speaks.dialect())
        .max_in_flight(asker.max_in_flight)
        .on_disconnect(on_disconnect)
        .rest(Duration::from_millis(asker.rest));
    if let Some(of) = asker.one_in_flight {
        builder = builder.one_in_flight(of);
    }
    builder.build().await.expect("a network without faults")
}

fn name(place: Place) -> String {
    match place {
        Place::Asker(group, at) => format!("r{group}-{at}"),
        Place::Answerer(group, at) => format!("s{group}-{at}"),
    }
}

async fn handle(record: &Arc<Record>, responder: (usize, usize), request: &Request) -> Response {
    let known = number_in(request.payload()).filter(|call| *call < record.lock().calls.len());
    let Some(call) = known.filter(|_| !is_answer(request.payload())) else {
        return Response::error(400);
    };
    if record.act(call) == Act::Busy {
        return Response::error(503);
    }
    let at_work = AtWork::begin(record, responder, call, request.parts().deadline);
    let pause = |pause| tokio::time::sleep(Duration::from_millis(pause));
    match record.act(call) {
        Act::Answer | Act::Busy => {}
        Act::AnswerAfter(millis) => pause(millis).await,
        Act::Never => std::future::pending().await,
        Act::Fail => return Response::error(404),
        Act::Panic => std::panic::panic_any(Planned),
        Act::PanicAfter(millis) => {
            pause(millis).await;
            std::panic::panic_any(Planned);
        }
    }
    drop(at_work);
    Response::new(answer(call))
}

/// What handlers panic with.
pub struct Planned;

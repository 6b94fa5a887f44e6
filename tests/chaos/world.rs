//! One broker with everybody around it, for the length of one schedule.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tower_mqtt::responder::ResponderStats;
use tower_mqtt::test_util::{Cut, FaultProxy};

use super::broker::{Broker, Kind};
use super::caller::{Caller, answered};
use super::child::Apart;
use super::history::History;
use super::pairs::Pair;
use super::process::Signal;
use super::schedule::{Action, Step, plan};
use super::station::{Asker, Place, Station, take_over};

/// Callers of each pair; each has one call at a time.
const CALLERS: u64 = 3;

const ASKS: &str = "asks";

/// Whatever must come true when nothing disturbs any more, comes true within this.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Outcome {
    pub(crate) calls: usize,
    pub(crate) faults: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) summary: String,
}

/// A client of the broker and the proxy that it connects through.
struct Seat {
    client_id: String,
    proxy: FaultProxy,
    /// `None`: it is in the other process.
    station: Option<Arc<Station>>,
}

struct World {
    broker: Broker,
    seed: u64,
    history: Arc<History>,
    seats: Vec<Seat>,
    apart: Option<Apart>,
    tasks: Vec<JoinHandle<()>>,
    askers: Vec<(Pair, watch::Receiver<Option<Asker>>)>,
    responders: Vec<watch::Receiver<ResponderStats>>,
    take_overs: JoinSet<()>,
}

/// Runs the schedule of this seed, and checks what happened.
pub(crate) async fn run(kind: Kind, seed: u64, length: Duration) -> Outcome {
    let mut world = World::start(kind, seed).await;
    let stop = CancellationToken::new();
    let mut calling = JoinSet::new();
    for (number, (pair, asker)) in world.askers.iter().enumerate() {
        for n in 0..CALLERS {
            let base = (number as u64 * CALLERS + n + 1) * 1_000_000_000;
            let history = Arc::clone(&world.history);
            let caller = Caller::new(pair.clone(), seed, base, asker.clone(), history);
            calling.spawn(caller.call_until(stop.clone()));
        }
    }
    let steps = plan(seed, kind, world.seats.len(), length);
    let mut faults = steps.iter().filter(|step| step.action.is_fault()).count() as u64;
    world.play(steps, length).await;
    world.calm().await;
    stop.cancel();
    while calling.join_next().await.is_some() {}
    world.recovers().await;
    world.is_at_rest().await;
    faults += world.seats.iter().map(|seat| injured(&seat.proxy)).sum::<u64>();
    let history = Arc::clone(&world.history);
    world.end().await;

    let violations = history.violations(|pair| Pair::named(pair).expected());
    let violations = violations.into_iter().map(|text| format!("{kind:?}: {text}")).collect();
    let mut summary = String::new();
    let _ = write!(
        summary,
        "  {kind:?}: {} calls, {faults} faults\n{}",
        history.calls(),
        history.summary()
    );
    Outcome { calls: history.calls(), faults, violations, summary }
}

/// Packets that were lost, repeated or held.
fn injured(proxy: &FaultProxy) -> u64 {
    let stats = proxy.stats();
    stats.lost + stats.copies + stats.held
}

/// Waits until it is true. `false`: it did not become true.
pub(crate) async fn becomes(mut is: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + SOON;
    while !is() {
        if Instant::now() > give_up {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

impl World {
    async fn start(kind: Kind, seed: u64) -> Self {
        let history = Arc::new(History::new());
        let mut world = Self {
            broker: Broker::start(kind).await,
            seed,
            history,
            seats: Vec::new(),
            apart: None,
            tasks: Vec::new(),
            askers: Vec::new(),
            responders: Vec::new(),
            take_overs: JoinSet::new(),
        };
        for pair in Pair::all() {
            if pair.apart {
                world.answer_apart(&pair).await;
            } else {
                world.answer(&pair).await;
            }
            world.ask(pair).await;
        }
        for number in 0..world.askers.len() {
            world.comes_back(number).await;
        }
        world
    }

    /// A place of its own for a client of this pair.
    async fn seat(&mut self, pair: &Pair, role: &str) -> &mut Seat {
        let client_id = format!("{}-{role}", pair.name);
        let seed = self.seed ^ self.seats.len() as u64;
        let proxy = FaultProxy::start_with_seed(self.broker.address(), seed).await;
        let proxy = proxy.expect("a free port");
        self.seats.push(Seat { client_id, proxy, station: None });
        self.seats.last_mut().expect("it is there")
    }

    async fn station(&mut self, pair: &Pair, role: &str) -> Arc<Station> {
        let seat = self.seat(pair, role).await;
        let (client_id, address) = (seat.client_id.clone(), seat.proxy.addr());
        let inside = self.broker.inside().filter(|_| pair.inside && role != ASKS).cloned();
        let place = inside.map_or(Place::Network(address), Place::Inside);
        let station = Arc::new(Station::new(pair.clone(), client_id, place));
        if let Some(seat) = self.seats.last_mut() {
            seat.station = Some(Arc::clone(&station));
        }
        station
    }

    async fn ask(&mut self, pair: Pair) {
        let station = self.station(&pair, ASKS).await;
        let (sender, asker) = watch::channel(None);
        self.tasks.push(tokio::spawn(station.ask(sender, Arc::clone(&self.history))));
        self.askers.push((pair, asker));
    }

    async fn answer(&mut self, pair: &Pair) {
        let history = Arc::clone(&self.history);
        let router = pair.router(Arc::new(move |id| history.execution(id, 0)));
        for number in 1..=pair.responders {
            let station = self.station(pair, &format!("answers-{number}")).await;
            let (sender, stats) = watch::channel(ResponderStats::default());
            let (router, history) = (router.clone(), Arc::clone(&self.history));
            self.tasks.push(tokio::spawn(station.answer(router, sender, history)));
            self.responders.push(stats);
        }
    }

    async fn answer_apart(&mut self, pair: &Pair) {
        let address = self.seat(pair, "answers-1").await.proxy.addr();
        self.apart = Some(Apart::start(pair.name, address, Arc::clone(&self.history)));
    }

    async fn play(&mut self, steps: Vec<Step>, length: Duration) {
        let start = tokio::time::Instant::now();
        for Step { at, action } in steps {
            tokio::time::sleep_until(start + at.min(length)).await;
            tracing::debug!(?at, ?action, "step");
            self.act(action).await;
        }
        tokio::time::sleep_until(start + length).await;
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Weather(seat, weather) => weather.begin(&self.seats[seat].proxy, &self.history),
            Action::Clear(seat) => self.seats[seat].proxy.heal(),
            Action::TakeOver(seat) => {
                let client_id = self.seats[seat].client_id.clone();
                self.take_overs.spawn(take_over(self.broker.address(), client_id));
            }
            Action::Rebuild(seat) => {
                if let Some(station) = &self.seats[seat].station {
                    station.rebuild();
                }
            }
            Action::KillBroker => self.broker.kill(),
            Action::StartBroker => self.broker.restart().await,
            Action::FreezeBroker => self.broker.signal(Signal::STOP),
            Action::ThawBroker => self.broker.signal(Signal::CONT),
            Action::KillChild => {
                if let Some(apart) = &mut self.apart {
                    apart.replace().await;
                }
            }
            Action::FreezeChild => self.signal_child(Signal::STOP),
            Action::ThawChild => self.signal_child(Signal::CONT),
        }
    }

    fn signal_child(&self, signal: Signal) {
        if let Some(apart) = &self.apart {
            apart.signal(signal);
        }
    }

    /// Nothing disturbs any more. Connections are made anew: what a rule has lost on one would be
    /// lost for good, as no TCP loses it, and keep a place in somebody's window.
    async fn calm(&mut self) {
        self.signal_child(Signal::CONT);
        self.broker.signal(Signal::CONT);
        self.broker.restart().await;
        while self.take_overs.join_next().await.is_some() {}
        for seat in &self.seats {
            seat.proxy.heal();
            seat.proxy.cut_all(Cut::Reset);
        }
    }

    /// Promise 7: everybody comes back.
    async fn recovers(&mut self) {
        for number in 0..self.askers.len() {
            self.comes_back(number).await;
        }
    }

    async fn comes_back(&mut self, number: usize) {
        let (pair, asker) = &mut self.askers[number];
        let base = (number as u64 + 1) * 1_000_000;
        let first = self.history.calls() as u64 + base;
        if tokio::time::timeout(SOON, answered(pair, first, asker, &self.history)).await.is_err() {
            self.history
                .wrong(format!("no answer comes back to {}, {SOON:?} after all faults", pair.name));
        }
    }

    /// Promise 10: what is over leaves nothing in any table.
    async fn is_at_rest(&mut self) {
        for (pair, asker) in &self.askers {
            let in_flight = || asker.borrow().as_ref().map_or(0, |a| a.requester.stats().in_flight);
            if !becomes(|| in_flight() == 0).await {
                let text = format!("{} calls of {} are in flight for good", in_flight(), pair.name);
                self.history.wrong(text);
            }
        }
        for stats in &self.responders {
            if !becomes(|| stats.borrow().in_flight == 0).await {
                let text = format!("a responder works for good: {:?}", *stats.borrow());
                self.history.wrong(text);
            }
        }
    }

    /// Stops everybody, and looks whether the broker and the proxies have forgotten them.
    async fn end(mut self) {
        self.seats.iter().filter_map(|seat| seat.station.as_ref()).for_each(|s| s.stop());
        self.askers.clear();
        for task in self.tasks.drain(..) {
            match tokio::time::timeout(SOON, task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.history.wrong(format!("a station ended with {error}")),
                Err(_) => self.history.wrong("a station does not stop"),
            }
        }
        if let Some(apart) = self.apart.take()
            && tokio::time::timeout(SOON, apart.end()).await.is_err()
        {
            self.history.wrong("the other process does not end");
        }
        for Seat { proxy, client_id, .. } in &self.seats {
            if !becomes(|| proxy.connections().is_empty() && proxy.held() == 0).await {
                self.history.wrong(format!("a connection of {client_id} stays open: {proxy:?}"));
            }
        }
        if let Some(inside) = self.broker.inside() {
            let kept = || inside.with(|hub| (hub.stats().connections, hub.presence().0));
            if !becomes(|| kept().is_some_and(|(open, there)| open == 0 && there.is_empty())).await
            {
                self.history.wrong(format!("the hub keeps clients: {:?}", kept()));
            }
        }
        self.broker.kill();
    }
}

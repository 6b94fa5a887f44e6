//! What all connections of a proxy share: its rules, who watches, and what it counts.
//!
//! Locks are taken in this order: the state, then a lane. So a packet that is held is in its lane
//! before anybody can release it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::connection::Conn;
use super::lane::{Entry, Item, Settings};
use super::packet::{Direction, Packet};
use super::random::Random;
use super::rule::{Counting, Fault, Packets};
use super::watch::Watched;

/// What a proxy has done so far. It may lag behind what a peer has seen: wait for it with
/// [`FaultProxy::until`](super::FaultProxy::until).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProxyStats {
    /// Connections that were accepted and connected to the broker.
    pub opened: u64,
    /// Of these, those that are over.
    pub closed: u64,
    /// Connections that were not: new ones were refused, there were too many, or the broker could
    /// not be reached.
    pub refused: u64,
    /// Packets that passed to the broker, copies included.
    pub to_server: u64,
    /// Packets that passed to clients, copies included.
    pub to_client: u64,
    /// Packets that were lost by a rule or a black hole.
    pub lost: u64,
    /// Copies that rules have made.
    pub copies: u64,
    /// Packets that rules have held, released or not.
    pub held: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) upstream: SocketAddr,
    pub(super) refuses: bool,
    /// Of connections to come.
    pub(super) settings: [Settings; 2],
    pub(super) connections: BTreeMap<u64, Arc<Conn>>,
    pub(super) stats: watch::Sender<ProxyStats>,
    rules: BTreeMap<u64, Ruling>,
    rules_made: u64,
    watches: Vec<Watched>,
}

#[derive(Debug)]
struct Ruling {
    counting: Counting,
    fault: Fault,
    /// What ends it.
    until: Option<Counting>,
    hits: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(upstream: SocketAddr, seed: u64) -> Self {
        let state = State {
            upstream,
            refuses: false,
            settings: [Settings::default(); 2],
            connections: BTreeMap::new(),
            stats: watch::Sender::default(),
            rules: BTreeMap::new(),
            rules_made: 0,
            watches: Vec::new(),
        };
        Self { seed, stop: CancellationToken::new(), state: Mutex::new(state) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test's own predicate leaves the tables as they were before its packet.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet has come: decides what becomes of it.
    pub(super) fn arrive(&self, conn: &Conn, packet: Packet, random: Random) {
        let lane = conn.lane(packet.direction);
        let mut state = self.lock();
        if lane.is_black_hole() {
            state.count(|stats| stats.lost += 1);
            return;
        }
        let (rule, fault) = state.decide(&packet, random).unwrap_or((0, Fault::Deliver));
        let (copies, later, cut_after) = match fault {
            Fault::Deliver => (1, Duration::ZERO, None),
            Fault::Lose => (0, Duration::ZERO, None),
            Fault::Repeat(times) => (times, Duration::ZERO, None),
            Fault::Delay(later) => (1, later, None),
            Fault::CutAfter(how) => (1, Duration::ZERO, Some(how)),
            Fault::Hold | Fault::HoldUntil(_) => {
                lane.hold(rule, Item { packet, random, cut_after: None });
                return state.count(|stats| stats.held += 1);
            }
            Fault::Cut(how) => {
                conn.cut(how);
                (0, Duration::ZERO, None)
            }
        };
        for _ in 0..copies {
            let item = Item { packet: packet.clone(), random, cut_after };
            lane.push(Entry::Packet(item), later, random);
        }
        match copies {
            0 => state.count(|stats| stats.lost += 1),
            1 => {}
            _ => state.count(|stats| stats.copies += u64::from(copies) - 1),
        }
    }

    /// A packet was written.
    pub(super) fn passed(&self, packet: &Packet, random: Random) {
        let mut state = self.lock();
        state.count(|stats| match packet.direction {
            Direction::ToServer => stats.to_server += 1,
            Direction::ToClient => stats.to_client += 1,
        });
        state.watches.retain_mut(|watched| watched.passed(packet, random));
        state.release_what_waited_for(packet, random);
    }

    /// Nothing passes any more, and nobody waits for it.
    pub(super) fn end(&self) {
        self.stop.cancel();
        let mut state = self.lock();
        state.rules.clear();
        state.watches.clear();
        // Who waits for numbers is told.
        let last = *state.stats.borrow();
        state.stats = watch::Sender::new(last);
    }
}

impl State {
    pub(super) fn count(&self, change: impl FnOnce(&mut ProxyStats)) {
        self.stats.send_modify(change);
    }

    /// For one direction of all connections, also of those to come.
    pub(super) fn change(&mut self, direction: Direction, change: impl Fn(&mut Settings)) {
        change(&mut self.settings[direction.index()]);
        for conn in self.connections.values() {
            conn.lane(direction).change(&change);
        }
    }

    pub(super) fn watch(&mut self, watched: Watched) {
        self.watches.push(watched);
    }

    pub(super) fn add_rule(
        &mut self,
        packets: Packets,
        fault: Fault,
    ) -> (u64, watch::Receiver<u64>) {
        let (hits, seen) = watch::channel(0);
        self.rules_made += 1;
        let until = match &fault {
            Fault::HoldUntil(until) => Some(Counting::new(until.clone())),
            _ => None,
        };
        let ruling = Ruling { counting: Counting::new(packets), fault, until, hits };
        self.rules.insert(self.rules_made, ruling);
        (self.rules_made, seen)
    }

    /// Lets go what the rule holds; `end`: it does nothing any more.
    pub(super) fn release(&mut self, rule: u64, end: bool) {
        if end {
            self.rules.remove(&rule);
        }
        for conn in self.connections.values() {
            conn.release(Some(rule));
        }
    }

    /// Every rule ends, and what they hold is let go.
    pub(super) fn end_rules(&mut self) {
        self.rules.clear();
        self.release_all();
    }

    pub(super) fn release_all(&self) {
        for conn in self.connections.values() {
            conn.release(None);
        }
    }

    /// By the first rule that means this packet.
    fn decide(&mut self, packet: &Packet, random: Random) -> Option<(u64, Fault)> {
        self.rules.iter_mut().find_map(|(number, rule)| {
            if !rule.counting.take(packet, random.salted(*number)) {
                return None;
            }
            rule.hits.send_modify(|hits| *hits += 1);
            Some((*number, rule.fault.clone()))
        })
    }

    fn release_what_waited_for(&mut self, packet: &Packet, random: Random) {
        let mut over = Vec::new();
        for (number, rule) in &mut self.rules {
            if let Some(until) = &mut rule.until
                && until.take(packet, random.salted(*number))
            {
                over.push(*number);
            }
        }
        for rule in over {
            self.release(rule, true);
        }
    }
}

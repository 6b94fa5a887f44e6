//! The devices that are there, and those that have just been lost.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::aliyun_id::AliyunId;
use super::super::who::{Name, Who};
use super::Whereabouts;
use crate::hub::ClientInfo;

/// Lost devices that are remembered; with more, the one that was lost first is forgotten, and counts as
/// absent.
const LOST: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Table {
    present: ByName<Vec<Session>>,
    lost: ByName<Lost>,
    /// Which were lost, in order; stale for those that have come back or were lost again. At most twice
    /// [`LOST`].
    order: VecDeque<(u64, Arc<str>)>,
    losses: u64,
}

/// A connection of a device.
#[derive(Debug)]
struct Session {
    client_id: Arc<str>,
    since: SystemTime,
    keep_alive: Duration,
    ext: bool,
}

#[derive(Debug)]
struct Lost {
    until: Instant,
    /// Its place in the order.
    number: u64,
}

impl Table {
    pub(super) fn of(present: &[ClientInfo]) -> Self {
        let mut table = Self::default();
        for client in present {
            table.arrive(client);
        }
        table
    }

    pub(super) fn find(
        &self,
        product: &str,
        device: &str,
        now: impl FnOnce() -> Instant,
    ) -> Whereabouts {
        if let Some(last) = self.present.get(product, device).and_then(|all| all.last()) {
            return Whereabouts::Connected { since: last.since, ext: last.ext };
        }
        match self.lost.get(product, device) {
            Some(lost) if now() < lost.until => Whereabouts::JustLost,
            _ => Whereabouts::Absent,
        }
    }

    pub(super) fn connected(&self) -> impl Iterator<Item = (&str, &str, SystemTime)> {
        let all = self.present.iter();
        all.filter_map(|(product, device, all)| Some((product, device, all.last()?.since)))
    }

    pub(super) fn count(&self) -> usize {
        self.present.count
    }

    pub(super) fn arrive(&mut self, client: &ClientInfo) {
        let Some(Who::Device(name)) = Who::of(&client.identity) else { return };
        let sessions = self.present.entry(name);
        // In the order in which they began, which a list is not in.
        let place = sessions.partition_point(|session| session.since <= client.since);
        sessions.insert(place, Session::of(client));
        self.lost.remove(name.product, name.device);
    }

    pub(super) fn leave(&mut self, client: &ClientInfo, now: Instant) {
        let Some(Who::Device(name)) = Who::of(&client.identity) else { return };
        let Some(sessions) = self.present.get_mut(name) else { return };
        sessions.retain(|session| !session.is(client));
        if sessions.is_empty() {
            self.present.remove(name.product, name.device);
            if !client.has_left {
                self.lose(client.identity.as_str(), client.keep_alive, now);
            }
        }
    }

    /// Takes over who is there now. How the others have gone is not known, so they were lost.
    pub(super) fn replace(&mut self, present: &[ClientInfo], now: Instant) {
        let before = std::mem::take(&mut self.present);
        for client in present {
            self.arrive(client);
        }
        for (product, device, sessions) in before.iter() {
            if let Some(last) = sessions.last()
                && self.present.get(product, device).is_none()
            {
                self.lose(&format!("{product}/{device}"), last.keep_alive, now);
            }
        }
    }

    fn lose(&mut self, name: &str, keep_alive: Duration, now: Instant) {
        let Some(until) = now.checked_add(keep_alive).filter(|until| *until > now) else { return };
        let name: Arc<str> = name.into();
        let Some(lost) = Name::parse(&name) else { return };
        self.losses += 1;
        self.lost.insert(lost, Lost { until, number: self.losses });
        self.order.push_back((self.losses, Arc::clone(&name)));
        while self.order.front().is_some_and(|(number, name)| self.is_over(*number, name, now)) {
            self.forget_first();
        }
        if self.lost.count > LOST {
            self.forget_first();
        }
        if self.order.len() > 2 * LOST {
            // Most are stale: a device comes and goes, which must not push the others out.
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(number, name)| !self.is_over(*number, name, now));
            self.order = order;
        }
    }

    /// Whether a place in the order stands for nothing any more.
    fn is_over(&self, number: u64, name: &str, now: Instant) -> bool {
        let lost = Name::parse(name).and_then(|name| self.lost.get(name.product, name.device));
        lost.is_none_or(|lost| lost.number != number || lost.until <= now)
    }

    fn forget_first(&mut self) {
        let Some((number, name)) = self.order.pop_front() else { return };
        let Some(Name { product, device }) = Name::parse(&name) else { return };
        if self.lost.get(product, device).is_some_and(|lost| lost.number == number) {
            self.lost.remove(product, device);
        }
    }
}

impl Session {
    fn of(client: &ClientInfo) -> Self {
        Self {
            client_id: Arc::clone(&client.client_id),
            since: client.since,
            keep_alive: client.keep_alive,
            ext: AliyunId::parse(&client.client_id).is_some_and(AliyunId::says_ext),
        }
    }

    fn is(&self, client: &ClientInfo) -> bool {
        self.since == client.since && self.client_id == client.client_id
    }
}

/// Found without making a text of both parts of a name.
#[derive(Debug)]
struct ByName<T> {
    products: HashMap<Box<str>, HashMap<Box<str>, T>>,
    count: usize,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { products: HashMap::new(), count: 0 }
    }
}

impl<T> ByName<T> {
    fn get(&self, product: &str, device: &str) -> Option<&T> {
        self.products.get(product)?.get(device)
    }

    fn get_mut(&mut self, name: Name<'_>) -> Option<&mut T> {
        self.products.get_mut(name.product)?.get_mut(name.device)
    }

    fn remove(&mut self, product: &str, device: &str) {
        let Some(devices) = self.products.get_mut(product) else { return };
        self.count -= usize::from(devices.remove(device).is_some());
        if devices.is_empty() {
            self.products.remove(product);
        }
    }

    fn insert(&mut self, name: Name<'_>, value: T) {
        let devices = self.products.entry(name.product.into()).or_default();
        self.count += usize::from(devices.insert(name.device.into(), value).is_none());
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str, &T)> {
        let devices = self.products.iter();
        devices
            .flat_map(|(product, all)| all.iter().map(move |(name, it)| (&**product, &**name, it)))
    }
}

impl<T: Default> ByName<T> {
    fn entry(&mut self, name: Name<'_>) -> &mut T {
        let devices = self.products.entry(name.product.into()).or_default();
        devices.entry(name.device.into()).or_insert_with(|| {
            self.count += 1;
            T::default()
        })
    }
}

#[cfg(test)]
mod tests;

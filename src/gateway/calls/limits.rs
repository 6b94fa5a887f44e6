//! How many calls are in flight, and how many may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::gateway::call::{CallError, InFlight};
use crate::gateway::config::Limits;

/// What a call is told when the gateway takes no more.
const CLOSED: CallError = CallError::Unavailable("the gateway is shutting down");

/// Counts the calls in flight. One that is too many is refused at once; none waits.
///
/// The tables are as large as the number of calls, which the limit of the gateway bounds.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    counts: Mutex<Counts>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    devices: HashMap<Arc<str>, usize>,
    keys: HashMap<Arc<str>, usize>,
    closed: bool,
}

/// One call, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    limiter: Arc<Limiter>,
    device: Arc<str>,
    key: Option<Arc<str>>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, counts: Mutex::default(), idle: Notify::new() }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a call to a device, of a key unless another gateway has counted it.
    ///
    /// # Errors
    /// [`CallError::TooMany`] with the first limit that is reached; [`CallError::Unavailable`] when it
    /// is [closed](Self::close).
    pub(super) fn enter(
        self: &Arc<Self>,
        product: &str,
        device: &str,
        key: Option<&Arc<str>>,
    ) -> Result<Slot, CallError> {
        let device = name(product, device);
        let Limits { in_flight, per_device, per_key, .. } = self.limits;
        let mut counts = self.lock();
        if counts.closed {
            return Err(CLOSED);
        }
        let of_key = key.and_then(|key| counts.keys.get(key)).copied().unwrap_or_default();
        let reached = if counts.all >= in_flight {
            Some(InFlight::Gateway(in_flight))
        } else if counts.of_device(&device) >= per_device {
            Some(InFlight::Device(per_device))
        } else if key.is_some() && of_key >= per_key {
            Some(InFlight::Key(per_key))
        } else {
            None
        };
        if let Some(limit) = reached {
            return Err(CallError::TooMany(limit));
        }
        counts.all += 1;
        *counts.devices.entry(Arc::clone(&device)).or_default() += 1;
        if let Some(key) = key {
            *counts.keys.entry(Arc::clone(key)).or_default() += 1;
        }
        drop(counts);
        Ok(Slot { limiter: Arc::clone(self), device, key: key.cloned() })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().all
    }

    /// The devices that have calls in flight, by product and device.
    pub(super) fn busy(&self) -> Vec<(Box<str>, Box<str>)> {
        // No text is made under the lock.
        let busy: Vec<_> = self.lock().devices.keys().cloned().collect();
        let named = busy.iter().filter_map(|name| {
            let (product, device) = name.split_once('/')?;
            Some((product.into(), device.into()))
        });
        named.collect()
    }

    /// Calls in flight to a device.
    pub(super) fn of_device(&self, product: &str, device: &str) -> usize {
        self.lock().of_device(&name(product, device))
    }

    /// Refuses every further call.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Resolves when no call is in flight.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            // A wake-up that comes after the look is not missed: `notified` listens from its making.
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counting does not panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of_device(&self, name: &str) -> usize {
        self.devices.get(name).copied().unwrap_or_default()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        counts.all -= 1;
        release(&mut counts.devices, &self.device);
        if let Some(key) = &self.key {
            release(&mut counts.keys, key);
        }
        if counts.all == 0 {
            self.limiter.idle.notify_waiters();
        }
    }
}

fn release(table: &mut HashMap<Arc<str>, usize>, name: &str) {
    let Some(count) = table.get_mut(name) else { return };
    *count -= 1;
    if *count == 0 {
        table.remove(name);
    }
}

/// Neither has a slash.
fn name(product: &str, device: &str) -> Arc<str> {
    [product, "/", device].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(in_flight: usize, per_device: usize, per_key: usize) -> Arc<Limiter> {
        Arc::new(Limiter::new(Limits { in_flight, per_device, per_key }))
    }

    #[test]
    fn each_limit_is_reached_on_its_own_and_freed_by_the_drop() {
        let limiter = limiter(3, 2, 2);
        let enter =
            |device, key: Option<&str>| limiter.enter("p", device, key.map(Arc::from).as_ref());
        let first = enter("a", Some("k")).unwrap();
        let second = enter("a", None).unwrap();
        let too_many = |limit| CallError::TooMany(limit);
        assert_eq!(enter("a", None).unwrap_err(), too_many(InFlight::Device(2)));
        let third = enter("b", Some("k")).unwrap();
        assert_eq!(enter("c", None).unwrap_err(), too_many(InFlight::Gateway(3)));
        drop(second);
        assert_eq!(enter("c", Some("k")).unwrap_err(), too_many(InFlight::Key(2)));
        assert!(limiter.busy().contains(&("p".into(), "a".into())));
        assert_eq!((limiter.of_device("p", "a"), limiter.of_device("p", "none")), (1, 0));
        drop((first, third));
        assert!(limiter.busy().is_empty() && limiter.lock().keys.is_empty(), "nothing is kept");
        assert_eq!(limiter.in_flight(), 0);
    }

    #[test]
    fn a_refusal_counts_nothing() {
        let limiter = limiter(10, 1, 1);
        let _first = limiter.enter("p", "a", Some(&"k".into())).unwrap();
        for _ in 0..3 {
            limiter.enter("p", "a", None).unwrap_err();
            limiter.enter("p", "b", Some(&"k".into())).unwrap_err();
        }
        assert_eq!((limiter.in_flight(), limiter.busy().len()), (1, 1));
    }

    #[tokio::test]
    async fn it_is_idle_when_the_last_has_gone_and_takes_none_when_closed() {
        let limiter = limiter(2, 2, 2);
        limiter.idle().await;
        let slot = limiter.enter("p", "a", None).unwrap();
        let waiting = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.idle().await }
        });
        limiter.close();
        assert_eq!(limiter.enter("p", "b", None).unwrap_err(), CLOSED);
        assert!(!waiting.is_finished());
        drop(slot);
        waiting.await.unwrap();
    }
}

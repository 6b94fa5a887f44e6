//! Calls that have ended, for who looks on.
//!
//! Nothing is remembered: who looks on is told of the calls that end from then on. While nobody does, a
//! call pays for a look at how many do.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::call::Call;
use super::level::is_level;
use super::now;
use super::products::Products;

/// As many wait for the slowest who looks on; then it misses the oldest, and is told how many.
pub(super) const WAITING: usize = 1024;

/// A call that has ended. It has no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: SystemTime,
    /// As in [`Call::api`].
    pub(crate) api: &'static str,
    pub(crate) product: Box<str>,
    pub(crate) device: Box<str>,
    pub(crate) dialect: &'static str,
    /// `ok`, `device_error` (a status below 200, or of 400 and above), the [code](super::call::CallError::code) of a
    /// failure, or `cancelled` when the caller hung up.
    pub(crate) outcome: &'static str,
    pub(crate) duration: Duration,
}

/// Tells all who look on.
#[derive(Debug, Clone)]
pub(crate) struct EndedCalls {
    sender: Sender<Arc<Ended>>,
    /// How many look on. The channel knows it as well, but takes its lock to say so.
    watching: Arc<AtomicUsize>,
}

/// What one who looks on gets.
#[derive(Debug)]
pub(crate) struct Watch {
    receiver: Receiver<Arc<Ended>>,
    watching: Arc<AtomicUsize>,
}

impl EndedCalls {
    pub(crate) fn new() -> Self {
        Self { sender: channel(WAITING).0, watching: Arc::default() }
    }

    /// What ends from now on.
    pub(crate) fn watch(&self) -> Watch {
        let (receiver, watching) = (self.sender.subscribe(), Arc::clone(&self.watching));
        watching.fetch_add(1, Ordering::Relaxed);
        Watch { receiver, watching }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watching.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn tell(&self, ended: Ended) {
        // Nobody may look on any more.
        let _ = self.sender.send(Arc::new(ended));
    }
}

impl Deref for Watch {
    type Target = Receiver<Arc<Ended>>;

    fn deref(&self) -> &Self::Target {
        &self.receiver
    }
}

impl DerefMut for Watch {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.receiver
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that is told of when this is dropped: at its end, or when it is given up.
pub(crate) struct Telling<'a> {
    ended: &'a EndedCalls,
    products: &'a Products,
    start: Instant,
    pub(crate) call: Call,
    pub(crate) outcome: &'static str,
}

impl<'a> Telling<'a> {
    pub(crate) fn new(ended: &'a EndedCalls, products: &'a Products, call: Call) -> Self {
        Self { ended, products, start: now(), call, outcome: "cancelled" }
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.ended.is_watched() {
            return;
        }
        let Call { product, device, api, .. } = &mut self.call;
        // Who looks on knows the products that there are; and what is no name may be of any length.
        let Some(known) = self.products.get(product).filter(|_| is_level(device)) else { return };
        self.ended.tell(Ended {
            at: SystemTime::now(),
            api,
            product: mem::take(product),
            device: mem::take(device),
            dialect: known.dialect.name(),
            outcome: self.outcome,
            duration: now().saturating_duration_since(self.start),
        });
    }
}

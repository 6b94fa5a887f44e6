//! Knowing what passed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::packet::Packet;
use super::random::Random;
use super::rule::{Counting, Packets};

/// What is kept for who has not read it yet; the oldest is forgotten.
const KEPT_PACKETS: usize = 1_024;
const KEPT_BYTES: usize = 1024 * 1024;

/// What has passed of a choice of packets, since [`FaultProxy::watch`](super::FaultProxy::watch).
#[derive(Debug)]
pub struct Watch {
    count: watch::Receiver<u64>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    packets: VecDeque<Packet>,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, packet: Packet) {
        self.bytes += packet.bytes.len();
        self.packets.push_back(packet);
        while self.packets.len() > KEPT_PACKETS || self.bytes > KEPT_BYTES {
            if self.pop().is_none() {
                return;
            }
        }
    }

    fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.bytes.len();
        Some(packet)
    }
}

impl Watch {
    /// How many have passed.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Resolves when `n` have passed: when the operating system has taken their last byte.
    ///
    /// `false`: the proxy is gone, and fewer have.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn reached(&self, n: u64) -> bool {
        self.count.clone().wait_for(|count| *count >= n).await.is_ok()
    }

    /// The next one that has not been returned yet. Of those that nobody has taken the last 1,024
    /// are kept, and 1 MiB of them. `None`: the proxy is gone.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            self.count.mark_unchanged();
            if let Some(packet) = lock(&self.kept).pop() {
                return Some(packet);
            }
            self.count.changed().await.ok()?;
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The proxy's end of a [`Watch`].
#[derive(Debug)]
pub(super) struct Watched {
    counting: Counting,
    count: watch::Sender<u64>,
    kept: Arc<Mutex<Kept>>,
}

impl Watched {
    pub(super) fn new(packets: Packets) -> (Self, Watch) {
        let (sender, count) = watch::channel(0);
        let kept = Arc::default();
        let watch = Watch { count, kept: Arc::clone(&kept) };
        (Self { counting: Counting::new(packets), count: sender, kept }, watch)
    }

    /// `false`: nobody listens any more.
    pub(super) fn passed(&mut self, packet: &Packet, random: Random) -> bool {
        if self.counting.take(packet, random) {
            lock(&self.kept).push(packet.clone());
            self.count.send_modify(|count| *count += 1);
        }
        !self.count.is_closed()
    }
}

//! Short ids, lent to calls.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::short_ids::{Purpose, ShortIds};
use crate::dialect::Dialect;
use crate::error::ServeError;
use crate::id;
use crate::message::Request;

/// The ids of one requester. The handles take them and the connection gives them back, so they are
/// behind a lock; it is held for a few instructions, or while ids rest until one is found that does not
/// rest for the call. Only dialects with short ids have it.
#[derive(Debug)]
pub(super) struct Lender {
    ids: Mutex<ShortIds>,
    hasher: RandomState,
    quarantine: Duration,
}

impl Lender {
    /// # Errors
    /// [`ServeError::Configuration`] when it is not a range of numbers of one width.
    pub(super) fn new(first: u16, last: u16, quarantine: Duration) -> Result<Self, ServeError> {
        let digits = |number: u16| number.checked_ilog10().unwrap_or(0);
        if first > last || digits(first) != digits(last) {
            let text = format!("ids from {first} to {last}: not a range of numbers of one width");
            return Err(ServeError::Configuration(text.into()));
        }
        let ids = ShortIds::new(first, last, id::random_within(first, last));
        Ok(Self { ids: Mutex::new(ids), hasher: RandomState::new(), quarantine })
    }

    /// Lends an id for this request. `None`: all are lent, or rest, or too much of the device does.
    pub(super) fn lend(
        self: &Arc<Self>,
        now: Instant,
        dialect: &dyn Dialect,
        request: &Request,
    ) -> Option<Loan> {
        let device = self.hash(dialect.device(request.topic()).as_bytes());
        // Without a key there is no call.
        let key = |id| dialect.request_key(request, &text(id)).map_or(0, |key| self.hash(&key));
        let id = self.lock().take(now, device, key)?;
        Some(Loan { id, purpose: Purpose { key: 0, device }, lender: Some(Arc::clone(self)) })
    }

    fn hash(&self, bytes: &[u8]) -> u32 {
        (self.hasher.hash_one(bytes) >> 32) as u32
    }

    fn lock(&self) -> MutexGuard<'_, ShortIds> {
        // No call of the table leaves it in between when it panics, nor when a dialect does.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(id: u16) -> Bytes {
    Bytes::from(id.to_string())
}

/// An id that is lent. It goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    id: u16,
    purpose: Purpose,
    /// `None` once it has gone back.
    lender: Option<Arc<Lender>>,
}

impl Loan {
    /// The id, in decimal digits.
    pub(super) fn id(&self) -> Bytes {
        text(self.id)
    }

    /// Says what the answer is found by.
    pub(super) fn pairs_by(&mut self, key: &[u8]) {
        if let Some(lender) = &self.lender {
            self.purpose.key = lender.hash(key);
        }
    }

    /// Gives it back, not to be lent for the same before its quarantine is over: its answer may still come.
    pub(super) fn quarantine(mut self, now: Instant) {
        if let Some(lender) = self.lender.take() {
            let until = super::after(now, lender.quarantine);
            lender.lock().quarantine(self.id, self.purpose, until);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(lender) = self.lender.take() {
            lender.lock().give_back(self.id);
        }
    }
}

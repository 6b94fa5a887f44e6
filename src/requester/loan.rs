//! Short ids, lent to calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::short_ids::ShortIds;
use crate::error::ServeError;
use crate::id;

/// The ids of one requester. The handles take them and the connection gives them back, so they are
/// behind a lock; it is held for a few instructions, and only dialects with short ids have it.
#[derive(Debug)]
pub(super) struct Lender {
    ids: Mutex<ShortIds>,
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
        Ok(Self { ids: Mutex::new(ids), quarantine })
    }

    /// Lends an id. `None`: all are lent, or rest.
    pub(super) fn lend(self: &Arc<Self>, now: Instant) -> Option<Loan> {
        let id = self.lock().take(now)?;
        Some(Loan { id, lender: Some(Arc::clone(self)) })
    }

    fn lock(&self) -> MutexGuard<'_, ShortIds> {
        // No call of the table leaves it in between when it panics.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id that is lent. It goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    id: u16,
    /// `None` once it has gone back.
    lender: Option<Arc<Lender>>,
}

impl Loan {
    /// The id, in decimal digits.
    pub(super) fn id(&self) -> Bytes {
        Bytes::from(self.id.to_string())
    }

    /// Gives it back, not to be lent before its quarantine is over: its answer may still come.
    pub(super) fn quarantine(mut self, now: Instant) {
        if let Some(lender) = self.lender.take() {
            lender.lock().quarantine(self.id, super::after(now, lender.quarantine));
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

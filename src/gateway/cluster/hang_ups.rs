//! Calls that were passed on, and whose caller has hung up meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::core::Recent;

/// How long a hang-up is remembered whose call has not come. It comes over the same connection before it, so it
/// is only a task that is late.
const EARLY: Duration = Duration::from_secs(10);

/// The calls that others have passed on to this gateway, by the id of the request.
pub(super) struct HangUps(Mutex<Table>);

struct Table {
    /// As many as the responder takes at once.
    calls: HashMap<Bytes, CancellationToken>,
    /// A call is taken in by another task than its hang-up, which may be first.
    early: Recent,
}

/// A call that was passed on, until it is dropped.
pub(super) struct PassedOn<'a> {
    calls: &'a HangUps,
    id: Bytes,
    hung_up: CancellationToken,
}

impl HangUps {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table { calls: HashMap::new(), early: Recent::new(EARLY) }))
    }

    pub(super) fn begin(&self, id: Bytes, now: Instant) -> PassedOn<'_> {
        let hung_up = CancellationToken::new();
        let mut table = self.lock();
        if table.early.contains(&id, now) {
            hung_up.cancel();
        } else {
            table.calls.insert(id.clone(), hung_up.clone());
        }
        drop(table);
        PassedOn { calls: self, id, hung_up }
    }

    /// The caller of this call has hung up.
    pub(super) fn hang_up(&self, id: &Bytes, now: Instant) {
        let mut table = self.lock();
        if let Some(hung_up) = table.calls.remove(id) {
            drop(table);
            return hung_up.cancel();
        }
        table.early.insert(id, now);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PassedOn<'_> {
    /// `None`: the caller has hung up first.
    pub(super) async fn unless_hung_up<F: Future>(&self, making: F) -> Option<F::Output> {
        self.hung_up.run_until_cancelled(making).await
    }
}

impl Drop for PassedOn<'_> {
    fn drop(&mut self) {
        self.calls.lock().calls.remove(&self.id);
    }
}

impl fmt::Debug for HangUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HangUps").field("calls", &self.lock().calls.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn id(number: usize) -> Bytes {
        number.to_string().into()
    }

    #[tokio::test]
    async fn a_hang_up_ends_its_call_whichever_comes_first() {
        let (calls, now) = (HangUps::new(), Instant::now());
        let (first, second) = (calls.begin(id(1), now), calls.begin(id(2), now));
        calls.hang_up(&id(1), now);
        calls.hang_up(&id(3), now);
        assert!(first.unless_hung_up(pending::<()>()).await.is_none());
        let third = calls.begin(id(3), now + EARLY);
        assert!(third.unless_hung_up(pending::<()>()).await.is_none());
        assert!(second.unless_hung_up(ready(())).await.is_some());
        drop((first, second, third));
        assert!(calls.lock().calls.is_empty());
    }

    #[tokio::test]
    async fn a_hang_up_that_is_long_past_ends_nothing() {
        let (calls, now) = (HangUps::new(), Instant::now());
        calls.hang_up(&id(1), now);
        let again = calls.begin(id(1), now + 3 * EARLY);
        assert!(again.unless_hung_up(ready(())).await.is_some());
    }
}

//! Calls that were passed on, and whose caller has hung up meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// Hang-ups without a call that are remembered.
const EARLY: usize = 1024;

/// Bytes of an id: no gateway makes longer ones.
const LONGEST: usize = 64;

/// The calls that others have passed on to this gateway, by the id of the request.
#[derive(Debug, Default)]
pub(super) struct HangUps(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// As many as the responder takes at once.
    calls: HashMap<Bytes, CancellationToken>,
    /// A call is taken in by another task than its hang-up, which may be first. The oldest make room.
    early: VecDeque<Bytes>,
}

/// A call that was passed on, until it is dropped.
#[derive(Debug)]
pub(super) struct PassedOn<'a> {
    calls: &'a HangUps,
    id: Bytes,
    hung_up: CancellationToken,
}

impl HangUps {
    pub(super) fn begin(&self, id: Bytes) -> PassedOn<'_> {
        let hung_up = CancellationToken::new();
        let mut table = self.lock();
        match table.early.iter().position(|early| *early == id) {
            Some(place) => {
                table.early.remove(place);
                hung_up.cancel();
            }
            None => drop(table.calls.insert(id.clone(), hung_up.clone())),
        }
        drop(table);
        PassedOn { calls: self, id, hung_up }
    }

    /// The caller of this call has hung up.
    pub(super) fn hang_up(&self, id: &Bytes) {
        if id.len() > LONGEST {
            return;
        }
        let mut table = self.lock();
        if let Some(hung_up) = table.calls.remove(id) {
            drop(table);
            return hung_up.cancel();
        }
        if table.early.len() >= EARLY {
            table.early.pop_front();
        }
        // Not a part of a larger buffer.
        table.early.push_back(Bytes::copy_from_slice(id));
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn id(number: usize) -> Bytes {
        number.to_string().into()
    }

    #[tokio::test]
    async fn a_hang_up_ends_its_call_whichever_comes_first() {
        let calls = HangUps::default();
        let (first, second) = (calls.begin(id(1)), calls.begin(id(2)));
        calls.hang_up(&id(1));
        calls.hang_up(&id(3));
        assert!(first.unless_hung_up(pending::<()>()).await.is_none());
        assert!(calls.begin(id(3)).unless_hung_up(pending::<()>()).await.is_none());
        assert!(second.unless_hung_up(ready(())).await.is_some());
        drop((first, second));
        assert!(calls.lock().calls.is_empty() && calls.lock().early.is_empty());
    }

    #[test]
    fn what_comes_without_a_call_is_bounded() {
        let calls = HangUps::default();
        for number in 0..2 * EARLY {
            calls.hang_up(&id(number));
        }
        calls.hang_up(&vec![b'x'; LONGEST + 1].into());
        let table = calls.lock();
        assert_eq!((table.early.len(), table.early[0].clone()), (EARLY, id(EARLY)));
        assert_eq!(table.early.back(), Some(&id(2 * EARLY - 1)));
    }
}

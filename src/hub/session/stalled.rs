//! Clients that take nothing of what is written to them.

use std::rc::Rc;
use std::time::Duration;

use super::Seat;

/// How often a connection is looked at before it counts as stalled. Between two looks more may be
/// written to it than it takes, which hides that it takes something; not in all of them.
const LOOKS: u32 = 8;

/// What is written to a connection that is slower than what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) struct Backlog {
    /// How often it had taken enough before to be written to again.
    pub(in crate::hub) relieved: u64,
    /// Bytes that wait for the socket.
    pub(in crate::hub) waiting: usize,
}

impl Backlog {
    /// Whether something was taken since this one. More that waits is no progress: a client that asks
    /// and never reads makes it grow.
    fn was_reduced(self, now: Self) -> bool {
        now.relieved != self.relieved || now.waiting < self.waiting
    }
}

/// Closes a connection that takes nothing of what is written to it: as long as it does not, nobody looks
/// at its keep-alive either.
pub(super) fn watch(seat: &Seat) {
    let (client, patience) = (Rc::clone(&seat.client), seat.worker.shared.limits.stalled);
    if client.watched.replace(true) {
        return;
    }
    ntex::rt::spawn(async move {
        if is_stalled(patience, || client.backlog()).await {
            tracing::debug!(client_id = %client.client_id, "a client that reads nothing is closed");
            client.terminate();
        }
        client.watched.set(false);
    });
}

/// Waits until nothing was taken for this long, or there is no backlog any more.
async fn is_stalled(patience: Duration, backlog: impl Fn() -> Option<Backlog>) -> bool {
    let Some(mut last) = backlog() else { return false };
    let mut in_vain = 0;
    while in_vain < LOOKS {
        tokio::time::sleep(patience / LOOKS).await;
        let Some(now) = backlog() else { return false };
        in_vain = if last.was_reduced(now) { 0 } else { in_vain + 1 };
        last = now;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(8);

    /// What the looks see, one after another, and then nothing.
    async fn stalled_after(looks: impl Iterator<Item = (u64, usize)>) -> Option<Duration> {
        let looks = Cell::new(Some(looks));
        let started = Instant::now();
        let backlog = || {
            let mut left = looks.take()?;
            let next = left.next();
            looks.set(Some(left));
            next.map(|(relieved, waiting)| Backlog { relieved, waiting })
        };
        is_stalled(PATIENCE, backlog).await.then(|| started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_grows_is_no_progress() {
        let same = std::iter::repeat((0, 70_000));
        assert_eq!(stalled_after(same).await, Some(PATIENCE));
        let growing = (0..).map(|look| (0, 70_000 + look));
        assert_eq!(stalled_after(growing).await, Some(PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_something_is_waited_for() {
        let slow = (0..1000).map(|look| (0, 70_000 - look / 7));
        assert_eq!(stalled_after(slow).await, None);
        let refilled = (0..1000).map(|look| (look / 7, 70_000));
        assert_eq!(stalled_after(refilled).await, None);
        let then_nothing = (0..).map(|look: usize| (0, 70_000 - look.min(20)));
        assert_eq!(stalled_after(then_nothing).await, Some(PATIENCE + 20 * PATIENCE / LOOKS));
    }
}

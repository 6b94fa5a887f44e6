//! Which devices are connected to the embedded hub.

mod table;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use tokio::task::JoinHandle;

use self::table::Table;
use crate::gateway::listing::{Listed, Wanted};
use crate::hub::{Change, Hub, Presence};

/// Follows who comes and goes.
///
/// Of a device that has connected more than once, as Aliyun's do with a client identifier that says when,
/// the last connection counts.
#[derive(Debug)]
pub(crate) struct Roster {
    table: Arc<RwLock<Table>>,
    follower: JoinHandle<()>,
}

/// Where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Connected {
        since: SystemTime,
        /// It said `ext=1` in its client identifier.
        ext: bool,
    },
    /// It was lost less than one keep-alive ago.
    JustLost,
    Absent,
}

impl Roster {
    /// Follows the presence of this hub until it stops. Called within a tokio runtime.
    pub(crate) fn of(hub: &Hub) -> Self {
        let (present, presence) = hub.presence();
        let table = Arc::new(RwLock::new(Table::of(&present)));
        let follower = tokio::spawn(follow(presence, Arc::clone(&table)));
        Self { table, follower }
    }

    /// Of the task that follows.
    #[cfg(test)]
    pub(super) fn follower(&self) -> tokio::task::AbortHandle {
        self.follower.abort_handle()
    }

    pub(crate) fn find(&self, product: &str, device: &str) -> Whereabouts {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.find(product, device, Instant::now)
    }

    /// Product, device, since when.
    pub(crate) fn connected(
        &self,
        wanted: &Wanted<'_>,
    ) -> Listed<(Box<str>, Box<str>, SystemTime)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let all = table.connected().map(|(product, device, since)| ((product, device), since));
        let Listed { first, left } = wanted.first(all);
        let first = first.into_iter().map(|((p, d), since)| (p.into(), d.into(), since));
        Listed { first: first.collect(), left }
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.table.read().unwrap_or_else(PoisonError::into_inner).count()
    }
}

async fn follow(mut presence: Presence, table: Arc<RwLock<Table>>) {
    while let Some(change) = presence.next().await {
        let now = Instant::now();
        let table = || table.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Connected(client) => table().arrive(&client),
            Change::Disconnected(client) => table().leave(&client, now),
            Change::Missed(missed) => {
                tracing::debug!(missed, "the list of devices is read anew");
                let present = presence.catch_up();
                table().replace(&present, now);
            }
        }
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

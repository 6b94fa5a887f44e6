//! Who is alive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::owner::owner;

/// Gateways in one cluster, this one included. Announcements of more are ignored, and logged.
pub(in crate::gateway) const MAX_MEMBERS: usize = 64;

/// Another gateway.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Member {
    pub(super) id: Arc<str>,
    /// It was found to be dead: what it was asked will not be answered.
    pub(super) dead: CancellationToken,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// The members that this one has heard of. It reads no clock.
#[derive(Debug)]
pub(super) struct Members {
    own: Arc<str>,
    leaving: AtomicBool,
    /// Read for each call, written when one of them speaks.
    others: RwLock<Others>,
}

type Others = BTreeMap<Arc<str>, Heard>;

#[derive(Debug)]
struct Heard {
    member: Member,
    at: Instant,
    /// It is dead when nothing is heard of it for so long.
    dead_after: Duration,
}

impl Heard {
    fn dies(&self) -> Option<Instant> {
        self.at.checked_add(self.dead_after)
    }
}

/// What an announcement was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was not known.
    Arrived,
    Known,
    /// There are too many to take it in.
    Refused,
}

impl Members {
    pub(super) fn new(own: Arc<str>) -> Self {
        Self { own, leaving: AtomicBool::new(false), others: RwLock::default() }
    }

    pub(super) fn own(&self) -> &Arc<str> {
        &self.own
    }

    /// This one leaves: it owns nothing that another can own.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// The owner of a device among those who are alive; `None`: this one.
    pub(super) fn owner(&self, product: &str, device: &str) -> Option<Member> {
        let others = self.read();
        let alive = others.iter().map(|(id, heard)| (&**id, Some(&heard.member)));
        let own = (!self.is_leaving()).then_some((&*self.own, None));
        owner(alive.chain(own), product, device).flatten().cloned()
    }

    pub(super) fn heard(&self, id: &str, dead_after: Duration, now: Instant) -> News {
        let mut others = self.write();
        if let Some(known) = others.get_mut(id) {
            (known.at, known.dead_after) = (now, dead_after);
            return News::Known;
        }
        if others.len() + 1 >= MAX_MEMBERS {
            return News::Refused;
        }
        let id: Arc<str> = id.into();
        let member = Member { id: Arc::clone(&id), dead: CancellationToken::new() };
        others.insert(id, Heard { member, at: now, dead_after });
        News::Arrived
    }

    /// It takes no more calls, and ends those that it has.
    pub(super) fn left(&self, id: &str) {
        self.write().remove(id);
    }

    /// It is not there: whoever waits for it learns that.
    pub(super) fn died(&self, id: &str) {
        if let Some(heard) = self.write().remove(id) {
            heard.member.dead.cancel();
        }
    }

    /// Finds those who were not heard of for too long.
    pub(super) fn bury(&self, now: Instant) -> Vec<Arc<str>> {
        // Asked at every turn of the connection, mostly in vain.
        if self.next_death().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut others = self.write();
        let dead = |heard: &Heard| heard.dies().is_some_and(|at| at <= now);
        let buried = others.extract_if(.., |_, heard| dead(heard));
        buried.map(|(id, heard)| (id, heard.member.dead.cancel()).0).collect()
    }

    /// Nothing could be heard until now: that says nothing about the others.
    pub(super) fn forgive(&self, now: Instant) {
        self.write().values_mut().for_each(|heard| heard.at = now);
    }

    /// When the next one is dead unless it is heard of.
    pub(super) fn next_death(&self) -> Option<Instant> {
        self.read().values().filter_map(Heard::dies).min()
    }

    // Nothing under the lock panics.

    fn read(&self) -> RwLockReadGuard<'_, Others> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Others> {
        self.others.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD_AFTER: Duration = Duration::from_secs(3);

    fn members() -> Members {
        Members::new("own".into())
    }

    fn alive(members: &Members) -> Vec<String> {
        members.read().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn who_is_not_heard_of_is_dead_after_its_time_and_no_sooner() {
        let (members, start) = (members(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(members.heard("a", DEAD_AFTER, start), News::Arrived);
        assert_eq!(members.heard("b", 2 * DEAD_AFTER, start), News::Arrived);
        assert_eq!(members.heard("a", DEAD_AFTER, start + second), News::Known);
        assert_eq!(members.next_death(), Some(start + 4 * second));
        let token = members.read()["a"].member.dead.clone();
        assert!(members.bury(start + Duration::from_nanos(3_999_999_999)).is_empty());
        assert_eq!(members.bury(start + 4 * second), ["a".into()]);
        assert!(token.is_cancelled());
        assert_eq!(alive(&members), ["b"]);
        assert_eq!(members.heard("a", DEAD_AFTER, start + 9 * second), News::Arrived, "again");
    }

    #[test]
    fn who_leaves_is_gone_at_once_and_ends_what_it_has() {
        let (members, now) = (members(), Instant::now());
        members.heard("a", DEAD_AFTER, now);
        let token = members.read()["a"].member.dead.clone();
        members.left("a");
        assert!(alive(&members).is_empty() && !token.is_cancelled());
        members.heard("a", DEAD_AFTER, now);
        let token = members.read()["a"].member.dead.clone();
        members.died("a");
        assert!(alive(&members).is_empty() && token.is_cancelled());
        members.died("a");
        assert_eq!(members.next_death(), None);
    }

    #[test]
    fn who_was_away_itself_does_not_bury_the_others() {
        let (members, now) = (members(), Instant::now());
        members.heard("a", DEAD_AFTER, now);
        members.forgive(now + 10 * DEAD_AFTER);
        assert!(members.bury(now + 10 * DEAD_AFTER).is_empty());
    }

    #[test]
    fn all_agree_about_the_owner() {
        let now = Instant::now();
        let views = ["a", "b", "c"].map(|own| {
            let members = Members::new(own.into());
            for other in ["a", "b", "c"].into_iter().filter(|other| *other != own) {
                members.heard(other, DEAD_AFTER, now);
            }
            members
        });
        for device in (0..50).map(|n| format!("d{n}")) {
            let owners = views.each_ref().map(|view| match view.owner("p", &device) {
                Some(member) => member.id,
                None => Arc::clone(view.own()),
            });
            assert!(owners.iter().all(|owner| *owner == owners[0]), "{owners:?}");
        }
        assert!(members().owner("p", "d").is_none(), "alone, it owns all");
    }

    #[test]
    fn who_leaves_owns_only_what_nobody_else_can() {
        let members = members();
        members.heard("a", DEAD_AFTER, Instant::now());
        members.leave();
        for device in (0..50).map(|n| format!("d{n}")) {
            assert_eq!(members.owner("p", &device).map(|it| it.id), Some("a".into()));
        }
        members.left("a");
        assert!(members.owner("p", "d").is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let (members, now) = (members(), Instant::now());
        for n in 1..MAX_MEMBERS {
            assert_eq!(members.heard(&n.to_string(), DEAD_AFTER, now), News::Arrived);
        }
        assert_eq!(members.heard("one more", DEAD_AFTER, now), News::Refused);
        assert_eq!(members.heard("1", DEAD_AFTER, now), News::Known);
    }
}

//! Who is on a link, as far as it decides who else may be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::topic::TopicFilter;
use crate::error::ServeError;

/// What an endpoint means to the others on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Waits for messages that arrive at QoS 1.
    Requester,
    /// Leaves messages unacknowledged while it works on them.
    Holding,
}

#[derive(Debug, Default)]
struct Count {
    requesters: usize,
    holding: usize,
    claims: Vec<(u64, &'static str, TopicFilter)>,
    next_claim: u64,
}

impl Count {
    fn of(&mut self, role: Role) -> &mut usize {
        match role {
            Role::Requester => &mut self.requesters,
            Role::Holding => &mut self.holding,
        }
    }
}

/// Looked at when an endpoint comes or goes, never for a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Occupancy(Arc<Mutex<Count>>);

/// Requests that are being worked on fill the QoS 1 window, and answers cannot get through it: each
/// handler that waits for one waits for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a responder that acknowledges after its answer holds up what else arrives on its link, and \
     answers with it: a requester needs a link of its own, as `ResponderBuilder::link_for_calls` \
     gives one"
)]
pub(crate) struct WouldStarve;

impl From<WouldStarve> for ServeError {
    fn from(error: WouldStarve) -> Self {
        Self::Configuration(error.to_string().into())
    }
}

/// Two requesters do not know of each other's ids: with short ones, an answer to one would be an
/// answer to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another requester on this link lends short ids to the same peers: use a clone of it")]
pub(crate) struct Claimed;

impl From<Claimed> for ServeError {
    fn from(error: Claimed) -> Self {
        Self::Configuration(error.to_string().into())
    }
}

impl Occupancy {
    /// Takes the ids of these peers in this dialect, unless somebody has them.
    pub(crate) fn claim(
        &self,
        dialect: &'static str,
        peers: &TopicFilter,
    ) -> Result<Claim, Claimed> {
        let mut count = self.lock();
        if count.claims.iter().any(|(_, name, other)| *name == dialect && other.overlaps(peers)) {
            return Err(Claimed);
        }
        let number = count.next_claim;
        count.next_claim += 1;
        count.claims.push((number, dialect, peers.clone()));
        Ok(Claim { occupancy: self.clone(), number })
    }

    pub(crate) fn enter(&self, role: Role) -> Result<Occupant, WouldStarve> {
        let mut count = self.lock();
        let others = match role {
            Role::Requester => count.holding,
            Role::Holding => count.requesters,
        };
        if others > 0 {
            return Err(WouldStarve);
        }
        *count.of(role) += 1;
        Ok(Occupant { occupancy: self.clone(), role })
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counted as long as it exists.
#[derive(Debug)]
pub(crate) struct Occupant {
    occupancy: Occupancy,
    role: Role,
}

impl Drop for Occupant {
    fn drop(&mut self) {
        *self.occupancy.lock().of(self.role) -= 1;
    }
}

/// The ids are taken as long as it exists.
#[derive(Debug)]
pub(crate) struct Claim {
    occupancy: Occupancy,
    number: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.occupancy.lock().claims.retain(|(number, ..)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_and_who_holds_up_exclude_each_other() {
        let occupancy = Occupancy::default();
        let first = occupancy.enter(Role::Requester).unwrap();
        let second = occupancy.enter(Role::Requester).unwrap();
        assert_eq!(occupancy.enter(Role::Holding).unwrap_err(), WouldStarve);
        drop((first, second));
        let holding = occupancy.enter(Role::Holding).unwrap();
        assert_eq!(occupancy.enter(Role::Requester).unwrap_err(), WouldStarve);
        drop(holding);
        assert!(occupancy.enter(Role::Requester).is_ok());
    }

    #[test]
    fn ids_are_claimed_by_one_for_the_same_peers() {
        let occupancy = Occupancy::default();
        let claim =
            |dialect, peers: &str| occupancy.claim(dialect, &TopicFilter::new(peers).unwrap());
        let first = claim("tencent", "pk/+").unwrap();
        assert_eq!(claim("tencent", "pk/dn").unwrap_err(), Claimed);
        let _others = (claim("tencent", "other/+").unwrap(), claim("explorer", "pk/dn").unwrap());
        drop(first);
        assert!(claim("tencent", "pk/dn").is_ok());
    }
}

//! Who is on a link, as far as it decides who else may be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

impl Occupancy {
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
}

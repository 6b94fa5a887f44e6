//! Nonces that the gateways tell each other of.
//!
//! | bytes | what |
//! |---|---|
//! | 32 | SHA-256 of the key's id and the nonce |
//! | 8 | when the request was signed, in nanoseconds since 1970 |
//! | the rest | the id of the key |
//!
//! Each remembers it for as long as it would take the request itself. What cannot be read, or is of a key
//! that signs nothing here, is dropped, and said in the log at `debug`; so is what there is no room for.

use std::fmt;
use std::str;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::core::packet::Message;
use crate::core::packet::Qos;
use crate::core::topic::TopicName;
use crate::gateway::calls::Outlet;
use crate::gateway::keys::Keys;
use crate::gateway::replay::{Refused, Replay, Used};

/// What this gateway has taken, and what it has heard that others have.
#[derive(Clone)]
pub(in crate::gateway) struct Nonces {
    replay: Arc<Replay>,
    keys: Arc<Keys>,
}

impl Nonces {
    pub(in crate::gateway) fn new(replay: Arc<Replay>, keys: Arc<Keys>) -> Self {
        Self { replay, keys }
    }

    /// From now on the others are told what is taken here.
    pub(super) fn tell_on(&self, topic: TopicName, outlet: Outlet) {
        self.replay.tell(move |used| {
            if let Some(payload) = write(used) {
                let message = Message::new(topic.clone(), payload);
                outlet.tell(Message { qos: Qos::AtMostOnce, ..message });
            }
        });
    }

    /// Another gateway has taken it.
    pub(super) fn hear(&self, payload: &[u8], now: SystemTime) {
        // Only keys have owners' counts, so that there are no more of them.
        let signs = |used: &Used<'_>| self.keys.signer(used.owner).is_some();
        let Some(used) = read(payload).filter(signs) else {
            return tracing::debug!(bytes = payload.len(), "this is no nonce of another gateway");
        };
        if self.replay.hear(&used, now) == Err(Refused::Full) {
            tracing::debug!(key = used.owner, "no room for a nonce of another gateway");
        }
    }
}

/// `None`: its time cannot be written.
fn write(used: &Used<'_>) -> Option<Bytes> {
    let since = used.signed.duration_since(UNIX_EPOCH).ok()?;
    let nanos = u64::try_from(since.as_nanos()).ok()?;
    Some([&used.digest[..], &nanos.to_be_bytes(), used.owner.as_bytes()].concat().into())
}

fn read(payload: &[u8]) -> Option<Used<'_>> {
    let (&digest, rest) = payload.split_first_chunk()?;
    let (&nanos, owner) = rest.split_first_chunk()?;
    let since = Duration::from_nanos(u64::from_be_bytes(nanos));
    let signed = UNIX_EPOCH.checked_add(since)?;
    Some(Used { digest, signed, owner: str::from_utf8(owner).ok()? })
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("keys", &self.keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::AccessKey;

    const WINDOW: Duration = Duration::from_mins(15);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// For the key `k`, and one that signs nothing.
    fn nonces(capacity: usize) -> Nonces {
        let keys =
            [AccessKey::new("k").with_secret("s"), AccessKey::new("bearer").with_bearer("b")];
        let replay = Replay::with_capacity(WINDOW, capacity);
        Nonces::new(Arc::new(replay), Arc::new(Keys::new(&keys)))
    }

    /// What a gateway tells that takes this.
    fn told(owner: &str, nonce: &str, signed: SystemTime) -> Vec<u8> {
        let replay = Replay::new(WINDOW);
        let (tell, heard) = std::sync::mpsc::channel();
        replay.tell(move |used| tell.send(write(used).unwrap()).unwrap());
        assert_eq!(replay.take(owner, nonce, signed, signed), Ok(()));
        assert!(replay.take(owner, nonce, signed, signed).is_err());
        let told = heard.try_recv().unwrap().to_vec();
        assert!(heard.try_recv().is_err(), "what is refused is not told");
        told
    }

    fn take(nonces: &Nonces, nonce: &str, now: SystemTime) -> Result<(), Refused> {
        nonces.replay.take("k", nonce, at(10_000), now)
    }

    #[test]
    fn what_another_has_taken_is_refused_until_it_is_too_old() {
        let nonces = nonces(10);
        nonces.hear(&told("k", "n", at(10_000)), at(10_000));
        for now in [10_000, 10_900] {
            assert_eq!(take(&nonces, "n", at(now)), Err(Refused::Used));
            assert_eq!(take(&nonces, &format!("m{now}"), at(now)), Ok(()));
        }
        assert_eq!(take(&nonces, "n", at(10_901)), Err(Refused::Expired));
    }

    #[test]
    fn a_time_is_told_to_the_nanosecond() {
        let signed = at(10_000) + Duration::from_nanos(1);
        let payload = told("k", "n", signed);
        assert_eq!((payload.len(), read(&payload).unwrap().signed), (41, signed));
        let used = read(&payload).unwrap();
        assert_eq!(write(&Used { signed: at(u64::MAX / 1_000_000_000 + 1), ..used.clone() }), None);
        assert_eq!(write(&Used { signed: UNIX_EPOCH - WINDOW, ..used }), None);
    }

    #[test]
    fn what_is_no_nonce_is_passed_over() {
        let nonces = nonces(10);
        let good = told("k", "n", at(10_000));
        for length in 0..good.len() {
            nonces.hear(&good[..length], at(10_000));
        }
        nonces.hear(&[&good[..40], b"\xff"].concat(), at(10_000));
        nonces.hear(&[&good[..], &vec![b'k'; 1 << 20]].concat(), at(10_000));
        nonces.hear(&told("bearer", "n", at(10_000)), at(10_000));
        nonces.hear(&told("nobody", "n", at(10_000)), at(10_000));
        nonces.hear(&[0; 1000], at(10_000));
        assert_eq!(nonces.replay.remembered(), 0);
        nonces.hear(&good, at(10_000));
        assert_eq!(nonces.replay.remembered(), 1);
    }

    #[test]
    fn what_is_heard_is_bounded_and_takes_no_room_from_what_is_taken_here() {
        let nonces = nonces(2);
        for n in 0..5 {
            nonces.hear(&told("k", &format!("heard {n}"), at(10_000)), at(10_000));
        }
        assert_eq!(nonces.replay.remembered(), 2);
        assert_eq!(take(&nonces, "heard 1", at(10_000)), Err(Refused::Used));
        assert_eq!(take(&nonces, "heard 2", at(10_000)), Ok(()), "it was dropped");
        assert_eq!(take(&nonces, "own", at(10_000)), Ok(()));
        assert_eq!(take(&nonces, "one more", at(10_000)), Err(Refused::Full));
        // They have expired, and make room.
        nonces.hear(&told("k", "later", at(11_000)), at(11_000));
        assert_eq!(nonces.replay.remembered(), 1);
    }

    #[test]
    fn nothing_is_remembered_for_longer_than_what_is_taken_here() {
        let nonces = nonces(10);
        nonces.hear(&told("k", "n", at(1_000_000)), at(10_000));
        nonces.hear(&told("k", "old", at(9_099)), at(10_000));
        assert_eq!(nonces.replay.remembered(), 1, "one has expired");
        nonces.hear(&told("k", "m", at(11_801)), at(11_801));
        assert_eq!(nonces.replay.remembered(), 1, "the other has, too");
    }
}

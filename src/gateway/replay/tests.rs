use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_mins(15);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_time_is_taken_up_to_the_edges_of_the_window() {
    let replay = Replay::new(WINDOW);
    let now = at(10_000);
    for (signed, taken) in [
        (now, true),
        (now - WINDOW, true),
        (now + WINDOW, true),
        (now - WINDOW - Duration::from_nanos(1), false),
        (now + WINDOW + Duration::from_nanos(1), false),
        (UNIX_EPOCH, false),
    ] {
        assert_eq!(replay.check_time(signed, now).is_ok(), taken, "{signed:?}");
        assert_eq!(replay.take("k", &format!("{signed:?}"), signed, now).is_ok(), taken);
    }
}

#[test]
fn a_nonce_is_taken_once_for_each_owner_as_long_as_its_time_is_taken() {
    let replay = Replay::new(WINDOW);
    // Signed ahead: it can come again for twice the window.
    let signed = at(10_900);
    assert_eq!(replay.take("k", "n", signed, at(10_000)), Ok(()));
    assert_eq!(replay.take("other", "n", signed, at(10_000)), Ok(()));
    for now in [10_000, 10_900, 11_800] {
        assert_eq!(replay.take("k", "n", signed, at(now)), Err(Refused::Used));
    }
    assert_eq!(replay.take("k", "n", signed, at(11_801)), Err(Refused::Expired));
    assert_eq!(replay.take("k", "n", at(11_801), at(11_801)), Ok(()));
}

#[test]
fn what_was_forgotten_stays_expired_when_the_clock_is_set_back() {
    let replay = Replay::new(WINDOW);
    assert_eq!(replay.take("k", "n", at(10_000), at(10_000)), Ok(()));
    assert_eq!(replay.take("k", "m", at(20_000), at(20_000)), Ok(()));
    assert_eq!(replay.take("k", "n", at(10_000), at(10_000)), Err(Refused::Expired));
    assert_eq!(replay.take("k", "n", at(10_001), at(10_001)), Ok(()));
}

#[test]
fn when_full_a_new_nonce_is_refused_and_none_forgotten() {
    let replay = Replay::with_capacity(WINDOW, 2);
    assert_eq!(replay.take("k", "1", at(10_000), at(10_000)), Ok(()));
    assert_eq!(replay.take("k", "2", at(10_001), at(10_001)), Ok(()));
    assert_eq!(replay.take("k", "3", at(10_001), at(10_001)), Err(Refused::Full));
    assert_eq!(replay.take("k", "1", at(10_000), at(10_001)), Err(Refused::Used));
    assert_eq!(replay.take("other", "3", at(10_001), at(10_001)), Ok(()), "it has its own");
    // The first has expired.
    assert_eq!(replay.take("k", "3", at(10_901), at(10_901)), Ok(()));
    assert_eq!(replay.take("k", "2", at(10_001), at(10_901)), Err(Refused::Used));
}

#[test]
fn after_a_pause_a_request_does_not_forget_everything() {
    let replay = Replay::with_capacity(WINDOW, 1000);
    let all = |owner: &str, at: SystemTime| {
        (0..1000).filter(|n| replay.take(owner, &format!("{n}"), at, at).is_ok()).count()
    };
    assert_eq!(all("first", at(10_000)), 1000);
    assert_eq!(all("second", at(10_001)), 1000);
    let remembered = || replay.remembered();
    assert_eq!(replay.take("third", "n", at(20_000), at(20_000)), Ok(()));
    assert_eq!(remembered(), 2000 - STEP + 1);
    // Nobody is refused because of what has expired.
    assert_eq!(replay.take("second", "n", at(20_000), at(20_000)), Ok(()));
    assert_eq!(remembered(), 2);
}

proptest! {
    #[test]
    fn no_request_is_taken_twice(
        requests in prop::collection::vec((0..6_u8, 0..40_u64), 0..60),
        clock in prop::collection::vec(0..60_u64, 60),
    ) {
        let replay = Replay::with_capacity(Duration::from_secs(10), 4);
        let mut taken = HashSet::new();
        for (request, now) in requests.into_iter().zip(clock) {
            let (nonce, signed) = request;
            if replay.take("k", &nonce.to_string(), at(signed), at(now)).is_ok() {
                prop_assert!(taken.insert(request));
            }
            prop_assert!(replay.seen.lock().unwrap().nonces.len() <= 4);
        }
    }
}

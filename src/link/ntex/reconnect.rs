//! How long to wait before connecting again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// How a client comes back after it lost its connection: it tries for ever, and waits longer after
/// each failure.
///
/// The waiting time doubles from `shortest` to `longest`. What is really waited is a random time
/// between half of it and the whole, so that the clients of a broker that was restarted do not all
/// come back in the same instant. A connection that lasted for `longest` starts the count again.
///
/// A refusal that time alone does not heal (a wrong password, a banned client) is tried again as
/// well, as somebody may repair it at the broker, but with `longest` at once.
///
/// ```
/// use std::time::Duration;
/// use tower_mqtt::link::Reconnect;
///
/// let patient = Reconnect { longest: Duration::from_secs(120), ..Reconnect::default() };
/// assert_eq!(patient.shortest, Duration::from_millis(100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// After the first failure. 100 ms by default: a broker's restart is over in less than a
    /// second.
    pub shortest: Duration,
    /// After many failures. 30 s by default: what a user waits without complaint, and rare enough
    /// not to burden a broker that struggles.
    pub longest: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { shortest: Duration::from_millis(100), longest: Duration::from_secs(30) }
    }
}

impl Reconnect {
    fn delays(self) -> ExponentialBackoff {
        // The library adds a random part of up to the whole delay to it: halved here, so that
        // `longest` is the longest.
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.shortest.min(self.longest) / 2)
            .with_max_delay(self.longest / 2);
        builder.without_max_times().with_jitter().build()
    }
}

/// The waiting times of one client.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: Reconnect,
    delays: ExponentialBackoff,
    connected: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(settings: Reconnect) -> Self {
        Self { settings, delays: settings.delays(), connected: None }
    }

    /// The connection is up.
    pub(super) fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// The connection is lost, or could not be made: how long to wait. `hopeless`: the server
    /// will say the same again.
    pub(super) fn next_delay(&mut self, hopeless: bool) -> Duration {
        let lasted = self.connected.take().map(|since| since.elapsed());
        if lasted.is_some_and(|lasted| lasted >= self.settings.longest) {
            self.delays = self.settings.delays();
        }
        if hopeless {
            let longest = Reconnect { shortest: self.settings.longest, ..self.settings };
            self.delays = longest.delays();
        }
        self.delays.next().unwrap_or(self.settings.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Reconnect =
        Reconnect { shortest: Duration::from_millis(100), longest: Duration::from_secs(1) };

    fn between(least: u64, delay: Duration, most: u64) -> bool {
        (least..=most).contains(&u64::try_from(delay.as_millis()).expect("short"))
    }

    #[test]
    fn waits_twice_as_long_each_time_up_to_the_longest() {
        let mut backoff = Backoff::new(SETTINGS);
        for most in [100, 200, 400, 800, 1000, 1000] {
            assert!(between(most / 2, backoff.next_delay(false), most));
        }
    }

    #[test]
    fn waits_the_longest_at_once_when_trying_soon_cannot_help() {
        let mut backoff = Backoff::new(SETTINGS);
        assert!(between(500, backoff.next_delay(true), 1000));
    }

    #[tokio::test(start_paused = true)]
    async fn starts_again_after_a_connection_that_lasted() {
        let mut backoff = Backoff::new(SETTINGS);
        for (lasted, most) in [(0, 100), (999, 200), (1000, 100)] {
            backoff.connected();
            tokio::time::advance(Duration::from_millis(lasted)).await;
            assert!(between(most / 2, backoff.next_delay(false), most));
        }
    }

    #[test]
    fn two_clients_wait_differently() {
        let delays = || Backoff::new(SETTINGS).next_delay(true);
        let first = delays();
        assert!((0..20).any(|_| delays() != first));
    }
}

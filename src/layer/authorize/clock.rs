//! The time of day, which tests and devices without one of their own give by hand.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the clocks of both sides may be apart, together with the time that a request is under
/// way: a minute is more than clocks set by NTP need, and leaves a device that reconnects time for
/// what waited.
pub(super) const WINDOW: Duration = Duration::from_mins(1);

#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub(super) fn new(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    /// Milliseconds since 1970; zero for a clock that stands before.
    pub(super) fn millis(&self) -> u64 {
        let since = (self.0)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether `millis` is no further than `window` from now, before or after.
    pub(super) fn is_near(&self, millis: u64, window: Duration) -> bool {
        u128::from(self.millis().abs_diff(millis)) <= window.as_millis()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

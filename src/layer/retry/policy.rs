//! When to ask again, and after how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::retry::budget::{Budget, TpsBudget};
use tower::util::rng::{HasherRng, Rng};

use crate::error::{Delivery, RequestError};
use crate::layer::{LONGEST, Side};
use crate::message::{Request, Response};

/// When and how often to ask again.
///
/// ```
/// use std::time::Duration;
/// use tower_mqtt::layer::retry::RetryPolicy;
///
/// let policy = RetryPolicy::default()
///     .max_attempts(5)
///     .backoff(Duration::from_millis(20), Duration::from_secs(1))
///     .responder_deduplicates();
/// # let _ = policy;
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    pub(super) max_attempts: u32,
    backoff_base: Duration,
    backoff_max: Duration,
    pub(super) budget: Arc<dyn Budget + Send + Sync>,
    deduplicates: bool,
    jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Default for RetryPolicy {
    /// Three attempts, back-off from 100 ms up to 5 s, tower's default budget, and nothing assumed
    /// of the responder. Each method says why.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            budget: Arc::new(TpsBudget::default()),
            deduplicates: false,
            jitter: Arc::new(|| HasherRng::default().next_f64()),
        }
    }
}

impl RetryPolicy {
    /// How many attempts there are at most, the first one included; at least 1.
    ///
    /// 3 by default: two lost messages in a row are rare, and more attempts mostly add load when
    /// something is down. With 1 nothing is asked again, but the request gets its correlation data
    /// here: what a `tower::hedge` inside needs, so that its two attempts are one request.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// How long to wait before attempt n + 1: a random time between nothing and `base` · 2ⁿ⁻¹, and
    /// never more than `max` (full jitter).
    ///
    /// 100 ms and 5 s by default: about a round trip over a mobile network, and about as long as a
    /// broker takes to come back.
    pub fn backoff(mut self, base: Duration, max: Duration) -> Self {
        self.backoff_base = base;
        self.backoff_max = max;
        self
    }

    /// Where the random part of a pause comes from: a number from 0 to 1, of which the longest pause
    /// is that much.
    ///
    /// The operating system's randomness by default. Choose another for a simulation whose seed
    /// decides everything.
    pub fn jitter(mut self, random: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.jitter = Arc::new(random);
        self
    }

    /// What bounds the further attempts of all requests together, so that they do not multiply the
    /// load on something that is down already.
    ///
    /// tower's default by default: one in five requests may be repeated, and ten a second beside
    /// that, counted over ten seconds. All clones of the policy share the budget; so do all
    /// services made with it.
    pub fn budget(mut self, budget: impl Budget + Send + Sync + 'static) -> Self {
        self.budget = Arc::new(budget);
        self
    }

    /// Says that the responder recognises a request that it has seen, so that every request may be
    /// repeated, idempotent or not.
    ///
    /// Not assumed by default. It is true of a responder with [dedup](crate::layer::dedup) in one
    /// process, or with a store that all its processes share, for as long as the memory lasts.
    pub fn responder_deduplicates(mut self) -> Self {
        self.deduplicates = true;
        self
    }

    pub(super) fn wants_again<E: Side>(
        &self,
        request: &Request,
        result: &Result<Response, E>,
    ) -> bool {
        let error = match result {
            Ok(response) => return response.status().invites_retry(),
            Err(error) => error.as_request_error(),
        };
        let harmless = self.deduplicates || request.parts().idempotent;
        match error {
            Some(RequestError::Refused(status)) => status.invites_retry(),
            Some(RequestError::InvalidRequest(_) | RequestError::Closed) => false,
            Some(error) => harmless || error.delivery() == Delivery::NotDelivered,
            None => harmless,
        }
    }

    /// A random time before the next attempt. `made` attempts were made.
    ///
    /// tower's `ExponentialBackoff` is not used: it adds its jitter to the full back-off instead of
    /// choosing below it, and every clone of its maker draws the same numbers, so that requests
    /// that failed together would come again together.
    pub(super) fn pause(&self, made: u32) -> Duration {
        let factor = 1_u32.checked_shl(made.saturating_sub(1)).unwrap_or(u32::MAX);
        let most = self.backoff_base.saturating_mul(factor).min(self.backoff_max).min(LONGEST);
        most.mul_f64((self.jitter)().clamp(0.0, 1.0))
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &(self.backoff_base..=self.backoff_max))
            .field("responder_deduplicates", &self.deduplicates)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::layer::mock::ms;

    proptest! {
        #[test]
        fn a_pause_is_within_its_bounds(
            base in 0..10_000_u64,
            max in 0..10_000_u64,
            made in 1..100_u32,
        ) {
            let pause = RetryPolicy::default().backoff(ms(base), ms(max)).pause(made);
            let doubled = u128::from(base) << (made - 1).min(64);
            prop_assert!(pause.as_millis() <= doubled.min(u128::from(max)));
        }
    }

    #[test]
    fn pauses_use_the_whole_range() {
        let policy = RetryPolicy::default().backoff(ms(10), ms(40));
        let pauses: Vec<_> = (0..1000).map(|_| policy.pause(2).as_micros()).collect();
        for quarter in 0..4 {
            let range = quarter * 5000..(quarter + 1) * 5000;
            let hits = pauses.iter().filter(|pause| range.contains(*pause)).count();
            assert!((150..350).contains(&hits), "{hits} of 1000 in {range:?} µs");
        }
        assert!(
            pauses.iter().collect::<HashSet<_>>().len() > 900,
            "two requests draw different ones"
        );
    }

    #[test]
    fn the_jitter_can_be_chosen() {
        let policy = |jitter| RetryPolicy::default().backoff(ms(10), ms(40)).jitter(move || jitter);
        let pauses = [0.0, 0.5, 1.0, 7.0, -7.0].map(|jitter| policy(jitter).pause(2));
        assert_eq!(pauses, [ms(0), ms(10), ms(20), ms(20), ms(0)]);
    }

    #[test]
    fn extreme_settings_are_no_trouble() {
        let policy = RetryPolicy::default().backoff(Duration::MAX, Duration::MAX).max_attempts(0);
        assert!(policy.pause(u32::MAX) <= LONGEST);
        assert_eq!(policy.max_attempts, 1);
    }
}

//! Noticing that a client is silent for too long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Watches for one and a half keep-alives without a packet [MQTT-3.1.2-22].
#[derive(Debug)]
pub(super) struct KeepAlive {
    heard: bool,
    /// Nothing for a client that asks not to be watched.
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    patience: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl KeepAlive {
    /// `seconds` as in CONNECT: zero switches it off.
    pub(super) fn new(seconds: u16) -> Self {
        let patience = Duration::from_millis(u64::from(seconds) * 1500);
        let watch = (seconds > 0).then(|| {
            let last = Instant::now();
            Watch { patience, last, timer: Box::pin(sleep_until(last + patience)) }
        });
        Self { heard: false, watch }
    }

    /// A packet arrived.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Called when there is nothing more to read. Ready: the client is silent for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Watch { patience, last, timer }) = &mut self.watch else { return Poll::Pending };
        if std::mem::take(&mut self.heard) {
            *last = Instant::now();
        }
        // The timer is set again when it is due, not for each packet.
        loop {
            ready!(timer.as_mut().poll(cx));
            let due = *last + *patience;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_patient_for_one_and_a_half_keep_alives_after_the_last_packet() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(2);
        for _ in 0..5 {
            keep_alive.heard();
            let second = Duration::from_secs(1);
            let silent = tokio::time::timeout(second, poll_fn(|cx| keep_alive.poll(cx))).await;
            assert!(silent.is_err());
        }
        poll_fn(|cx| keep_alive.poll(cx)).await;
        let silence = start.elapsed().saturating_sub(Duration::from_secs(4));
        assert!(silence.abs_diff(Duration::from_secs(3)) < Duration::from_millis(5), "{silence:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_for_ever() {
        let mut keep_alive = KeepAlive::new(0);
        let day = Duration::from_hours(24);
        let silent = tokio::time::timeout(day, poll_fn(|cx| keep_alive.poll(cx))).await;
        assert!(silent.is_err());
    }
}

//! PINGREQ, and noticing that nothing comes back: the ntex client notices only a closed socket.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ntex::io::IoRef;
use ntex_mqtt::v5::codec::{Codec, Encoded, Packet};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Half keep-alives without a sign of life after which the peer is gone. A PINGREQ leaves every
/// second one, so that its answer has at least half a keep-alive; and a peer that vanishes is
/// noticed within 1.5 keep-alives, as a server does it [MQTT-3.1.2-22].
const SILENT_HALVES: u32 = 2;

/// Bytes of the connection's buffers.
///
/// A packet may take longer than the keep-alive on a slow network, and holds up what comes behind it, a
/// PINGREQ or its answer among them.
#[derive(Debug, Clone, Copy)]
struct Buffers {
    /// Of a packet that has not arrived completely.
    arrived: usize,
    /// What the socket has not taken.
    waiting: usize,
}

impl Buffers {
    fn of(io: &IoRef) -> Self {
        // Behind and before TLS or a WebSocket, which have to have the whole of a record or a frame.
        let packet = io.with_read_buf(|buffer| buffer.len());
        let frame = io.with_read_src_buf(|buffer| buffer.len());
        let waiting = io.with_write_dst_buf(|buffer| buffer.len());
        Self { arrived: packet + frame, waiting }
    }

    /// Whether the peer has sent or taken something since these, though no packet has arrived. More that
    /// waits is nothing of its doing.
    fn have_moved(self, now: Self) -> bool {
        now.arrived != self.arrived || now.waiting < self.waiting
    }
}

/// Watches one connection. Ends with this handle.
#[derive(Debug)]
pub(super) struct KeepAlive {
    heard: Rc<Cell<bool>>,
    task: Option<AbortHandle>,
}

impl KeepAlive {
    /// Zero: no PINGREQ is sent, and nothing is noticed.
    pub(super) fn start(seconds: u16, io: IoRef) -> Self {
        let heard = Rc::new(Cell::new(true));
        let watch = |period| tokio::task::spawn_local(watch(period, io, Rc::clone(&heard)));
        let task = (seconds > 0).then(|| watch(Duration::from_secs(seconds.into())));
        Self { task: task.map(|task| task.abort_handle()), heard }
    }

    /// A packet arrived.
    pub(super) fn heard(&self) {
        self.heard.set(true);
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn watch(period: Duration, io: IoRef, heard: Rc<Cell<bool>>) {
    let codec = Codec::new();
    let mut halves = interval(period / 2);
    halves.set_missed_tick_behavior(MissedTickBehavior::Delay);
    halves.tick().await;
    let mut silent = 0;
    let mut last = Buffers::of(&io);
    for half in 1_u64.. {
        halves.tick().await;
        let now = Buffers::of(&io);
        silent = if heard.take() || last.have_moved(now) { 0 } else { silent + 1 };
        last = now;
        if silent >= SILENT_HALVES {
            tracing::warn!(keep_alive = ?period, "nothing is heard from the server any more");
            return io.terminate();
        }
        if half % 2 == 0 && io.encode(Encoded::Packet(Packet::PingRequest), &codec).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_and_what_is_taken_is_a_sign_of_life() {
        let buffers = |arrived, waiting| Buffers { arrived, waiting };
        let before = buffers(1000, 70_000);
        for (now, moved) in [
            (before, false),
            (buffers(1001, 70_000), true),
            (buffers(0, 70_000), true),
            (buffers(1000, 69_999), true),
            (buffers(1000, 70_002), false),
        ] {
            assert_eq!(before.have_moved(now), moved, "{now:?}");
        }
    }
}

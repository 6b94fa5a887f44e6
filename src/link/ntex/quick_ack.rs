//! TCP acknowledgements that are not delayed.
//!
//! A server that has not set `TCP_NODELAY`, as Mosquitto has not when it is installed, writes a PUBACK
//! and holds the PUBLISH behind it back until the PUBACK is acknowledged (Nagle's algorithm), while
//! this side delays its acknowledgement by 40 ms in the hope of something to send it with. So each
//! QoS 1 round trip takes 44 ms where one might take 0.2.
//!
//! While much is in flight, each side has something to send anyway, and asking for it costs more than
//! it brings.

use std::net::TcpStream;

/// With more exchanges in flight, acknowledgements leave with what is sent.
const FEW: usize = 4;

#[derive(Debug)]
pub(super) struct QuickAck {
    /// The same socket. `None` where the system cannot do it.
    socket: Option<TcpStream>,
    /// Whether the server may hold something back.
    wanted: bool,
    /// How many exchanges were in flight at most in the last turns.
    in_flight: usize,
}

impl QuickAck {
    pub(super) fn of(stream: &TcpStream) -> Self {
        let socket = if cfg!(target_os = "linux") { stream.try_clone().ok() } else { None };
        Self { socket, wanted: false, in_flight: 0 }
    }

    /// For a connection that has nothing to do with TCP.
    #[cfg(unix)]
    pub(super) fn none() -> Self {
        Self { socket: None, wanted: false, in_flight: 0 }
    }

    /// A packet has come behind which the server may hold back another.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Everything that has come is read. The system forgets what is set here with what comes next.
    pub(super) fn turn_is_over(&mut self, in_flight: usize) {
        self.in_flight = in_flight.max(self.in_flight - self.in_flight.div_ceil(16));
        if std::mem::take(&mut self.wanted) && self.in_flight <= FEW {
            self.acknowledge();
        }
    }

    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        use std::os::linux::net::TcpStreamExt;
        if let Some(socket) = &self.socket {
            // Without it everything takes longer, and works.
            let _ = socket.set_quickack(true);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn acknowledge(&self) {
        let _ = &self.socket;
    }
}

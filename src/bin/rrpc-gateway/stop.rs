//! How the program is told to stop.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlC, CtrlShutdown, ctrl_c, ctrl_shutdown};

/// Ctrl-C and SIGTERM, from when it was made.
pub(crate) struct Stop {
    #[cfg(unix)]
    signals: (Signal, Signal),
    #[cfg(windows)]
    signals: (CtrlC, CtrlShutdown),
}

impl Stop {
    pub(crate) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        #[cfg(windows)]
        let signals = (ctrl_c()?, ctrl_shutdown()?);
        Ok(Self { signals })
    }

    /// Resolves with the next signal.
    pub(crate) async fn next(&mut self) {
        let (first, second) = &mut self.signals;
        tokio::select! {
            _ = first.recv() => {}
            _ = second.recv() => {}
        }
    }
}

//! Accepts connections and hands them to the workers in turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::entrance::Counted;
use super::{Bound, Entrance};
use crate::hub::shared::{Order, Shared};

/// How long accepting pauses when the system has nothing left for one more connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that has just been made.
pub(in crate::hub) struct Accepted {
    pub(in crate::hub) socket: Socket,
    pub(in crate::hub) peer: Option<SocketAddr>,
    /// Which of the hub's listeners it came over.
    pub(in crate::hub) entrance: usize,
    pub(in crate::hub) counted: Counted,
}

/// What a connection is read from and written to.
pub(in crate::hub) enum Socket {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

enum Acceptor {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix {
        /// Dropped before the listener.
        _name: super::unix::Name,
        listener: tokio::net::UnixListener,
    },
}

impl Acceptor {
    fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            #[cfg(unix)]
            Bound::Unix(super::unix::BoundSocket { name, listener }) => {
                Self::Unix { _name: name, listener: tokio::net::UnixListener::from_std(listener)? }
            }
        })
    }

    async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream.into_std()?), Some(peer)))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream.into_std()?), None))
            }
        }
    }
}

/// Runs until the hub takes nobody in any more.
pub(in crate::hub) async fn accept(bound: Bound, index: usize, shared: Arc<Shared>) {
    let acceptor = match Acceptor::new(bound) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!(%error, "a listener cannot be used"),
    };
    let entrance = &shared.entrances[index];
    loop {
        let accepted = tokio::select! {
            () = shared.accepting.cancelled() => return,
            accepted = acceptor.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => hand_over(socket, peer, index, entrance, &shared),
            Err(error) if is_exhausted(&error) => {
                tracing::warn!(%error, "cannot accept connections for now");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                // Of one connection: the others do not wait for it.
                tracing::debug!(%error, "cannot accept a connection");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Whether it will be the same for the next connection, until somebody gives something back: file
/// descriptors, or memory.
#[cfg(unix)]
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

/// Not told apart here.
#[cfg(not(unix))]
pub(crate) fn is_exhausted(_: &io::Error) -> bool {
    true
}

fn hand_over(
    socket: Socket,
    peer: Option<SocketAddr>,
    index: usize,
    entrance: &Arc<Entrance>,
    shared: &Shared,
) {
    let Some(counted) = entrance.admit_socket() else {
        tracing::debug!(?peer, "refused: there are as many connections as allowed");
        return;
    };
    let accepted = Accepted { socket, peer, entrance: index, counted };
    // When the worker is gone, so is the hub.
    let _ = shared.pick().orders.send(Order::Accept(accepted));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn only_what_has_run_out_pauses_accepting() {
        // Of Linux: EMFILE, ENFILE, ENOBUFS, ENOMEM; ECONNABORTED, EPROTO, EPERM, EINTR.
        let is_exhausted = |code| is_exhausted(&io::Error::from_raw_os_error(code));
        assert!([24, 23, 105, 12].into_iter().all(is_exhausted));
        assert!(![103, 71, 1, 4].into_iter().any(is_exhausted));
        assert!(!super::is_exhausted(&io::ErrorKind::Other.into()));
    }
}

//! What systemd passes to a service, and is told by it. Elsewhere nothing is passed, and nobody is told.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// The sockets that were passed (`LISTEN_FDS`). From now on nobody else finds them.
///
/// # Errors
/// One of them is not a listener for TCP.
pub(crate) fn listeners() -> io::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..passed.len() {
        if let Some(listener) = passed.take_tcp_listener(at)? {
            listens(&listener)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// With `Accept=yes` it would be a connection, of which nothing can be accepted.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn listens(socket: &TcpListener) -> io::Result<()> {
    if rustix::net::sockopt::socket_acceptconn(socket)? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"))
}

#[cfg(any(not(unix), target_vendor = "apple"))]
fn listens(_: &TcpListener) -> io::Result<()> {
    Ok(())
}

/// Calls can be made.
pub(crate) fn ready() {
    #[cfg(unix)]
    tell(&sd_notify::NotifyState::Ready);
}

/// Calls in flight may end, and then it does.
pub(crate) fn stopping() {
    #[cfg(unix)]
    tell(&sd_notify::NotifyState::Stopping);
}

#[cfg(unix)]
fn tell(state: &sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

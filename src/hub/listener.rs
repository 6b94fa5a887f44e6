//! Accepts connections and hands them to the workers in turn.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::{Order, Shared};

/// How long accepting pauses when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond the limit that are let in, to have their CONNECT refused politely.
const IN_HANDSHAKE: usize = 256;

/// Runs until the hub takes nobody in any more.
pub(super) async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener cannot be used"),
    };
    loop {
        let accepted = tokio::select! {
            () = shared.accepting.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => hand_over(stream, peer, &shared),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn hand_over(stream: tokio::net::TcpStream, peer: std::net::SocketAddr, shared: &Shared) {
    let limit = shared.limits.connections.saturating_add(IN_HANDSHAKE);
    if shared.connections.load(Ordering::Relaxed) >= limit {
        tracing::debug!(%peer, "refused: there are as many connections as allowed");
        return;
    }
    let Ok(stream) = stream.into_std() else { return };
    shared.connections.fetch_add(1, Ordering::Relaxed);
    if shared.pick().orders.send(Order::Accept(stream, peer)).is_err() {
        shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

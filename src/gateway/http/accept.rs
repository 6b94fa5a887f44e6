//! Accepts connections, no more than there may be.

use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::connection::Serving;
use crate::hub::is_exhausted;
use crate::tls::ServerTls;

/// How long accepting pauses when the system has nothing left for one more connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Owns the listeners and the tasks of all connections.
pub(super) struct Acceptor {
    listeners: Vec<TcpListener>,
    /// Somebody else has them too: who waits is served by the next server.
    shared: bool,
    /// Which listener is asked first, so that a busy one does not keep out the others.
    first: usize,
    slots: Arc<Semaphore>,
    serving: Serving,
}

impl Acceptor {
    pub(super) fn new(
        listeners: Vec<TcpListener>,
        shared: bool,
        limit: usize,
        serving: Serving,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS)));
        Self { listeners, shared, first: 0, slots, serving }
    }

    /// Until it is told to stop, and for how long requests may then take; or until nobody can tell it any
    /// more.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<Duration>) {
        let mut connections = JoinSet::new();
        let tls = self.serving.tls.clone();
        let grace = tokio::select! {
            grace = &mut stop => grace.unwrap_or_default(),
            () = self.accept_all(&mut connections) => Duration::ZERO,
            () = keep_loaded(tls) => Duration::ZERO,
        };
        let listeners = std::mem::take(&mut self.listeners);
        if !self.shared {
            self.take_waiting(listeners, &mut connections);
        }
        self.serving.stopping.cancel();
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, all).await.is_err() {
            tracing::debug!(left = connections.len(), "HTTP connections are cut");
            connections.shutdown().await;
        }
    }

    /// Never ends.
    async fn accept_all(&mut self, connections: &mut JoinSet<()>) {
        loop {
            let slot = self.slot().await;
            match self.accept().await {
                Ok(stream) => {
                    while connections.try_join_next().is_some() {}
                    self.serve(stream, slot, connections);
                }
                Err(error) if is_exhausted(&error) => {
                    tracing::warn!(%error, "cannot accept HTTP connections for now");
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    // Of one connection: the others do not wait for it.
                    tracing::debug!(%error, "cannot accept an HTTP connection");
                    yield_now().await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, slot: OwnedSemaphorePermit, connections: &mut JoinSet<()>) {
        let serving = self.serving.clone();
        connections.spawn(async move {
            serving.serve(stream).await;
            drop(slot);
        });
    }

    /// Listens no more. Who waits in a backlog would be cut off with it, and may have sent a request. So
    /// those are accepted for whom there is a slot; without tokio, which may not have seen them yet.
    fn take_waiting(&self, listeners: Vec<TcpListener>, connections: &mut JoinSet<()>) {
        for listener in listeners.into_iter().filter_map(|it| it.into_std().ok()) {
            while let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                let accepted = listener.accept().and_then(|(stream, _)| {
                    stream.set_nonblocking(true)?;
                    TcpStream::from_std(stream)
                });
                match accepted {
                    Ok(stream) => self.serve(stream, slot, connections),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_exhausted(&error) => break,
                    Err(_) => {} // of one connection
                }
            }
        }
    }

    /// Who comes while there is none waits in the backlog of the listener.
    async fn slot(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.slots).acquire_owned().await.expect("it is never closed")
    }

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let Self { listeners, first, .. } = self;
        poll_fn(|cx| {
            for turn in 0..listeners.len() {
                let at = (*first + turn) % listeners.len();
                if let Poll::Ready(accepted) = listeners[at].poll_accept(cx) {
                    *first = at + 1;
                    return Poll::Ready(accepted.map(|(stream, _)| stream));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Never ends.
async fn keep_loaded(tls: Option<ServerTls>) {
    match tls {
        Some(tls) => tls.keep_loaded().await,
        None => pending().await,
    }
}

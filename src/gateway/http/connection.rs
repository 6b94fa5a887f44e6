//! One connection: TLS, then HTTP/1.1.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::patient::Patient;
use super::routes::App;
use super::server::Patience;
use crate::tls::ServerTls;

/// The request line and all headers. Aliyun's parameters may all stand in the query, and hyper takes
/// 64 KiB of it.
const HEAD: usize = 128 * 1024;

type Http<S> = http1::Connection<TokioIo<Patient<S>>, TowerToHyperService<Router>>;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) app: Arc<App>,
    pub(super) service: TowerToHyperService<Router>,
    pub(super) tls: Option<ServerTls>,
    pub(super) patience: Patience,
    pub(super) stopping: CancellationToken,
}

impl Serving {
    /// Until the connection ends. When its client hangs up, the request in flight is dropped.
    pub(super) async fn serve(self, stream: TcpStream) {
        let _counted = self.app.metrics.connection();
        // An answer is one write, which nothing is to be waited for with.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.speak(stream).await };
        let accept = TlsAcceptor::from(tls.config(true)).accept(stream);
        let shaken = tokio::select! {
            () = self.too_late() => return,
            shaken = timeout(self.patience.handshake, accept) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake of HTTP failed"),
            Err(_) => tracing::debug!("the TLS handshake of HTTP took too long"),
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let begun = Arc::<AtomicBool>::default();
        let stream = Patient::new(stream, self.patience.write, Arc::clone(&begun));
        let mut connection = self.http(stream, true);
        let ended = tokio::select! {
            // First, so that no answer promises that the connection stays.
            biased;
            () = self.stopping.cancelled() => {
                if !begun.load(Ordering::Relaxed) {
                    return self.last_request(connection.into_parts().io.into_inner()).await;
                }
                finish(connection).await
            }
            ended = &mut connection => ended,
        };
        log(ended);
    }

    /// The server stops, and nothing was read of this connection yet: hyper would close it, and the
    /// request of who has connected just before, which is on its way, would be lost.
    async fn last_request<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: Patient<S>) {
        let mut connection = self.http(stream, false);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = sleep(self.patience.newcomer) => finish(connection).await,
        };
        log(ended);
    }

    fn http<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: Patient<S>,
        keep_alive: bool,
    ) -> Http<S> {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.headers)
            .keep_alive(keep_alive)
            .max_header_size(HEAD)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), self.service.clone())
    }

    /// The server has stopped so long ago that no handshake is waited for any more.
    async fn too_late(&self) {
        self.stopping.cancelled().await;
        sleep(self.patience.newcomer).await;
    }
}

/// The request that it has begun, and no other.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Http<S>) -> hyper::Result<()> {
    Pin::new(&mut connection).graceful_shutdown();
    connection.await
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

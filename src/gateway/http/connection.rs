//! One connection: TLS, then HTTP/1.1.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::patient::Patient;
use super::routes::App;
use super::server::Patience;
use crate::tls::ServerTls;

/// The request line and all headers. Aliyun's parameters may all stand in the query, and hyper takes
/// 64 KiB of it.
const HEAD: usize = 128 * 1024;

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
            () = self.stopping.cancelled() => return,
            shaken = timeout(self.patience.handshake, accept) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake of HTTP failed"),
            Err(_) => tracing::debug!("the TLS handshake of HTTP took too long"),
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let stream = TokioIo::new(Patient::new(stream, self.patience.write));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.headers)
            .max_header_size(HEAD)
            .max_buf_size(HEAD)
            .serve_connection(stream, self.service.clone());
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }
}

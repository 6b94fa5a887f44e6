//! One connection: TLS, then HTTP/1.1.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;
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

type Http<S> = http1::Connection<TokioIo<S>, TowerToHyperService<Router>>;

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
        self.serve_on(stream).await;
    }

    pub(super) async fn serve_on(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        // Below TLS, which takes something to write itself when the peer takes nothing.
        let stream = Patient::new(stream, self.patience.write);
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

    /// When the server stops, a request may be on its way: of who has just connected, or keeps the connection.
    /// hyper would close it at once. So one is waited for; its answer closes the connection, as [all](closing)
    /// do then.
    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut connection = self.http(stream);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.too_late() => finish(connection).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }

    fn http<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Http<S> {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.headers)
            .max_header_size(HEAD)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), self.service.clone())
    }

    /// The server has stopped so long ago that nobody is waited for any more.
    async fn too_late(&self) {
        self.stopping.cancelled().await;
        sleep(self.patience.last_request).await;
    }
}

/// The request that it has begun, and no other.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Http<S>) -> hyper::Result<()> {
    Pin::new(&mut connection).graceful_shutdown();
    connection.await
}

/// Says that the connection is closed behind an answer that is given while the server stops.
pub(super) async fn closing(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if app.stopping.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

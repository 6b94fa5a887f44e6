//! TLS under a connection.

use std::io;
use std::sync::Arc;

use ntex::io::{Filter, Io, IoBoxed, Layer};
use ntex::time::Millis;
use ntex_tls::rustls::{PeerCert, TlsServerFilter};

use crate::core::packet::ReasonCode;
use crate::hub::listener::Entrance;
use crate::hub::shared::Shared;
use crate::tls::{PeerCertificate, ServerTls};

/// Shakes hands with what is loaded now.
pub(super) async fn accept<F: Filter>(
    io: Io<F>,
    tls: &ServerTls,
    entrance: &Entrance,
) -> io::Result<Io<Layer<TlsServerFilter, F>>> {
    let config = tls.config(entrance.is_websocket());
    let millis = u32::try_from(entrance.handshake.as_millis()).unwrap_or(u32::MAX);
    let connection = io.get_ref();
    TlsServerFilter::create(io, config, Millis(millis.max(1))).await.map_err(|error| {
        // Mostly it says only that the connection is over. Why is left there.
        let error = connection.send_buf().err().unwrap_or(error);
        io::Error::new(error.kind(), format!("the TLS handshake failed: {error}"))
    })
}

/// The certificate of a connection's client, which the handshake has verified.
///
/// # Errors
/// What a client is refused with whose certificate cannot be read.
pub(in crate::hub) fn certificate(io: &IoBoxed) -> Result<Option<PeerCertificate>, ReasonCode> {
    let query = io.query::<PeerCert<'static>>();
    let Some(PeerCert(der)) = query.as_ref() else { return Ok(None) };
    let Some(certificate) = PeerCertificate::read(der) else {
        tracing::debug!("refused: the client's certificate cannot be read");
        return Err(ReasonCode::NOT_AUTHORIZED);
    };
    Ok(Some(certificate))
}

/// Loads the files of a listener again when they have changed, until the hub takes nobody in any more.
pub(in crate::hub) async fn keep_loaded(index: usize, shared: Arc<Shared>) {
    let Some(tls) = shared.entrances[index].tls.clone() else { return };
    tokio::select! {
        () = shared.accepting.cancelled() => {}
        () = tls.keep_loaded() => {}
    }
}

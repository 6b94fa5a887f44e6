//! TLS over an open socket.

use std::sync::Arc;

use ntex::io::{Base, Io, Layer};
use ntex_tls::rustls::TlsClientFilter;

use crate::error::ConnectError;
use crate::link::ntex::options::Options;
use crate::tls::{ClientTls, TlsError};

/// What is spoken over TLS (ALPN): IANA's name for MQTT; and for HTTP, which a WebSocket begins with.
const MQTT: &[u8] = b"mqtt";
const HTTP: &[u8] = b"http/1.1";

/// A socket with TLS.
type Secured = Io<Layer<TlsClientFilter, Base>>;

pub(super) async fn secure(io: Io, options: &Options) -> Result<Secured, ConnectError> {
    shake_hands(io, options).await.map_err(|reason| failed(options, reason))
}

/// The error of a connection to the server of these options.
pub(super) fn failed(options: &Options, reason: TlsError) -> ConnectError {
    ConnectError::Tls { address: options.address.to_string().into(), reason }
}

async fn shake_hands(io: Io, options: &Options) -> Result<Secured, TlsError> {
    let address = &options.address;
    let default = ClientTls::new();
    let tls = options.tls.as_ref().unwrap_or(&default);
    let protocol = if address.scheme.has_web_socket() { HTTP } else { MQTT };
    let (config, name) = (tls.config(protocol)?, tls.name(address.host())?);
    let connection = io.get_ref();
    match TlsClientFilter::create(io, Arc::new(config), name).await {
        Ok(io) => Ok(io),
        Err(error) => {
            // Mostly it says only that the connection is over. Why is left there.
            let left = connection.send_buf().err();
            let known = TlsError::of(&error).or_else(|| left.as_ref().and_then(TlsError::of));
            Err(known.unwrap_or_else(|| TlsError::of_handshake(left.as_ref().unwrap_or(&error))))
        }
    }
}

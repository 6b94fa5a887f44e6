//! A byte stream to the server: a socket, and what is layered over it.

use std::io;
use std::sync::Arc;

use ntex::SharedCfg;
use ntex::io::{Filter, Io, IoBoxed};
use tokio::net::TcpStream;

use crate::error::ConnectError;
use crate::link::ntex::address::Endpoint;
use crate::link::ntex::options::Options;
use crate::link::ntex::quick_ack::QuickAck;

/// Connects, and agrees on everything that comes before the first MQTT packet.
pub(super) async fn open(
    options: &Options,
    buffers: SharedCfg,
) -> Result<(IoBoxed, QuickAck), ConnectError> {
    let dialled = dial(&options.address.endpoint, buffers).await;
    let (io, quick_ack) = dialled.map_err(|error| ConnectError::Unreachable {
        address: options.address.to_string().into(),
        source: Arc::new(error),
    })?;
    #[cfg(feature = "tls")]
    if options.address.scheme.has_tls() {
        let io = super::tls::secure(io, options).await?;
        return Ok((upgrade(io, options).await?, quick_ack));
    }
    Ok((upgrade(io, options).await?, quick_ack))
}

async fn upgrade<F: Filter>(io: Io<F>, options: &Options) -> Result<IoBoxed, ConnectError> {
    #[cfg(feature = "ws")]
    if options.address.scheme.has_web_socket() {
        return Ok(super::web_socket::upgrade(io, options).await?.boxed());
    }
    let _ = options;
    Ok(io.boxed())
}

async fn dial(endpoint: &Endpoint, buffers: SharedCfg) -> io::Result<(Io, QuickAck)> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?.into_std()?;
            let quick_ack = QuickAck::of(&stream);
            // Sets TCP_NODELAY.
            Ok((ntex::rt::from_tcp_stream(stream, buffers)?, quick_ack))
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
            Ok((ntex::rt::from_unix_stream(stream, buffers)?, QuickAck::none()))
        }
        #[cfg(not(unix))]
        Endpoint::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

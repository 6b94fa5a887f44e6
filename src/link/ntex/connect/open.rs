//! A byte stream to the server: a socket, and what is layered over it.

use std::io;
use std::sync::Arc;

use ntex::SharedCfg;
use ntex::io::{Io, IoBoxed};
use tokio::net::TcpStream;

use crate::error::ConnectError;
use crate::link::ntex::address::{Endpoint, Scheme};
use crate::link::ntex::options::Options;
#[cfg(not(all(feature = "tls", feature = "ws")))]
use crate::link::ntex::options::invalid;
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
    let io = match options.address.scheme {
        Scheme::Mqtt | Scheme::Unix => io.boxed(),
        #[cfg(feature = "tls")]
        Scheme::Mqtts => super::tls::secure(io, options).await?.boxed(),
        #[cfg(feature = "ws")]
        Scheme::Ws => super::web_socket::upgrade(io, options).await?.boxed(),
        #[cfg(all(feature = "tls", feature = "ws"))]
        Scheme::Wss => {
            let io = super::tls::secure(io, options).await?;
            super::web_socket::upgrade(io, options).await?.boxed()
        }
        // Refused where the address is read. Never plain in its place.
        #[cfg(not(all(feature = "tls", feature = "ws")))]
        scheme => return Err(invalid(format!("{scheme} is not enabled"))),
    };
    Ok((io, quick_ack))
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

//! What lies between a socket and MQTT: TLS, WebSocket, or nothing.

#[cfg(feature = "ws")]
mod frames;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "ws")]
mod ws;

use std::io;

use ntex::io::{Filter, Io, IoBoxed};
use ntex::service::cfg::SharedCfg;

#[cfg(feature = "tls")]
pub(super) use self::tls::{certificate, keep_loaded};
use super::listener::{Entrance, Socket};
use super::session::WholePackets;

/// Makes a connection ready for MQTT, each step within the time for the handshake.
pub(super) async fn open(
    socket: Socket,
    entrance: &Entrance,
    config: SharedCfg,
) -> io::Result<IoBoxed> {
    let io = match socket {
        Socket::Tcp(stream) => {
            let _ = stream.set_nodelay(true);
            ntex::rt::from_tcp_stream(stream, config)?
        }
        #[cfg(unix)]
        Socket::Unix(stream) => ntex::rt::from_unix_stream(stream, config)?,
    };
    #[cfg(feature = "tls")]
    if let Some(tls) = &entrance.tls {
        let io = Box::pin(tls::accept(io, tls, entrance)).await?;
        return upgrade(io, entrance).await;
    }
    upgrade(io, entrance).await
}

#[cfg_attr(not(feature = "ws"), expect(clippy::unused_async, reason = "WebSocket needs it"))]
async fn upgrade<F: Filter>(io: Io<F>, entrance: &Entrance) -> io::Result<IoBoxed> {
    #[cfg(feature = "ws")]
    if let Some(path) = &entrance.path {
        let io = Box::pin(ws::accept(io, path, entrance)).await?;
        return Ok(for_mqtt(io, entrance));
    }
    Ok(for_mqtt(io, entrance))
}

fn for_mqtt<F: Filter>(io: Io<F>, entrance: &Entrance) -> IoBoxed {
    io.add_filter(WholePackets::new(entrance.longest_packet)).into()
}

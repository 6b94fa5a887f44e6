//! Listeners that are bound, and where.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::{Address, Listener, Transport};

/// What accepts connections.
pub(in crate::hub) enum Bound {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(super::unix::BoundSocket),
}

/// Where a hub listens. As text: the URL that a client connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    transport: Transport,
    place: Place,
    path: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no Unix sockets"))]
    Unix(PathBuf),
}

impl Listening {
    /// What MQTT goes over.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The address; with port 0, the port that the system chose. `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.place {
            Place::Tcp(address) => Some(*address),
            Place::Unix(_) => None,
        }
    }

    /// The path of a Unix socket.
    pub fn unix_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp(_) => None,
            Place::Unix(path) => Some(path),
        }
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or_default();
        let scheme = match self.transport {
            Transport::Tls => "mqtts",
            Transport::WebSocket => "ws",
            Transport::SecureWebSocket => "wss",
            Transport::Tcp | Transport::Unix | Transport::InProcess => "mqtt",
        };
        match &self.place {
            Place::Tcp(address) => write!(f, "{scheme}://{address}{path}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Binds a listener.
pub(in crate::hub) async fn bind(listener: &Listener) -> io::Result<(Bound, Listening)> {
    if let Some(misplaced) = listener.misplaced {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, misplaced));
    }
    if listener.path.as_deref().is_some_and(|path| !path.starts_with('/')) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path begins with /"));
    }
    let (bound, place) = match &listener.address {
        Address::Tcp(address) => {
            let (bound, address) = bind_tcp(address)?;
            (Bound::Tcp(bound), Place::Tcp(address))
        }
        #[cfg(unix)]
        Address::Unix { path, mode } => {
            (Bound::Unix(super::unix::bind(path, *mode).await?), Place::Unix(path.clone()))
        }
    };
    let listening =
        Listening { transport: listener.transport(), place, path: listener.path.clone() };
    Ok((bound, listening))
}

fn bind_tcp(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            #[cfg(unix)]
            Self::Unix { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

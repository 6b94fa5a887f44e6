//! Where a server is, and what carries MQTT to it.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::options::invalid;
use crate::error::ConnectError;

/// Where a WebSocket is when the address has no path: what EMQX and the examples of most
/// vendors have. Mosquitto takes any.
const DEFAULT_PATH: &str = "/mqtt";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
    Unix,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) scheme: Scheme,
    pub(super) endpoint: Endpoint,
    /// Of the WebSocket, as it is written in the address.
    #[cfg_attr(not(feature = "ws"), expect(dead_code, reason = "only a WebSocket has one"))]
    pub(super) path: String,
}

impl Scheme {
    fn of(url: &Url) -> Result<Self, ConnectError> {
        let scheme = match url.scheme() {
            "mqtt" => Self::Mqtt,
            "mqtts" => Self::Mqtts,
            "ws" => Self::Ws,
            "wss" => Self::Wss,
            "unix" => Self::Unix,
            _ => {
                return Err(invalid(
                    "it must begin with mqtt://, mqtts://, ws://, wss:// or unix:/",
                ));
            }
        };
        if scheme.has_tls() && !cfg!(feature = "tls") {
            return Err(scheme.needs("tls"));
        }
        if scheme.has_web_socket() && !cfg!(feature = "ws") {
            return Err(scheme.needs("ws"));
        }
        if scheme == Self::Unix && !cfg!(unix) {
            return Err(invalid("there are no Unix sockets on this system"));
        }
        Ok(scheme)
    }

    fn needs(self, feature: &str) -> ConnectError {
        invalid(format!("{self} needs the feature `{feature}` of tower-mqtt, which is not enabled"))
    }

    pub(super) fn has_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    pub(super) fn has_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Mqtt | Self::Unix => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtt => "mqtt://",
            Self::Mqtts => "mqtts://",
            Self::Ws => "ws://",
            Self::Wss => "wss://",
            Self::Unix => "unix:",
        })
    }
}

impl Address {
    /// `text` is what `url` was parsed from. What is wrong is said without either of them, as they
    /// hold the password.
    pub(super) fn of(url: &Url, text: &str) -> Result<Self, ConnectError> {
        let scheme = Scheme::of(url)?;
        let endpoint = match scheme {
            Scheme::Unix => Endpoint::Unix(unix_path(url)?),
            _ => Endpoint::Tcp {
                host: host(url)?,
                port: url.port().unwrap_or(scheme.default_port()),
            },
        };
        let has_path = matches!(scheme, Scheme::Ws | Scheme::Wss | Scheme::Unix);
        if (!has_path && !matches!(url.path(), "" | "/")) || url.fragment().is_some() {
            return Err(invalid("only a query may follow the host and the port"));
        }
        let path = if has_written_path(text) { url.path() } else { DEFAULT_PATH };
        Ok(Self { scheme, endpoint, path: path.to_owned() })
    }

    /// The host as a certificate names it.
    #[cfg(feature = "tls")]
    pub(super) fn host(&self) -> &str {
        match &self.endpoint {
            Endpoint::Tcp { host, .. } => host,
            Endpoint::Unix(_) => "localhost",
        }
    }
}

/// Host and port, or the path of the socket: for error texts and HTTP's Host.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `ws://host` and `ws://host/` are the same to the parser.
fn has_written_path(text: &str) -> bool {
    let before_query = text.split('?').next().unwrap_or(text);
    before_query.splitn(4, '/').nth(3).is_some()
}

fn host(url: &Url) -> Result<String, ConnectError> {
    Ok(match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => decode(name, "the host")?,
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => return Err(invalid("the host is missing")),
    })
}

fn unix_path(url: &Url) -> Result<PathBuf, ConnectError> {
    if url.has_host() || !url.path().starts_with('/') || url.path() == "/" {
        return Err(invalid("the absolute path of a socket is needed: unix:/path"));
    }
    decode(url.path(), "the path").map(PathBuf::from)
}

pub(super) fn decode(text: &str, what: &str) -> Result<String, ConnectError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| invalid(format!("{what} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, ConnectError> {
        Address::of(&Url::parse(text).expect("a URL"), text)
    }

    #[test]
    fn every_scheme_has_its_port() {
        let mut table = vec![
            ("mqtt://h", Scheme::Mqtt, "h:1883"),
            ("mqtt://[::1]:5", Scheme::Mqtt, "[::1]:5"),
            ("unix:/run/a%20b", Scheme::Unix, "/run/a b"),
            ("unix:///run/mqtt", Scheme::Unix, "/run/mqtt"),
        ];
        if cfg!(all(feature = "tls", feature = "ws")) {
            table.extend([
                ("mqtts://h", Scheme::Mqtts, "h:8883"),
                ("ws://h", Scheme::Ws, "h:80"),
                ("ws://[::1]:80", Scheme::Ws, "[::1]:80"),
                ("wss://h", Scheme::Wss, "h:443"),
                ("wss://u:p@h:8443/x", Scheme::Wss, "h:8443"),
            ]);
        }
        for (text, scheme, shown) in table {
            let address = address(text).expect(text);
            assert_eq!((address.scheme, &*address.to_string()), (scheme, shown), "{text}");
        }
    }

    #[cfg(feature = "ws")]
    #[test]
    fn a_web_socket_has_a_path() {
        let table = [
            ("ws://h", "/mqtt"),
            ("ws://h?client_id=a/b", "/mqtt"),
            ("ws://h/", "/"),
            ("ws://u:p@h:1/a/b%20c?client_id=x", "/a/b%20c"),
        ];
        for (text, path) in table {
            assert_eq!(address(text).expect(text).path, path, "{text}");
        }
    }

    #[test]
    fn a_unix_socket_needs_an_absolute_path() {
        for text in ["unix:mqtt.sock", "unix://host/mqtt.sock", "unix:", "unix:/"] {
            let error = address(text).expect_err(text).to_string();
            assert!(error.contains("unix:/path"), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_feature_is_named() {
        for (text, feature, enabled) in [
            ("mqtts://h", "`tls`", cfg!(feature = "tls")),
            ("ws://h", "`ws`", cfg!(feature = "ws")),
            ("wss://h", "feature `", cfg!(all(feature = "tls", feature = "ws"))),
        ] {
            match address(text) {
                Ok(_) => assert!(enabled, "{text}"),
                Err(error) => assert!(!enabled && error.to_string().contains(feature), "{error}"),
            }
        }
    }
}

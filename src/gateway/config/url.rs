//! The URLs of a configuration.

use std::net::SocketAddr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::Broker;
use super::error::{ConfigErrors, Mistake};
use crate::error::ConnectError;
use crate::hub::Listener;
use crate::link::Client;
use crate::tls::ServerTls;

/// Where the hub listens, as an URL.
pub(super) struct Place {
    pub(super) scheme: Scheme,
    /// `HOST:PORT`, or a path.
    address: String,
    /// Of a WebSocket, when it is given.
    #[cfg_attr(not(feature = "ws"), expect(dead_code, reason = "there are no WebSockets"))]
    path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
    Unix,
}

impl Scheme {
    const ALL: [(Self, &'static str, u16); 5] = [
        (Self::Mqtt, "mqtt", 1883),
        (Self::Mqtts, "mqtts", 8883),
        (Self::Ws, "ws", 80),
        (Self::Wss, "wss", 443),
        (Self::Unix, "unix", 0),
    ];

    fn is_possible(self) -> bool {
        match self {
            Self::Mqtt | Self::Mqtts => true,
            Self::Ws | Self::Wss => cfg!(feature = "ws"),
            Self::Unix => cfg!(unix),
        }
    }

    fn of(url: &Url) -> Result<(Self, u16), String> {
        let possible = || Self::ALL.into_iter().filter(|(scheme, ..)| scheme.is_possible());
        let found = possible().find(|(_, name, _)| *name == url.scheme());
        found.map(|(scheme, _, port)| (scheme, port)).ok_or_else(|| {
            let names: Vec<_> = possible().map(|(_, name, _)| name).collect();
            format!("expected a URL of {}, found one of {}", names.join(", "), url.scheme())
        })
    }

    pub(super) fn has_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }
}

impl Place {
    /// Where a listener is to be. What is wrong is said without the URL: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = parsed(text)?;
        let (scheme, port) = Scheme::of(&url)?;
        no_credentials(&url)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("expected neither ? nor # in the URL of a listener".to_owned());
        }
        if scheme == Scheme::Unix {
            let address = socket_path(&url)?;
            return Ok(Self { scheme, address, path: None });
        }
        let path = Some(url.path()).filter(|path| !matches!(*path, "" | "/")).map(str::to_owned);
        if path.is_some() && !matches!(scheme, Scheme::Ws | Scheme::Wss) {
            return Err("expected nothing behind the port".to_owned());
        }
        let host = host(&url)?;
        let address = format!("{host}:{}", url.port().unwrap_or(port));
        Ok(Self { scheme, address, path })
    }
}

/// The listeners of the hub at the URLs of `mqtt.listen`; with this TLS, where a URL wants it.
///
/// # Errors
/// A mistake that [`Config::check`](super::Config::check) finds too.
pub(crate) fn listeners(
    urls: &[String],
    tls: Option<&ServerTls>,
) -> Result<Vec<Listener>, ConfigErrors> {
    let at = |(index, url): (usize, &String)| {
        let wrong = |problem| Mistake::new(format!("mqtt.listen[{index}]"), problem);
        listener(url, tls).map_err(|problem| ConfigErrors::one(wrong(problem)))
    };
    urls.iter().enumerate().map(at).collect()
}

pub(super) fn listener(url: &str, tls: Option<&ServerTls>) -> Result<Listener, String> {
    let place = Place::parse(url)?;
    let tls = || tls.cloned().ok_or_else(|| NO_TLS.to_owned());
    Ok(match place.scheme {
        Scheme::Mqtt => Listener::tcp(place.address),
        Scheme::Mqtts => Listener::tls(place.address, tls()?),
        #[cfg(feature = "ws")]
        Scheme::Ws => at_path(Listener::ws(place.address), place.path),
        #[cfg(feature = "ws")]
        Scheme::Wss => at_path(Listener::wss(place.address, tls()?), place.path),
        #[cfg(unix)]
        Scheme::Unix => Listener::unix(place.address),
        #[cfg(not(all(feature = "ws", unix)))]
        _ => return Err("expected a transport that is compiled in".to_owned()),
    })
}

pub(super) const NO_TLS: &str = "expected mqtt.tls with a certificate and its key, found nothing";

#[cfg(feature = "ws")]
fn at_path(listener: Listener, path: Option<String>) -> Listener {
    match path {
        Some(path) => listener.path(path),
        None => listener,
    }
}

/// What a client connects to; whether with TLS.
pub(super) fn check_broker(text: &str) -> Result<bool, String> {
    no_credentials(&parsed(text)?)?;
    Client::has_tls(text).map_err(|error| match error {
        ConnectError::Address(why) => format!("expected the URL of a broker: {why}"),
        other => other.to_string(),
    })
}

fn parsed(text: &str) -> Result<Url, String> {
    Url::parse(text)
        .map_err(|error| format!("expected a URL such as \"mqtt://127.0.0.1:1883\": {error}"))
}

fn host(url: &Url) -> Result<String, String> {
    match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => Ok(name.to_owned()),
        Some(Host::Ipv4(ip)) => Ok(ip.to_string()),
        Some(Host::Ipv6(ip)) => Ok(format!("[{ip}]")),
        _ => Err("expected a host in the URL, found none".to_owned()),
    }
}

fn socket_path(url: &Url) -> Result<String, String> {
    const EXPECTED: &str = "expected the absolute path of a socket: unix:/path";
    if url.has_host() || !url.path().starts_with('/') || url.path() == "/" {
        return Err(EXPECTED.to_owned());
    }
    let path = percent_decode_str(url.path()).decode_utf8();
    path.map(Into::into).map_err(|_| EXPECTED.to_owned())
}

fn no_credentials(url: &Url) -> Result<(), String> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err("expected no user name and password in the URL: they have fields of their own".to_owned())
}

/// User name and password out of the URL of a broker. What is no URL stays, to be refused later.
pub(super) fn split(text: &str) -> Broker {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let Ok(mut url) = Url::parse(text) else {
        return Broker { url: text.to_owned(), ..Broker::default() };
    };
    let username = Some(url.username()).filter(|name| !name.is_empty()).map(decoded);
    let password = url.password().map(|password| decoded(password).into());
    // They fail where a URL has no host, and then there is nothing to take out.
    let taken = url.set_username("").and_then(|()| url.set_password(None));
    let has_some = username.is_some() || password.is_some();
    let url = if has_some && taken.is_ok() { url.into() } else { text.to_owned() };
    Broker { url, username, password, ..Broker::default() }
}

/// For showing it.
pub(super) fn without_credentials(url: &str) -> String {
    let Some(end) = url.rfind('@') else { return url.to_owned() };
    let begin = url[..end].find("://").map_or(0, |begin| begin + 3);
    format!("{}…{}", &url[..begin], &url[end..])
}

/// The addresses of one side must differ; port 0 always does.
pub(super) fn repeated(addresses: &[SocketAddr]) -> Option<usize> {
    let is_again = |(index, address): &(usize, &SocketAddr)| {
        address.port() != 0 && addresses[..*index].contains(address)
    };
    addresses.iter().enumerate().find(is_again).map(|(index, _)| index)
}

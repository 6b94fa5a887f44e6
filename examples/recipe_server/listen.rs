//! Where the hub listens, as it is said on the command line.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
#[cfg(feature = "tls")]
use std::path::PathBuf;

use clap::Args;
use tower_mqtt::hub::{Listener, Listening, Transport};
#[cfg(feature = "tls")]
use tower_mqtt::tls::ServerTls;

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Where the embedded hub listens: mqtt://HOST:PORT or HOST:PORT, mqtts://HOST:PORT,
    /// ws://HOST:PORT, wss://HOST:PORT or unix:PATH; may be repeated
    #[arg(
        long,
        value_name = "mqtt://HOST:PORT",
        default_value = "127.0.0.1:1883",
        conflicts_with = "broker"
    )]
    listen: Vec<String>,
    /// For mqtts:// and wss://, the server's certificate and those between it and its authority, in PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl ListenArgs {
    pub(crate) fn listeners(&self) -> Result<Vec<Listener>, Box<dyn Error>> {
        self.listen.iter().map(|place| listener(place, self)).collect()
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<ServerTls, Box<dyn Error>> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Err("mqtts:// and wss:// need --cert FILE and --key FILE".into());
        };
        Ok(ServerTls::builder(cert, key).load()?)
    }
}

fn listener(place: &str, args: &ListenArgs) -> Result<Listener, Box<dyn Error>> {
    #[cfg(not(feature = "tls"))]
    let _ = args;
    #[cfg(unix)]
    if let Some(path) = place.strip_prefix("unix:") {
        return Ok(Listener::unix(path));
    }
    match place.split_once("://") {
        None => Ok(Listener::tcp(place)),
        Some(("mqtt", address)) => Ok(Listener::tcp(address)),
        #[cfg(feature = "tls")]
        Some(("mqtts", address)) => Ok(Listener::tls(address, args.tls()?)),
        #[cfg(feature = "ws")]
        Some(("ws", address)) => Ok(Listener::ws(address)),
        #[cfg(all(feature = "tls", feature = "ws"))]
        Some(("wss", address)) => Ok(Listener::wss(address, args.tls()?)),
        Some(_) => {
            let known = "mqtt and unix are known, and with `--features tls,ws` mqtts, ws and wss";
            Err(format!("{place}: {known}").into())
        }
    }
}

/// How mosquitto's programs reach it; `None`: not at all.
pub(crate) fn mosquitto_options(listening: &Listening) -> Option<String> {
    if let Some(path) = listening.unix_path() {
        return Some(format!("--unix '{}'", path.display()));
    }
    let address = listening.local_addr()?;
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let plain = format!("-h {host} -p {}", address.port());
    match listening.transport() {
        Transport::Tcp => Some(plain),
        Transport::Tls => Some(format!("{plain} --cafile CA.PEM")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tower_mqtt::Hub;
    use tower_mqtt::hub::HubBuilder;

    use super::*;

    fn at(places: &[&str]) -> ListenArgs {
        ListenArgs {
            listen: places.iter().map(ToString::to_string).collect(),
            #[cfg(feature = "tls")]
            cert: None,
            #[cfg(feature = "tls")]
            key: None,
        }
    }

    fn error(place: &str) -> String {
        at(&[place]).listeners().expect_err("not a place").to_string()
    }

    #[test]
    fn what_is_no_place_is_an_error_that_says_what_is() {
        assert!(error("amqp://127.0.0.1:1883").contains("mqtts"));
        #[cfg(feature = "tls")]
        assert!(error("mqtts://127.0.0.1:8883").contains("--cert"));
    }

    #[tokio::test]
    async fn a_hub_listens_at_each_place() {
        let listeners = at(&["127.0.0.1:0", "mqtt://127.0.0.1:0"]).listeners().expect("places");
        let hub = listeners.into_iter().fold(Hub::builder(), HubBuilder::listen);
        let hub = hub.start().await.expect("started");
        for (listening, address) in hub.listeners().iter().zip(hub.local_addrs()) {
            let options = format!("-h 127.0.0.1 -p {}", address.port());
            assert_eq!(mosquitto_options(listening), Some(options));
        }
    }
}

//! Why a connection was not made stands in the log, for who asks for `debug`.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tower_mqtt::Hub;
use tower_mqtt::hub::{Listener, Transport};
use tower_mqtt::link::Client;
use tower_mqtt::tls::{ClientCertificates, ClientTls, ServerTls};
use tracing_subscriber::EnvFilter;

use super::Kitchen;
use super::certificates::Authority;
use super::programs::soon;
use super::raw::{Connect, Raw};

/// What all hubs of this program have logged.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> String {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&log).into_owned()
}

/// Waits for a line with all of these.
async fn logged(words: &[&str]) {
    let is_there = || log().lines().any(|line| words.iter().all(|word| line.contains(word)));
    let there = async {
        while !is_there() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), there).await;
    assert!(waited.is_ok(), "{words:?} is not in {}", log());
}

#[tokio::test]
async fn a_handshake_that_fails_is_logged_with_its_reason() {
    let filter = EnvFilter::new("tower_mqtt=debug");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log).init();
    let kitchen = Kitchen::open(Hub::builder()).await;
    let plain = |transport| Raw::connect_only(kitchen.address(transport));

    let address = plain(Transport::Tls).await;
    logged(&[&address, "Tls", "the TLS handshake failed", "InvalidContentType"]).await;
    let address = plain(Transport::WebSocket).await;
    logged(&[&address, "WebSocket", "handshake failed", "not HTTP/1.1"]).await;

    let (authority, other) = (&kitchen.authority, Authority::new("other"));
    let url = format!("mqtts://{}", kitchen.address(Transport::Tcp));
    let tls = ClientTls::new().ca_file(authority.certificate());
    soon(Client::builder(&url).tls(tls.clone()).connect()).await.expect_err("no TLS");
    logged(&["the client speaks TLS, and this listener does not"]).await;

    let files = authority.server(&["127.0.0.1"]);
    let mutual = ServerTls::builder(files.certificate, files.key)
        .client_authorities(authority.certificate(), ClientCertificates::Required)
        .load()
        .expect("loaded");
    let hub = Hub::builder().listen(Listener::tls("127.0.0.1:0", mutual));
    let hub = hub.start().await.expect("started");
    let url = hub.listeners()[0].to_string();
    soon(Client::builder(&url).tls(tls.clone()).connect()).await.expect_err("no certificate");
    logged(&["the TLS handshake failed", "peer sent no certificates"]).await;
    let foreign = other.client("anna");
    let tls = tls.certificate_files(foreign.certificate, foreign.key);
    soon(Client::builder(&url).tls(tls).connect()).await.expect_err("not ours");
    logged(&["the TLS handshake failed", "UnknownIssuer"]).await;
}

impl Raw {
    /// Sends CONNECT where it is not understood; the address that it came from.
    async fn connect_only(address: std::net::SocketAddr) -> String {
        let mut raw = Self::open(address).await;
        raw.send(&Connect::new("a").bytes()).await;
        raw.local_address()
    }
}

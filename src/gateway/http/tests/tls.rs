//! HTTPS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::certificates::{Authority, Files};
use super::client::{Client, call, request};
use super::{Gateway, LIMIT, front, local, within};
use crate::gateway::GatewayError;
use crate::gateway::config::{self, TlsFiles};
use crate::gateway::http::connection::Serving;
use crate::gateway::http::routes::{App, router};
use crate::gateway::http::server::{Patience, Server};

fn config(files: Files) -> config::Http {
    config::Http { tls: Some(TlsFiles { cert: files.certificate, key: files.key }), ..local() }
}

async fn connect(gateway: &Gateway, authority: &Authority) -> Client<TlsStream<TcpStream>> {
    try_connect(gateway, authority).await.expect("the server is trusted")
}

async fn try_connect(
    gateway: &Gateway,
    authority: &Authority,
) -> io::Result<Client<TlsStream<TcpStream>>> {
    let Client(stream) = gateway.client().await;
    within(connector(authority).connect(name(), stream)).await.map(Client)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn connector(authority: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn a_call_goes_over_tls() {
    let authority = Authority::new("http");
    let gateway =
        Gateway::start_with(config(authority.server(&["localhost"])), Patience::default()).await;
    let mut client = connect(&gateway, &authority).await;
    assert_eq!(client.ask(&call("echo", "hello")).await.text(), "hello");
    client.send(&call("gate", "")).await;
    gateway.started().await;
    gateway.started().await;
    gateway.ended().await;
    drop(client);
    gateway.ended().await;
}

#[tokio::test]
async fn who_does_not_shake_hands_holds_up_nobody_and_is_closed() {
    let authority = Authority::new("http");
    let patience = Patience { handshake: LIMIT * 2, ..Patience::default() };
    let gateway = Gateway::start_with(config(authority.server(&["localhost"])), patience).await;
    let mut silent = gateway.client().await;
    let mut client = connect(&gateway, &authority).await;
    assert_eq!(client.ask(&call("echo", "")).await.status, 200);
    let mut plain = gateway.client().await;
    plain.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    plain.closed().await;
    // Not even a shutdown.
    within(gateway.server.shutdown(LIMIT * 2)).await;
    silent.closed().await;

    let patience = Patience { handshake: Duration::from_millis(20), ..Patience::default() };
    let gateway = Gateway::start_with(config(authority.server(&["localhost"])), patience).await;
    gateway.client().await.closed().await;
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_used_from_then_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = old.server(&["localhost"]);
    let patience = Patience { certificates: Duration::from_millis(10), ..Patience::default() };
    let gateway = Gateway::start_with(config(files.clone()), patience).await;
    let mut before = connect(&gateway, &old).await;
    new.server(&["localhost"]).replace(&files);
    within(async { while try_connect(&gateway, &new).await.is_err() {} }).await;
    assert_eq!(before.ask(&call("echo", "")).await.status, 200, "connections that are there stay");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new("http");
    let mut config = config(authority.server(&["localhost"]));
    config.tls.as_mut().unwrap().key = "/nowhere/http.key".into();
    let error = Server::start(&config, Vec::new(), front().0).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/http.key"), "{error}");
    assert!(matches!(error, GatewayError::Tls { place: "http.tls", .. }), "{error:?}");
}

/// What is told of a silence would fit into the buffers of TLS for hours.
#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_ends_soon() {
    let authority = Authority::new("http");
    let config = config(authority.server(&["localhost"]));
    let stopping = CancellationToken::new();
    let patience = Patience::default();
    let app = Arc::new(App::new(&config, front().0, patience.body, stopping.clone()));
    let tls = config.tls.as_ref().map(|files| files.server().load().unwrap());
    let service = TowerToHyperService::new(router(Arc::clone(&app)));
    let serving = Serving { app, service, tls, patience, stopping };
    let (near, far) = tokio::io::duplex(64);
    let client = async {
        let mut stream = connector(&authority).connect(name(), far).await.unwrap();
        stream.write_all(request("GET", "/v1/calls", "", "").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let head = stream.read(&mut [0; 1024]).await.unwrap();
        assert!(head > 0);
        // It is kept, and not read any more.
        tokio::time::sleep(Duration::from_mins(20)).await;
        drop(stream);
    };
    let served = tokio::time::timeout(Duration::from_mins(10), serving.serve_on(near));
    let (served, ()) = tokio::join!(served, client);
    assert!(served.is_ok(), "it is given up");
}

//! TLS handshakes: those that succeed, and those that do not.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls::{SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_mqtt::Hub;
use tower_mqtt::hub::{Listener, Transport};
use tower_mqtt::link::Client;
use tower_mqtt::tls::{ClientCertificates, ClientTls, ServerTls};

use super::certificates::{Authority, Files};
use super::programs::soon;
use super::raw::{Connect, Raw};
use super::{Kitchen, echo, requester, server, works};

/// The beginning of a record that holds a `ClientHello` (RFC 8446 §5.1).
const HALF_A_CLIENT_HELLO: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];

/// A client that offers these versions and protocols.
fn config(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
    own: Option<&Files>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.certificate()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that there are")
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = CertificateDer::from_pem_file(&files.certificate).expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
            builder.with_client_auth_cert(vec![chain], key).expect("they fit")
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Connects; how the handshake went, and which protocol was chosen.
async fn shake(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> io::Result<(HandshakeKind, Option<String>)> {
    let config = Arc::clone(config);
    let shake = tokio::task::spawn_blocking(move || {
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, StdStream::connect(address)?);
        // An answer comes behind the tickets for resumption.
        io::Write::write_all(&mut stream, &Connect::new("a").bytes())?;
        stream.read_exact(&mut [0; 2])?;
        let protocol = stream.conn.alpn_protocol();
        let protocol = protocol.map(|name| String::from_utf8_lossy(name).into_owned());
        Ok((stream.conn.handshake_kind().expect("it is over"), protocol))
    });
    soon(shake).await.expect("no panic")
}

#[tokio::test]
async fn both_versions_are_spoken_and_mqtt_is_the_protocol() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    let address = kitchen.address(Transport::Tls);
    for version in [&version::TLS12, &version::TLS13] {
        for (offered, chosen) in
            [(&[][..], None), (&["mqtt"], Some("mqtt")), (&["x", "mqtt"], Some("mqtt"))]
        {
            let config = config(&kitchen.authority, &[version], offered, None);
            let (_, protocol) = shake(address, &config).await.expect("accepted");
            assert_eq!(protocol.as_deref(), chosen);
        }
        for offered in [&["h2", "http/1.1"][..], &["amqp"]] {
            let config = config(&kitchen.authority, &[version], offered, None);
            shake(address, &config).await.expect_err("not for this protocol");
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_unless_clients_are_verified_or_certificates_replaced() {
    let authority = Authority::new("kitchen");
    let files = authority.server(&["127.0.0.1"]);
    let tls = ServerTls::builder(&files.certificate, &files.key);
    let plain = tls.clone().load().expect("loaded");
    let mutual = tls.client_authorities(authority.certificate(), ClientCertificates::Required);
    let hub = Hub::builder()
        .listen(Listener::tls("127.0.0.1:0", plain.clone()))
        .listen(Listener::tls("127.0.0.1:0", mutual.load().expect("loaded")));
    let hub = hub.start().await.expect("started");
    let (plain_address, mutual_address) = (hub.local_addrs()[0], hub.local_addrs()[1]);
    let own = authority.client("anna");
    for version in [&version::TLS12, &version::TLS13] {
        let config = config(&authority, &[version], &[], Some(&own));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            assert_eq!(shake(plain_address, &config).await.expect("accepted").0, expected);
        }
        authority.server(&["127.0.0.1"]).replace(&files);
        assert!(plain.reload().expect("loaded"));
        let kind = shake(plain_address, &config).await.expect("accepted").0;
        assert_eq!(kind, HandshakeKind::Full);
        let config = self::config(&authority, &[version], &[], Some(&own));
        for _ in 0..2 {
            let kind = shake(mutual_address, &config).await.expect("accepted").0;
            assert_eq!(kind, HandshakeKind::Full);
        }
    }
}

#[tokio::test]
async fn who_speaks_tls_where_it_is_not_spoken_or_does_not_where_it_is_gets_an_error() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    for transport in [Transport::Tls, Transport::SecureWebSocket] {
        let mut plain = Raw::open(kitchen.address(transport)).await;
        plain.send(&Connect::new("a").bytes()).await;
        assert_eq!(plain.read().await, None);
        let url = format!("mqtt://{}", kitchen.address(transport));
        soon(Client::connect(&url)).await.expect_err("it is not spoken to");
    }
    for transport in [Transport::Tcp, Transport::WebSocket] {
        let tls = ClientTls::new().ca_file(kitchen.authority.certificate());
        let url = format!("mqtts://{}", kitchen.address(transport));
        let error = soon(Client::builder(&url).tls(tls).connect()).await.expect_err("no TLS");
        assert!(error.to_string().contains("speak TLS"), "{error}");
    }
    for listening in kitchen.hub.listeners() {
        works(&requester(kitchen.client(listening.transport())).await, 10).await;
    }
}

#[tokio::test]
async fn a_thousand_half_finished_handshakes_cost_nobody_else_anything() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    let mut half = Vec::new();
    for (transport, bytes, count) in [
        (Transport::Tls, &HALF_A_CLIENT_HELLO[..], 1000),
        (Transport::SecureWebSocket, &HALF_A_CLIENT_HELLO, 100),
        (Transport::WebSocket, b"GET /mqtt HTTP/1.1\r\nUpgrade:", 100),
    ] {
        for _ in 0..count {
            let address = kitchen.address(transport);
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(bytes).await.expect("sent");
            half.push(stream);
        }
    }
    for listening in kitchen.hub.listeners() {
        let requester = requester(kitchen.client(listening.transport())).await;
        for size in [0, 100_000] {
            works(&requester, size).await;
        }
    }
    assert!(kitchen.hub.stats().connections >= half.len(), "they are still there");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_not_waited_for() {
    let authority = Authority::new("kitchen");
    let short = Listener::tls("127.0.0.1:0", server(&authority));
    let short = short.limits(|limits| {
        limits.handshake = Some(Duration::from_millis(200));
        limits.connections = Some(0);
    });
    let other = Listener::tls("127.0.0.1:0", server(&authority));
    let hub = Hub::builder().listen(short).listen(other).start().await.expect("started");
    let _responder = echo(&hub).await;
    let mut half = Vec::new();
    for _ in 0..256 {
        let mut stream = TcpStream::connect(hub.local_addrs()[0]).await.expect("it listens");
        let _ = stream.write_all(&HALF_A_CLIENT_HELLO).await;
        half.push(stream);
    }
    for mut stream in half {
        // Closed or reset: in any case, it ends.
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
    works(&requester(super::client(&hub.listeners()[1], &authority)).await, 10).await;
}

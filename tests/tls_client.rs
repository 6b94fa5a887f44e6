//! The client over TLS: a mosquitto with certificates made for the test, and everything that can be
//! wrong with them.
#![cfg(feature = "tls")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_mqtt::link::{Client, Reconnect};
use tower_mqtt::tls::{ClientTls, TlsError};
use tower_mqtt::{ConnectError, Link, Request, Requester, Responder, Router};

use self::certificates::{Authority, Files};
use self::mosquitto::Mosquitto;

/// Nothing here may take longer.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

async fn broker(files: &Files, more: &[&str]) -> Mosquitto {
    let certificate = format!("certfile {}", files.certificate.display());
    let key = format!("keyfile {}", files.key.display());
    Mosquitto::start(&[&[&*certificate, &*key], more].concat()).await
}

fn trusting(authority: &Authority) -> ClientTls {
    ClientTls::new().ca_file(authority.certificate())
}

async fn connect(broker: &Mosquitto, tls: ClientTls) -> Result<Link, ConnectError> {
    let quick = Reconnect { longest: Duration::from_millis(100), ..Reconnect::default() };
    let url = format!("mqtts://127.0.0.1:{}", broker.port());
    soon(Client::builder(&url).tls(tls).reconnect(quick).connect()).await
}

/// Why it cannot connect.
async fn refusal(broker: &Mosquitto, tls: ClientTls) -> TlsError {
    match connect(broker, tls).await {
        Err(ConnectError::Tls { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

async fn greeter(link: Link) -> Responder {
    let router = Router::new().route("greet/{name}", async |body: bytes::Bytes| body);
    Responder::builder(link).serve(router).await.expect("subscribed")
}

/// Whether a call over the link is answered with its own payload.
async fn works(requester: &Requester, size: usize) {
    let request = Request::new("greet/anna", vec![7; size]).expect("valid");
    let response = soon(requester.clone().oneshot(request)).await.expect("answered");
    assert!(response.payload().len() == size && response.payload().iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_request_goes_through_the_broker_and_back() {
    let authority = Authority::new("kitchen");
    let broker = broker(&authority.server(&["127.0.0.1"]), &[]).await;
    let link = connect(&broker, trusting(&authority)).await.expect("accepted");
    let _responder = greeter(link).await;
    // The other way to say it.
    let ca = authority.certificate();
    let url = format!("mqtts://127.0.0.1:{}?ca={}", broker.port(), ca.display());
    let link = soon(Client::connect(&url)).await.expect("accepted");
    let requester = Requester::builder(link).build().await.expect("built");
    for size in [0, 100, 16 * 1024, 500_000] {
        works(&requester, size).await;
    }
}

#[tokio::test]
async fn a_certificate_may_be_for_a_name_that_is_not_the_address() {
    let authority = Authority::new("kitchen");
    let broker = broker(&authority.server(&["broker.local"]), &[]).await;
    let pem = std::fs::read(authority.certificate()).expect("read");
    let tls = ClientTls::new().ca_pem(pem).server_name("broker.local");
    connect(&broker, tls).await.expect("accepted");
}

#[tokio::test]
async fn a_server_that_cannot_be_trusted_is_left_and_it_is_said_why() {
    let (authority, other) = (Authority::new("kitchen"), Authority::new("other"));
    let right = broker(&authority.server(&["127.0.0.1"]), &[]).await;
    assert_eq!(refusal(&right, trusting(&other)).await, TlsError::UnknownIssuer);
    let wrong_name = broker(&authority.server(&["broker.local", "10.0.0.1"]), &[]).await;
    let expected = TlsError::WrongName {
        wanted: "127.0.0.1".into(),
        presented: vec!["broker.local".into(), "10.0.0.1".into()],
    };
    assert_eq!(refusal(&wrong_name, trusting(&authority)).await, expected);
    let expired = broker(&authority.expired_server(&["127.0.0.1"]), &[]).await;
    assert_eq!(refusal(&expired, trusting(&authority)).await, TlsError::Expired);
    let early = broker(&authority.future_server(&["127.0.0.1"]), &[]).await;
    assert_eq!(refusal(&early, trusting(&authority)).await, TlsError::NotValidYet);
    for untrusted in [&wrong_name, &expired, &early] {
        let anybody = ClientTls::new().dangerously_accept_any_certificate();
        connect(untrusted, anybody).await.expect("accepted");
    }
}

#[tokio::test]
async fn a_server_may_want_a_certificate() {
    let (authority, other) = (Authority::new("kitchen"), Authority::new("other"));
    let ca = format!("cafile {}", authority.certificate().display());
    let mutual = [&*ca, "require_certificate true", "use_identity_as_username true"];
    for version in ["tlsv1.2", "tlsv1.3"] {
        let version = format!("tls_version {version}");
        let broker =
            broker(&authority.server(&["127.0.0.1"]), &[mutual.as_slice(), &[&*version]].concat())
                .await;
        let own =
            |files: Files| trusting(&authority).certificate_files(files.certificate, files.key);
        connect(&broker, own(authority.client("M7"))).await.expect("accepted");
        let error = refusal(&broker, trusting(&authority)).await;
        // OpenSSL has no better word for it in TLS 1.2.
        let expected =
            [TlsError::CertificateRequired, TlsError::Refused("HandshakeFailure".into())];
        assert!(expected.contains(&error), "{version}: {error}");
        let error = refusal(&broker, own(other.client("M7"))).await;
        assert!(matches!(error, TlsError::CertificateRefused(_)), "{version}: {error}");
    }
}

#[tokio::test]
async fn tls_and_plain_ports_are_not_mixed_up() {
    let authority = Authority::new("kitchen");
    let plain = Mosquitto::start(&[]).await;
    let error = refusal(&plain, trusting(&authority)).await;
    assert!(error.to_string().contains("speak TLS"), "{error}");
    let secured = broker(&authority.server(&["127.0.0.1"]), &[]).await;
    let error = soon(Client::connect(&secured.url())).await.expect_err("no CONNACK");
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn what_a_server_answers_instead_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("mqtts://{}", listener.local_addr().expect("bound"));
    // A fatal alert (RFC 8446 §6) of TLS 1.2's record.
    let alert = |description: u8| vec![0x15, 3, 3, 0, 2, 2, description];
    let table = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), TlsError::NotTls),
        (alert(70), TlsError::NoCommonVersion),
        (alert(40), TlsError::Refused("HandshakeFailure".into())),
        (alert(112), TlsError::Refused("UnrecognisedName".into())),
        (alert(120), TlsError::Refused("NoApplicationProtocol".into())),
        (Vec::new(), TlsError::Closed),
    ];
    for (answer, expected) in table {
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("the client");
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await.expect("a ClientHello");
            let mut rest = vec![0; u16::from_be_bytes([hello[3], hello[4]]).into()];
            stream.read_exact(&mut rest).await.expect("all of it");
            stream.write_all(&answer).await.expect("written");
        };
        let client =
            Client::builder(&url).tls(ClientTls::new().dangerously_accept_any_certificate());
        match soon(async { tokio::join!(server, client.connect()) }).await.1 {
            Err(ConnectError::Tls { reason, .. }) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// The server name (SNI) and the protocols (ALPN) that a client asks for.
async fn asked_for(scheme: &str, tls: ClientTls) -> (Option<String>, Vec<Vec<u8>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().expect("the client");
        let mut acceptor = rustls::server::Acceptor::default();
        let accepted = loop {
            acceptor.read_tls(&mut stream).expect("a ClientHello");
            if let Some(accepted) = acceptor.accept().expect("a ClientHello") {
                break accepted;
            }
        };
        let hello = accepted.client_hello();
        let protocols = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        (hello.server_name().map(str::to_owned), protocols)
    });
    let tls = tls.dangerously_accept_any_certificate();
    let client = Client::builder(&format!("{scheme}://localhost:{port}")).tls(tls);
    assert!(soon(client.connect()).await.is_err());
    soon(server).await.expect("asked")
}

#[tokio::test]
async fn the_name_and_the_protocol_are_asked_for() {
    let own = (Some("localhost".to_owned()), vec![b"mqtt".to_vec()]);
    assert_eq!(asked_for("mqtts", ClientTls::new()).await, own);
    let set = (Some("broker.local".to_owned()), vec![b"mqtt".to_vec()]);
    assert_eq!(asked_for("mqtts", ClientTls::new().server_name("broker.local")).await, set);
    // An IP address is no server name (RFC 6066 §3).
    let (name, _) = asked_for("mqtts", ClientTls::new().server_name("127.0.0.1")).await;
    assert_eq!(name, None);
    if cfg!(feature = "ws") {
        let (_, protocols) = asked_for("wss", ClientTls::new()).await;
        assert_eq!(protocols, [b"http/1.1".to_vec()]);
    }
}

/// Mosquitto holds packets back until an acknowledgement comes, which is delayed by 40 ms unless it
/// is asked for.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_round_trip_does_not_wait_for_a_delayed_acknowledgement() {
    let authority = Authority::new("kitchen");
    let broker = broker(&authority.server(&["127.0.0.1"]), &[]).await;
    let link = connect(&broker, trusting(&authority)).await.expect("accepted");
    let _responder = greeter(link).await;
    let link = connect(&broker, trusting(&authority)).await.expect("accepted");
    let requester = Requester::builder(link).build().await.expect("built");
    let mut times = Vec::new();
    for _ in 0..21 {
        let begin = std::time::Instant::now();
        works(&requester, 10).await;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    assert!(times[10] < Duration::from_millis(20), "{times:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said() {
    let authority = Authority::new("kitchen");
    let (one, two) = (authority.client("one"), authority.client("two"));
    let broker = broker(&authority.server(&["127.0.0.1"]), &[]).await;
    let wrong_key = trusting(&authority).certificate_files(&one.certificate, &two.key);
    let no_key = trusting(&authority).certificate_files(&one.certificate, &one.certificate);
    let table = [
        (ClientTls::new().ca_file("/nowhere/ca.pem"), "/nowhere/ca.pem: No such file"),
        (ClientTls::new().ca_file(&one.key), "it holds no certificate"),
        (no_key, "it holds no private key"),
        (wrong_key, "is no key for"),
        (ClientTls::new().system_roots(false), "neither the system's"),
        (trusting(&authority).server_name("a b"), "\"a b\" can be no name"),
    ];
    for (tls, expected) in table {
        let error = refusal(&broker, tls).await;
        assert!(matches!(error, TlsError::Setting(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_broker_with_a_new_certificate_is_found_again() {
    let authority = Authority::new("kitchen");
    let files = authority.server(&["127.0.0.1"]);
    let mut broker = broker(&files, &[]).await;
    let link = connect(&broker, trusting(&authority)).await.expect("accepted");
    let _responder = greeter(link.clone()).await;
    let requester = Requester::builder(link.clone()).build().await.expect("built");
    works(&requester, 10).await;
    authority.server(&["127.0.0.1"]).replace(&files);
    broker.kill();
    soon(link.disconnected()).await;
    broker.restart().await;
    assert!(soon(link.connected()).await);
    works(&requester, 10).await;
}

#[tokio::test]
async fn a_new_authority_is_trusted_from_the_next_reconnect_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = old.server(&["127.0.0.1"]);
    let mut broker = broker(&files, &[]).await;
    let trusted = old.certificate();
    let link = connect(&broker, ClientTls::new().ca_file(&trusted)).await.expect("accepted");
    new.server(&["127.0.0.1"]).replace(&files);
    copy(&new.certificate(), &trusted);
    broker.kill();
    soon(link.disconnected()).await;
    broker.restart().await;
    assert!(soon(link.connected()).await);
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copied");
}

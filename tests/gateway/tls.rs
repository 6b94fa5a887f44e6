//! TLS on both sides, from files.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_mqtt::dialect::rrpc::aliyun;
use tower_mqtt::gateway::{Config, Gateway, GatewayError};
use tower_mqtt::link::Client;
use tower_mqtt::tls::ClientTls;
use tower_mqtt::{ConnectError, Responder, Router};

use super::certificates::Authority;
use super::devices::Kind;
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::running::{Running, fleet};
use super::servers::{KEY, plain_api};

/// A lamp that answers with `answer`, over TLS to this place.
async fn lamp(place: &str, authority: &Authority, answer: &'static str) -> Responder {
    let (client_id, user, password) = Kind::Plain.credentials("lamp");
    let client = Client::builder(&format!("mqtts://{place}")).client_id(client_id);
    let trust = ClientTls::new().ca_file(authority.certificate());
    let link = client.tls(trust).credentials(user, password).connect().await.expect("connected");
    let router = Router::new()
        .route(&format!("{}/lamp", Kind::Plain.product()), async move || answer.to_owned());
    let responder = Responder::builder(link).dialect(aliyun::system()).serve(router);
    soon(responder).await.expect("subscribed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_reached_over_tls_if_its_certificate_is_right() {
    let (authority, stranger) = (Authority::new("office"), Authority::new("elsewhere"));
    let files = authority.server(&["127.0.0.1"]);
    let (cert, key) = (files.certificate.display(), files.key.display());
    let broker = Mosquitto::start(&[&format!("certfile {cert}"), &format!("keyfile {key}")]).await;
    let place = format!("127.0.0.1:{}", broker.port());
    let config = |trusted: &Authority| {
        format!(
            "[http]\nlisten = [\"127.0.0.1:0\"]\n\
             [mqtt.broker]\nurl = \"mqtts://{place}\"\nca = \"{}\"\n{}",
            trusted.certificate().display(),
            fleet(&[(Kind::Plain, "lamp".to_owned())])
        )
    };
    let parsed = Config::parse(&config(&stranger), "test.toml").expect("valid");
    let refused = soon(Gateway::builder(parsed).start()).await.err();
    assert!(matches!(refused, Some(GatewayError::Broker(ConnectError::Tls { .. }))), "{refused:?}");

    let running = Running::start(&config(&authority)).await;
    let _lamp = lamp(&place, &authority, "through the broker").await;
    let to = format!("{}/lamp/call", Kind::Plain.product());
    let answer = plain_api(running.http, KEY.2, &to, b"on").await;
    assert_eq!((answer.status, answer.text()), (200, "through the broker"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_devices_come_over_tls() {
    let authority = Authority::new("office");
    let files = authority.server(&["127.0.0.1"]);
    let (cert, key) = (files.certificate.display(), files.key.display());
    let tls = format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}\n");
    let running = Running::start(&format!(
        "[http]\nlisten = [\"127.0.0.1:0\"]\n{tls}[mqtt]\nlisten = [\"mqtts://127.0.0.1:0\"]\n{tls}{}",
        fleet(&[(Kind::Plain, "lamp".to_owned())])
    ))
    .await;

    let product = Kind::Plain.product();
    let _lamp = lamp(&running.hub().to_string(), &authority, "by TLS").await;

    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.certificate()).expect("PEM");
    roots.add(ca).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let stream = TcpStream::connect(running.http).await.expect("connected");
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = soon(connector.connect(name, stream)).await.expect("TLS");
    let head = format!(
        "POST /v1/devices/{product}/lamp/call HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\nContent-Length: 0\r\n\r\n",
        KEY.2
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.expect("answered");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("by TLS"), "{answer}");
    running.stop().await;
}

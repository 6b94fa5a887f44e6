//! The client over WebSocket: through a mosquitto, and against servers that are none.
#![cfg(feature = "ws")]

#[cfg(feature = "tls")]
#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_mqtt::link::{Client, ClientBuilder, Reconnect};
use tower_mqtt::{ConnectError, Request, Requester, Responder, Router};

use self::mosquitto::Mosquitto;

/// Nothing here may take longer.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

/// Calls over one link, with payloads of all sizes both ways. Mosquitto 2.0 with libwebsockets needs
/// more than ten seconds for what the socket does not take at once: large ones only to it.
async fn calls_work(client: ClientBuilder, broker: &Mosquitto) {
    let link = soon(client.connect()).await.expect("accepted");
    let echo = Router::new().route("echo", async |body: bytes::Bytes| body);
    let _responder = Responder::builder(link.clone()).serve(echo).await.expect("subscribed");
    let requester = Requester::builder(link).build().await.expect("built");
    for size in [0, 1, 100, 125, 126, 32 * 1024] {
        let payload = vec![u8::try_from(size % 251).expect("small"); size];
        let request = Request::new("echo", payload.clone()).expect("valid");
        let response = soon(requester.clone().oneshot(request)).await.expect("answered");
        assert!(response.payload()[..] == payload[..], "{size} bytes");
    }
    let many = (0..200_u32).map(|number| {
        let request = Request::new("echo", number.to_be_bytes().to_vec()).expect("valid");
        let call = requester.clone().oneshot(request);
        async move { (number, soon(call).await.expect("answered")) }
    });
    for (number, response) in futures_util::future::join_all(many).await {
        assert_eq!(response.payload()[..], number.to_be_bytes());
    }
    let plain = soon(Client::connect(&broker.url())).await.expect("accepted");
    let count = Router::new().route("count", async |body: bytes::Bytes| body.len().to_string());
    let _counter = Responder::builder(plain).serve(count).await.expect("subscribed");
    for size in [65_535, 65_536, 500_000] {
        let request = Request::new("count", vec![7; size]).expect("valid");
        let response = soon(requester.clone().oneshot(request)).await.expect("answered");
        assert_eq!(response.payload()[..], *size.to_string().as_bytes());
    }
}

#[tokio::test]
async fn calls_go_through_a_broker() {
    let broker = Mosquitto::start_web_sockets(&[]).await;
    let url = format!("ws://127.0.0.1:{}", broker.second_port());
    calls_work(Client::builder(&url), &broker).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn calls_go_through_a_broker_over_tls() {
    let authority = certificates::Authority::new("kitchen");
    let files = authority.server(&["127.0.0.1"]);
    let certificate = format!("certfile {}", files.certificate.display());
    let key = format!("keyfile {}", files.key.display());
    let broker = Mosquitto::start_web_sockets(&[&certificate, &key]).await;
    let url = format!("wss://127.0.0.1:{}", broker.second_port());
    let tls = tower_mqtt::tls::ClientTls::new().ca_file(authority.certificate());
    calls_work(Client::builder(&url).tls(tls), &broker).await;
}

#[tokio::test]
async fn a_restarted_broker_is_found_again() {
    let mut broker = Mosquitto::start_web_sockets(&[]).await;
    let url = format!("ws://127.0.0.1:{}", broker.second_port());
    let quick = Reconnect { longest: Duration::from_millis(100), ..Reconnect::default() };
    let link = soon(Client::builder(&url).reconnect(quick).connect()).await.expect("accepted");
    broker.kill();
    soon(link.disconnected()).await;
    broker.restart().await;
    assert!(soon(link.connected()).await);
}

/// A server that gives one answer to the HTTP request, which it returns.
async fn server(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let authority = listener.local_addr().expect("bound").to_string();
    let request = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the client");
        let request = request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.expect("written");
        request
    });
    (authority, request)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.expect("a request"));
    }
    String::from_utf8(request).expect("text")
}

async fn refusal(url: &str) -> (Option<u16>, Box<str>) {
    match soon(Client::connect(url)).await {
        Err(ConnectError::WebSocket { status, text, .. }) => (status, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_answers_instead_is_said() {
    const NO_SUBPROTOCOL: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    let table = [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Some(401), "401 Unauthorized"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Some(404), "404 Not Found"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Some(200), "200 OK"),
        (NO_SUBPROTOCOL, None, "not that of a WebSocket server"),
        ("\u{20}\u{2}\0\0", None, "does not speak HTTP"),
        ("", None, "closed the connection"),
    ];
    for (answer, status, text) in table {
        let (authority, request) = server(answer).await;
        let (found, why) = refusal(&format!("ws://{authority}/broker")).await;
        assert!(found == status && why.contains(text), "{answer:?}: {found:?} {why}");
        let request = soon(request).await.expect("a request").to_lowercase();
        assert!(request.starts_with("get /broker http/1.1\r\n"), "{request}");
    }
}

#[tokio::test]
async fn the_request_has_what_is_needed_and_what_is_asked_for() {
    let (authority, request) = server("HTTP/1.1 403 Forbidden\r\n\r\n").await;
    let client = Client::builder(&format!("ws://{authority}"))
        .web_socket_header("Authorization", "Bearer first")
        .web_socket_header("Authorization", "Bearer second");
    assert!(!format!("{client:?}").contains("second"));
    let refused = soon(client.connect()).await;
    assert!(matches!(refused, Err(ConnectError::WebSocket { status: Some(403), .. })));
    let request = soon(request).await.expect("a request").to_lowercase();
    let mut lines: Vec<_> = request.lines().collect();
    assert_eq!(lines.remove(0), "get /mqtt http/1.1");
    for line in [
        &*format!("host: {authority}"),
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: mqtt",
        "authorization: bearer second",
    ] {
        assert!(lines.contains(&line), "{line}: {request}");
    }
    assert!(!request.contains("first"), "{request}");
}

#[tokio::test]
async fn a_plain_mqtt_port_is_no_web_socket() {
    let broker = Mosquitto::start(&[]).await;
    let (status, text) = refusal(&format!("ws://127.0.0.1:{}", broker.port())).await;
    assert_eq!(status, None, "{text}");
}

#[tokio::test]
async fn a_web_socket_is_no_plain_mqtt() {
    let broker = Mosquitto::start_web_sockets(&[]).await;
    let url = format!("mqtt://127.0.0.1:{}", broker.second_port());
    let error =
        soon(Client::builder(&url).connect_timeout(Duration::from_millis(500)).connect()).await;
    let expected = matches!(error, Err(ConnectError::Protocol(_) | ConnectError::Timeout));
    assert!(expected, "{error:?}");
}

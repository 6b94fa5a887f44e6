//! The client against brokers that are well, gone, silent or unfriendly.
#![cfg(feature = "ntex")]

#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::{Service, ServiceExt};
use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::link::{Client, Reconnect};
use tower_mqtt::{ConnectError, Link, Request, Requester, Responder, Router};

use self::mosquitto::Mosquitto;

/// Nothing here may take longer.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

async fn connect(broker: &Mosquitto) -> Link {
    let quick = Reconnect { longest: Duration::from_millis(100), ..Reconnect::default() };
    Client::builder(&broker.url()).reconnect(quick).connect().await.expect("accepted")
}

async fn greet(requester: &mut Requester, whom: &str) -> String {
    let request = Request::new(format!("greet/{whom}"), "").expect("valid");
    let response = requester.ready().await.expect("open").call(request).await.expect("answered");
    String::from_utf8_lossy(response.payload()).into_owned()
}

async fn greeter(link: Link) -> Responder {
    let router = Router::new().route("greet/{name}", async || "hello");
    Responder::builder(link).serve(router).await.expect("subscribed")
}

#[tokio::test]
async fn a_request_goes_through_the_broker_and_back() {
    let broker = Mosquitto::start(&[]).await;
    let _responder = greeter(connect(&broker).await).await;
    let mut requester = Requester::builder(connect(&broker).await).build().await.expect("built");
    assert_eq!(soon(greet(&mut requester, "anna")).await, "hello");
}

#[tokio::test]
async fn a_restarted_broker_is_found_again_and_subscribed_to_again() {
    let mut broker = Mosquitto::start(&[]).await;
    let link = connect(&broker).await;
    let _responder = greeter(link.clone()).await;
    let mut requester = Requester::builder(link.clone()).build().await.expect("built");
    assert_eq!(soon(greet(&mut requester, "anna")).await, "hello");
    for _ in 0..2 {
        broker.kill();
        soon(link.disconnected()).await;
        assert!(!link.is_connected());
        broker.restart().await;
        assert!(soon(link.connected()).await);
        assert_eq!(soon(greet(&mut requester, "bert")).await, "hello");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_the_servers_reason() {
    let passwords = Mosquitto::file("passwords", "");
    let line = format!("password_file {}", passwords.display());
    let broker = Mosquitto::start(&["allow_anonymous false", &line]).await;
    let url = format!("mqtt://anna:wrong@127.0.0.1:{}", broker.port());
    let refusal = soon(Client::connect(&url)).await.expect_err("refused");
    let ConnectError::Refused { reason, .. } = refusal else { panic!("{refusal}") };
    let expected = [ReasonCode::BAD_USER_NAME_OR_PASSWORD, ReasonCode::NOT_AUTHORIZED];
    assert!(expected.contains(&reason), "{reason}");
    let _ = std::fs::remove_file(passwords);
}

#[tokio::test]
async fn nobody_listening_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("mqtt://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let error = soon(Client::connect(&url)).await.expect_err("unreachable");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let limit = Duration::from_millis(100);
    let error = soon(Client::builder(&url).connect_timeout(limit).connect()).await;
    assert!(matches!(error, Err(ConnectError::Timeout)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        for answer in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), &[0x20, 2, 0, 1], b""] {
            let (mut stream, _) = listener.accept().await.expect("the client");
            tokio::io::AsyncReadExt::read_u8(&mut stream).await.expect("a CONNECT");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    for _ in 0..3 {
        let error = soon(Client::connect(&url)).await.expect_err("no MQTT 5");
        assert!(matches!(error, ConnectError::Protocol(_)), "{error}");
    }
    server.await.expect("no panic");
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_said_without_a_try() {
    for address in ["", "tcp://h", "mqtt://", "mqtt://u:secret@h?nonsense=1", "mqtt://h?client_id="]
    {
        let error = Client::connect(address).await.expect_err("invalid");
        assert!(matches!(error, ConnectError::Address(_)), "{address}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
    let builder = Client::builder("mqtt://u:secret@h").credentials("u", "secret");
    assert!(!format!("{builder:?}").contains("secret"));
}

/// Forwards one connection after the other until it is told to fall silent, as if the cable had
/// been pulled.
async fn proxy(broker: u16) -> (u16, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let silence = Arc::new(Notify::new());
    let silenced = Arc::clone(&silence);
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("the client");
        let mut server = TcpStream::connect(("127.0.0.1", broker)).await.expect("the broker");
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            () = silenced.notified() => std::future::pending().await,
        }
    });
    (port, silence)
}

#[tokio::test]
async fn a_peer_that_is_gone_without_a_word_is_noticed_within_one_and_a_half_keep_alives() {
    let broker = Mosquitto::start(&[]).await;
    let (port, silence) = proxy(broker.port()).await;
    let link = Client::connect(&format!("mqtt://127.0.0.1:{port}?keep_alive=1")).await;
    let link = link.expect("accepted");
    assert!(link.is_connected());
    // Alive for longer than it takes to notice: the answers to PINGREQ count.
    let lost = tokio::time::timeout(Duration::from_millis(2500), link.disconnected()).await;
    assert!(lost.is_err(), "nothing was wrong yet");
    silence.notify_one();
    let gone = Instant::now();
    soon(link.disconnected()).await;
    let noticed = gone.elapsed();
    assert!(noticed <= Duration::from_millis(1900), "{noticed:?}");
}

#[cfg(target_os = "linux")]
fn threads_called(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.filter(|found| found.as_deref().is_ok_and(|found| found.trim_end() == name)).count()
}

/// A thread that has been joined is listed for a moment longer.
#[cfg(target_os = "linux")]
async fn no_thread_called(name: &str) {
    while threads_called(name) > 0 {
        tokio::task::yield_now().await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_thread_ends_with_the_last_handle() {
    let broker = Mosquitto::start(&[]).await;
    let link = Client::builder(&broker.url()).client_id("join").connect().await.expect("accepted");
    let responder = greeter(link.clone()).await;
    assert_eq!(threads_called("tower-mqtt-join"), 1);
    let other = link.clone();
    drop((link, responder));
    assert_eq!(threads_called("tower-mqtt-join"), 1);
    drop(other);
    soon(no_thread_called("tower-mqtt-join")).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn giving_up_an_attempt_ends_its_thread() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("mqtt://{}?client_id=quit", listener.local_addr().expect("bound"));
    let attempt = tokio::time::timeout(Duration::from_millis(100), Client::connect(&url)).await;
    assert!(attempt.is_err());
    soon(no_thread_called("tower-mqtt-quit")).await;
}

#[tokio::test]
async fn a_closed_link_says_so() {
    let broker = Mosquitto::start(&[]).await;
    let link = connect(&broker).await;
    let mut requester = Requester::builder(link.clone()).build().await.expect("built");
    link.close();
    soon(link.disconnected()).await;
    assert!(!soon(link.connected()).await);
    assert!(soon(requester.ready()).await.is_err());
    assert!(Requester::builder(link).build().await.is_err());
}

#[tokio::test]
async fn a_large_answer_comes_whole_and_one_above_the_limit_does_not_break_the_link() {
    let broker = Mosquitto::start(&[]).await;
    let router = Router::new().route("zeros/{count}", async |request: Request| {
        let count = request.topic().levels().last().and_then(|level| level.parse().ok());
        vec![0_u8; count.unwrap_or_default()]
    });
    let _responder =
        Responder::builder(connect(&broker).await).serve(router).await.expect("served");
    let limit = NonZeroU32::new(300 * 1024).expect("not zero");
    let link = Client::builder(&broker.url()).maximum_packet_size(limit).connect().await;
    let requester = Requester::builder(link.expect("accepted")).build().await.expect("built");
    for (count, timeout, arrives) in
        [(256 * 1024, 10_000, true), (400 * 1024, 300, false), (1, 10_000, true)]
    {
        let request = Request::new(format!("zeros/{count}"), "").expect("valid");
        let request = request.timeout(Duration::from_millis(timeout));
        let response = soon(requester.clone().oneshot(request)).await;
        assert_eq!(response.is_ok_and(|r| r.payload().len() == count), arrives, "{count}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_request_goes_through_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("tower-mqtt-{}.sock", std::process::id()));
    let error = soon(Client::connect(&format!("unix:{}", path.display()))).await;
    assert!(matches!(error, Err(ConnectError::Unreachable { .. })), "{error:?}");
    let listener = format!("listener 0 {}", path.display());
    let _broker = Mosquitto::start(&["allow_anonymous true", &listener]).await;
    let connect = async |url: String| soon(Client::connect(&url)).await.expect("accepted");
    let _responder = greeter(connect(format!("unix:{}", path.display())).await).await;
    let link = connect(format!("unix://{}", path.display())).await;
    let mut requester = Requester::builder(link).build().await.expect("built");
    assert_eq!(soon(greet(&mut requester, "anna")).await, "hello");
    let _ = std::fs::remove_file(path);
}

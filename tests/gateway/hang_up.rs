//! A caller that hangs up at one gateway frees the device at the other.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::devices::Kind;
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::running::Running;
use super::servers::{KEY, plain_api};

/// A call that waits for a minute, on a connection that is closed when it is dropped.
async fn ask(gateway: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).await.expect("connected");
    let request = format!(
        "POST /v1/devices/{}/lamp/call?timeout=1m HTTP/1.1\r\nHost: {gateway}\r\n\
         Authorization: Bearer {}\r\nContent-Length: 6\r\n\r\n\"wait\"",
        Kind::Tencent.product(),
        KEY.2
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    stream
}

/// The device belongs to one of them, whichever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_at_either_gateway_frees_the_device() {
    let broker = Mosquitto::start(&[]).await;
    let (a, b) = (
        Running::member(&broker, Kind::Tencent, "a").await,
        Running::member(&broker, Kind::Tencent, "b").await,
    );
    let (asked, mut questions) = mpsc::unbounded_channel();
    let answer = move |payload: String| {
        let asked = asked.clone();
        async move {
            asked.send(()).expect("the test goes on");
            if payload == "\"wait\"" {
                std::future::pending::<()>().await;
            }
            payload.to_uppercase()
        }
    };
    let address = SocketAddr::from(([127, 0, 0, 1], broker.port()));
    let _lamp = Kind::Tencent.start_with(address, "lamp", answer).await;
    for (here, there) in [(a.http, b.http), (b.http, a.http)] {
        let waiting = ask(here).await;
        soon(questions.recv()).await.expect("it is asked");
        drop(waiting);
        // It takes one call at a time: this one waits until the first has ended.
        let to = format!("{}/lamp/call?timeout=10s", Kind::Tencent.product());
        let answer = plain_api(there, KEY.2, &to, b"\"on\"").await;
        assert_eq!((answer.status, answer.text()), (200, "\"ON\""));
        soon(questions.recv()).await.expect("it is asked");
    }
    a.stop().await;
    b.stop().await;
}

//! A client that writes what it is told, byte by byte.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub(super) struct Client<S = TcpStream>(pub(super) S);

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    #[track_caller]
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!((&body["status"], &body["code"]), (&status.into(), &code.into()), "{body}");
        assert!(!self.headers.contains_key("status-from"));
    }
}

/// A request with the key `all`.
pub(super) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-all\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
}

pub(super) fn call(device: &str, body: &str) -> String {
    request("POST", &format!("/v1/devices/a1/{device}/call"), "", body)
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self(within(TcpStream::connect(address)).await.expect("connected"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) async fn send(&mut self, text: &str) {
        within(self.0.write_all(text.as_bytes())).await.expect("written");
    }

    pub(super) async fn ask(&mut self, text: &str) -> Reply {
        self.send(text).await;
        self.reply().await
    }

    pub(super) async fn reply(&mut self) -> Reply {
        within(self.read()).await
    }

    async fn read(&mut self) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("a response"));
        }
        let head = String::from_utf8(head).expect("text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_lowercase(), value.to_owned()))
        };
        let headers: HashMap<_, _> = lines.filter_map(pair).collect();
        let length = headers.get("content-length").map_or(0, |it| it.parse().expect("a number"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("the whole body");
        Reply { status: status.parse().expect("a number"), headers, body }
    }

    /// Waits until the server closes the connection; what came before is thrown away.
    pub(super) async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is as good.
        let _ = within(self.0.read_to_end(&mut rest)).await;
    }
}

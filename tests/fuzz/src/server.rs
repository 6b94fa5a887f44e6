//! A gateway, and a client for HTTP that sends bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::runtime::Runtime;
use tower_mqtt::gateway::{Config, Gateway};
use ulid::Ulid;

/// Nothing takes longer, but a hang.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const KEY: &str = "testid";
pub(crate) const TOKEN: &str = "fuzz-token";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What the key signs with: nobody can guess it, and no recorded signature is right.
    pub(crate) secret: String,
    _gateway: Gateway,
    _runtime: Runtime,
}

impl Server {
    /// With a product of each vendor's, and no device that is connected.
    pub(crate) fn start() -> Self {
        let secret = format!("{}{}", Ulid::new(), Ulid::new());
        let config = format!(
            r#"
            [http]
            listen = ["127.0.0.1:0"]
            replay_window = "15m"
            [mqtt]
            listen = ["mqtt://127.0.0.1:0"]
            [[keys]]
            id = "{KEY}"
            secret = "{secret}"
            bearer = "{TOKEN}"
            [[products]]
            id = "a1testPK001"
            dialect = "aliyun"
            devices = [{{ name = "device1", secret = "0123456789abcdef0123456789abcdef" }}]
            [[products]]
            id = "KL4J2TEST1"
            dialect = "tencent"
            devices = [{{ name = "airConditioner1", secret = "MDEyMzQ1Njc4OWFiY2RlZg==" }}]
            [[products]]
            id = "kitchens"
            dialect = "native"
            devices = [{{ name = "oven", secret = "the password of the oven" }}]
            "#
        );
        let config = Config::parse(&config, "gateway.toml").expect("a configuration");
        let runtime = Runtime::new().expect("a runtime");
        let gateway = runtime.block_on(Gateway::builder(config).start()).expect("started");
        Self { address: gateway.http_addrs()[0], secret, _gateway: gateway, _runtime: runtime }
    }

    /// What comes back until the gateway closes, after `bytes` and no more.
    pub(crate) fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("the gateway accepts");
        stream.set_read_timeout(Some(LIMIT)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        // It may close before it has read all.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        read_to_end(&mut stream)
    }
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the gateway neither answers nor closes: {answer:?}")
        }
        // Bytes that it has not read end in a reset.
        _ => answer,
    }
}

/// The status of the first answer.
pub(crate) fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

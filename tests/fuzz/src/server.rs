//! A gateway, and a client for HTTP that sends bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::runtime::Runtime;
use tower_mqtt::gateway::{Config, Gateway};
use ulid::Ulid;

/// Nothing takes longer, but a hang.
const LIMIT: Duration = Duration::from_secs(20);

/// How long bytes that lack something keep the fuzzer waiting.
const MOMENT: Duration = Duration::from_millis(10);

/// Ends what was sent before, and has the gateway close.
const LAST: &[u8] = b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

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

    /// What comes back for one request with `Connection: close`.
    pub(crate) fn ask(&self, request: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        let ended = read(&mut self.open(request, LIMIT), &mut answer);
        assert!(ended, "the gateway neither answers nor closes: {answer:?}");
        answer
    }

    /// What comes back for bytes of which a part may be missing. The gateway gives up a request whose
    /// client hangs up, so it is given a moment before the end.
    pub(crate) fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        let mut stream = self.open(&[bytes, LAST].concat(), MOMENT);
        if !read(&mut stream, &mut answer) {
            let _ = stream.shutdown(Shutdown::Write);
            stream.set_read_timeout(Some(LIMIT)).expect("an option");
            let ended = read(&mut stream, &mut answer);
            assert!(ended, "the gateway does not close: {answer:?}");
        }
        answer
    }

    fn open(&self, bytes: &[u8], patience: Duration) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("the gateway accepts");
        stream.set_read_timeout(Some(patience)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        // It may close before it has read all.
        let _ = stream.write_all(bytes);
        stream
    }
}

/// Reads to the end; whether it came in time.
fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> bool {
    match stream.read_to_end(answer) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(_) => true,
    }
}

/// The status of the first answer.
pub(crate) fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

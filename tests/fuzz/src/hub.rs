//! A hub that is sent anything by a client, before CONNECT and after it: it answers or closes, forgets the
//! client, and goes on serving another.
//!
//! An input is what the client sends. Its last packet is completed with zeros and followed by PINGREQ, so
//! that the hub has read all of it when the client hears PINGRESP or the end.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_mqtt::Hub;
use tower_mqtt::hub::Listener;
use ulid::Ulid;

/// Nothing takes longer, but a hang.
const LIMIT: Duration = Duration::from_secs(20);

/// What is added to complete a packet, at most: one that claims more is left unfinished.
const ADDED: usize = 64 * 1024;

const PINGREQ: [u8; 2] = [0xC0, 0];
/// The first byte of it.
const PINGRESP: u8 = 0xD0;

/// Where clients hear each other. Short, so that the fuzzer finds them.
const TOPICS: [&str; 2] = ["t", "w"];

pub fn run(input: &[u8]) {
    static SERVED: LazyLock<Mutex<Served>> = LazyLock::new(|| Mutex::new(Served::start()));
    SERVED.lock().unwrap_or_else(PoisonError::into_inner).bear(input);
}

struct Served {
    hub: Hub,
    path: std::path::PathBuf,
    witness: UnixStream,
    sent: u64,
    _runtime: Runtime,
}

impl Served {
    fn start() -> Self {
        let path = std::env::temp_dir().join(format!("fuzz-{}.sock", Ulid::new()));
        let runtime = Runtime::new().expect("a runtime");
        let hub = Hub::builder().listen(Listener::unix(&path));
        // The witness never waits so long; a client that the hub neither answers nor closes would.
        let hub = hub.limits(|limits| limits.handshake = 2 * LIMIT);
        let hub = runtime.block_on(hub.start()).expect("started");
        let mut witness = connect(&path);
        let id = Ulid::new().to_string();
        witness.write_all(&connect_packet(&id)).expect("written");
        assert_eq!(read(&mut witness).expect("a CONNACK").0, 0x20);
        // SUBSCRIBE to `w`, QoS 1.
        witness.write_all(&[0x82, 7, 0, 1, 0, 0, 1, b'w', 1]).expect("written");
        assert_eq!(read(&mut witness).expect("a SUBACK"), (0x90, vec![0, 1, 0, 1]));
        Self { hub, path, witness, sent: 0, _runtime: runtime }
    }

    fn bear(&mut self, input: &[u8]) {
        let mut client = connect(&self.path);
        // The hub may close before it has read all.
        let _ = client.write_all(&[input, &missing(input), &PINGREQ].concat());
        let unfinished = claims_more(input);
        if unfinished {
            let _ = client.shutdown(Shutdown::Write);
        }
        while let Some((first, body)) = read(&mut client) {
            if first == PINGRESP && body.is_empty() && !unfinished {
                break;
            }
        }
        drop(client);
        self.wait_for_the_end();
        self.hear();
    }

    fn wait_for_the_end(&self) {
        let start = Instant::now();
        while self.hub.stats().connections > 1 {
            assert!(start.elapsed() < LIMIT, "the hub does not forget a client");
            std::thread::yield_now();
        }
    }

    /// The witness is served, and nobody else is subscribed.
    fn hear(&mut self) {
        self.sent += 1;
        let mark = self.sent.to_be_bytes();
        let mut packets = Vec::new();
        for (id, topic) in (1..).zip(TOPICS) {
            let body = [&string(topic)[..], &[0, id, 0], &mark].concat();
            packets.extend([0x32, u8::try_from(body.len()).expect("short")]);
            packets.extend(body);
        }
        self.witness.write_all(&packets).expect("the hub reads");
        let mut acknowledged = Vec::new();
        let mut heard = false;
        while !(heard && acknowledged.len() == 2) {
            let (first, body) = read(&mut self.witness).expect("the hub serves the witness");
            match first & 0xF0 {
                0x40 => acknowledged.push(body),
                0x30 => {
                    heard |= body.ends_with(&mark);
                    if first & 0x06 != 0 {
                        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                        let ack = [0x40, 2, body[topic], body[topic + 1]];
                        self.witness.write_all(&ack).expect("the hub reads");
                    }
                }
                _ => panic!("the witness gets {first:#x} {body:?}"),
            }
        }
        assert!(acknowledged[0].starts_with(&[0, 1, 0x10]), "somebody is left at `t`");
        assert!(acknowledged[1].starts_with(&[0, 2]));
        assert!(acknowledged[1].get(2).is_none_or(|reason| *reason == 0), "nobody is at `w`");
    }
}

fn connect(path: &std::path::Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the hub accepts");
    stream.set_read_timeout(Some(LIMIT)).expect("an option");
    stream.set_write_timeout(Some(LIMIT)).expect("an option");
    stream
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat()
}

/// MQTT 5, a clean start, no keep-alive.
fn connect_packet(id: &str) -> Vec<u8> {
    let body = [&string("MQTT")[..], &[5, 2, 0, 0, 0], &string(id)].concat();
    [&[0x10, u8::try_from(body.len()).expect("short")], &body[..]].concat()
}

/// The next packet; `None` at the end of the connection.
fn read(stream: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = || {
        let mut byte = [0];
        match stream.read_exact(&mut byte) {
            Ok(()) => Some(byte[0]),
            Err(error)
                if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset]
                    .contains(&error.kind()) =>
            {
                None
            }
            Err(error) => panic!("the hub neither answers nor closes: {error}"),
        }
    };
    let first = byte()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = byte()?;
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
        assert!(shift < 28, "a length of more than four bytes");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// How many bytes the last packet of `input` lacks; `None` where its length is no length.
fn lacks(mut input: &[u8]) -> Option<usize> {
    while let [_, rest @ ..] = input {
        let (mut length, mut shift, mut used) = (0_usize, 0, 0);
        for byte in rest.iter().take(4) {
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        match rest[..used].last() {
            Some(last) if last & 0x80 == 0 => {}
            Some(_) if used == 4 => return None,
            // A zero ends the length.
            _ => return Some(1 + length),
        }
        let rest = &rest[used..];
        if length > rest.len() {
            return Some(length - rest.len());
        }
        input = &rest[length..];
    }
    Some(0)
}

fn missing(input: &[u8]) -> Vec<u8> {
    vec![0; lacks(input).unwrap_or(0).min(ADDED)]
}

/// Then no PINGRESP comes, as the hub waits for the rest.
fn claims_more(input: &[u8]) -> bool {
    lacks(input).is_some_and(|lacks| lacks > ADDED)
}

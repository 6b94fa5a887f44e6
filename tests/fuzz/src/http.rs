//! A gateway that is sent anything over HTTP: it answers or closes, tells no secret, and goes on serving
//! others.
//!
//! An input is what the client sends. In it `@time`, `@unix` and `@date` stand for the time, so that a
//! signature in it can be of now; but no input can have a right one.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use super::server::{Server, status};

/// What only comes after a right signature.
const ACCEPTED: [&[u8]; 5] = [
    b"iot.messagebroker.",
    b"iot.prod.NotExistedProduct",
    b"iot.device.NotExistedDevice",
    b"FailedOperation.DeviceOffline",
    b"ResourceNotFound.DeviceNotExist",
];

pub fn run(input: &[u8]) {
    static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));
    let server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    let input = dated(input);
    let answer = server.send(&input);
    if !answer.is_empty() {
        let status = status(&answer).expect("an answer of HTTP/1.1");
        assert!((100..600).contains(&status) && status != 500, "{}", text(&answer));
    }
    // libFuzzer remembers what bytes are compared with, and may know the secret.
    let told = contains(&answer, server.secret.as_bytes());
    assert!(!told || contains(&input, server.secret.as_bytes()), "the secret: {}", text(&answer));
    for code in ACCEPTED.iter().filter(|code| contains(&answer, code)) {
        assert!(contains(&input, code), "accepted: {} for {}", text(&answer), text(&input));
    }
    let alive = server.ask(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&alive), Some(200), "{}", text(&alive));
}

fn dated(input: &[u8]) -> Vec<u8> {
    let now = SystemTime::now();
    let time = humantime::format_rfc3339_seconds(now).to_string();
    let unix = now.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs().to_string();
    let input = replace(input, b"@time", time.as_bytes());
    let input = replace(&input, b"@unix", unix.as_bytes());
    replace(&input, b"@date", &time.as_bytes()[..10])
}

fn replace(input: &[u8], mark: &[u8], by: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        output.extend_from_slice(&rest[..at]);
        output.extend_from_slice(by);
        rest = &rest[at + mark.len()..];
    }
    output.extend_from_slice(rest);
    output
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

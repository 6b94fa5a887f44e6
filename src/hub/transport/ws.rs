//! The upgrade of an HTTP connection to WebSocket (RFC 6455), for MQTT (MQTT 5 §6).

use std::io;

use ntex::codec::Decoder;
use ntex::http::error::DecodeError;
use ntex::http::{HeaderMap, Request, RequestHead, h1, header};
use ntex::io::{Filter, Io, Layer};
use ntex::service::cfg::Cfg;
use ntex::util::{BytesMut, Either};
use ntex::ws;
use ntex::ws::error::HandshakeError;

use super::frames::Frames;
use crate::hub::listener::Entrance;

/// Bytes of a request: some browsers send cookies of several KiB.
const LONGEST_REQUEST: usize = 16 * 1024;

/// Bytes before what the length of a packet counts (MQTT 5 §2.1.1).
const FIXED_HEADER: usize = 5;

/// Bytes of a frame that are taken in any case: one may hold many small packets.
const FRAME: usize = 64 * 1024;

/// [MQTT-6.0.0-3]
const SUBPROTOCOL: &str = "mqtt";

/// Answers the request to upgrade, within the time for the handshake.
pub(super) async fn accept<F: Filter>(
    io: Io<F>,
    path: &str,
    entrance: &Entrance,
) -> io::Result<Io<Layer<Frames, F>>> {
    match tokio::time::timeout(entrance.handshake, shake(&io, path)).await {
        Ok(shaken) => shaken?,
        Err(_) => return Err(failed(io::ErrorKind::TimedOut, "it took too long")),
    }
    let frame = entrance.longest_packet as usize + FIXED_HEADER;
    Ok(io.add_filter(Frames::new(frame.max(FRAME))))
}

async fn shake<F>(io: &Io<F>, path: &str) -> io::Result<()> {
    let answer = match io.recv(&RequestDecoder::new()).await {
        Ok(Some(request)) => answer(request.head(), path),
        Ok(None) => return Err(failed(io::ErrorKind::UnexpectedEof, "the client is gone")),
        Err(Either::Left(DecodeError::TooLarge(_))) => {
            Err(Refusal::new("431 Request Header Fields Too Large", "the request is too long"))
        }
        Err(Either::Left(_)) => Err(Refusal::new("400 Bad Request", "this is not HTTP/1.1")),
        Err(Either::Right(error)) => return Err(error),
    };
    match answer {
        Ok(accept) => io.encode_slice(accept.as_bytes()),
        Err(refusal) => {
            // Why it is refused counts, and not whether the client still listens.
            let _ = refuse(io, &refusal).await;
            Err(failed(io::ErrorKind::InvalidData, refusal.reason))
        }
    }
}

async fn refuse<F>(io: &Io<F>, refusal: &Refusal) -> io::Result<()> {
    io.encode_slice(refusal.response().as_bytes())?;
    io.flush(true).await?;
    io.shutdown().await
}

fn failed(kind: io::ErrorKind, reason: &str) -> io::Error {
    io::Error::new(kind, format!("the WebSocket handshake failed: {reason}"))
}

/// Reads a request when its head is there completely, and bounded.
struct RequestDecoder(h1::Codec);

impl RequestDecoder {
    fn new() -> Self {
        Self(h1::Codec::new(0, Cfg::default()))
    }
}

impl Decoder for RequestDecoder {
    type Item = Request;
    type Error = DecodeError;

    fn decode(&self, source: &mut BytesMut) -> Result<Option<Request>, DecodeError> {
        let begin = &source[..source.len().min(LONGEST_REQUEST)];
        // MQTT and TLS begin otherwise, and may have sent all that they will.
        if begin.first().is_some_and(|first| !first.is_ascii_uppercase()) {
            return Err(DecodeError::Method);
        }
        if begin.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            return Ok(self.0.decode(source)?.map(|(request, _)| request));
        }
        if begin.len() == LONGEST_REQUEST {
            return Err(DecodeError::TooLarge(LONGEST_REQUEST));
        }
        Ok(None)
    }
}

/// A request that is not what it should be.
struct Refusal {
    status: &'static str,
    /// A header that says what would be.
    instead: &'static str,
    reason: &'static str,
}

impl Refusal {
    fn new(status: &'static str, reason: &'static str) -> Self {
        Self { status, instead: "", reason }
    }

    /// [RFC 9110 §15.5.22]
    fn upgrade(reason: &'static str) -> Self {
        let instead = "upgrade: websocket\r\nsec-websocket-version: 13\r\n";
        Self { status: "426 Upgrade Required", instead, reason }
    }

    fn response(&self) -> String {
        let Self { status, instead, reason } = self;
        let length = reason.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\n{instead}content-type: text/plain\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{reason}\n"
        )
    }
}

/// The response to a request that opens a WebSocket for MQTT.
fn answer(request: &RequestHead, path: &str) -> Result<String, Refusal> {
    if request.uri.path() != path {
        return Err(Refusal::new("404 Not Found", "MQTT is not served at this path"));
    }
    ws::verify_handshake(request).map_err(|error| match error {
        HandshakeError::GetMethodRequired => Refusal::new("400 Bad Request", "GET is expected"),
        HandshakeError::BadWebsocketKey => BAD_KEY,
        HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => {
            Refusal::upgrade("version 13 of WebSocket is expected")
        }
        _ => Refusal::upgrade("an upgrade to WebSocket is expected"),
    })?;
    if !offers_mqtt(request.headers()) {
        return Err(Refusal::new("400 Bad Request", "the subprotocol mqtt is expected"));
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = key.and_then(|key| ws::hash_key(key.as_bytes()).ok()).ok_or(BAD_KEY)?;
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\nsec-websocket-protocol: {SUBPROTOCOL}\r\n\r\n"
    ))
}

const BAD_KEY: Refusal = Refusal {
    status: "400 Bad Request",
    instead: "",
    reason: "Sec-WebSocket-Key is missing or no key",
};

fn offers_mqtt(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|offered| offered.trim() == SUBPROTOCOL)
}

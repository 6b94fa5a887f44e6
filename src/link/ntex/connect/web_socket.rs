//! A WebSocket over an open connection (RFC 6455), with MQTT in it (MQTT 5 §6).

use std::cell::Cell;
use std::rc::Rc;

use ntex::SharedCfg;
use ntex::client::ClientResponse;
use ntex::connect::{Connect, ConnectError as NoConnection};
use ntex::fn_service;
use ntex::http::Uri;
use ntex::http::header::{HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use ntex::io::{Filter, Io, Layer};
use ntex::time::Millis;
use ntex::ws::error::WsClientError;
use ntex::ws::{WsClient, WsTransport};

use crate::error::ConnectError;
use crate::link::ntex::options::{Options, invalid};

/// [MQTT-6.0.0-3]
const SUBPROTOCOL: &str = "mqtt";

/// The least cap of a frame. A server may send many small packets in one frame, whatever the limit
/// of a packet is.
const MIN_FRAME_CAP: usize = 64 * 1024;

pub(super) async fn upgrade<F: Filter>(
    io: Io<F>,
    options: &Options,
) -> Result<Io<Layer<WsTransport, F>>, ConnectError> {
    let address = &options.address;
    let failed = |status, text: String| ConnectError::WebSocket {
        address: address.to_string().into(),
        status,
        text: text.into(),
    };
    let io = Rc::new(Cell::new(Some(io)));
    let connector = fn_service(move |_: Connect<Uri>| {
        let io = io.take();
        async move { io.ok_or(NoConnection::Unresolved) }
    });
    let mut builder =
        WsClient::with_connector(format!("ws://{address}{}", address.path), connector);
    builder.protocols([SUBPROTOCOL]).set_header(HOST, address.to_string());
    builder.max_frame_size((options.maximum_packet_size.get() as usize).max(MIN_FRAME_CAP));
    // The connect timeout covers it.
    builder.timeout(Millis::ZERO);
    for (name, value) in &options.headers {
        builder.set_header(name.as_str(), value.0.as_slice());
    }
    let client = builder.build(SharedCfg::default()).await;
    let client = client.map_err(|error| invalid(format!("no HTTP request: {error:?}")))?;
    let connection = match client.connect().await {
        Ok(connection) => connection,
        Err(WsClientError::InvalidResponseStatus(status)) => {
            return Err(failed(Some(status.as_u16()), format!("the server answered {status}")));
        }
        Err(error) => return Err(failed(None, explain(&error))),
    };
    let (io, codec, response) = connection.into_inner();
    if !speaks_mqtt(&response) {
        return Err(failed(
            None,
            format!("the server does not take the subprotocol {SUBPROTOCOL}"),
        ));
    }
    Ok(WsTransport::create(io, codec))
}

/// [MQTT-6.0.0-4]
fn speaks_mqtt(response: &ClientResponse) -> bool {
    let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    chosen.is_some_and(|chosen| chosen.as_bytes() == SUBPROTOCOL.as_bytes())
}

fn explain(error: &WsClientError) -> String {
    match error {
        WsClientError::InvalidResponse(_) => "what answers does not speak HTTP".to_owned(),
        WsClientError::Disconnected(_) => {
            "the server closed the connection instead of an answer".to_owned()
        }
        error => format!("the answer is not that of a WebSocket server: {error}"),
    }
}

/// Whether HTTP can carry it.
pub(in crate::link::ntex) fn check_header(name: &str, value: &[u8]) -> Result<(), ConnectError> {
    if HeaderName::try_from(name).is_err() {
        return Err(invalid(format!("{name:?} can be no HTTP header")));
    }
    // Without the value: it may be a secret.
    match HeaderValue::try_from(value) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(invalid(format!("the value of the HTTP header {name} has control characters")))
        }
    }
}

#[cfg(test)]
mod tests;

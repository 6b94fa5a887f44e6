//! Calls as they end, for who looks on.
//!
//! `GET /v1/calls`: server-sent events, from when it was asked until the client hangs up or the gateway
//! stops. Of the products that the key may call; of what a call carries nothing is told.
//!
//! | event | data |
//! |---|---|
//! | `call` | `{"time", "api", "product", "device", "dialect", "outcome", "milliseconds"}` |
//! | `missed` | `{"count"}`: so many calls, of whatever product, ended faster than the client took them |
//!
//! `api` is `plain`, `aliyun`, `tencent` or `native`, and `outcome` as in the [metrics](super::metrics), but for
//! a status that HTTP does not have, which is a `device_error` here. A call that another gateway passed on is
//! told of by that one. What is no call is not told of: a publication, and what HTTP refuses before it is one,
//! for its key, its size or its form.
//!
//! All keys share the streams.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::problem::Problem;
use super::rfc3339;
use super::routes::App;
use crate::gateway::ended::{Ended, Watch};
use crate::gateway::keys::Key;

/// Streams at once, if there are twice as many connections.
pub(super) const STREAMS: usize = 64;

/// A comment is sent after so long a silence, so that both ends notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What waits is sent in pieces of about so many bytes.
const PIECE: usize = 16 * 1024;

#[derive(Serialize)]
struct Told<'a> {
    time: Option<String>,
    api: &'a str,
    product: &'a str,
    device: &'a str,
    dialect: &'a str,
    outcome: &'a str,
    milliseconds: f64,
}

#[derive(Serialize)]
struct Missed {
    count: u64,
}

/// What one client gets.
struct Events {
    ended: Watch,
    key: Arc<Key>,
    stopping: CancellationToken,
    _stream: OwnedSemaphorePermit,
}

pub(super) async fn calls(
    State(app): State<Arc<App>>,
    Caller(key): Caller,
) -> Result<Response, Problem> {
    let stream = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        let detail = "as many look on as may, each with a stream of its own";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", detail)
    })?;
    let (ended, stopping) = (app.front.ended.watch(), app.stopping.clone());
    let events = Events { ended, key, stopping, _stream: stream };
    let stream = unfold(events, async |mut events| {
        let text = events.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), events))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

impl Events {
    /// What comes next, and all that waits behind it. `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let mut silence = pin!(sleep(KEEP_ALIVE));
        let mut text = String::new();
        while text.is_empty() {
            let received = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                () = &mut silence => return Some(":\n\n".to_owned()),
                received = self.ended.recv() => received,
            };
            match received {
                Ok(ended) => self.write(&ended, &mut text),
                Err(RecvError::Lagged(count)) => missed(count, &mut text),
                Err(RecvError::Closed) => return None,
            }
        }
        while text.len() < PIECE {
            match self.ended.try_recv() {
                Ok(ended) => self.write(&ended, &mut text),
                Err(TryRecvError::Lagged(count)) => missed(count, &mut text),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some(text)
    }

    fn write(&self, ended: &Ended, text: &mut String) {
        let Ended { at, api, product, device, dialect, outcome, duration } = ended;
        if self.key.may_call(product) {
            let (time, milliseconds) = (rfc3339::precise(*at), milliseconds(*duration));
            let told = Told { time, api, product, device, dialect, outcome, milliseconds };
            event("call", &told, text);
        }
    }
}

fn missed(count: u64, text: &mut String) {
    event("missed", &Missed { count }, text);
}

/// JSON has no line breaks of its own.
fn event(name: &str, data: &impl Serialize, text: &mut String) {
    let data = serde_json::to_string(data).unwrap_or_default();
    for part in ["event: ", name, "\ndata: ", &data, "\n\n"] {
        text.push_str(part);
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

//! Reads the body of a request, up to a limit.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::time::timeout;

use super::problem::Problem;

/// What of a body that is too large is read and thrown away, in limits: most clients read an answer
/// only when they have sent all.
const THROWN_AWAY: u64 = 8;

/// How much is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    TooSlow,
    /// It ended too early, or its chunks are not well-formed.
    Broken,
}

impl Bounds {
    pub(super) async fn read(self, parts: &Parts, body: Body) -> Result<Bytes, Unread> {
        timeout(self.time, self.read_all(parts, body)).await.unwrap_or(Err(Unread::TooSlow))
    }

    async fn read_all(self, parts: &Parts, mut body: Body) -> Result<Bytes, Unread> {
        let limit = self.bytes as u64;
        let declared = body.size_hint().lower();
        // Who waits for 100 (RFC 9110 §10.1.1) has sent nothing yet.
        let waits = parts.headers.contains_key(EXPECT);
        if declared > limit && (waits || declared > limit.saturating_mul(THROWN_AWAY)) {
            return Err(Unread::TooLarge);
        }
        let error = match Limited::new(&mut body, self.bytes).collect().await {
            Ok(collected) => return Ok(collected.to_bytes()),
            Err(error) => error,
        };
        if !error.is::<LengthLimitError>() {
            return Err(Unread::Broken);
        }
        throw_away(body, limit.saturating_mul(THROWN_AWAY)).await;
        Err(Unread::TooLarge)
    }
}

async fn throw_away(mut body: Body, mut limit: u64) {
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(left) = limit.checked_sub(length) else { return };
        limit = left;
    }
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than this gateway takes",
            ),
            Unread::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                "the body did not arrive in time",
            ),
            Unread::Broken => Self::invalid("the body ended too early"),
        }
    }
}

//! Who calls: the bearer key of a request (RFC 6750 §2.1).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::problem::Problem;
use super::routes::App;
use crate::gateway::call::{CallError, Failure};
use crate::gateway::keys::Key;

/// The key that a request has shown.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Arc<Key>);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let known = token(parts).and_then(|token| app.front.keys.of_bearer(token));
        known.cloned().map(Self).ok_or_else(|| {
            let detail = "a known key is needed: Authorization: Bearer …";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        })
    }
}

fn token(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a key is refused with that may not call devices of a product.
pub(super) fn not_allowed(product: &str) -> Problem {
    Failure::from(CallError::NotAllowed(product.into())).into()
}

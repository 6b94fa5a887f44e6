//! Which devices there are, as far as the gateway knows.
//!
//! `GET /v1/devices?limit=100&after={product}/{device}`: a JSON array, sorted by product and device, of those
//! that the key may call. `limit` is 1 to 1,000, which is also the default. When there are more, the header
//! `Link: <…>; rel="next"` (RFC 8288) has the address of the next page.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::rfc3339;
use super::routes::App;
use crate::gateway::call::DeviceState;

const MOST: usize = 1000;

/// What the query may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default = "most")]
    limit: usize,
    after: Option<String>,
}

fn most() -> usize {
    MOST
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    product: &'a str,
    device: &'a str,
    dialect: &'static str,
    /// `null`: a broker is between, and does not say.
    connected: Option<bool>,
    since: Option<String>,
    in_flight: usize,
}

impl<'a> From<&'a DeviceState> for Listed<'a> {
    fn from(state: &'a DeviceState) -> Self {
        Self {
            product: &state.product,
            device: &state.device,
            dialect: state.dialect,
            connected: state.connected,
            since: state.since.and_then(rfc3339::format),
            in_flight: state.in_flight,
        }
    }
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(key): Caller,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|error| Problem::invalid(error.body_text()))?;
    let after = page.start()?;
    let mut devices = (app.front.devices)();
    devices.retain(|it| key.may_call(&it.product) && after.is_none_or(|after| place(it) > after));
    devices.sort_unstable_by(|a, b| place(a).cmp(&place(b)));
    let shown = &devices[..page.limit.min(devices.len())];
    let body: Vec<_> = shown.iter().map(Listed::from).collect();
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = ([(CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(last) = shown.last().filter(|_| shown.len() < devices.len()) {
        response.headers_mut().extend(next(page.limit, last).map(|link| (LINK, link)));
    }
    Ok(response)
}

fn place(state: &DeviceState) -> (&str, &str) {
    (&state.product, &state.device)
}

fn next(limit: usize, last: &DeviceState) -> Option<HeaderValue> {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let (product, device) = (encode(&last.product), encode(&last.device));
    let link = format!("</v1/devices?limit={limit}&after={product}/{device}>; rel=\"next\"");
    HeaderValue::try_from(link).ok()
}

impl Page {
    fn start(&self) -> Result<Option<(&str, &str)>, Problem> {
        if !(1..=MOST).contains(&self.limit) {
            return Err(Problem::invalid(format!("limit: a number from 1 to {MOST} is expected")));
        }
        let Some(after) = &self.after else { return Ok(None) };
        let place = after.split_once('/');
        place.map(Some).ok_or_else(|| Problem::invalid("after: {product}/{device} is expected"))
    }
}

//! Which devices there are, as far as the gateway knows.
//!
//! `GET /v1/devices?limit=100&after={product}/{device}&contains={text}`: a JSON array, sorted by product and
//! device, of those that the key may call, and whose `{product}/{device}` contains the text, in whatever case.
//! `limit` is 1 to 1,000, which is also the default. The header `devices-left` says how many there are
//! behind this page; when there are some, the header `Link: <…>; rel="next"` (RFC 8288) has the address of
//! the next one.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::rfc3339;
use super::routes::App;
use crate::gateway::call::DeviceState;
use crate::gateway::listing::{Listed, Name, Wanted};

const MOST: usize = 1000;

/// How many devices there are behind this page.
const LEFT: HeaderName = HeaderName::from_static("devices-left");

/// What the query may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default = "most")]
    limit: usize,
    after: Option<String>,
    contains: Option<String>,
}

fn most() -> usize {
    MOST
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    product: &'a str,
    device: &'a str,
    dialect: &'static str,
    /// `null`: a broker is between, and does not say.
    connected: Option<bool>,
    since: Option<String>,
    in_flight: usize,
}

impl<'a> From<&'a DeviceState> for Shown<'a> {
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
    let text = page.contains.as_deref().unwrap_or_default().to_lowercase();
    let is = |name: Name<'_>| {
        key.may_call(name.0)
            && after.is_none_or(|after| name > after)
            && (text.is_empty() || contains(name, &text))
    };
    let Listed { first: shown, left } = (app.front.devices)(&Wanted { limit: page.limit, is: &is });
    let body: Vec<_> = shown.iter().map(Shown::from).collect();
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = ([(CONTENT_TYPE, "application/json")], body).into_response();
    response.headers_mut().insert(LEFT, left.into());
    if let Some(last) = shown.last().filter(|_| left > 0) {
        response.headers_mut().extend(page.next(last).map(|link| (LINK, link)));
    }
    Ok(response)
}

fn contains((product, device): Name<'_>, text: &str) -> bool {
    [product, "/", device].concat().to_lowercase().contains(text)
}

impl Page {
    /// The address of the page behind this one.
    fn next(&self, last: &DeviceState) -> Option<HeaderValue> {
        fn encode(text: &str) -> PercentEncode<'_> {
            utf8_percent_encode(text, NON_ALPHANUMERIC)
        }
        let (limit, product, device) = (self.limit, encode(&last.product), encode(&last.device));
        let contains = self.contains.as_deref().map(|text| format!("&contains={}", encode(text)));
        let contains = contains.unwrap_or_default();
        let page = format!("/v1/devices?limit={limit}&after={product}/{device}{contains}");
        HeaderValue::try_from(format!("<{page}>; rel=\"next\"")).ok()
    }

    fn start(&self) -> Result<Option<(&str, &str)>, Problem> {
        if !(1..=MOST).contains(&self.limit) {
            return Err(Problem::invalid(format!("limit: a number from 1 to {MOST} is expected")));
        }
        let Some(after) = &self.after else { return Ok(None) };
        let place = after.split_once('/');
        place.map(Some).ok_or_else(|| Problem::invalid("after: {product}/{device} is expected"))
    }
}

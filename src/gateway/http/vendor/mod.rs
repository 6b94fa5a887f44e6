//! The vendors' cloud APIs, as their cloud SDKs speak them: servers keep working with another
//! endpoint.
//!
//! What is signed, and what an SDK makes of a reply, was recorded from the SDKs; where nothing is
//! known of the clouds, the code that was chosen is said at its place.

mod aliyun;
mod signing;
mod tencent;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use tower::ServiceExt;

use super::body::Unread;
use crate::gateway::call::{Answer, Call, CallError, Calls, Failure, Publication, Publisher};
use crate::gateway::keys::{Key, Keys};
use crate::gateway::level::is_level;
use crate::gateway::products::Products;
use crate::gateway::replay::Replay;

/// Both vendors' APIs, which share `/`.
pub(crate) struct Vendor {
    keys: Arc<Keys>,
    products: Arc<Products>,
    calls: Calls,
    publisher: Publisher,
    replay: Arc<Replay>,
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

/// The two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Aliyun,
    Tencent,
}

impl Api {
    /// As its numbers are labelled.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Tencent => "tencent",
        }
    }
}

/// Which of them a request to `/` means.
pub(super) fn api(headers: &HeaderMap) -> Api {
    if tencent::is_meant(headers) { Api::Tencent } else { Api::Aliyun }
}

/// The answer to a request whose body was not read.
pub(super) fn unread(parts: &Parts, why: Unread) -> Response {
    match api(&parts.headers) {
        Api::Aliyun => aliyun::unread(parts, why),
        Api::Tencent => tencent::unread(why),
    }
}

impl Vendor {
    pub(crate) fn new(
        keys: Arc<Keys>,
        products: Arc<Products>,
        calls: Calls,
        publisher: Publisher,
        replay: Arc<Replay>,
        now: fn() -> SystemTime,
    ) -> Self {
        Self { keys, products, calls, publisher, replay, now: Box::new(now) }
    }

    /// Answers `POST /`, and `GET /` for the query style of Aliyun. The body is whole and within
    /// the front's limit.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up; a nonce that was used stays used.
    pub(crate) async fn serve(&self, parts: &Parts, body: Bytes) -> Response {
        match api(&parts.headers) {
            Api::Aliyun => aliyun::serve(self, parts, &body).await,
            Api::Tencent => tencent::serve(self, parts, &body).await,
        }
    }

    async fn call(&self, call: Call) -> Result<Answer, Failure> {
        self.calls.clone().oneshot(call).await
    }

    async fn publish(&self, publication: Publication) -> Result<u64, Failure> {
        self.publisher.clone().oneshot(publication).await
    }

    /// Whether this key may ask this device: before anything is said of product or device.
    fn admit(&self, key: &Key, product: &str, device: &str) -> Result<(), CallError> {
        if !key.may_call(product) {
            return Err(CallError::NotAllowed(product.into()));
        }
        if self.products.get(product).is_none() {
            return Err(CallError::NoSuchProduct(product.into()));
        }
        if !is_level(device) {
            return Err(CallError::NoSuchDevice(device.into()));
        }
        Ok(())
    }
}

/// 128 bits that no other request has, as a UUID is written.
fn request_id() -> String {
    let id = hex::encode(crate::id::fresh());
    [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
}

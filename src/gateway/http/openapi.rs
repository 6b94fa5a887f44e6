//! The description of the API (`OpenAPI` 3.1). The tests hold it against the server.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

pub(super) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT)
}

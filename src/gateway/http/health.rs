//! Whether calls can be made, for who restarts or routes around a gateway.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::problem::Problem;
use super::routes::App;

pub(super) async fn health(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if (app.front.ready)() {
        return Ok("ok");
    }
    let detail = "the link to the broker is down";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail))
}

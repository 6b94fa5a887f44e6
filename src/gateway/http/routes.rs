//! Which handler answers which request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::body::Bounds;
use super::connection::closing;
use super::metrics::{Metrics, count};
use super::problem::Problem;
use super::vendor::Vendor;
use super::{Front, calls, console, devices, health, metrics, openapi, plain, vendor};
use crate::gateway::config;

/// What handlers share.
pub(super) struct App {
    pub(super) front: Front,
    pub(super) bounds: Bounds,
    pub(super) metrics: Metrics,
    /// Those of ended calls, which must not hold all connections.
    pub(super) streams: Arc<Semaphore>,
    /// What has no end of its own ends then.
    pub(super) stopping: CancellationToken,
    vendor: Vendor,
}

impl App {
    pub(super) fn new(
        config: &config::Http,
        front: Front,
        body_timeout: Duration,
        stopping: CancellationToken,
    ) -> Self {
        let Front { keys, products, calls, publisher, replay, now, .. } = front.clone();
        let metrics = Metrics::new(&front, config.connections);
        let vendor = Vendor::new(keys, products, calls, publisher, replay, now);
        let bounds = Bounds { bytes: config.body, time: body_timeout };
        let streams = Arc::new(Semaphore::new(calls::STREAMS.min(config.connections / 2)));
        Self { front, bounds, metrics, streams, stopping, vendor }
    }
}

type Route = (MethodFilter, &'static str, fn(&Arc<App>, MethodFilter) -> MethodRouter<Arc<App>>);

/// All there is.
pub(super) const ROUTES: [Route; 9] = [
    (MethodFilter::POST, "/", |app, method| counted(app, on(method, vendors))),
    (MethodFilter::GET, "/", |app, method| counted(app, on(method, people_and_vendors))),
    (MethodFilter::POST, "/v1/devices/{product}/{device}/call", |app, method| {
        counted(app, on(method, plain::call))
    }),
    (MethodFilter::GET, "/v1/devices", |_, method| on(method, devices::list)),
    (MethodFilter::GET, "/v1/calls", |_, method| on(method, calls::calls)),
    (MethodFilter::GET, "/console/{file}", |_, method| on(method, console::file)),
    (MethodFilter::GET, "/metrics", |_, method| on(method, metrics::metrics)),
    (MethodFilter::GET, "/healthz", |_, method| on(method, health::health)),
    (MethodFilter::GET, "/openapi.json", |_, method| on(method, openapi::openapi)),
];

fn counted(app: &Arc<App>, route: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    route.route_layer(from_fn_with_state(Arc::clone(app), count))
}

pub(super) fn router(app: Arc<App>) -> Router {
    let add = |router: Router<Arc<App>>, (method, path, handler): Route| {
        router.route(path, handler(&app, method))
    };
    ROUTES
        .into_iter()
        .fold(Router::new(), add)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), closing))
        .with_state(app)
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// The console is for who asks for nothing; what asks for an action does so in the query style of Aliyun.
async fn people_and_vendors(state: State<Arc<App>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    if query.is_empty() {
        return console::page();
    }
    if query.split('&').any(|pair| pair.starts_with("Action=")) {
        return vendors(state, request).await;
    }
    not_found(request.uri().clone()).await.into_response()
}

async fn vendors(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match app.bounds.read(&parts, body).await {
        Ok(body) => app.vendor.serve(&parts, body).await,
        Err(why) => vendor::unread(&parts, why),
    }
}

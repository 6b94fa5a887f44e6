//! The layers that a program in production has, on both sides.

use std::time::Duration;

use tower::{Service, ServiceBuilder};
use tower_mqtt::layer::authorize::Caller;
use tower_mqtt::layer::authorize::bearer::{BearerCheck, BearerToken};
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{AuthorizeLayer, MetricsLayer, RetryLayer, TimeoutLayer, TraceLayer};
use tower_mqtt::{Request, RequestError, Requester, Response, Router};

const TOKEN: &str = "mF_9.B5f-4.1JqM";

pub(crate) fn around(
    requester: Requester,
) -> impl Service<Request, Response = Response, Error = RequestError, Future: Send>
+ Clone
+ Send
+ 'static {
    let token = BearerToken::new(TOKEN).expect("RFC 6750 has this token");
    ServiceBuilder::new()
        .layer(TraceLayer::new())
        .layer(MetricsLayer::default())
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .layer(RetryLayer::new(RetryPolicy::default()))
        .layer(AuthorizeLayer::new(token))
        .service(requester)
}

pub(crate) fn inside(router: Router) -> Router {
    router.layer(
        ServiceBuilder::new()
            .layer(TraceLayer::new())
            .layer(MetricsLayer::default())
            .layer(AuthorizeLayer::new(BearerCheck::tokens([(TOKEN, Caller::new("bench"))])))
            .layer(TimeoutLayer::new(Duration::from_secs(5))),
    )
}

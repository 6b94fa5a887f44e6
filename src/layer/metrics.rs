//! Counters and histograms of exchanges, through the [`metrics`](https://docs.rs/metrics) facade
//! (feature `metrics`).
//!
//! Install a recorder (`metrics-exporter-prometheus`, say) *before* the first exchange. Without one
//! nothing is kept, and what is left is two readings of the clock per exchange. The layer asks the recorder
//! once for what it writes for every exchange of a route, so one that is installed later gets errors only.
//!
//! | name | kind | unit | labels | what |
//! |---|---|---|---|---|
//! | `tower_mqtt_requests_total` | counter | | `side`, `route`, `outcome` | exchanges that have ended |
//! | `tower_mqtt_errors_total` | counter | | `side`, `route`, `error_type` | those of them that ended with an error, or with a status of 400 or above |
//! | `tower_mqtt_refusals_total` | counter | | `side`, `route`, `status` | those of them that were refused: 401, 403, 409, 413, 429, 503, or by a layer on a requester |
//! | `tower_mqtt_request_duration_seconds` | histogram | seconds | `side`, `route`, `outcome` | from the call to its end |
//! | `tower_mqtt_requests_in_flight` | gauge | | `side`, `route` | exchanges that have not ended |
//! | `tower_mqtt_answers_dropped_total` | counter | | `reason` | answers that no call was waiting for, or that could not be read; see [below](self#late-answers) |
//! | `tower_mqtt_answer_loops_total` | counter | | | devices that answer their own answers, without end; see [`loops`](crate::requester::RequesterStats::loops) |
//!
//! - `side` is `requester` or `responder`.
//! - `route` is the route's template on a responder inside a router, `recipes/{category}/get`. Elsewhere it
//!   is what [`MetricsLayer::route`] says, and empty by default: a topic with an id in it would make a
//!   time series for each device.
//! - `outcome` is `ok`, or what `error_type` says: the status (`404`), or the kind of error: `timeout`,
//!   `no_responder`, `rejected`, `disconnected`, `overloaded`, `refused`, `invalid_request`, `offline`,
//!   `not_subscribed`, `closed`, `layer`, `other`; `cancelled` when the call was given up, or the handler was dropped at
//!   its deadline.
//! - `reason` is `late`, `duplicate`, `unknown` or `malformed`.
//!
//! The names follow Prometheus (base unit, `_total`); the words those of OpenTelemetry.
//!
//! # Late answers
//!
//! An answer that comes after its call has ended never reaches a layer. The requester counts it in its
//! [`RequesterStats`](crate::requester::RequesterStats); hand the numbers over from time to time with
//! [`record_metrics`](crate::requester::RequesterStats::record_metrics):
//!
//! ```
//! # use tower_mqtt::{Requester, link::memory};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let requester = Requester::builder(memory::pair().0).build().await?;
//! requester.stats().record_metrics();
//! # Ok(())
//! # }
//! ```
//!
//! # Example
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::MetricsLayer;
//! use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (a, b) = memory::pair();
//! let router = Router::new().route("greet", async || "hello").layer(MetricsLayer::new());
//! let _responder = Responder::builder(b).serve(router).await?;
//!
//! let requester = Requester::builder(a).build().await?;
//! let mut client = ServiceBuilder::new()
//!     .layer(MetricsLayer::new().route(|_| "greet"))
//!     .service(requester);
//! client.ready().await?.call(Request::new("greet", "")?).await?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use metrics::{
    Counter, Gauge, Histogram, SharedString, Unit, counter, describe_counter, describe_gauge,
    describe_histogram,
};
use metrics::{gauge, histogram};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::outcome::{CANCELLED, Outcome};
use super::{Side, now};
use crate::error::RequestError;
use crate::message::{Parts, Request, Response};

const REQUESTS: &str = "tower_mqtt_requests_total";
const ERRORS: &str = "tower_mqtt_errors_total";
const REFUSALS: &str = "tower_mqtt_refusals_total";
const DURATION: &str = "tower_mqtt_request_duration_seconds";
const IN_FLIGHT: &str = "tower_mqtt_requests_in_flight";
/// What a requester hands over itself.
const ANSWERS_DROPPED: &str = "tower_mqtt_answers_dropped_total";
const OK: &str = "ok";
const ANSWER_LOOPS: &str = "tower_mqtt_answer_loops_total";

/// What a request was refused with: it was understood, and not executed.
const REFUSED: [u16; 6] = [401, 403, 409, 413, 429, 503];

/// Counts exchanges and measures how long they take; the [module](self) has the table.
///
/// Outermost it sees what a caller sees: refusals, timeouts, and all attempts of a retry as one. On a
/// requester inside a retry it sees each attempt.
#[derive(Clone, Default)]
pub struct MetricsLayer {
    route: Option<RouteOf>,
}

type RouteOf = Arc<dyn Fn(&Parts) -> &'static str + Send + Sync>;

impl MetricsLayer {
    /// For either side.
    pub const fn new() -> Self {
        Self { route: None }
    }

    /// Says the label `route` where no router does. Choose from a few: each is a time series.
    pub fn route(self, route: impl Fn(&Parts) -> &'static str + Send + Sync + 'static) -> Self {
        Self { route: Some(Arc::new(route)) }
    }

    fn label(&self, parts: &Parts) -> SharedString {
        match (&self.route, &parts.route) {
            (Some(route), _) => SharedString::const_str(route(parts)),
            (None, Some(template)) => SharedString::from_shared(template.as_str().into()),
            (None, None) => SharedString::const_str(""),
        }
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").finish_non_exhaustive()
    }
}

/// Gives the installed recorder a text for each metric. Call it once, after the recorder is
/// installed; exporters show the texts.
pub fn describe() {
    describe_counter!(REQUESTS, "Exchanges that have ended");
    describe_counter!(ERRORS, "Exchanges that ended with an error or a status of 400 or above");
    describe_counter!(REFUSALS, "Exchanges that were refused");
    describe_histogram!(DURATION, Unit::Seconds, "Time from the call to its end");
    describe_gauge!(IN_FLIGHT, "Exchanges that have not ended");
    describe_counter!(ANSWERS_DROPPED, "Answers that no call waited for, or that were malformed");
    describe_counter!(ANSWER_LOOPS, "Devices that answer their own answers, without end");
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics { inner, layer: self.clone(), usual: Arc::default() }
    }
}

/// The service of a [`MetricsLayer`].
#[derive(Debug, Clone)]
pub struct Metrics<S> {
    inner: S,
    layer: MetricsLayer,
    /// Of the first route that was seen: nearly always there is no other.
    usual: Arc<OnceLock<Instruments>>,
}

impl<S> Service<Request> for Metrics<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let side = if S::Error::IS_RESPONDER { "responder" } else { "requester" };
        let route = self.layer.label(request.parts());
        let usual = self.usual.get_or_init(|| Instruments::new(side, route.clone()));
        let instruments =
            if usual.route == route { usual.clone() } else { Instruments::new(side, route) };
        let measurement = Measurement::start(instruments);
        ResponseFuture { inner: self.inner.call(request), measurement }
    }
}

/// One exchange. It is counted at its end, at the latest when it is dropped.
struct Measurement {
    instruments: Instruments,
    start: Instant,
    is_over: bool,
}

/// What is written for each exchange of one route that goes well. To look it up in a recorder takes
/// longer than to write it.
#[derive(Clone, Debug)]
struct Instruments {
    side: &'static str,
    route: SharedString,
    in_flight: Gauge,
    answered: Counter,
    duration: Histogram,
}

impl Instruments {
    fn new(side: &'static str, route: SharedString) -> Self {
        let labels = || [("side", SharedString::const_str(side)), ("route", route.clone())];
        let [this, of] = labels();
        let ended = [this, of, ("outcome", SharedString::const_str(OK))];
        Self {
            side,
            in_flight: gauge!(IN_FLIGHT, &labels()),
            answered: counter!(REQUESTS, &ended),
            duration: histogram!(DURATION, &ended),
            route,
        }
    }
}

impl Measurement {
    fn start(instruments: Instruments) -> Self {
        instruments.in_flight.increment(1);
        Self { instruments, start: now(), is_over: false }
    }

    fn end(&mut self, outcome: Outcome) {
        self.is_over = true;
        let elapsed = now().saturating_duration_since(self.start);
        self.instruments.in_flight.decrement(1);
        if outcome.is_error() {
            return self.failed(outcome, elapsed);
        }
        self.instruments.duration.record(elapsed);
        self.instruments.answered.increment(1);
    }

    fn failed(&self, outcome: Outcome, elapsed: Duration) {
        let (side, route) = (self.instruments.side, &self.instruments.route);
        let label = match outcome {
            Outcome::Failed(kind) => SharedString::const_str(kind),
            Outcome::Answered(code) => SharedString::from_owned(code.to_string()),
        };
        histogram!(DURATION, "side" => side, "route" => route.clone(), "outcome" => label.clone())
            .record(elapsed);
        counter!(ERRORS, "side" => side, "route" => route.clone(), "error_type" => label.clone())
            .increment(1);
        counter!(REQUESTS, "side" => side, "route" => route.clone(), "outcome" => label)
            .increment(1);
    }

    fn refused(&self, code: u16) {
        let Instruments { side, route, .. } = &self.instruments;
        counter!(REFUSALS, "side" => *side, "route" => route.clone(), "status" => code.to_string())
            .increment(1);
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Outcome::Failed(CANCELLED));
        }
    }
}

/// The status of a refusal, on either side.
fn refusal<E: Side>(result: &Result<Response, E>) -> Option<u16> {
    match result {
        Ok(response) => Some(response.status().code()).filter(|code| REFUSED.contains(code)),
        Err(error) => match error.as_request_error()? {
            RequestError::Refused(status) => Some(status.code()),
            _ => None,
        },
    }
}

pin_project! {
    /// The future of [`Metrics`].
    ///
    /// # Cancel safety
    /// Dropping it drops the future inside; it is counted as `cancelled`.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        measurement: Measurement,
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Side,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let Some(code) = refusal(&result) {
            this.measurement.refused(code);
        }
        this.measurement.end(Outcome::of(&result));
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Label, with_local_recorder};
    use metrics_util::CompositeKey;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
    use tokio::time::advance;
    use tower::ServiceExt;

    use super::super::mock::{keeps_the_contract, ms, request, requester, responder, start};
    use super::*;
    use crate::message::Status;
    use crate::requester::RequesterStats;
    use crate::responder::Router;

    /// What was recorded since the last time, as lines of text, sorted. Gauges start at zero again.
    fn recorded(snapshotter: &Snapshotter) -> Vec<String> {
        lines(snapshotter.snapshot().into_vec())
    }

    type Entry = (CompositeKey, Option<Unit>, Option<SharedString>, DebugValue);

    fn lines(snapshot: Vec<Entry>) -> Vec<String> {
        let text = |label: &Label| format!(" {}={}", label.key(), label.value());
        let mut lines: Vec<_> = snapshot
            .into_iter()
            .map(|(key, _, _, value)| {
                let labels: String = key.key().labels().map(text).collect();
                let value = match value {
                    DebugValue::Counter(count) => count.to_string(),
                    DebugValue::Gauge(level) => level.to_string(),
                    DebugValue::Histogram(all) => format!("{all:?}"),
                };
                format!("{}{labels}: {value}", key.key().name().trim_start_matches("tower_mqtt_"))
            })
            .collect();
        lines.sort();
        lines
    }

    /// Runs `work` with a recorder of its own.
    fn record(work: impl AsyncFnOnce(&Snapshotter)) -> Vec<String> {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        with_local_recorder(&recorder, || runtime.block_on(work(&snapshotter)));
        recorded(&snapshotter)
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        keeps_the_contract(MetricsLayer::new()).await;
    }

    #[test]
    fn a_call_is_counted_and_measured() {
        let lines = record(async |snapshotter| {
            let (mut service, mut handle) = requester(&MetricsLayer::new().route(|_| "soup"));
            let call = start(&mut service, request("1"));
            let begun = [
                "request_duration_seconds side=requester route=soup outcome=ok: []",
                "requests_in_flight side=requester route=soup: 1",
                "requests_total side=requester route=soup outcome=ok: 0",
            ];
            assert_eq!(recorded(snapshotter), begun);
            advance(ms(250)).await;
            handle.next_request().await.unwrap().1.send_response(Response::default());
            call.await.unwrap();
        });
        let expected = [
            "request_duration_seconds side=requester route=soup outcome=ok: [0.25]",
            "requests_in_flight side=requester route=soup: -1",
            "requests_total side=requester route=soup outcome=ok: 1",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn errors_and_refusals_are_told_apart() {
        let lines = record(async |_| {
            let (mut service, mut handle) = requester(&MetricsLayer::new());
            for error in [RequestError::Timeout, RequestError::Refused(Status::UNAUTHORIZED)] {
                let call = start(&mut service, request("1"));
                handle.next_request().await.unwrap().1.send_error(error);
                call.await.unwrap_err();
            }
            drop(start(&mut service, request("2")));

            let (mut service, mut handle) = responder(&MetricsLayer::new());
            for status in [Status::NOT_FOUND, Status::TOO_MANY_REQUESTS] {
                let call = start(&mut service, request("1"));
                handle.next_request().await.unwrap().1.send_response(Response::error(status));
                call.await.unwrap();
            }
        });
        let counters: Vec<_> =
            lines.iter().filter(|l| l.starts_with("errors") || l.starts_with("refus")).collect();
        let expected = [
            "errors_total side=requester route= error_type=cancelled: 1",
            "errors_total side=requester route= error_type=refused: 1",
            "errors_total side=requester route= error_type=timeout: 1",
            "errors_total side=responder route= error_type=404: 1",
            "errors_total side=responder route= error_type=429: 1",
            "refusals_total side=requester route= status=401: 1",
            "refusals_total side=responder route= status=429: 1",
        ];
        assert_eq!(counters, expected);
        let in_flight = lines.iter().filter(|line| line.contains("in_flight"));
        assert!(in_flight.into_iter().all(|line| line.ends_with(": 0")));
    }

    #[test]
    fn a_requester_hands_over_what_it_dropped() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        with_local_recorder(&recorder, || {
            describe();
            let mut stats = RequesterStats { late: 1, unknown: 3, ..RequesterStats::default() };
            stats.record_metrics();
            (stats.duplicate, stats.unknown, stats.malformed) = (2, 5, 4);
            stats.loops = 1;
            stats.record_metrics();
        });
        let snapshot = snapshotter.snapshot().into_vec();
        assert!(snapshot.iter().all(|(_, _, description, _)| description.is_some()));
        let expected = [
            "answer_loops_total: 1",
            "answers_dropped_total reason=duplicate: 2",
            "answers_dropped_total reason=late: 1",
            "answers_dropped_total reason=malformed: 4",
            "answers_dropped_total reason=unknown: 5",
        ];
        assert_eq!(lines(snapshot), expected);
    }

    #[test]
    fn the_page_has_every_kind_of_error() {
        let (_, kind) = include_str!("../error.rs").split_once("fn kind(").unwrap();
        let body = kind.split("\n    }\n").next().unwrap();
        let kinds: Vec<_> = body.split('"').skip(1).step_by(2).collect();
        assert!(kinds.contains(&RequestError::Timeout.kind()), "{kinds:?}");
        let (_, page) = include_str!("metrics.rs").split_once("//! - `outcome`").unwrap();
        let page = page.split("//! - `reason`").next().unwrap();
        for kind in kinds {
            assert!(page.contains(&format!("`{kind}`")), "{kind}");
        }
    }

    #[test]
    fn a_router_says_the_route() {
        let lines = record(async |_| {
            let router = Router::new().route("soup/{name}", async || ()).layer(MetricsLayer::new());
            for topic in ["soup/miso", "soup/pho"] {
                router.clone().oneshot(Request::new(topic, "").unwrap()).await.unwrap();
            }
        });
        assert_eq!(lines[2], "requests_total side=responder route=soup/{name} outcome=ok: 2");
    }
}

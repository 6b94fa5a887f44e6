//! Which handler answers which topic.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tower::{Layer, Service};

use self::sealed::Complete;
use super::handler::Handler;
use super::into_response::IntoResponse;
use super::route::{Route, RouteFuture};
use crate::core::routes::RouteIndex;
use crate::core::template::TopicTemplate;
use crate::core::topic::TopicFilter;
use crate::error::{RouteError, ServeError};
use crate::message::{Request, Response, Status};

/// Handlers by topic; a tower service.
///
/// Of several routes that match a topic the most specific one answers: level by level from the
/// left, literal text beats a capture of a part of a level, this beats a capture of a whole level,
/// and this beats the rest. The order in which routes are added does not matter. Finding the route
/// does not look at the others.
///
/// # What is subscribed to
///
/// A [responder](super::Responder) subscribes to the [filters](Router::filters) of the routes, but to none
/// whose topics another of them has: a server may send one copy of a request for each subscription that it
/// matches, as Mosquitto does, and each would be handled. Two routes that cross, of which neither has all
/// topics of the other, as `a/{x}/c` and `a/b/{y}`, need both subscriptions. There a request to both,
/// `a/b/c`, is handled once where the server merges the copies, as the hub of this crate does, and
/// else once for each copy. A third route that has the topics of both, `a/{x}/{y}`, makes it one
/// subscription; a [`DedupLayer`](crate::layer::DedupLayer) answers the copy without handling it again.
/// With a [share name](super::ResponderBuilder::share) such routes are refused.
///
/// # State
///
/// `S` is the state that the handlers still miss. A router without one, `Router<()>`, is a service
/// and can be [served](super::ResponderBuilder::serve). Cloning it is cheap.
///
/// Nothing here panics: what is wrong with the routes is returned by
/// [`serve`](super::ResponderBuilder::serve), all of it at once. Called as a service, such a router
/// answers 500.
///
/// ```
/// # use tower::ServiceExt;
/// use tower_mqtt::{Request, Router, responder::extract::{Path, State}};
///
/// async fn list(Path(category): Path<String>, State(kitchen): State<&'static str>) -> String {
///     format!("{category} of {kitchen}")
/// }
///
/// let router = Router::new().route("recipes/{category}/list", list).with_state("north");
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let response = router.oneshot(Request::new("recipes/soup/list", "")?).await?;
/// assert_eq!(response.payload(), "soup of north");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a router does nothing until it is served or called"]
pub struct Router<S = ()> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    routes: Routes<S>,
    fallback: Endpoint<S>,
    /// Made of the above when it is first needed.
    table: OnceLock<Table>,
}

/// A route that waits for its state.
type Endpoint<S> = Arc<dyn Fn(&S) -> Route + Send + Sync>;

/// Each with its template.
type Routes<S> = Vec<(Box<str>, Endpoint<S>)>;

/// What calls are answered with.
struct Table {
    index: RouteIndex<Route>,
    filters: Vec<TopicFilter>,
    errors: Vec<RouteError>,
    fallback: Route,
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without routes.
    pub fn new() -> Self {
        let fallback = async || Status::NOT_FOUND.with_message("no such route");
        let fallback = Route::from_handler(fallback, ());
        Self::from_parts(Vec::new(), Arc::new(move |_| fallback.clone()))
    }

    /// Answers requests to the topics of `template` with `handler`.
    ///
    /// [`TopicTemplate`] says how templates are written: `recipes/{category}/get`,
    /// `machines/{machine}/log/{rest*}`.
    pub fn route<H, T>(self, template: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(
            template,
            Arc::new(move |state: &S| Route::from_handler(handler.clone(), state.clone())),
        )
    }

    /// Answers requests to the topics of `template` with any tower service that cannot fail.
    pub fn route_service<V>(self, template: &str, service: V) -> Self
    where
        V: Service<Request> + Clone + Send + Sync + 'static,
        V::Response: IntoResponse,
        V::Error: Into<Infallible>,
        V::Future: Send,
    {
        let route = Route::from_service(service);
        self.add(template, Arc::new(move |_| route.clone()))
    }

    /// Adds the routes of `other`, each with `prefix` and a `/` before its template.
    ///
    /// The prefix may have captures. The handlers see the whole topic. The fallback of `other` is
    /// not taken over: a router has one.
    ///
    /// ```
    /// # use tower_mqtt::Router;
    /// let recipes = Router::new().route("{category}/list", async || "…");
    /// let router: Router = Router::new().nest("kitchens/{kitchen}/recipes", recipes);
    /// assert_eq!(router.filters().unwrap(), ["kitchens/+/recipes/+/list"]);
    /// ```
    pub fn nest(self, prefix: &str, other: Self) -> Self {
        let (nested, _) = other.into_parts();
        let (mut routes, fallback) = self.into_parts();
        routes.extend(
            nested
                .into_iter()
                .map(|(template, endpoint)| (format!("{prefix}/{template}").into(), endpoint)),
        );
        Self::from_parts(routes, fallback)
    }

    /// Adds the routes of `other`. Its fallback is not taken over: a router has one.
    pub fn merge(self, other: Self) -> Self {
        let (others, _) = other.into_parts();
        let (mut routes, fallback) = self.into_parts();
        routes.extend(others);
        Self::from_parts(routes, fallback)
    }

    /// Answers what no route matches. By default that is 404.
    ///
    /// A responder receives only what its subscriptions match, so this is for the little that they
    /// match beyond the routes: `recipes//get` where the route is `recipes/{category}/get`, or
    /// the parent level of a `{rest*}`.
    pub fn fallback<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let (routes, _) = self.into_parts();
        let fallback = move |state: &S| Route::from_handler(handler.clone(), state.clone());
        Self::from_parts(routes, Arc::new(fallback))
    }

    /// Wraps every route that was added so far, and the fallback.
    ///
    /// A layer that is added later is further outside: it sees the request first. The layered
    /// service cannot fail; what it returns is made into the answer.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_mqtt::Router;
    /// use tower::limit::ConcurrencyLimitLayer;
    ///
    /// let router: Router = Router::new()
    ///     .route("heat", async || "hot")
    ///     .layer(ConcurrencyLimitLayer::new(2)) // two calls at once on each route before it
    ///     .route("state", async || "idle"); // not limited
    /// ```
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Route> + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse,
        <L::Service as Service<Request>>::Error: Into<Infallible>,
        <L::Service as Service<Request>>::Future: Send,
    {
        let layer = Arc::new(layer);
        self.map(|endpoint| {
            let layer = Arc::clone(&layer);
            Arc::new(move |state: &S| endpoint(state).layer(&*layer))
        })
    }

    /// Gives the handlers their state. What is added afterwards may have another one, `S2`.
    pub fn with_state<S2: Clone + Send + Sync + 'static>(self, state: S) -> Router<S2> {
        self.map(|endpoint| {
            let route = endpoint(&state);
            Arc::new(move |_: &S2| route.clone())
        })
    }

    fn add(self, template: &str, endpoint: Endpoint<S>) -> Self {
        let (mut routes, fallback) = self.into_parts();
        routes.push((template.into(), endpoint));
        Self::from_parts(routes, fallback)
    }

    fn map<S2>(self, change: impl Fn(Endpoint<S>) -> Endpoint<S2>) -> Router<S2> {
        let (routes, fallback) = self.into_parts();
        let routes = routes.into_iter().map(|(template, route)| (template, change(route)));
        Router::from_parts(routes.collect(), change(fallback))
    }

    fn into_parts(self) -> (Routes<S>, Endpoint<S>) {
        match Arc::try_unwrap(self.inner) {
            Ok(inner) => (inner.routes, inner.fallback),
            Err(shared) => (shared.routes.clone(), Arc::clone(&shared.fallback)),
        }
    }
}

impl<S> Router<S> {
    fn from_parts(routes: Routes<S>, fallback: Endpoint<S>) -> Self {
        Self { inner: Arc::new(Inner { routes, fallback, table: OnceLock::new() }) }
    }
}

/// `(): StateFor<S>` says that a `Router<S>` misses no state: that `S` is `()`. Only such a router
/// can be served or called.
///
/// It is sealed, and here so that a forgotten [`with_state`](Router::with_state) is explained where
/// a service is asked for.
#[diagnostic::on_unimplemented(
    message = "the router has not been given its state `{S}`",
    label = "this router misses a `{S}`",
    note = "call `.with_state(..)` with a `{S}` after the last `.route(..)` and before the router is \
            served or called"
)]
pub trait StateFor<S>: sealed::Complete<S> {}

impl StateFor<()> for () {}

mod sealed {
    use super::Router;

    pub trait Complete<S> {
        fn complete(router: &Router<S>) -> &Router;
    }

    impl Complete<()> for () {
        fn complete(router: &Router) -> &Router {
            router
        }
    }
}

impl Router {
    /// What reaches the routes; no filter twice. A filter may have topics of another, of which a
    /// [responder](super::Responder) subscribes to the wider one only.
    ///
    /// # Errors
    /// Everything that is wrong with the routes: [`RouteError::Template`] for each template that
    /// cannot be parsed, [`RouteError::Conflict`] for each route whose topics are those of another,
    /// [`RouteError::Empty`] when there is no route at all.
    ///
    /// ```
    /// use tower_mqtt::Router;
    ///
    /// let router: Router = Router::new().route("a/{x", async || ()).route("b", async || ()).route("b", async || ());
    /// assert_eq!(router.filters().unwrap_err().len(), 2);
    /// ```
    pub fn filters(&self) -> Result<Vec<TopicFilter>, Vec<RouteError>> {
        let Table { filters, errors, .. } = self.table();
        match (errors.is_empty(), filters.is_empty()) {
            (false, _) => Err(errors.clone()),
            (true, true) => Err(vec![RouteError::Empty]),
            (true, false) => Ok(filters.clone()),
        }
    }

    fn table(&self) -> &Table {
        self.inner.table.get_or_init(|| Table::new(&self.inner.routes, &self.inner.fallback))
    }
}

impl Table {
    fn new(routes: &[(Box<str>, Endpoint<()>)], fallback: &Endpoint<()>) -> Self {
        let mut index = RouteIndex::new();
        let (mut filters, mut seen, mut errors) = (Vec::new(), HashSet::new(), Vec::new());
        for (text, endpoint) in routes {
            match insert(&mut index, text, endpoint(&())) {
                Ok(filter) if seen.insert(filter.clone()) => filters.push(filter),
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        let mut fallback = fallback(&());
        if !errors.is_empty() {
            let status =
                Status::INTERNAL.with_message(ServeError::Routes(errors.clone()).to_string());
            index = RouteIndex::new();
            fallback = Route::from_handler(async move || status.clone(), ());
        }
        Self { index, filters, errors, fallback }
    }
}

fn insert(
    index: &mut RouteIndex<Route>,
    text: &str,
    route: Route,
) -> Result<TopicFilter, RouteError> {
    let template = TopicTemplate::new(text)
        .map_err(|source| RouteError::Template { template: text.into(), source })?;
    let filter = template.to_filter();
    index.insert(template, route).map_err(|conflict| RouteError::Conflict {
        first: conflict.existing.as_str().into(),
        second: conflict.new.as_str().into(),
    })?;
    Ok(filter)
}

impl<S> Service<Request> for Router<S>
where
    (): StateFor<S>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> RouteFuture {
        let table = <()>::complete(self).table();
        let best = table.index.best(request.topic().as_str());
        let (template, route) =
            best.map_or((None, &table.fallback), |best| (Some(best.template.clone()), best.value));
        request.parts_mut().route = template;
        route.answer(request)
    }
}

impl<S> Clone for Router<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let templates = self.inner.routes.iter().map(|(template, _)| template);
        f.debug_set().entries(templates).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use tower::ServiceExt;
    use tower::layer::layer_fn;
    use tower::util::MapRequestLayer;

    use super::*;
    use crate::responder::extract::{FromRef, Path, State, Topic};

    async fn ask(router: &Router, topic: &str) -> Response {
        let Ok(response) = router.clone().oneshot(Request::new(topic, "").unwrap()).await;
        response
    }

    async fn text(router: &Router, topic: &str) -> Bytes {
        let response = ask(router, topic).await;
        assert!(response.status().is_success(), "{topic}: {}", response.status());
        response.into_payload()
    }

    #[tokio::test]
    async fn the_most_specific_route_answers_whatever_the_order() {
        let templates = ["{any*}", "a/{x}", "a/{x*}", "a/b", "{x}/b", "a/p{x}"];
        for turn in 0..templates.len() {
            let mut router = Router::new();
            for at in 0..templates.len() {
                let template = templates[(turn + at) % templates.len()];
                router = router.route(template, async move || template);
            }
            for (topic, template) in [
                ("a/b", "a/b"),
                ("a/c", "a/{x}"),
                ("a/pear", "a/p{x}"),
                ("a/p", "a/{x}"),
                ("a/b/c", "a/{x*}"),
                ("c/b", "{x}/b"),
                ("c", "{any*}"),
            ] {
                assert_eq!(text(&router, topic).await, template, "{topic}");
            }
        }
    }

    #[tokio::test]
    async fn what_a_filter_matches_beyond_its_route_is_404() {
        let router =
            Router::new().route("recipes/{c}/get", async || "").route("log/{r*}", async || "");
        for topic in ["recipes//get", "log", "log/", "elsewhere"] {
            let response = ask(&router, topic).await;
            assert_eq!(response.status().to_string(), "404 not found: no such route", "{topic}");
        }
        let router = router.fallback(async |Topic(topic): Topic| format!("no {topic}"));
        assert_eq!(text(&router, "recipes//get").await, "no recipes//get");
    }

    #[tokio::test]
    async fn nested_and_merged_routes_keep_their_captures_but_not_their_fallback() {
        let recipes = Router::new()
            .route("{category}/get", async |Path((line, category)): Path<(String, String)>| {
                format!("{line} {category}")
            })
            .fallback(async || "theirs");
        let other = Router::new().route("ping", async || "pong").fallback(async || "theirs");
        let router = Router::new().nest("lines/{line}", recipes).merge(other);
        let router =
            router.nest("x", Router::new().nest("y", Router::new().route("z", async || "deep")));
        assert_eq!(text(&router, "lines/north/soup/get").await, "north soup");
        assert_eq!(text(&router, "ping").await, "pong");
        assert_eq!(text(&router, "x/y/z").await, "deep");
        assert_eq!(ask(&router, "lines//soup/get").await.status().code(), 404);
    }

    #[derive(Clone)]
    struct Kitchen {
        name: &'static str,
    }

    impl FromRef<Kitchen> for &'static str {
        fn from_ref(kitchen: &Kitchen) -> Self {
            kitchen.name
        }
    }

    #[tokio::test]
    async fn states_and_their_parts_reach_handlers_and_fallback() {
        let other = Router::new().route("seven", async |State(n): State<u8>| n.to_string());
        let router = Router::new()
            .route("whole", async |State(kitchen): State<Kitchen>| kitchen.name)
            .route("part", async |State(name): State<&'static str>| name)
            .fallback(async |State(name): State<&'static str>| name)
            .with_state(Kitchen { name: "north" })
            .merge(other)
            .with_state(7);
        for topic in ["whole", "part", "nowhere"] {
            assert_eq!(text(&router, topic).await, "north", "{topic}");
        }
        assert_eq!(text(&router, "seven").await, "7");
    }

    #[tokio::test]
    async fn layers_run_from_the_outside_in_on_what_was_there_before() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| {
            let log = Arc::clone(&log);
            MapRequestLayer::new(move |request: Request| {
                log.lock().unwrap().push(what);
                request
            })
        };
        let router = Router::new()
            .route("first", async || ())
            .layer(note("inner"))
            .route("second", async || ())
            .layer(note("outer"))
            .route("third", async || ())
            .with_state(());
        for (topic, expected) in [
            ("first", &["outer", "inner"][..]),
            ("second", &["outer"]),
            ("third", &[]),
            ("nowhere", &["outer", "inner"]),
        ] {
            ask(&router, topic).await;
            assert_eq!(*std::mem::take(&mut *log.lock().unwrap()), *expected, "{topic}");
        }
    }

    #[tokio::test]
    async fn a_layered_service_may_answer_with_anything_that_is_an_answer() {
        let stub =
            layer_fn(|_: Route| tower::service_fn(async |_: Request| Ok::<_, Infallible>("stub")));
        let router = Router::new().route("a", async || "handler").layer(stub);
        let router = router
            .route_service("b", tower::service_fn(async |_: Request| Ok::<_, Infallible>(())));
        assert_eq!(text(&router, "a").await, "stub");
        assert_eq!(ask(&router, "b").await.status().code(), 204);
    }

    #[tokio::test]
    async fn layers_see_which_route_was_found() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let note = MapRequestLayer::new(move |request: Request| {
            let route = request.parts().route.as_ref().map(|template| template.as_str().to_owned());
            notes.lock().unwrap().push(route);
            request
        });
        let router = Router::new().route("a/{x}", async || ()).layer(note);
        ask(&router, "a/b").await;
        ask(&router, "a/").await;
        assert_eq!(*seen.lock().unwrap(), [Some("a/{x}".to_owned()), None]);
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_reported_at_once() {
        let inner = Router::new().route("{b", async || ()).route("ok", async || ());
        let router = Router::new()
            .route("a/{x}", async || ())
            .route("a/{y}", async || ())
            .route("a/+", async || ())
            .nest("n/{r*}", inner)
            .route("a/{z}", async || ());
        let errors = router.filters().unwrap_err();
        let named: Vec<_> = errors
            .iter()
            .map(|error| match error {
                RouteError::Template { template, .. } => template.to_string(),
                RouteError::Conflict { first, second } => format!("{first} {second}"),
                error => panic!("{error}"),
            })
            .collect();
        assert_eq!(named, ["a/{x} a/{y}", "a/+", "n/{r*}/{b", "n/{r*}/ok", "a/{x} a/{z}"]);
        let status = ask(&router, "a/b").await.status().clone();
        assert_eq!(status.code(), 500);
        assert!(
            named
                .iter()
                .all(|name| status.message().unwrap().contains(name.split(' ').next().unwrap()))
        );
        assert_eq!(Router::<()>::new().filters(), Err(vec![RouteError::Empty]));
    }

    #[cfg(feature = "json")]
    #[tokio::test]
    async fn handlers_read_and_return_json_through_a_stack_of_layers() {
        use crate::responder::extract::{Extension, Json};

        type Book = Arc<Vec<(&'static str, u32)>>;

        #[derive(serde::Deserialize)]
        struct Query {
            name: String,
        }

        async fn get(
            Path(category): Path<String>,
            State(book): State<Book>,
            Extension(unit): Extension<&'static str>,
            Json(q): Json<Query>,
        ) -> Result<Json<(String, u32, &'static str)>, Status> {
            let (_, grams) =
                *book.iter().find(|(name, _)| *name == q.name).ok_or(Status::NOT_FOUND)?;
            Ok(Json((category, grams, unit)))
        }

        let set_unit = MapRequestLayer::new(|mut request: Request| {
            request.parts_mut().extensions.insert("g");
            request
        });
        let limits = tower::ServiceBuilder::new().layer(set_unit).concurrency_limit(1);
        let router: Router = Router::new()
            .route("recipes/{category}/get", get)
            .layer(limits)
            .with_state(Book::new(vec![("miso soup", 300)]));
        for (payload, status, answer) in [
            (r#"{"name":"miso soup"}"#, 200, r#"["soup",300,"g"]"#),
            (r#"{"name":"stew"}"#, 404, ""),
            ("{", 400, ""),
        ] {
            let request = Request::new("recipes/soup/get", payload).unwrap();
            let Ok(response) = router.clone().oneshot(request).await;
            assert_eq!(
                (response.status().code(), &response.payload()[..]),
                (status, answer.as_bytes())
            );
        }
    }

    #[test]
    fn no_filter_comes_twice() {
        let router: Router = Router::new()
            .route("v{n}/x", async || ())
            .route("{n}/x", async || ())
            .route("b/{rest*}", async || ())
            .route("c", async || ());
        assert_eq!(router.filters().unwrap(), ["+/x", "b/#", "c"]);
    }

    #[tokio::test]
    async fn a_clone_is_not_changed_by_what_is_added_to_the_original() {
        let first: Router = Router::new().route("a", async || "a");
        assert_eq!(text(&first, "a").await, "a");
        let second = first.clone().route("b", async || "b");
        assert_eq!(text(&second, "b").await, "b");
        assert_eq!(ask(&first, "b").await.status().code(), 404);
    }

    #[test]
    fn a_router_can_be_shared_between_threads() {
        fn shared<T: Clone + Send + Sync + 'static>() {}
        shared::<Router>();
        shared::<Route>();
    }
}

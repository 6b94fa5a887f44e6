//! Plain async functions as handlers.

use std::future::Future;

use super::extract::{FromRequest, FromRequestParts};
use super::into_response::IntoResponse;
use crate::message::{Request, Response};

/// An async function or closure that answers requests.
///
/// It has up to eight arguments. Each is an [extractor](super::extract), and only the last may take
/// the payload. It returns what [can be made into an answer](IntoResponse), and its future is
/// `Send`. `T` names the arguments and `S` the [router's state](super::Router::with_state); both
/// are inferred.
///
/// ```
/// use tower_mqtt::{Router, Status, responder::extract::Path};
///
/// async fn list(Path(category): Path<String>) -> Result<&'static str, Status> {
///     match &*category {
///         "soup" => Ok("miso soup"),
///         _ => Err(Status::NOT_FOUND.with_message("no such category")),
///     }
/// }
///
/// let router: Router = Router::new().route("recipes/{category}/list", list).route("ping", async || ());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "a handler is an async function or closure with at most 8 arguments; it is `Clone + Send + \
            Sync + 'static`",
    note = "every argument is an extractor, and only the last one may take the payload (`Json`, \
            `Bytes`, `String`, `Request`)",
    note = "the return type implements `IntoResponse`",
    note = "the future is `Send`: nothing that is not `Send` (`Rc`, `RefCell`, a lock's guard) is \
            alive across an `.await`",
    note = "for an argument `State<T>`, `T` is the router's state or a part of it (`FromRef`)"
)]
pub trait Handler<T, S>: Clone + Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handler's own where it stands.
    fn call(self, request: Request, state: S) -> impl Future<Output = Response> + Send;
}

/// Marks, in a handler's `T`, that the last argument takes the payload.
#[derive(Debug)]
pub enum TakesPayload {}

/// Marks, in a handler's `T`, that no argument takes the payload.
#[derive(Debug)]
pub enum LeavesPayload {}

macro_rules! extract_parts {
    ($parts:ident, $state:ident, $($arg:ident)*) => {
        $(
            let $arg = match $arg::from_request_parts(&mut $parts, &$state).await {
                Ok(value) => value,
                Err(rejection) => return rejection.into_response(),
            };
        )*
    };
}

macro_rules! handler {
    ($($arg:ident)*) => {
        #[allow(non_snake_case, reason = "an argument is named as its type parameter")]
        #[allow(unused_mut, unused_variables, reason = "without arguments nothing is extracted")]
        impl<F, Fut, Res, S, $($arg,)*> Handler<(LeavesPayload, $($arg,)*), S> for F
        where
            F: FnOnce($($arg,)*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Res> + Send,
            Res: IntoResponse,
            S: Send + Sync + 'static,
            $($arg: FromRequestParts<S> + Send,)*
        {
            async fn call(self, request: Request, state: S) -> Response {
                let (mut parts, _) = request.into_parts();
                extract_parts!(parts, state, $($arg)*);
                self($($arg,)*).await.into_response()
            }
        }
    };
}

macro_rules! handler_with_payload {
    ($($arg:ident)* | $last:ident) => {
        #[allow(non_snake_case, reason = "an argument is named as its type parameter")]
        #[allow(unused_mut, reason = "with one argument nothing is extracted from the parts")]
        impl<F, Fut, Res, S, $($arg,)* $last> Handler<(TakesPayload, $($arg,)* $last,), S> for F
        where
            F: FnOnce($($arg,)* $last) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Res> + Send,
            Res: IntoResponse,
            S: Send + Sync + 'static,
            $($arg: FromRequestParts<S> + Send,)*
            $last: FromRequest<S> + Send,
        {
            async fn call(self, request: Request, state: S) -> Response {
                let (mut parts, payload) = request.into_parts();
                extract_parts!(parts, state, $($arg)*);
                let request = Request::from_parts(parts, payload);
                let $last = match $last::from_request(request, &state).await {
                    Ok(value) => value,
                    Err(rejection) => return rejection.into_response(),
                };
                self($($arg,)* $last).await.into_response()
            }
        }
    };
}

handler!();
handler!(A);
handler!(A B);
handler!(A B C);
handler!(A B C D);
handler!(A B C D E);
handler!(A B C D E G);
handler!(A B C D E G H);
handler!(A B C D E G H I);
handler_with_payload!(| A);
handler_with_payload!(A | B);
handler_with_payload!(A B | C);
handler_with_payload!(A B C | D);
handler_with_payload!(A B C D | E);
handler_with_payload!(A B C D E | G);
handler_with_payload!(A B C D E G | H);
handler_with_payload!(A B C D E G H | I);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::packet::UserProperties;
    use crate::responder::extract::{Deadline, Extension, State, Topic};

    async fn call<T>(handler: impl Handler<T, u8>, payload: &'static str) -> Response {
        handler.call(Request::new("a/b", payload).unwrap(), 7).await
    }

    #[expect(clippy::too_many_arguments, reason = "as many as a handler may have")]
    async fn everything(
        Topic(topic): Topic,
        State(state): State<u8>,
        Deadline(deadline): Deadline,
        properties: UserProperties,
        missing: Option<Extension<u8>>,
        same: State<u8>,
        Topic(_): Topic,
        payload: Bytes,
    ) -> String {
        assert!(deadline.is_none() && properties.is_empty() && missing.is_none());
        format!("{topic} {state} {} {}", same.0, payload.len())
    }

    #[tokio::test]
    async fn functions_and_closures_with_up_to_eight_arguments_are_handlers() {
        assert_eq!(call(everything, "four").await.payload(), "a/b 7 7 4");
        assert_eq!(call(async || "hello", "").await.payload(), "hello");
        assert_eq!(call(async |text: String| text, "echo").await.payload(), "echo");
        assert_eq!(call(|| async { "hello" }, "").await.payload(), "hello");
        let name = "M7".to_owned();
        let greet = async move |Topic(topic): Topic| format!("{name} {topic}");
        assert_eq!(call(greet, "").await.payload(), "M7 a/b");
    }

    #[tokio::test]
    async fn the_first_rejection_is_the_answer() {
        async fn never(_: Extension<u8>, _: String) {
            unreachable!("an extractor said no");
        }
        async fn text(_: Topic, _: String) {}
        assert_eq!(call(never, "").await.status().code(), 500);
        let invalid = Request::new("a", &b"\xff"[..]).unwrap();
        assert_eq!(text.call(invalid, ()).await.status().code(), 400);
    }
}

//! The router's state.

use std::convert::Infallible;
use std::ops::{Deref, DerefMut};

use super::FromRequestParts;
use crate::message::Parts;

/// What [`Router::with_state`](crate::Router::with_state) was given, or a part of it.
///
/// It is cloned for each request: keep what is large in an `Arc`.
///
/// ```
/// use std::sync::Arc;
/// use tower_mqtt::{Router, responder::extract::State};
///
/// type Book = Arc<Vec<&'static str>>;
///
/// async fn count(State(book): State<Book>) -> String {
///     book.len().to_string()
/// }
///
/// let router: Router = Router::new().route("count", count).with_state(Book::default());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct State<T>(pub T);

/// A part of a state, for handlers that need no more than that.
///
/// Every `Clone` type is a part of itself.
///
/// ```
/// use tower_mqtt::{Router, responder::extract::{FromRef, State}};
///
/// #[derive(Clone)]
/// struct Kitchen {
///     name: &'static str,
///     ovens: usize,
/// }
///
/// impl FromRef<Kitchen> for usize {
///     fn from_ref(kitchen: &Kitchen) -> Self {
///         kitchen.ovens
///     }
/// }
///
/// async fn ovens(State(ovens): State<usize>) -> String {
///     ovens.to_string()
/// }
///
/// let kitchen = Kitchen { name: "north", ovens: 2 };
/// let router: Router = Router::new().route("ovens", ovens).with_state(kitchen);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a part of the router's state `{T}`",
    label = "the router has no such state",
    note = "call `Router::with_state` with a `{Self}`, or implement `FromRef<{T}>` for `{Self}`"
)]
pub trait FromRef<T> {
    /// Copies the part out of the state.
    fn from_ref(state: &T) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> Self {
        state.clone()
    }
}

impl<S: Sync, T: FromRef<S>> FromRequestParts<S> for State<T> {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(T::from_ref(state)))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

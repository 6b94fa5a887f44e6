//! What is in a request's parts.

use std::any::type_name;
use std::convert::Infallible;
use std::time::Instant;

use super::{FromRequestParts, OptionalFromRequestParts};
use crate::core::packet::UserProperties;
use crate::core::topic::TopicName;
use crate::message::Parts;
use crate::responder::rejection::{MissingExtension, NoScope};
use crate::scope::Cancellation;

/// The topic that the request was published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic(pub TopicName);

/// When the caller stops waiting, if it said so. The handler's future is dropped then.
///
/// A [`Requester`](crate::Requester) called in the handler knows it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Option<Instant>);

/// What a layer has put into [`Parts::extensions`]. Without it the answer is 500; an
/// `Option<Extension<T>>` is `None` then.
///
/// ```
/// # use tower::ServiceExt;
/// use tower_mqtt::{Request, Router, responder::extract::Extension};
///
/// #[derive(Clone)]
/// struct Caller(&'static str);
///
/// let router = Router::new()
///     .route("greet", async |Extension(caller): Extension<Caller>| format!("hello {}", caller.0))
///     .layer(tower::util::MapRequestLayer::new(|mut request: Request| {
///         request.parts_mut().extensions.insert(Caller("M7"));
///         request
///     }));
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let response = router.oneshot(Request::new("greet", "")?).await?;
/// assert_eq!(response.payload(), "hello M7");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Extension<T>(pub T);

impl<S: Sync> FromRequestParts<S> for Topic {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.topic.clone()))
    }
}

impl<S: Sync> FromRequestParts<S> for Deadline {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.deadline))
    }
}

impl<S: Sync> FromRequestParts<S> for UserProperties {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.user_properties.clone())
    }
}

impl<S: Sync> FromRequestParts<S> for Parts {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.clone())
    }
}

impl<S: Sync, T: Clone + Send + Sync + 'static> FromRequestParts<S> for Extension<T> {
    type Rejection = MissingExtension;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingExtension> {
        let value = parts.extensions.get::<T>().cloned();
        value.map(Self).ok_or(MissingExtension { type_name: type_name::<T>() })
    }
}

impl<S: Sync, T: Clone + Send + Sync + 'static> OptionalFromRequestParts<S> for Extension<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<T>().cloned().map(Self))
    }
}

impl<S: Sync> FromRequestParts<S> for Cancellation {
    type Rejection = NoScope;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, NoScope> {
        Self::current().ok_or(NoScope)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Cancellation {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Status;
    use crate::scope;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Caller(u8);

    fn parts() -> Parts {
        Parts::new(TopicName::new("recipes/soup/get").unwrap())
    }

    async fn extract<T: FromRequestParts<()>>(mut parts: Parts) -> Result<T, T::Rejection> {
        T::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn parts_are_read_and_stay() {
        let mut parts = parts();
        parts.deadline = Some(Instant::now());
        parts.user_properties.push("unit", "kg");
        let Ok(Topic(topic)) = extract(parts.clone()).await;
        let Ok(Deadline(deadline)) = extract(parts.clone()).await;
        let Ok::<UserProperties, _>(properties) = extract(parts.clone()).await;
        let Ok::<Parts, _>(all) = extract(parts.clone()).await;
        assert_eq!((topic, deadline), (parts.topic, parts.deadline));
        assert_eq!(properties.get("unit"), Some("kg"));
        assert_eq!(all.user_properties, properties);
    }

    #[tokio::test]
    async fn a_missing_extension_is_our_fault() {
        let mut with = parts();
        with.extensions.insert(Caller(7));
        let Extension(caller) = extract::<Extension<Caller>>(with.clone()).await.unwrap();
        assert_eq!(caller, Caller(7));
        let Ok(some) = extract::<Option<Extension<Caller>>>(with).await;
        assert!(some.is_some());
        let Ok(none) = extract::<Option<Extension<Caller>>>(parts()).await;
        assert!(none.is_none());
        let status = Status::from(extract::<Extension<Caller>>(parts()).await.unwrap_err());
        assert_eq!(status.code(), 500);
        assert!(status.message().unwrap().contains("Caller"), "{status}");
    }

    #[tokio::test]
    async fn cancellation_needs_a_scope() {
        let cancellation = scope::enter(None, extract::<Cancellation>(parts())).await.unwrap();
        assert!(cancellation.is_cancelled());
        let Ok(none) = extract::<Option<Cancellation>>(parts()).await;
        assert!(none.is_none());
        let status = Status::from(extract::<Cancellation>(parts()).await.unwrap_err());
        assert_eq!(status.code(), 500);
    }
}

//! Who asks.

use std::convert::Infallible;

use super::{FromRequestParts, OptionalFromRequestParts};
use crate::layer::authorize::Caller;
use crate::message::{Parts, Status};

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Status;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Status> {
        parts.extensions.get::<Self>().cloned().ok_or(Status::UNAUTHORIZED)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::topic::TopicName;

    async fn extract<T: FromRequestParts<()>>(parts: &mut Parts) -> Result<T, T::Rejection> {
        T::from_request_parts(parts, &()).await
    }

    #[tokio::test]
    async fn a_request_without_a_caller_is_refused_unless_it_is_optional() {
        let mut parts = Parts::new(TopicName::new("greet").unwrap());
        assert_eq!(extract::<Caller>(&mut parts).await, Err(Status::UNAUTHORIZED));
        assert_eq!(extract::<Option<Caller>>(&mut parts).await, Ok(None));
        parts.extensions.insert(Caller::new("anna"));
        assert_eq!(extract::<Caller>(&mut parts).await, Ok(Caller::new("anna")));
    }
}

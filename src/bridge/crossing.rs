//! One request on its way from one dialect to another.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Service, ServiceExt};

use crate::core::template::TopicTemplate;
use crate::core::topic::TopicName;
use crate::error::{Delivery, RequestError};
use crate::message::{Parts, Request, Response, Status};

/// The service behind one route of a bridge.
#[derive(Debug, Clone)]
pub(super) struct Crossing<S> {
    requester: S,
    from: TopicTemplate,
    to: TopicTemplate,
}

impl<S> Crossing<S> {
    pub(super) fn new(requester: S, from: TopicTemplate, to: TopicTemplate) -> Self {
        Self { requester, from, to }
    }

    /// The topic to ask on.
    fn topic(&self, topic: &TopicName) -> Result<TopicName, Status> {
        let captures = self.from.capture(topic.as_str()).ok_or(Status::NOT_FOUND)?;
        let place = |name: &str| self.from.names().position(|known| known == name);
        let value = |name: &str| captures.get(topic.as_str(), place(name)?);
        self.to.render(value).map_err(|error| Status::BAD_REQUEST.with_message(error.to_string()))
    }

    /// What is asked, at QoS 1, so that a server can say that nobody is there. Its id is made by
    /// whoever sends it.
    fn request(&self, request: Request) -> Result<Request, Status> {
        let (parts, payload) = request.into_parts();
        let mut asked = Parts::new(self.topic(&parts.topic)?);
        asked.content_type = parts.content_type;
        asked.user_properties = parts.user_properties;
        asked.deadline = parts.deadline;
        Ok(Request::from_parts(asked, payload))
    }
}

impl<S> Service<Request> for Crossing<S>
where
    S: Service<Request, Response = Response, Error = RequestError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    /// Always: the call waits for the requester, until its deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let asked = self.request(request).map(|request| self.requester.clone().oneshot(request));
        Box::pin(async move {
            let answer = match asked {
                Ok(call) => call.await.map_err(status),
                Err(status) => Err(status),
            };
            Ok(answer.unwrap_or_else(Response::error))
        })
    }
}

/// What the caller is told when there is no answer.
fn status(error: RequestError) -> Status {
    match error {
        RequestError::Refused(status) => status,
        RequestError::Timeout => Status::TIMEOUT.with_message("the device has not answered"),
        RequestError::InvalidRequest(what) => Status::BAD_REQUEST.with_message(what.to_string()),
        other if other.delivery() == Delivery::Unknown => {
            Status::BAD_GATEWAY.with_message(other.to_string())
        }
        other => Status::UNAVAILABLE.with_message(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 503 is repeated by whoever retries, as it says that nothing was executed.
    #[test]
    fn only_what_was_not_delivered_is_503() {
        for (error, code) in [
            (RequestError::Disconnected(Delivery::Unknown), 502),
            (RequestError::Disconnected(Delivery::NotDelivered), 503),
            (RequestError::Closed, 502),
            (RequestError::Offline, 503),
            (RequestError::Overloaded, 503),
            (RequestError::Timeout, 408),
            (RequestError::Refused(Status::FORBIDDEN), 403),
        ] {
            assert_eq!(status(error.clone()).code(), code, "{error}");
        }
    }
}

//! The payload as it came, and the whole request.

use std::convert::Infallible;

use bytes::Bytes;

use super::FromRequest;
use crate::message::Request;
use crate::responder::rejection::NotUtf8;

impl<S: Sync> FromRequest<S> for Request {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(request)
    }
}

impl<S: Sync> FromRequest<S> for Bytes {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let (_, payload) = request.into_parts();
        Ok(payload)
    }
}

impl<S: Sync> FromRequest<S> for String {
    type Rejection = NotUtf8;

    async fn from_request(request: Request, _: &S) -> Result<Self, NotUtf8> {
        let (_, payload) = request.into_parts();
        String::from_utf8(payload.into())
            .map_err(|error| NotUtf8 { valid_up_to: error.utf8_error().valid_up_to() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Status;

    async fn extract<T: FromRequest<()>>(payload: &'static [u8]) -> Result<T, T::Rejection> {
        T::from_request(Request::new("t", payload).unwrap(), &()).await
    }

    #[tokio::test]
    async fn the_payload_is_taken_as_it_is() {
        let Ok::<Bytes, _>(bytes) = extract(b"\xff").await;
        assert_eq!(&bytes[..], b"\xff");
        let Ok::<Request, _>(request) = extract(b"\xff").await;
        assert_eq!(&request.payload()[..], b"\xff");
        assert_eq!(extract("größe".as_bytes()).await, Ok("größe".to_owned()));
    }

    #[tokio::test]
    async fn text_is_utf8() {
        let rejection = extract::<String>(b"secret\xff").await.unwrap_err();
        assert_eq!(rejection, NotUtf8 { valid_up_to: 6 });
        let status = Status::from(rejection);
        assert_eq!(status.to_string(), "400 bad request: the payload is not UTF-8 from byte 6 on");
    }

    #[tokio::test]
    async fn a_rejection_can_be_looked_at() {
        let Ok(seen) = extract::<Result<String, NotUtf8>>(b"\xff").await;
        assert_eq!(seen, Err(NotUtf8 { valid_up_to: 0 }));
    }
}

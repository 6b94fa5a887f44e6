//! Bearer tokens: whoever has the token may ask (after RFC 6750).
//!
//! The request carries the user property `authorization: Bearer <token>`. The broker, and everyone
//! whom it lets subscribe to the topic, sees it: use TLS, and topics that others may not read; where
//! that is not to be had, [sign](super::hmac) instead.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::authorize::bearer::{BearerCheck, BearerToken};
//! use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller};
//! use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (a, b) = memory::pair();
//! let check = BearerCheck::tokens([("mF_9.B5f-4.1JqM", Caller::new("anna"))]);
//! let router = Router::new()
//!     .route("greet", async |who: Caller| format!("hello {who}"))
//!     .layer(AuthorizeLayer::new(check));
//! let _responder = Responder::builder(b).serve(router).await?;
//! let requester = Requester::builder(a).build().await?;
//!
//! for (token, code) in [("mF_9.B5f-4.1JqM", 200), ("guessed", 403)] {
//!     let mut client = ServiceBuilder::new()
//!         .layer(AuthorizeLayer::new(BearerToken::new(token)?))
//!         .service(requester.clone());
//!     let response = client.ready().await?.call(Request::new("greet", "")?).await?;
//!     assert_eq!(response.status().code(), code);
//! }
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;

use thiserror::Error;

use super::mac::Key;
use super::{Authorize, Caller};
use crate::message::{Request, Status};

const AUTHORIZATION: &str = "authorization";
const SCHEME: &str = "Bearer ";
const PURPOSE: &str = "tower-mqtt bearer token";

/// Puts a token on each request, in place of one that is there.
#[derive(Clone)]
pub struct BearerToken(String);

/// A token has characters that RFC 6750 §2.1 does not allow, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a token consists of letters, digits and -._~+/, with = at its end")]
#[non_exhaustive]
pub struct InvalidToken;

impl BearerToken {
    /// Shows this token.
    ///
    /// # Errors
    /// [`InvalidToken`] when it has characters that RFC 6750 §2.1 does not allow.
    pub fn new(token: impl AsRef<str>) -> Result<Self, InvalidToken> {
        let token = token.as_ref();
        let body = token.trim_end_matches('=').as_bytes();
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        let is_valid = !body.is_empty() && body.iter().all(allowed);
        is_valid.then(|| Self(format!("{SCHEME}{token}"))).ok_or(InvalidToken)
    }
}

impl Authorize for BearerToken {
    type Future = Ready<Result<Request, Status>>;

    fn authorize(&self, mut request: Request) -> Self::Future {
        request.parts_mut().user_properties.remove(AUTHORIZATION);
        ready(Ok(request.with_user_property(AUTHORIZATION, self.0.clone())))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// Lets a request through whose token is known, and says who has it.
///
/// Without a token, or with more than one, the answer is 401; with a wrong one it is 403. The token
/// is taken out of the request, so that no handler logs it.
#[derive(Clone)]
pub struct BearerCheck {
    find: Arc<Find>,
}

type Find = dyn Fn(&str) -> Option<Caller> + Send + Sync;

impl BearerCheck {
    /// Asks `find` whose token it is. A token that is looked up in a table should be looked up by
    /// its hash: how long a comparison takes tells how much of a guess was right.
    ///
    /// For a check that has to wait, write an async closure around [`token`].
    pub fn new(find: impl Fn(&str) -> Option<Caller> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find) }
    }

    /// Knows these tokens and no others. Each is compared in constant time, whatever its length.
    pub fn tokens<T: AsRef<str>>(tokens: impl IntoIterator<Item = (T, Caller)>) -> Self {
        // Tags under a key that nobody knows are compared, not the tokens: a guess tells nothing
        // about the next.
        let key = Key::random();
        let tag = |token: &str| key.tag(PURPOSE, &[token.as_bytes()]);
        let known: Vec<_> =
            tokens.into_iter().map(|(t, caller)| (tag(t.as_ref()), caller)).collect();
        Self::new(move |token| {
            let fields: &[&[u8]] = &[token.as_bytes()];
            // It goes through all of them, so the time does not tell which one it was.
            known.iter().fold(None, |found, (tag, caller)| {
                if key.verify(PURPOSE, fields, tag) { Some(caller.clone()) } else { found }
            })
        })
    }
}

impl Authorize for BearerCheck {
    type Future = Ready<Result<Request, Status>>;

    fn authorize(&self, mut request: Request) -> Self::Future {
        let caller = match token(&request) {
            None => Err(Status::UNAUTHORIZED.with_message("one bearer token is required")),
            Some(token) => (self.find)(token)
                .ok_or_else(|| Status::FORBIDDEN.with_message("the bearer token is not valid")),
        };
        ready(caller.map(|caller| {
            request.parts_mut().user_properties.remove(AUTHORIZATION);
            request.parts_mut().extensions.insert(caller);
            request
        }))
    }
}

impl fmt::Debug for BearerCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerCheck(..)")
    }
}

/// The request's bearer token; `None` when there is none, or more than one.
///
/// ```
/// use tower_mqtt::Request;
/// use tower_mqtt::layer::authorize::bearer::token;
///
/// let request = Request::new("greet", "")?.with_user_property("authorization", "Bearer mF_9");
/// assert_eq!(token(&request), Some("mF_9"));
/// # Ok::<_, tower_mqtt::InvalidRequest>(())
/// ```
pub fn token(request: &Request) -> Option<&str> {
    let value = super::only(request.parts(), AUTHORIZATION)?;
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    // Schemes are compared without regard to case (RFC 9110 §11.1).
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &'static str) -> Result<Request, Status> {
        let known = [("secret-1", Caller::new("anna")), ("secret-22", Caller::new("bert"))];
        let request = Request::new("a", "").unwrap().with_user_property("authorization", value);
        BearerCheck::tokens(known).authorize(request).into_inner()
    }

    #[test]
    fn each_known_token_has_its_caller_and_is_taken_out() {
        for (value, caller) in [("Bearer secret-1", "anna"), ("bearer secret-22", "bert")] {
            let request = check(value).unwrap();
            assert_eq!(request.parts().extensions.get(), Some(&Caller::new(caller)));
            assert!(request.parts().user_properties.is_empty());
        }
    }

    #[test]
    fn without_a_token_it_is_401_and_with_a_wrong_one_403() {
        for none in ["", "Bearer", "Basic secret-1", "secret-1", "é"] {
            assert_eq!(check(none).unwrap_err().code(), 401, "{none}");
        }
        for wrong in ["Bearer ", "Bearer secret-2", "Bearer secret-11", "Bearer  secret-1"] {
            let status = check(wrong).unwrap_err();
            assert_eq!(status.code(), 403, "{wrong}");
            assert!(!status.to_string().contains("secret"));
        }
        let request = Request::new("a", "").unwrap();
        let twice = request
            .with_user_property("authorization", "Bearer secret-1")
            .with_user_property("authorization", "Bearer secret-1");
        assert_eq!(token(&twice), None);
    }

    #[test]
    fn a_token_replaces_the_one_before_and_is_not_shown() {
        let bearer = BearerToken::new("secret-1").unwrap();
        let request =
            Request::new("a", "").unwrap().with_user_property("authorization", "Bearer old");
        let request = bearer.authorize(request).into_inner().unwrap();
        assert_eq!(token(&request), Some("secret-1"));
        assert!(!format!("{bearer:?}").contains("secret"));
    }

    #[test]
    fn a_token_has_the_characters_of_the_rfc() {
        for valid in ["a", "mF_9.B5f-4.1JqM", "YQ==", "a+b/c~d"] {
            assert!(BearerToken::new(valid).is_ok(), "{valid}");
        }
        for invalid in ["", "=", "a b", "a=b", "a\0", "é"] {
            assert_eq!(BearerToken::new(invalid).unwrap_err(), InvalidToken, "{invalid}");
        }
    }
}

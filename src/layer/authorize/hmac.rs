//! Signed requests: each caller has a secret, and proves with every request that it made this very
//! request just now.
//!
//! # On the wire
//!
//! Three user properties:
//!
//! | name | value |
//! |---|---|
//! | `key-id` | whose key it is |
//! | `timestamp` | when it was signed: milliseconds since 1970, decimal |
//! | `signature` | `v1=` and the base64url form (RFC 4648 §5, no padding) of the tag |
//!
//! The tag is HMAC-SHA256 (RFC 2104) over seven fields, each after its length as 8 bytes in network
//! order: the text `tower-mqtt request signature v1`, key id, timestamp (as its text), topic,
//! response topic, correlation data, payload.
//!
//! *Not* signed: content type, other user properties, QoS, and the deadline. Brokers and retries
//! change some of them; let a handler not trust the others.
//!
//! # Replays
//!
//! A QoS 1 redelivery is byte for byte the signed request, and so is one that an attacker sends
//! again. A check cannot tell them apart, so it does not try: both pass. What makes a replay harmless
//! is *dedup inside*. It knows the pair of response topic and correlation data, joins or repeats
//! the answer when topic and payload are the same, and refuses with 409 when they are not. All of
//! these are signed, so a replay can only lead to an answer that was given already, sent to where it
//! went already.
//!
//! Dedup forgets, and from then on the timestamp protects: what is outside the window is refused.
//! So dedup must remember for as long as a signature may be valid: **twice the window** (a clock may
//! be ahead by one), and longer by the caller's longest timeout when a retry signs each attempt anew.
//! Its default, 5 minutes, is enough for the default window of a minute.
//!
//! # The response topic
//!
//! It is signed, because the answer goes there: else an attacker could have it sent to himself. A
//! layer cannot see which topic a requester was given, so choose one and tell both:
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::authorize::hmac::{HmacSigner, HmacVerifier};
//! use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller, Key};
//! use tower_mqtt::{Request, Requester, Responder, Router, TopicName, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Key::new("of course this is thirty-two bytes")?;
//! let (a, b) = memory::pair();
//!
//! let keys = [("M7".to_owned(), key.clone())].into();
//! let router = Router::new()
//!     .route("greet", async |who: Caller| format!("hello {who}"))
//!     .layer(AuthorizeLayer::new(HmacVerifier::with_keys(keys)));
//! let _responder = Responder::builder(b).serve(router).await?;
//!
//! let answers = TopicName::new("machines/M7/answers")?;
//! let requester = Requester::builder(a).response_topic(answers.clone()).build().await?;
//! let mut client = ServiceBuilder::new()
//!     .layer(AuthorizeLayer::new(HmacSigner::new("M7", key, answers)))
//!     .service(requester);
//! let response = client.ready().await?.call(Request::new("greet", "")?).await?;
//! assert_eq!(response.payload(), "hello M7");
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::clock::{Clock, WINDOW};
use super::mac::{FindKey, Key, from_text, to_text};
use super::{Authorize, Caller, only};
use crate::core::topic::TopicName;
use crate::message::{Request, Status};

const KEY_ID: &str = "key-id";
const TIMESTAMP: &str = "timestamp";
const SIGNATURE: &str = "signature";
const PURPOSE: &str = "tower-mqtt request signature v1";
const VERSION: &str = "v1=";

/// Signs each request, in place of a signature that is there.
///
/// It gives a request without correlation data a fresh one, because that is signed too. Of the same
/// request at the same time it makes the same signature.
#[derive(Debug, Clone)]
pub struct HmacSigner {
    key_id: Arc<str>,
    key: Key,
    response_topic: TopicName,
    clock: Clock,
}

impl HmacSigner {
    /// Signs with the key that the verifier knows under `key_id`. `response_topic` is the one that
    /// the requester was [built with](crate::requester::RequesterBuilder::response_topic).
    pub fn new(key_id: impl AsRef<str>, key: Key, response_topic: TopicName) -> Self {
        Self { key_id: key_id.as_ref().into(), key, response_topic, clock: Clock::default() }
    }

    /// Takes the time from here; the system's clock by default.
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Clock::new(clock), ..self }
    }
}

impl Authorize for HmacSigner {
    type Future = Ready<Result<Request, Status>>;

    fn authorize(&self, mut request: Request) -> Self::Future {
        let parts = request.parts_mut();
        let id = parts.correlation_data.get_or_insert_with(crate::id::fresh).clone();
        let timestamp = self.clock.millis().to_string();
        let response_topic = self.response_topic.as_str();
        let tag =
            self.key.tag(PURPOSE, &fields(&request, &self.key_id, &timestamp, response_topic, &id));
        let properties = &mut request.parts_mut().user_properties;
        for name in [KEY_ID, TIMESTAMP, SIGNATURE] {
            properties.remove(name);
        }
        properties.push(KEY_ID, self.key_id.to_string());
        properties.push(TIMESTAMP, timestamp);
        properties.push(SIGNATURE, format!("{VERSION}{}", to_text(&tag)));
        ready(Ok(request))
    }
}

/// Lets a request through that is signed with the key of its caller, and not long ago.
///
/// | the request | answer |
/// |---|---|
/// | is not signed, or in a way that cannot be read | 401 |
/// | has no correlation data or no response topic | 400 |
/// | is signed by a key that is not known, or was changed | 403, the same for both |
/// | is signed, but outside the time window | 403, which says so |
///
/// The key id becomes the [`Caller`].
#[derive(Clone)]
pub struct HmacVerifier {
    find: Arc<FindKey>,
    /// Takes the place of a key that is not known, so that both take the same time.
    nobody: Key,
    window: Duration,
    clock: Clock,
}

impl HmacVerifier {
    /// Asks `find` for the key of a key id. It is asked for whatever a stranger sends, on the path
    /// of a request: let it look into memory.
    pub fn new(find: impl Fn(&str) -> Option<Key> + Send + Sync + 'static) -> Self {
        Self {
            find: Arc::new(find),
            nobody: Key::random(),
            window: WINDOW,
            clock: Clock::default(),
        }
    }

    /// Knows these keys by their ids.
    pub fn with_keys(keys: HashMap<String, Key>) -> Self {
        Self::new(move |key_id| keys.get(key_id).cloned())
    }

    /// How far the timestamp may be from now, before or after.
    ///
    /// 60 s by default: more than clocks set by NTP need, with time left for a request that waits in
    /// a broker or is sent again after a reconnect. It is rejected before its caller gives up when
    /// the caller waits longer than that.
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// Takes the time from here; the system's clock by default.
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Clock::new(clock), ..self }
    }

    fn verify(&self, request: &Request) -> Result<Caller, Status> {
        let parts = request.parts();
        let unsigned = || Status::UNAUTHORIZED.with_message("the request must be signed");
        let key_id = only(parts, KEY_ID).ok_or_else(unsigned)?;
        let timestamp = only(parts, TIMESTAMP).ok_or_else(unsigned)?;
        let millis: u64 = timestamp.parse().map_err(|_| unsigned())?;
        let signature = only(parts, SIGNATURE).and_then(|text| text.strip_prefix(VERSION));
        let tag: [u8; 32] = signature.and_then(from_text).ok_or_else(unsigned)?;
        let (Some(id), Some(topic)) = (&parts.correlation_data, &parts.response_topic) else {
            let needed = "a signed request has correlation data and a response topic";
            return Err(Status::BAD_REQUEST.with_message(needed));
        };

        let found = (self.find)(key_id);
        let key = found.as_ref().unwrap_or(&self.nobody);
        let fields = fields(request, key_id, timestamp, topic.as_str(), id);
        let is_valid = key.verify(PURPOSE, &fields, &tag);
        if !is_valid || found.is_none() {
            return Err(Status::FORBIDDEN.with_message("the signature is not valid"));
        }
        // Only one who has the key is told how the clock stands.
        if !self.clock.is_near(millis, self.window) {
            return Err(Status::FORBIDDEN.with_message("signed outside the time window"));
        }
        Ok(Caller::new(key_id))
    }
}

impl Authorize for HmacVerifier {
    type Future = Ready<Result<Request, Status>>;

    fn authorize(&self, mut request: Request) -> Self::Future {
        ready(self.verify(&request).map(|caller| {
            request.parts_mut().extensions.insert(caller);
            request
        }))
    }
}

impl fmt::Debug for HmacVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacVerifier").field("window", &self.window).finish_non_exhaustive()
    }
}

fn fields<'a>(
    request: &'a Request,
    key_id: &'a str,
    timestamp: &'a str,
    response_topic: &'a str,
    correlation_data: &'a [u8],
) -> [&'a [u8]; 6] {
    [
        key_id.as_bytes(),
        timestamp.as_bytes(),
        request.topic().as_str().as_bytes(),
        response_topic.as_bytes(),
        correlation_data,
        request.payload(),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn at(millis: u64) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        move || UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn key(byte: u8) -> Key {
        Key::new([byte; 32]).unwrap()
    }

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    /// Signed by M7, as it arrives.
    fn signed(payload: &'static str) -> Request {
        let signer = HmacSigner::new("M7", key(7), topic("machines/M7/answers")).clock(at(NOW));
        let request = Request::new("oven/heat", payload).unwrap().correlation_data("id");
        let mut request = signer.authorize(request).into_inner().unwrap();
        request.parts_mut().response_topic = Some(topic("machines/M7/answers"));
        request
    }

    fn verify_at(request: Request, now: u64) -> Result<Request, Status> {
        let keys = [("M7".to_owned(), key(7)), ("M8".to_owned(), key(8))].into();
        HmacVerifier::with_keys(keys).clock(at(now)).authorize(request).into_inner()
    }

    fn code(request: Request) -> u16 {
        verify_at(request, NOW).map_or_else(|status| status.code(), |_| 200)
    }

    fn set(request: &mut Request, name: &'static str, value: &str) {
        request.parts_mut().user_properties.remove(name);
        request.parts_mut().user_properties.push(name, value.to_owned());
    }

    #[test]
    fn a_signed_request_is_let_through_any_number_of_times() {
        let request = signed("200 °C");
        for _ in 0..3 {
            let request = verify_at(request.clone(), NOW).unwrap();
            assert_eq!(request.parts().extensions.get(), Some(&Caller::new("M7")));
        }
        let (one, other) = (signed("x"), signed("x"));
        assert_eq!(one.parts().user_properties, other.parts().user_properties, "byte for byte");
    }

    #[test]
    fn whatever_is_signed_cannot_be_changed() {
        type Change = fn(&mut Request);
        let changes: [(&str, Change); 7] = [
            ("topic", |r| r.parts_mut().topic = topic("oven/off")),
            ("id", |r| r.parts_mut().correlation_data = Some("ie".into())),
            ("response topic", |r| r.parts_mut().response_topic = Some(topic("mine"))),
            ("payload", |r| *r = Request::from_parts(r.parts().clone(), "900 °C".into())),
            ("key of another", |r| set(r, KEY_ID, "M8")),
            ("key of nobody", |r| set(r, KEY_ID, "M9")),
            ("time", |r| set(r, TIMESTAMP, "1800000000001")),
        ];
        for (what, change) in changes {
            let mut request = signed("200 °C");
            change(&mut request);
            let status = verify_at(request, NOW).unwrap_err();
            assert_eq!(status.to_string(), "403 forbidden: the signature is not valid", "{what}");
        }
        // A byte that moves over the border of topic and payload is a change too.
        let mut request = signed("");
        request.parts_mut().topic = topic("oven/hea");
        assert_eq!(code(Request::from_parts(request.into_parts().0, "t".into())), 403);
    }

    #[test]
    fn what_is_not_signed_is_401() {
        assert_eq!(code(Request::new("oven/heat", "").unwrap()), 401);
        for (name, values) in [
            (TIMESTAMP, &["", "now", "-1", "99999999999999999999"][..]),
            (SIGNATURE, &["", "v1=", "v2=AAAA", "v1=!"]),
        ] {
            for value in values {
                let mut request = signed("");
                set(&mut request, name, value);
                assert_eq!(code(request), 401, "{name} {value}");
            }
        }
        for name in [KEY_ID, TIMESTAMP, SIGNATURE] {
            let twice = signed("").with_user_property(name, "x");
            assert_eq!(code(twice), 401, "{name} twice");
        }
        let mut request = signed("");
        request.parts_mut().correlation_data = None;
        assert_eq!(code(request), 400);
    }

    #[test]
    fn the_window_has_two_ends() {
        for (now, is_let_through) in [
            (NOW - 60_001, false),
            (NOW - 60_000, true),
            (NOW + 60_000, true),
            (NOW + 60_001, false),
            (0, false),
        ] {
            let verdict = verify_at(signed("x"), now);
            assert_eq!(verdict.is_ok(), is_let_through, "{now}");
            if let Err(status) = verdict {
                assert_eq!(status.message(), Some("signed outside the time window"));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_dedup_inside_a_replay_repeats_the_answer_and_executes_nothing() {
        use tower::ServiceExt;

        use crate::layer::{AuthorizeLayer, DedupLayer};
        use crate::responder::Router;

        let executed = Arc::new(AtomicU32::new(0));
        let heat = {
            let executed = Arc::clone(&executed);
            async move || {
                tokio::task::yield_now().await; // the second copy comes meanwhile
                (executed.fetch_add(1, Ordering::Relaxed) + 1).to_string()
            }
        };
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = Arc::clone(&now);
        let verifier = HmacVerifier::with_keys([("M7".to_owned(), key(7))].into())
            .clock(move || at(clock.load(Ordering::Relaxed))());
        let router = Router::new()
            .route("oven/heat", heat)
            .layer(DedupLayer::default())
            .layer(AuthorizeLayer::new(verifier));
        let ask = async |request| {
            let Ok(response) = router.clone().oneshot(request).await;
            (response.status().code(), response.into_payload())
        };

        let (first, again) = tokio::join!(ask(signed("200 °C")), ask(signed("200 °C")));
        assert_eq!((&*first.1, &*again.1), (&b"1"[..], &b"1"[..]), "joined");
        assert_eq!(ask(signed("200 °C")).await, (200, "1".into()), "repeated");
        assert_eq!(ask(signed("210 °C")).await.0, 409, "the id is used");
        now.store(NOW + 60_001, Ordering::Relaxed);
        assert_eq!(ask(signed("200 °C")).await.0, 403, "outside the window");
        assert_eq!(executed.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_signer_stamps_an_id_where_none_is_and_signs_an_attempt_anew() {
        let signer = HmacSigner::new("M7", key(7), topic("r")).clock(at(NOW));
        let first = signer.authorize(Request::new("a", "").unwrap()).into_inner().unwrap();
        assert_eq!(first.parts().correlation_data.as_ref().unwrap().len(), 16);
        let later = signer.clock(at(NOW + 90_000));
        let mut second = later.authorize(first.clone()).into_inner().unwrap();
        assert_eq!(second.parts().correlation_data, first.parts().correlation_data);
        second.parts_mut().response_topic = Some(topic("r"));
        assert!(verify_at(second, NOW + 90_000).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn nothing_from_the_wire_panics(
            key_id in "M7|\\PC{0,8}", timestamp in "[0-9]{0,21}|\\PC{0,8}", signature in "(v1=)?[A-Za-z0-9_=-]{0,45}",
        ) {
            let mut request = signed("x");
            set(&mut request, KEY_ID, &key_id);
            set(&mut request, TIMESTAMP, &timestamp);
            set(&mut request, SIGNATURE, &signature);
            proptest::prop_assert!(verify_at(request, NOW).is_err());
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let signer = HmacSigner::new("M7", Key::new("a very secret secret").unwrap(), topic("r"));
        assert!(!format!("{signer:?} {:?}", HmacVerifier::new(|_| None)).contains("secret"));
    }
}

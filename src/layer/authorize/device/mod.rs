//! Devices that prove who they are: the answer counts only when it comes from the device that was
//! asked, and is the answer to this very request.
//!
//! The case is a server that unlocks a door. A broker's user name says that *some* device may publish
//! on a topic. It does not say that lock 7 has opened, and not lock 8, or a laptop, or last week's
//! recording. Each device shares a [`Key`] with the server, and with it:
//!
//! - the server's [`ChallengeLayer`] writes, for each request, correlation data that only it can make
//!   for this device;
//! - the device's [`ProofLayer`] refuses every request whose correlation data is not that, and
//!   signs its answer;
//! - the `ChallengeLayer` accepts the answer only when the signature is right.
//!
//! # On the wire
//!
//! Correlation data of the request, which the answer repeats as MQTT 5 has it:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 16 | request id: a ULID, whose first 6 bytes are the time in milliseconds |
//! | 32 | challenge: the tag of device id, request id, topic, response topic and payload |
//! | the rest | device id, UTF-8, 1 to 64 bytes |
//!
//! User properties of the answer:
//!
//! | name | value |
//! |---|---|
//! | `device-id` | who answers |
//! | `device-proof` | `v1=`, the request id, `.`, and the tag of correlation data, topic of the request, status, status message and payload; both parts in base64url (RFC 4648 §5, no padding) |
//!
//! A tag is HMAC-SHA256 under the device's key over the listed fields, in this order, each after its
//! length as 8 bytes in network order. Before them, in the same way, comes the purpose:
//! `tower-mqtt device challenge v1` or `tower-mqtt device proof v1`. So a challenge sent back is no
//! proof.
//!
//! # What it withstands
//!
//! An attacker who reads and writes every topic, and may hold other devices with their keys:
//!
//! | attack | what happens |
//! |---|---|
//! | another device answers | [`ProofError::WrongDevice`]; [`Mismatch`](ProofError::Mismatch) when it lies about its name |
//! | an earlier answer is sent again for a later request | [`ProofError::OtherRequest`]; `Mismatch` when it lies about the request |
//! | payload or status of an answer is changed | [`ProofError::Mismatch`] |
//! | an answer after the deadline | the call has ended with [`Timeout`](crate::RequestError::Timeout); the answer is [counted](crate::requester::RequesterStats::late) |
//! | a second answer | dropped and counted; the first one counts |
//! | a made up or changed request | the device refuses it, 403 |
//! | an earlier request is sent again | repeats the answer while [dedup](crate::layer::dedup) inside the `ProofLayer` remembers it, and is refused, 403, once its id is outside the time window |
//!
//! # What it does not
//!
//! - It hides nothing: topics, device ids and payloads can be read. Use TLS.
//! - Who can drop or delay messages can keep a door from opening. Who can publish to the response
//!   topic can make a call *fail*, by being faster with an answer that is not accepted.
//! - After an answer that is not accepted, and after a timeout, nobody knows whether the door has
//!   opened. Both say so: [`Delivery::Unknown`](crate::Delivery::Unknown).
//! - Who has the device's key is the device. Who has the server's store of keys is every device.
//! - Without dedup a request can be executed again for as long as the window lasts. A device that has
//!   just started remembers nothing, so let it refuse requests from before its start, by a window
//!   no longer than starting takes.
//! - A device without a clock sets the window to [`Duration::MAX`](std::time::Duration::MAX), and then
//!   dedup's memory is all that it has.
//! - The user properties and the content type of an answer are not signed.
//!
//! # The response topic
//!
//! It is part of the challenge. Otherwise a recorded request with another response topic would be a
//! new one for dedup, and would open the door once more. A layer cannot see which topic a requester
//! was given, so choose one and tell both.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::authorize::Key;
//! use tower_mqtt::layer::authorize::device::{ChallengeLayer, Device, ProofLayer};
//! use tower_mqtt::{Request, Requester, Responder, Router, TopicName, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Key::new("of course this is thirty-two bytes")?;
//! let (server, lock) = memory::pair();
//!
//! let router = Router::new()
//!     .route("locks/7/unlock", async || "unlocked")
//!     .layer(ProofLayer::new("lock-7", key.clone()));
//! let _responder = Responder::builder(lock).serve(router).await?;
//!
//! let answers = TopicName::new("server/answers")?;
//! let requester = Requester::builder(server).response_topic(answers.clone()).build().await?;
//! let mut client = ServiceBuilder::new()
//!     .layer(ChallengeLayer::new(answers, move |device| (device == "lock-7").then(|| key.clone())))
//!     .service(requester);
//!
//! let mut request = Request::new("locks/7/unlock", "")?;
//! request.parts_mut().extensions.insert(Device::new("lock-7"));
//! assert_eq!(client.ready().await?.call(request).await?.payload(), "unlocked");
//! # Ok(())
//! # }
//! ```

mod challenge;
mod proof;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

pub use self::challenge::{Challenge, ChallengeFuture, ChallengeLayer};
pub use self::proof::{Proof, ProofFuture, ProofLayer};
use super::mac::{Key, from_text, to_text};
use crate::core::topic::TopicName;
use crate::message::{Request, Response, Status};

const CHALLENGE: &str = "tower-mqtt device challenge v1";
const PROOF: &str = "tower-mqtt device proof v1";
const DEVICE_ID: &str = "device-id";
const DEVICE_PROOF: &str = "device-proof";
const VERSION: &str = "v1=";

/// Bytes of a device id at most: a longer one is a mistake, and correlation data should stay short.
const LONGEST_ID: usize = 64;

/// The device that a request is for. Put it into the request's
/// [extensions](crate::message::Parts::extensions).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device(Arc<str>);

impl Device {
    /// The device of this id, of 1 to 64 bytes. A request for another is refused.
    pub fn new(id: impl AsRef<str>) -> Self {
        Self(id.as_ref().into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an answer is not accepted. The request may have been executed all the same.
///
/// A call ends with [`RequestError::Layer`](crate::RequestError::Layer); the reason is inside:
///
/// ```
/// use tower_mqtt::RequestError;
/// use tower_mqtt::error::LayerError;
/// use tower_mqtt::layer::authorize::device::ProofError;
///
/// fn reason(error: &RequestError) -> Option<&ProofError> {
///     match error {
///         RequestError::Layer(error) => error.get_ref().downcast_ref(),
///         _ => None,
///     }
/// }
/// # let error = RequestError::Layer(LayerError::new(ProofError::Mismatch));
/// # assert_eq!(reason(&error), Some(&ProofError::Mismatch));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It carries no proof that can be read. So do the answers that a device, or its responder,
    /// gives to what it does not take for a request of the server.
    #[error("the answer ({status}) carries no proof of which device it is from")]
    Missing {
        /// The status of the answer. It is no more certain than the rest of it.
        status: Status,
    },
    /// It is from another device, by its own words.
    #[error("another device answered")]
    WrongDevice,
    /// It was made for another request, by its own words: a replay.
    #[error("the answer was made for another request")]
    OtherRequest,
    /// The proof is not that of this device for this answer: something was changed, or somebody
    /// else made it.
    #[error("the proof does not match the answer")]
    Mismatch,
}

/// What a request's correlation data says.
struct Token<'a> {
    request_id: &'a [u8; 16],
    challenge: &'a [u8; 32],
    device: &'a str,
}

impl<'a> Token<'a> {
    fn parse(correlation_data: &'a [u8]) -> Option<Self> {
        let (&[version], rest) = correlation_data.split_first_chunk::<1>()?;
        let (request_id, rest) = rest.split_first_chunk::<16>()?;
        let (challenge, device) = rest.split_first_chunk::<32>()?;
        let device = std::str::from_utf8(device).ok()?;
        let is_valid = version == 1 && (1..=LONGEST_ID).contains(&device.len());
        is_valid.then_some(Self { request_id, challenge, device })
    }

    fn write(request_id: &[u8; 16], challenge: &[u8; 32], device: &str) -> Bytes {
        [&[1][..], request_id, challenge, device.as_bytes()].concat().into()
    }

    /// When the request was made: milliseconds since 1970.
    fn millis(&self) -> u64 {
        self.request_id[..6].iter().fold(0, |millis, byte| millis << 8 | u64::from(*byte))
    }
}

fn challenge_fields<'a>(
    request: &'a Request,
    device: &'a str,
    request_id: &'a [u8; 16],
    response_topic: &'a TopicName,
) -> [&'a [u8]; 5] {
    [
        device.as_bytes(),
        request_id,
        request.topic().as_str().as_bytes(),
        response_topic.as_str().as_bytes(),
        request.payload(),
    ]
}

/// What is signed of an answer, and of the request that it belongs to.
struct Signed<'a> {
    correlation_data: &'a [u8],
    topic: &'a TopicName,
    response: &'a Response,
}

impl Signed<'_> {
    fn with_fields<T>(&self, work: impl FnOnce(&[&[u8]]) -> T) -> T {
        let status = self.response.status();
        work(&[
            self.correlation_data,
            self.topic.as_str().as_bytes(),
            &status.code().to_be_bytes(),
            status.message().unwrap_or_default().as_bytes(),
            self.response.payload(),
        ])
    }

    fn prove(&self, key: &Key, request_id: &[u8; 16]) -> String {
        let tag = self.with_fields(|fields| key.tag(PROOF, fields));
        format!("{VERSION}{}.{}", to_text(request_id), to_text(&tag))
    }

    fn check(&self, key: &Key) -> Result<(), ProofError> {
        let token = Token::parse(self.correlation_data).ok_or(ProofError::Mismatch)?;
        let missing = || ProofError::Missing { status: self.response.status().clone() };
        let properties = self.response.user_properties();
        let device = properties.get(DEVICE_ID).ok_or_else(missing)?;
        let proof = properties.get(DEVICE_PROOF).and_then(|text| text.strip_prefix(VERSION));
        let (request_id, tag) = proof.and_then(|text| text.split_once('.')).ok_or_else(missing)?;
        let request_id: [u8; 16] = from_text(request_id).ok_or_else(missing)?;
        let tag: [u8; 32] = from_text(tag).ok_or_else(missing)?;
        // What an answer says of itself only gives a better reason: the tag alone decides.
        if device != token.device {
            return Err(ProofError::WrongDevice);
        }
        if request_id != *token.request_id {
            return Err(ProofError::OtherRequest);
        }
        let is_right = self.with_fields(|fields| key.verify(PROOF, fields, &tag));
        if is_right { Ok(()) } else { Err(ProofError::Mismatch) }
    }
}

#[cfg(test)]
mod tests;

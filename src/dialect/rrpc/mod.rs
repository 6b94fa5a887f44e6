//! The dialects of clouds whose devices find the id of a request in its topic, or in its JSON.
//!
//! Every dialect is for both sides: a [`Requester`](crate::Requester) asks the vendor's devices with it,
//! and a [`Responder`](crate::Responder) is such a device.
//!
//! # What is written where
//!
//! | dialect | address | request to | answer to | id | timeout |
//! |---|---|---|---|---|---|
//! | [`aliyun::system`] | `{product}/{device}` | `/sys/{product}/{device}/rrpc/request/{id}` | `/sys/{product}/{device}/rrpc/response/{id}` | a number below 2⁶³ | 8 s (1–8 s) |
//! | [`aliyun::custom`] | `{product}/{device}/{topic*}` | `/ext/rrpc/{id}/{product}/{device}/{topic*}` | the same | a number below 2⁶³ | 8 s (1–8 s) |
#![cfg_attr(
    feature = "json",
    doc = "| [`aliyun::thing_service`] | `{product}/{device}/{service}` | `/ext/rrpc/{id}/sys/{product}/{device}/thing/service/{service}` | the same | a number below 2⁶³, in the JSON as well | 8 s (1–8 s) |
| …[`over_system_topics`](aliyun::ThingService::over_system_topics) | `{product}/{device}/{service}` | as [`aliyun::system`], the service is in the JSON | as [`aliyun::system`] | a number below 2⁶³, in the JSON as well | 8 s (1–8 s) |"
)]
//! | [`tencent::rrpc`] | `{product}/{device}` | `$rrpc/rxd/{product}/{device}/{id}` | `$rrpc/txd/{product}/{device}/{id}` | 10000–65535, lent | 4 s |
//! | [`tencent::explorer`] | `{product}/{device}` | `$iotrrpc/down/{product}/{device}/{id}` | `$iotrrpc/up/{product}/{device}/{id}` | 10000–65535, lent | 4 s |
#![cfg_attr(
    feature = "json",
    doc = "| [`tencent::client_token`] | any topic | the address | the same, or [another](tencent::ClientToken::replies_on) | 26 characters, in the JSON | 4 s |"
)]
//! | [`azure_direct_methods`] | `{method}` | `$iothub/methods/POST/{method}/?$rid={id}` | `$iothub/methods/res/{status}/?$rid={id}` | 26 characters | 30 s |
//! | [`huawei_commands`] | `{device}` | `$oc/devices/{device}/sys/commands/request_id={id}` | `$oc/devices/{device}/sys/commands/response/request_id={id}` | 26 characters | 20 s |
//! | [your own](super::template#your-own) | as you say | as you say | as you say | as you say | as you say |
//!
//! # What is carried, and what becomes of the rest
//!
//! | dialect | payload | how it went | deadline | user properties, content type |
//! |---|---|---|---|---|
//! | [`aliyun::system`], [`aliyun::custom`], [`tencent::rrpc`], [`tencent::explorer`], [`huawei_commands`] | any bytes | a failure is silence | the default | dropped |
#![cfg_attr(
    feature = "json",
    doc = "| [`aliyun::thing_service`] | JSON | Alink `code` and `message` | the default | dropped |
| [`tencent::client_token`] | asks with a JSON object, answers with any bytes | a failure is silence | the default | dropped |"
)]
//! | [`azure_direct_methods`] | any bytes | a level of the topic, without a message | the default | dropped |
//!
//! - **Silence.** Where a dialect has no place for a status, a responder says nothing instead of a
//!   success that is none, and counts it as [`unsaid`](crate::responder::ResponderStats::unsaid); the
//!   caller times out. That goes for refusals of layers, too.
//! - **Deadlines.** A request has a Message Expiry Interval where the server speaks MQTT 5. A responder
//!   takes what is left of it as its deadline, and never more than the dialect's default.
//! - **User properties** are not sent: credentials, signatures and trace contexts do not reach the other
//!   side, and a layer there that needs them refuses. A broker's rules for topics protect such devices.
//! - **Retries.** A retry is another request, with an id of its own, and the device executes it again: ask
//!   again only for what does no harm when it is done twice. (Not with `client_token`: an attempt there
//!   keeps its token.)
//! - **QoS.** Answers go out at QoS 0, which is all that the vendors accept; those of
//!   [`huawei_commands`] with the QoS of the request.
//!
//! [`Dialect::carries`](super::Dialect::carries) says the same to programs.
//!
//! # Quirks of devices
//!
//! | what devices do | seen with | what to do |
//! |---|---|---|
//! | answer overlapping calls on the id of the last one | Tencent's SDKs for Python and C, Aliyun's for Node | ask each device [one thing at a time](crate::requester::RequesterBuilder::one_in_flight). An Alink id is right even then, and `ThingService` pairs by it |
//! | answer twice | any, at QoS 1 | nothing: the second answer is dropped and counted as [`duplicate`](crate::requester::RequesterStats::duplicate) |
//! | keep digits of a longer id | Tencent's SDK for C | nothing: all ids have five digits ([`IdFormat::Short`](super::IdFormat::Short)) |
//! | answer on the topic of the request | [`aliyun::custom`], `ThingService`, `ClientToken` | nothing: both sides subscribe with No Local and tell a request from an answer. A device that speaks MQTT 3.1.1 cannot do the former, and may hear itself |
//! | never subscribe | Aliyun with `ext=1`: `ThingService` | let them connect to a hub, which [pushes](super::Addressee::pushed); for other dialects see [`Template::pushed`](super::Template::pushed) |
//! | answer for others behind them, on their topics | gateways | nothing over a broker. A hub knows whom a client answers for by its topics, and before it has subscribed by `hub::Identity::device` |
//! | take an Alink id only as text | Aliyun's SDK for Python | nothing: `ThingService` writes it so |
//! | take and give JSON only | Tencent's SDK for Python | ask with JSON, and expect `"ok"` with its quotes |
//! | cut a message id off at 31 bits | an old SDK of Aliyun's for C | ask with [`IdFormat::Decimal`](super::IdFormat::Decimal) of 31 bits |
//! | write two slashes behind the id | Aliyun's sample for Android | nothing: it is read, and answered byte for byte |
//!
//! Where ids are short they come round again, so a [`DedupLayer`](crate::layer::DedupLayer) in front of a
//! responder must not remember answers for longer than a call takes; a [`Bridge`](crate::bridge::Bridge)
//! sees to that itself.
//!
//! [`azure_direct_methods`]: super::template::azure_direct_methods
//! [`huawei_commands`]: super::template::huawei_commands

pub mod aliyun;
#[cfg(feature = "json")]
mod json;
pub mod tencent;

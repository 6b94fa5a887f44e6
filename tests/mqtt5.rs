//! A conformance kit for a server of MQTT 5: Request / Response (§4.10), and what it stands on.
//!
//! Each file of `mqtt5/` begins with a table of clauses and the test that holds a server to them. A test
//! speaks to the hub, and where mosquitto has the same to fulfil, to mosquitto, so that the kit itself
//! is held to a second server. Clauses are told in our own words; the numbers are those of the standard.
//! `mqtt5/coverage.md` lists them all.
#![cfg(feature = "ntex")]

#[macro_use]
#[path = "mqtt5/clauses.rs"]
mod clauses;
#[path = "mqtt5/connecting.rs"]
mod connecting;
#[path = "mqtt5/coverage.rs"]
mod coverage;
#[path = "mqtt5/declined.rs"]
mod declined;
#[path = "mqtt5/flow.rs"]
mod flow;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "mqtt5/publishing.rs"]
mod publishing;
#[path = "support/raw.rs"]
mod raw;
#[path = "mqtt5/request_response.rs"]
mod request_response;
#[path = "mqtt5/server.rs"]
mod server;
#[path = "mqtt5/sessions.rs"]
mod sessions;
#[path = "mqtt5/sharing.rs"]
mod sharing;
#[path = "mqtt5/subscribing.rs"]
mod subscribing;
#[path = "mqtt5/wills.rs"]
mod wills;

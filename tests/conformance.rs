//! The tables under `tests/conformance`: what each dialect reads and writes, byte for byte, and what it
//! refuses. Every row is shown by the codec, by a requester or a responder to whom somebody else
//! speaks over the in-memory network, and by a bridge in the responder's place.
//!
//! | a row with | says |
//! |---|---|
//! | `ask` | what a requester `sends`; what it `gets` when this `answer` comes; or why it is `refused` |
//! | `receives` | what a handler gets, what it `returns` and what the responder `answers`; or why the request is `malformed` |
//! | `route` | what a responder subscribes to |
//! | `peers` | what a requester subscribes to |
//!
//! Bytes are text, `{"hex"}`, `{"times", "of"}`, or a list of these, one behind the other.
#![cfg(feature = "json")]

#[path = "conformance/codec.rs"]
mod codec;
#[path = "conformance/network.rs"]
mod network;
#[path = "conformance/properties.rs"]
mod properties;
#[path = "conformance/spoken.rs"]
mod spoken;
mod support;
#[path = "conformance/table.rs"]
mod table;

use self::table::{Row, Table};

macro_rules! tables {
    ($($name:ident)+) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            run(include_str!(concat!("conformance/", stringify!($name), ".json"))).await;
        })+
    };
}

tables! {
    native
    aliyun_system
    aliyun_custom
    aliyun_service
    aliyun_service_over_system_topics
    tencent
    tencent_explorer
    tencent_client_token
    azure
    huawei
}

async fn run(text: &str) {
    let Table { dialect, route, rows } = serde_json::from_str(text).expect("a table");
    let spoken = spoken::called(&dialect);
    for row in rows {
        let dialect = &*spoken.dialect;
        match row {
            Row::Asks(row) => {
                codec::asks(dialect, &row);
                network::asks(&spoken, &row).await;
            }
            Row::Serves(row) => {
                codec::serves(dialect, &row);
                if !row.codec_only {
                    network::serves(&spoken, &route, &row).await;
                    network::crosses(&spoken, &route, &row).await;
                }
            }
            Row::Subscribes(row) => codec::subscribes(dialect, &row),
            Row::Listens(row) => codec::listens(dialect, &row),
        }
    }
}

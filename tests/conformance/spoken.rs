//! The dialects by name.

use std::sync::Arc;

use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::{Dialect, Native, template};
use tower_mqtt::requester::RequesterBuilder;
use tower_mqtt::responder::ResponderBuilder;

pub(crate) struct Spoken {
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) asking: fn(RequesterBuilder) -> RequesterBuilder,
    pub(crate) answering: fn(ResponderBuilder) -> ResponderBuilder,
}

macro_rules! spoken {
    ($dialect:expr) => {
        Spoken {
            dialect: Arc::new($dialect),
            asking: |builder| builder.dialect($dialect),
            answering: |builder| builder.dialect($dialect),
        }
    };
}

pub(crate) const NAMES: [&str; 10] = [
    "native",
    "aliyun-system",
    "aliyun-custom",
    "aliyun-service",
    "aliyun-service over system topics",
    "tencent",
    "tencent-explorer",
    "tencent-client-token",
    "azure-direct-methods",
    "huawei-commands",
];

pub(crate) fn called(name: &str) -> Spoken {
    match name {
        "native" => spoken!(Native::new()),
        "aliyun-system" => spoken!(aliyun::system()),
        "aliyun-custom" => spoken!(aliyun::custom()),
        "aliyun-service" => spoken!(aliyun::thing_service()),
        "aliyun-service over system topics" => {
            spoken!(aliyun::thing_service().over_system_topics())
        }
        "tencent" => spoken!(tencent::rrpc()),
        "tencent-explorer" => spoken!(tencent::explorer()),
        "tencent-client-token" => spoken!(tencent::client_token()),
        "azure-direct-methods" => spoken!(template::azure_direct_methods()),
        "huawei-commands" => spoken!(template::huawei_commands()),
        other => panic!("no dialect is called {other}"),
    }
}

//! The dialects by name.

use std::sync::Arc;

use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::{Dialect, IdFormat, Native, template};
use tower_mqtt::requester::RequesterBuilder;
use tower_mqtt::responder::ResponderBuilder;

use crate::support::filter;

pub(crate) struct Spoken {
    /// As a program has it.
    pub(crate) dialect: Arc<dyn Dialect>,
    /// As a requester has it who chooses its ids itself.
    pub(crate) asking: fn(RequesterBuilder) -> RequesterBuilder,
    pub(crate) answering: fn(ResponderBuilder) -> ResponderBuilder,
}

macro_rules! spoken {
    ($dialect:expr) => {
        spoken!($dialect, $dialect)
    };
    ($dialect:expr, $with_own_ids:expr) => {
        Spoken {
            dialect: Arc::new($dialect),
            asking: |builder| builder.dialect($with_own_ids),
            answering: |builder| builder.dialect($dialect),
        }
    };
}

/// One of those that leave the choice to the caller.
const OWN: IdFormat = IdFormat::UlidText;

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
        "aliyun-system" => spoken!(aliyun::system(), aliyun::system().ids(OWN)),
        "aliyun-custom" => spoken!(aliyun::custom(), aliyun::custom().ids(OWN)),
        "aliyun-service" => spoken!(aliyun::thing_service(), aliyun::thing_service().ids(OWN)),
        "aliyun-service over system topics" => {
            spoken!(
                aliyun::thing_service().over_system_topics(),
                aliyun::thing_service().over_system_topics().ids(OWN)
            )
        }
        "tencent" => spoken!(tencent::rrpc(), tencent::rrpc().ids(OWN)),
        "tencent-explorer" => spoken!(tencent::explorer(), tencent::explorer().ids(OWN)),
        "tencent-client-token" => Spoken {
            // It must not listen to everything.
            asking: |builder| {
                builder.dialect(tencent::client_token()).peers(filter("KL4J2TEST1/#"))
            },
            ..spoken!(tencent::client_token())
        },
        "azure-direct-methods" => spoken!(template::azure_direct_methods()),
        "huawei-commands" => spoken!(template::huawei_commands()),
        other => panic!("no dialect is called {other}"),
    }
}

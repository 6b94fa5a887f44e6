//! The dialects by the names that they have on the command line.

use std::sync::Arc;

use clap::ValueEnum;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::{Dialect, Native};

/// How requests and answers are written on topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectName {
    /// MQTT 5: Response Topic and Correlation Data
    Native,
    /// RRPC of Aliyun over system topics
    AliyunSystem,
    /// RRPC of Aliyun over custom topics
    AliyunCustom,
    /// A synchronous service of a thing of Aliyun's: JSON
    AliyunService,
    /// RRPC of Tencent IoT Hub
    Tencent,
}

impl DialectName {
    /// The dialect of this name.
    pub(crate) fn dialect(self) -> Arc<dyn Dialect> {
        match self {
            Self::Native => Arc::new(Native::new()),
            Self::AliyunSystem => Arc::new(aliyun::system()),
            Self::AliyunCustom => Arc::new(aliyun::custom()),
            Self::AliyunService => Arc::new(aliyun::thing_service()),
            Self::Tencent => Arc::new(tencent::rrpc()),
        }
    }
}

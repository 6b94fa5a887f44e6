//! What devices speak.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::dialect;
use crate::dialect::Native;
use crate::dialect::rrpc::aliyun;
use crate::dialect::rrpc::tencent;

/// What devices speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// Aliyun's RRPC.
    Aliyun,
    /// Tencent's RRPC of IoT Hub.
    Tencent,
    /// Tencent's RRPC of IoT Explorer.
    TencentExplorer,
    /// MQTT 5, on `devices/{product}/{device}`.
    Native,
}

impl Dialect {
    pub(super) const ALL: [Self; 4] =
        [Self::Aliyun, Self::Tencent, Self::TencentExplorer, Self::Native];

    /// As a file has it: `aliyun`, `tencent`, `tencent-explorer` or `native`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Tencent => "tencent",
            Self::TencentExplorer => "tencent-explorer",
            Self::Native => "native",
        }
    }

    /// How long a call waits when neither the caller nor the [product](super::Product::timeout) says.
    pub fn default_timeout(self) -> Duration {
        self.on_the_wire().default_timeout()
    }

    /// What can be chosen as timeout.
    pub fn timeouts(self) -> RangeInclusive<Duration> {
        self.on_the_wire().timeouts()
    }

    /// What a device itself is asked in.
    fn on_the_wire(self) -> Box<dyn dialect::Dialect> {
        match self {
            Self::Aliyun => Box::new(aliyun::system()),
            Self::Tencent => Box::new(tencent::rrpc()),
            Self::TencentExplorer => Box::new(tencent::explorer()),
            Self::Native => Box::new(Native::new()),
        }
    }
}

//! The dialects, and what the checks have to know of each.

use std::sync::Arc;
use std::time::Duration;

use tower_mqtt::Qos;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::template::{Lines, Template};
use tower_mqtt::dialect::{Dialect, IdFormat, Native};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Native,
    NativeText,
    Template,
    TemplateWithStatus,
    AliyunSystem,
    AliyunCustom,
    AliyunService,
    AliyunServiceOverSystem,
    Tencent,
    /// Tencent's topics, with so few ids that they come round all the time.
    FewIds,
}

/// Longer than any answer can be late.
pub const QUARANTINE: Duration = Duration::from_secs(30);

impl Speaks {
    pub const ALL: [Self; 9] = [
        Self::Native,
        Self::NativeText,
        Self::Template,
        Self::TemplateWithStatus,
        Self::AliyunSystem,
        Self::AliyunCustom,
        Self::AliyunService,
        Self::AliyunServiceOverSystem,
        Self::Tencent,
    ];

    pub fn dialect(self) -> Arc<dyn Dialect> {
        let template = |name, response| {
            let lines = Lines { address: "x/{device}", request: "x/{device}/ask/{id}", response };
            Template::new(name, lines).expect("the lines are right")
        };
        match self {
            Self::Native => Arc::new(Native::new()),
            Self::NativeText => Arc::new(Native::new().text_ids()),
            Self::Template => Arc::new(template("template", "x/{device}/tell/{id}")),
            Self::TemplateWithStatus => {
                Arc::new(template("template-with-status", "x/{device}/say/{status}/{id}"))
            }
            Self::AliyunSystem => Arc::new(aliyun::system()),
            Self::AliyunCustom => Arc::new(aliyun::custom()),
            Self::AliyunService => Arc::new(aliyun::thing_service()),
            Self::AliyunServiceOverSystem => Arc::new(aliyun::thing_service().over_system_topics()),
            Self::Tencent => Arc::new(tencent::rrpc()),
            Self::FewIds => Arc::new(tencent::rrpc().ids(IdFormat::Short {
                first: 10_000,
                last: 10_003,
                quarantine: QUARANTINE,
            })),
        }
    }

    /// The address of a device, which is also its route.
    pub fn address(self, device: &str) -> String {
        match self {
            Self::Native | Self::NativeText => format!("n/{device}/act"),
            Self::Template | Self::TemplateWithStatus => format!("x/{device}"),
            Self::AliyunSystem | Self::Tencent | Self::FewIds => format!("p/{device}"),
            Self::AliyunCustom => format!("p/{device}/user/act"),
            Self::AliyunService | Self::AliyunServiceOverSystem => format!("p/{device}/act"),
        }
    }

    pub fn is_native(self) -> bool {
        matches!(self, Self::Native | Self::NativeText)
    }

    fn is_aliyun(self) -> bool {
        matches!(
            self,
            Self::AliyunSystem
                | Self::AliyunCustom
                | Self::AliyunService
                | Self::AliyunServiceOverSystem
        )
    }

    pub fn has_few_ids(self) -> bool {
        self == Self::FewIds
    }

    pub fn carries_status(self) -> bool {
        self.dialect().carries().status
    }

    /// Whether all attempts of a retry have one id.
    pub fn keeps_ids(self) -> bool {
        matches!(self.dialect().id_format(), IdFormat::Ulid | IdFormat::UlidText)
    }

    pub fn can_share(self) -> bool {
        !self.dialect().answers_on_request_topic()
    }

    /// Milliseconds that a call may be given.
    pub fn timeouts(self) -> &'static [u64] {
        if self.is_aliyun() {
            &[1000, 1200, 2000, 5000, 8000]
        } else {
            &[1, 5, 50, 100, 200, 500, 1000, 2000, 4000]
        }
    }

    pub fn qualities(self) -> &'static [Qos] {
        if self.is_native() || matches!(self, Self::Template | Self::TemplateWithStatus) {
            &[Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::AtMostOnce]
        } else {
            &[Qos::AtLeastOnce, Qos::AtMostOnce]
        }
    }
}

//! The options that `call` and `device` share: which device is meant, and how it is spoken to.

use std::sync::Arc;

use clap::Args;
use tower_mqtt::TopicName;
use tower_mqtt::dialect::Dialect;
use tower_mqtt::dialect::rrpc::aliyun;

use super::dialect::DialectName;

/// Which device, at which broker.
#[derive(Debug, Args)]
pub(crate) struct Peer {
    /// The broker or hub between caller and device
    #[arg(long, value_name = "mqtt://HOST:PORT", default_value = "mqtt://127.0.0.1:1883")]
    pub(crate) broker: String,
    /// How requests and answers are written on topics
    #[arg(long, value_enum, default_value_t = DialectName::Native)]
    pub(crate) dialect: DialectName,
    /// The product of the device
    #[arg(long)]
    pub(crate) product: Option<String>,
    /// The name of the device
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// native: the topic, instead of PRODUCT/DEVICE; aliyun-custom: what follows PRODUCT/DEVICE/,
    /// "user/get" by default
    #[arg(long)]
    topic: Option<String>,
    /// aliyun-service: the service's identifier, "echo" by default
    #[arg(long)]
    service: Option<String>,
    /// aliyun-service: 1, the default, for a device that takes services on extended topics; 0 for
    /// one that takes them on system topics
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) ext: Option<u8>,
}

impl Peer {
    /// Who is asked, and for what: the topic of the request, and the route that answers it.
    pub(crate) fn address(&self) -> Result<TopicName, String> {
        self.check()?;
        let address = match (self.dialect, &self.topic) {
            (DialectName::Native, Some(topic)) => topic.clone(),
            (DialectName::Native | DialectName::AliyunSystem | DialectName::Tencent, _) => {
                self.device_address()?
            }
            (DialectName::AliyunCustom, topic) => {
                let device = format!("{}/", self.device_address()?);
                let topic = topic.as_deref().unwrap_or("user/get");
                let topic = topic.strip_prefix('/').unwrap_or(topic);
                device.clone() + topic.strip_prefix(&device).unwrap_or(topic)
            }
            (DialectName::AliyunService, _) => {
                let service = self.service.as_deref().unwrap_or("echo");
                format!("{}/{}", self.device_address()?, level("service", service)?)
            }
        };
        TopicName::new(&*address).map_err(|error| format!("{address:?} is not a topic: {error}"))
    }

    /// The dialect that the device speaks.
    pub(crate) fn dialect(&self) -> Arc<dyn Dialect> {
        if self.ext == Some(0) {
            return Arc::new(aliyun::thing_service().over_system_topics());
        }
        self.dialect.dialect()
    }

    /// `{product}/{device}`
    fn device_address(&self) -> Result<String, String> {
        match (&self.product, &self.device) {
            (Some(product), Some(device)) => {
                Ok(format!("{}/{}", level("product", product)?, level("device", device)?))
            }
            _ if self.dialect == DialectName::Native => {
                Err("say --product and --device, or --topic".to_owned())
            }
            _ => Err("say --product and --device".to_owned()),
        }
    }

    /// Refuses options that have no meaning together.
    fn check(&self) -> Result<(), String> {
        let is_service = self.dialect == DialectName::AliyunService;
        let has_topic = matches!(self.dialect, DialectName::Native | DialectName::AliyunCustom);
        if self.topic.is_some() && !has_topic {
            return Err("--topic is for the dialects native and aliyun-custom".to_owned());
        }
        if self.service.is_some() && !is_service {
            return Err("--service is for the dialect aliyun-service".to_owned());
        }
        if self.ext.is_some() && !is_service {
            return Err("--ext is for the dialect aliyun-service".to_owned());
        }
        Ok(())
    }
}

/// One level of a topic.
fn level<'a>(what: &str, text: &'a str) -> Result<&'a str, String> {
    if text.is_empty() || text.contains(['/', '+', '#']) {
        return Err(format!("a {what} is not empty, and has no /, + or #"));
    }
    Ok(text)
}

//! The dialects of clouds whose devices find the id of a request in its topic.

pub mod aliyun;
#[cfg(feature = "json")]
mod json;
pub mod tencent;

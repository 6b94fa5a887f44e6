//! Who a request is from.

use std::fmt;
use std::sync::Arc;

/// Who a request is from, as an [authorize layer](super) has verified it.
///
/// It is an extractor. Without a layer that sets it the answer is 401; an `Option<Caller>` is `None`.
/// It travels in [`Parts::extensions`](crate::message::Parts::extensions), which a sender cannot
/// write.
///
/// ```
/// use tower_mqtt::layer::authorize::Caller;
///
/// async fn greet(caller: Caller) -> String {
///     format!("hello {caller}")
/// }
/// # let _: tower_mqtt::Router = tower_mqtt::Router::new().route("greet", greet);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller(Arc<str>);

impl Caller {
    /// The caller of this name.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

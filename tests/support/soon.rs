//! The end of patience.

use std::future::Future;
use std::time::Duration;

/// Nothing that a test waits for takes longer.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("it happens soon")
}

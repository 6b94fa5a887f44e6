//! The hook for a memory outside the process.

use std::future::Future;
use std::pin::Pin;

use crate::message::{Request, Response, Status};

/// A memory of requests that several processes share: a table in a database, a key-value server.
///
/// The layer asks it only about requests that its own memory does not know, so each execution costs
/// one `claim` and one `settle`, and a copy that comes to the same process costs neither.
///
/// It decides what the layer cannot know: how long a claim lasts when the process that made it dies
/// (an execution that is dropped is not settled either), and what happens when the store cannot be
/// reached. After a claim has lapsed a copy executes again, so no store makes the execution itself
/// happen exactly once; a handler that must, writes its effect and the answer in one transaction.
///
/// Both futures are `'static`: take from the request what they need. What makes two requests the
/// same is their response topic and correlation data, and then topic and payload must be equal.
///
/// ```
/// use std::collections::HashMap;
/// use std::collections::hash_map::Entry;
/// use std::sync::{Arc, Mutex};
/// use tower_mqtt::layer::dedup::{Claim, DedupStore, StoreFuture};
/// use tower_mqtt::layer::DedupLayer;
/// use tower_mqtt::{Request, Response, Status, TopicName};
///
/// type Key = (Option<TopicName>, Option<bytes::Bytes>);
///
/// fn key(request: &Request) -> Key {
///     let parts = request.parts();
///     (parts.response_topic.clone(), parts.correlation_data.clone())
/// }
///
/// /// In place of a database: `None` while a process executes the request.
/// #[derive(Clone, Default)]
/// struct Table(Arc<Mutex<HashMap<Key, Option<Response>>>>);
///
/// impl DedupStore for Table {
///     fn claim(&self, request: &Request) -> StoreFuture<Claim> {
///         let (rows, key) = (Arc::clone(&self.0), key(request));
///         Box::pin(async move {
///             match rows.lock().unwrap().entry(key) {
///                 Entry::Vacant(row) => {
///                     row.insert(None);
///                     Claim::Execute
///                 }
///                 Entry::Occupied(row) => match row.get() {
///                     Some(answer) => Claim::Answered(answer.clone()),
///                     None => Claim::Refuse(Status::UNAVAILABLE),
///                 },
///             }
///         })
///     }
///
///     fn settle(&self, request: &Request, answer: &Response) -> StoreFuture<()> {
///         let (rows, key, answer) = (Arc::clone(&self.0), key(request), answer.clone());
///         Box::pin(async move {
///             let mut rows = rows.lock().unwrap();
///             match answer.status().code() {
///                 503 | 429 => drop(rows.remove(&key)),
///                 _ => drop(rows.insert(key, Some(answer))),
///             }
///         })
///     }
/// }
///
/// let layer = DedupLayer::default().store(Table::default());
/// # drop(layer);
/// ```
pub trait DedupStore: Send + Sync + 'static {
    /// Claims a request for execution by this process.
    fn claim(&self, request: &Request) -> StoreFuture<Claim>;

    /// A request that was claimed has this answer; it is sent when the future is done. An answer
    /// with 503 or 429 means that it was not executed: release the claim.
    fn settle(&self, request: &Request, answer: &Response) -> StoreFuture<()>;
}

/// What a [`DedupStore`] returns.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a [`DedupStore`] says to a claim.
#[derive(Debug, Clone)]
pub enum Claim {
    /// The request is new: execute it.
    Execute,
    /// It was answered before, with this.
    Answered(Response),
    /// Neither: 503 when another process is executing it or the store cannot be reached, 409 when
    /// another request has used its correlation data.
    Refuse(Status),
}

//! TLS: who is trusted, and who one is. [`ClientTls`] is for the [`Client`](crate::link::Client).
//!
//! It is made by rustls with ring, whatever else a program that uses this crate has chosen for
//! itself: TLS 1.2 and 1.3, and nothing older.

mod client;
mod error;
mod pem;

pub use self::client::ClientTls;
pub use self::error::TlsError;

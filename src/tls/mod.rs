//! TLS: who is trusted, and who one is. [`ClientTls`] is for the [`Client`](crate::link::Client),
//! [`ServerTls`] for a listener of the [`Hub`](crate::Hub).
//!
//! It is made by rustls with ring, whatever else a program that uses this crate has chosen for
//! itself: TLS 1.2 and 1.3, and nothing older.

mod certificate;
mod client;
mod error;
mod pem;
mod server;

pub use self::certificate::PeerCertificate;
pub use self::client::ClientTls;
pub use self::error::TlsError;
pub use self::server::{ClientCertificates, ServerTls, ServerTlsBuilder, ServerTlsError};

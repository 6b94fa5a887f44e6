//! Why TLS could not be agreed on, in words instead of rustls' types.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use thiserror::Error as ThisError;

use super::pem::PemError;

/// Why TLS could not be agreed on with a server.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TlsError {
    /// Nobody who is trusted has signed the server's certificate: another authority has, or the
    /// server does not send the certificates between the two.
    #[error(
        "the issuer of the server's certificate is unknown: no trusted authority has signed it"
    )]
    UnknownIssuer,
    /// The server's certificate is valid no longer; or this machine's clock is wrong.
    #[error("the server's certificate has expired")]
    Expired,
    /// The server's certificate is not valid yet; or this machine's clock is wrong.
    #[error("the server's certificate is not valid yet")]
    NotValidYet,
    /// The server's certificate was revoked.
    #[error("the server's certificate was revoked")]
    Revoked,
    /// The server's certificate is for other names.
    #[error("the server's certificate is not for {wanted}, but for {}", list(.presented))]
    WrongName {
        /// The host of the address, or what
        /// [`ClientTls::server_name`](super::ClientTls::server_name) said.
        wanted: Box<str>,
        /// The names in the certificate.
        presented: Vec<Box<str>>,
    },
    /// Something else is wrong with the server's certificate; the text says what.
    #[error("the server's certificate cannot be accepted: {0}")]
    Certificate(Box<str>),
    /// The server accepts only clients with a certificate, and this one has shown none.
    #[error("the server wants a client certificate")]
    CertificateRequired,
    /// The server does not accept this client's certificate; the text is its TLS alert.
    #[error("the server does not accept the client's certificate: {0}")]
    CertificateRefused(Box<str>),
    /// The server speaks neither TLS 1.2 nor 1.3.
    #[error("there is no common version: the server speaks neither TLS 1.2 nor 1.3")]
    NoCommonVersion,
    /// The server ended the handshake; the text is its TLS alert. Common reasons for a
    /// `HandshakeFailure`: there is no common cipher suite, or it wants a client certificate.
    #[error("the server ended the handshake: {0}")]
    Refused(Box<str>),
    /// What came back is not TLS: it may be the port for plain MQTT.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The peer closed the connection instead of an answer. One that does not speak TLS may do
    /// so: it may be the port for plain MQTT.
    #[error("the peer closed the connection during the handshake: it may not speak TLS")]
    Closed,
    /// A file or a setting of this side cannot be used; the text says which, and what was expected.
    #[error("{0}")]
    Setting(Box<str>),
    /// The handshake failed otherwise; the text says how.
    #[error("{0}")]
    Handshake(Box<str>),
}

impl TlsError {
    /// What failed when this ended a connection; `None` when it was not TLS.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?.downcast_ref::<Error>()?;
        Some(Self::of_rustls(inner))
    }

    /// In our words. No `From`, which would make rustls' types a part of the public API.
    pub(super) fn of_rustls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::AlertReceived(alert) => alerted(*alert),
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::NoCommonVersion,
            error => Self::Handshake(error.to_string().into()),
        }
    }

    /// What failed when this ended the handshake.
    pub(crate) fn of_handshake(error: &io::Error) -> Self {
        Self::of(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Handshake(error.to_string().into()),
        })
    }

    /// Whether it stays so until somebody changes something, here or there.
    pub(crate) fn is_hopeless(&self) -> bool {
        !matches!(self, Self::Closed | Self::NotTls | Self::Handshake(_))
    }
}

impl From<PemError> for TlsError {
    fn from(error: PemError) -> Self {
        Self::Setting(error.to_string().into())
    }
}

fn certificate(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::NotValidYet
        }
        CertificateError::Revoked => TlsError::Revoked,
        CertificateError::NotValidForNameContext { expected, presented } => TlsError::WrongName {
            wanted: expected.to_str().into(),
            presented: presented.iter().map(|name| readable(name)).collect(),
        },
        error => TlsError::Certificate(error.to_string().into()),
    }
}

/// The name in what webpki writes: `DnsName("broker.local")` or `IpAddress(127.0.0.1)`.
fn readable(presented: &str) -> Box<str> {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').into()
}

fn alerted(alert: AlertDescription) -> TlsError {
    let text = || format!("{alert:?}").into();
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            TlsError::CertificateRequired
        }
        AlertDescription::ProtocolVersion => TlsError::NoCommonVersion,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => TlsError::CertificateRefused(text()),
        _ => TlsError::Refused(text()),
    }
}

fn list(names: &[Box<str>]) -> String {
    if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn says_what_failed() {
        let wrong_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("broker.local").expect("a name"),
            presented: vec!["DnsName(\"other.local\")".into(), "IpAddress(127.0.0.1)".into()],
        };
        let table = [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "issuer"),
            (Error::InvalidCertificate(CertificateError::Expired), "has expired"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "not valid yet"),
            (Error::InvalidCertificate(CertificateError::Revoked), "revoked"),
            (
                Error::InvalidCertificate(wrong_name),
                "not for broker.local, but for other.local, 127.0.0.1",
            ),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "wants a client"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "does not accept the client's"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "no common version"),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), "HandshakeFailure"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS"),
        ];
        for (error, expected) in table {
            let text = TlsError::of(&io::Error::other(error)).expect("of TLS").to_string();
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(TlsError::of(&io::Error::from(io::ErrorKind::BrokenPipe)), None);
    }
}

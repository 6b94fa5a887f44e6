//! Certificates and keys as PEM (RFC 7468): from a file, which may change, or from memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, fs};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// Where PEM is read from, each time that it is needed.
#[derive(Clone)]
pub(crate) enum Pem {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

/// What is wrong with PEM: where it is, and what was expected there.
#[derive(Debug, Clone, Error)]
#[error("{place}: {problem}")]
pub(crate) struct PemError {
    place: Box<str>,
    problem: Box<str>,
}

impl Pem {
    /// All certificates, at least one, in their order.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let text = self.read()?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => {
                Err(self.wrong("it holds no certificate: a PEM block CERTIFICATE is expected"))
            }
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.unreadable("a certificate", &error)),
        }
    }

    /// The first private key.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        let text = self.read()?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => self.wrong(
                "it holds no private key: a PEM block PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE \
                 KEY is expected, not encrypted",
            ),
            error => self.unreadable("a private key", &error),
        })
    }

    fn read(&self) -> Result<Arc<[u8]>, PemError> {
        match self {
            Self::File(path) => {
                fs::read(path).map(Into::into).map_err(|error| self.wrong(&error.to_string()))
            }
            Self::Memory(text) => Ok(Arc::clone(text)),
        }
    }

    fn unreadable(&self, expected: &str, error: &pem::Error) -> PemError {
        // Without the error's text: it may show a line of a key.
        let problem = match error {
            pem::Error::MissingSectionEnd { .. } => "a PEM block has no end",
            pem::Error::IllegalSectionStart { .. } => "a PEM block has no proper beginning",
            _ => "a PEM block is not base64",
        };
        self.wrong(&format!("{problem} where {expected} is expected"))
    }

    fn wrong(&self, problem: &str) -> PemError {
        PemError { place: self.to_string().into(), problem: problem.into() }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory(_) => f.write_str("the PEM text"),
        }
    }
}

/// Shows no key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(text: &str) -> Pem {
        Pem::Memory(text.as_bytes().into())
    }

    #[test]
    fn says_where_and_what_was_expected_and_shows_no_key() {
        let begun = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n";
        let table = [
            (Pem::File("/nowhere/ca.pem".into()), "/nowhere/ca.pem: No such file"),
            (memory(""), "the PEM text: it holds no certificate"),
            (memory("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"), "not base64"),
            (memory("-----BEGIN CERTIFICATE-----\nAAAA\n"), "a PEM block has no end"),
        ];
        for (pem, expected) in table {
            let error = pem.certificates().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        for (text, expected) in [("", "it holds no private key"), (begun, "has no end")] {
            let error = memory(text).private_key().expect_err(expected).to_string();
            assert!(error.contains(expected) && !error.contains("c2VjcmV0"), "{error}");
        }
        assert!(!format!("{:?}", memory(begun)).contains("c2VjcmV0"));
    }
}

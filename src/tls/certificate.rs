//! What a verified certificate says of its owner.

use std::fmt;
use std::sync::Arc;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// A certificate that a client has shown, and that was verified: one of the listener's
/// [client authorities](super::ServerTlsBuilder::client_authorities) has signed it, and the client has
/// its key.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificate(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    der: Box<[u8]>,
    serial: Box<[u8]>,
    common_name: Option<Box<str>>,
    dns_names: Vec<Box<str>>,
    uris: Vec<Box<str>>,
}

impl PeerCertificate {
    /// `None` when it cannot be read.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
        let alternative = certificate.subject_alternative_name().ok()?;
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).into()),
                GeneralName::URI(uri) => uris.push((*uri).into()),
                _ => {}
            }
        }
        Some(Self(Arc::new(Parts {
            der: der.into(),
            serial: certificate.raw_serial().into(),
            common_name: common_name(certificate.subject()),
            dns_names,
            uris,
        })))
    }

    /// The common name of its subject, when there is exactly one, it is text, and has no control
    /// characters.
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }

    /// The DNS names among its Subject Alternative Names (RFC 5280 §4.2.1.6).
    pub fn dns_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.dns_names.iter().map(|name| &**name)
    }

    /// The URIs among its Subject Alternative Names, such as SPIFFE IDs.
    pub fn uris(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.uris.iter().map(|uri| &**uri)
    }

    /// Its serial number, as its issuer has chosen it: big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The whole certificate, for all that is not said here.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }
}

fn common_name(subject: &X509Name<'_>) -> Option<Box<str>> {
    let mut names = subject.iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let name = name.as_str().ok()?;
    (!name.is_empty() && !name.contains(char::is_control)).then(|| name.into())
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("common_name", &self.0.common_name)
            .field("dns_names", &self.0.dns_names)
            .field("uris", &self.0.uris)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn read(names: &[&str], alternative: Vec<SanType>) -> PeerCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternative;
        let key = KeyPair::generate().unwrap();
        PeerCertificate::read(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn names_are_read() {
        let alternative = vec![
            SanType::DnsName("lamp.example".try_into().unwrap()),
            SanType::URI("spiffe://home/lamp".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        let certificate = read(&["lämp"], alternative);
        assert_eq!(certificate.common_name(), Some("lämp"));
        assert_eq!(certificate.dns_names().collect::<Vec<_>>(), ["lamp.example"]);
        assert_eq!(certificate.uris().collect::<Vec<_>>(), ["spiffe://home/lamp"]);
        assert!(!certificate.serial().is_empty());
    }

    #[test]
    fn a_common_name_that_could_mislead_is_none() {
        for names in [&[][..], &[""], &["a\0b"], &["a\nb"]] {
            assert_eq!(read(names, Vec::new()).common_name(), None, "{names:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_no_certificate_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            prop_assert_eq!(PeerCertificate::read(&bytes), None);
        }
    }
}

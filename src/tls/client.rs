//! TLS as the client of a broker has it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::error::TlsError;
use super::pem::Pem;

/// How a [`Client`](crate::link::Client) checks a server, and shows who it is itself.
///
/// By default the server needs a certificate for the host of the address, from an authority that
/// the system trusts. A broker of one's own mostly has a private one:
///
/// ```
/// use tower_mqtt::link::Client;
/// use tower_mqtt::tls::ClientTls;
///
/// let tls = ClientTls::new()
///     .ca_file("/etc/kitchen/ca.pem")
///     .certificate_files("/etc/kitchen/machine.pem", "/etc/kitchen/machine.key");
/// let client = Client::builder("mqtts://broker.local").tls(tls);
/// ```
///
/// Everything is read again for each connection, the roots of the system too: what is replaced
/// in the file system is used from the next reconnect on, without a restart. So a file that is
/// missing is told by [`connect`](crate::link::ClientBuilder::connect), not here. Revocation lists
/// are not looked at. What is spoken is announced (ALPN): `mqtt`, or `http/1.1` for `wss://`.
#[derive(Debug, Clone)]
#[must_use = "a client has to be given it"]
pub struct ClientTls {
    authorities: Vec<Pem>,
    system_roots: Option<bool>,
    identity: Option<(Pem, Pem)>,
    server_name: Option<String>,
    verify: bool,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientTls {
    /// Trusts the authorities that the system trusts, and shows no certificate.
    pub fn new() -> Self {
        Self {
            authorities: Vec::new(),
            system_roots: None,
            identity: None,
            server_name: None,
            verify: true,
        }
    }

    /// Trusts the authorities in this PEM file, one or more certificates, *instead of* the
    /// system's: none of some hundred public authorities can then vouch for a private broker.
    /// [`system_roots`](Self::system_roots) adds those. May be repeated.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(Pem::File(path.into()));
        self
    }

    /// As [`ca_file`](Self::ca_file), with the PEM text itself.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities.push(Pem::Memory(pem.as_ref().into()));
        self
    }

    /// Whether the authorities that the system trusts are trusted. By default they are as long as no
    /// others are named.
    ///
    /// The environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others in their place, as
    /// OpenSSL has it.
    pub fn system_roots(mut self, trusted: bool) -> Self {
        self.system_roots = Some(trusted);
        self
    }

    /// The client's own certificate, for servers that want one (mutual TLS): a PEM file with the
    /// certificate and then those between it and the authority, and a PEM file with its key: PKCS#8,
    /// PKCS#1 or SEC1, not encrypted. None by default.
    pub fn certificate_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((Pem::File(chain.into()), Pem::File(key.into())));
        self
    }

    /// As [`certificate_files`](Self::certificate_files), with the PEM texts themselves.
    pub fn certificate_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let memory = |pem: &[u8]| Pem::Memory(pem.into());
        self.identity = Some((memory(chain.as_ref()), memory(key.as_ref())));
        self
    }

    /// The name or IP address that the server's certificate must be for, and that is asked for in
    /// the handshake (SNI, for names only). The host of the address by default; another one is
    /// needed where a broker is reached by an address that is not in its certificate.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Talks to whoever answers: anybody on the way can read everything, passwords included, and
    /// change it. For experiments only; each connection logs a warning. To trust one certificate
    /// that no authority has signed, give it to [`ca_file`](Self::ca_file).
    pub fn dangerously_accept_any_certificate(mut self) -> Self {
        self.verify = false;
        self
    }

    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| setting(format!("{name:?} can be no name of a server in a certificate")))
    }

    /// Reads all files. `protocol`: what is spoken over TLS (ALPN).
    pub(crate) fn config(&self, protocol: &[u8]) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::of_rustls(&error))?;
        let builder = if self.verify {
            builder.with_root_certificates(self.roots()?)
        } else {
            tracing::warn!("the server's certificate is not verified: anybody may answer");
            let any = Arc::new(AnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(any)
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.certificates()?, key.private_key()?)
                .map_err(|error| setting(format!("{key} is no key for {chain}: {error}")))?,
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for pem in &self.authorities {
            for certificate in pem.certificates()? {
                roots
                    .add(certificate)
                    .map_err(|error| setting(format!("{pem}: no authority's: {error}")))?;
            }
        }
        if self.system_roots.unwrap_or(self.authorities.is_empty()) {
            let system = rustls_native_certs::load_native_certs();
            // Systems have certificates that rustls cannot read; the others do.
            let (added, _) = roots.add_parsable_certificates(system.certs);
            if added == 0 {
                let why = system.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
                return Err(setting(format!("the system trusts no authority{why}")));
            }
        }
        if roots.is_empty() {
            return Err(setting("neither the system's authorities nor others are trusted"));
        }
        Ok(roots)
    }
}

fn setting(text: impl Into<Box<str>>) -> TlsError {
    TlsError::Setting(text.into())
}

/// Accepts every certificate whose key the server has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rcgen::generate_simple_self_signed;
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    fn pem(name: &str) -> String {
        generate_simple_self_signed([name.to_owned()]).expect("a certificate").cert.pem()
    }

    #[test]
    fn trusts_what_it_is_told_in_place_of_the_system() {
        let one = ClientTls::new().ca_pem(pem("one"));
        assert_eq!(one.roots().expect("readable").len(), 1);
        let three = one.ca_pem([pem("two"), pem("three")].concat());
        assert_eq!(three.roots().expect("readable").len(), 3);
        let others = three.clone().system_roots(true).roots();
        // There may be none in a container.
        assert!(others.is_ok_and(|others| others.len() > 3) || ClientTls::new().roots().is_err());
        assert!(three.system_roots(false).roots().is_ok());
    }

    #[derive(Default, Clone)]
    struct Warnings(Arc<Mutex<usize>>);

    impl Layer<Registry> for Warnings {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, Registry>) {
            if *event.metadata().level() == tracing::Level::WARN {
                *self.0.lock().expect("not poisoned") += 1;
            }
        }
    }

    #[test]
    fn accepting_anything_is_warned_of_each_time() {
        let warnings = Warnings::default();
        let subscriber = Registry::default().with(warnings.clone());
        tracing::subscriber::with_default(subscriber, || {
            let careful = ClientTls::new().ca_pem(pem("one"));
            careful.config(b"mqtt").expect("valid");
            assert_eq!(*warnings.0.lock().expect("not poisoned"), 0);
            for _ in 0..2 {
                let any = careful.clone().dangerously_accept_any_certificate();
                any.config(b"mqtt").expect("valid");
            }
        });
        assert_eq!(*warnings.0.lock().expect("not poisoned"), 2);
    }
}

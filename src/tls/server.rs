//! Who a server is, and which clients it asks for a certificate.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use super::pem::{Pem, PemError};

/// How often a hub looks whether the files have changed, unless it is told otherwise.
const CHECK_EVERY: Duration = Duration::from_mins(1);

/// How often it does at most, whatever it is told.
const SHORTEST_CHECK: Duration = Duration::from_millis(10);

/// Why certificates or keys cannot be used.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ServerTlsError {
    /// A file cannot be read, or is not what it should be: which one, and why.
    #[error("{0}")]
    File(Box<str>),
    /// The certificate and the key cannot be used, or do not belong together.
    #[error("certificate {certificate}, key {key}: {problem}")]
    Certificate {
        /// The file of the certificate chain.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        problem: Box<str>,
    },
    /// The certificates of client authorities cannot be used.
    #[error("client authorities {file}: {problem}")]
    Authorities {
        /// Their file.
        file: PathBuf,
        /// What is wrong.
        problem: Box<str>,
    },
}

impl From<PemError> for ServerTlsError {
    fn from(error: PemError) -> Self {
        Self::File(error.to_string().into())
    }
}

/// Whether a client must show a certificate. One that is shown is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// A client without one is refused in the handshake.
    Required,
    /// A client may have none, and say who it is in another way.
    Optional,
}

/// TLS for a listener of a [`Hub`](crate::Hub): its certificate, its key, and whose clients it
/// trusts.
///
/// It speaks TLS 1.3 and 1.2. A client that offers protocols by ALPN must offer `mqtt`, or
/// `http/1.1` where MQTT goes over WebSocket; one that offers none is accepted, as most devices do.
/// Refusing other protocols (RFC 7301 §3.2) keeps a browser from being led here by another server's
/// name.
///
/// ```
/// use tower_mqtt::hub::{Hub, Listener};
/// use tower_mqtt::link::Client;
/// use tower_mqtt::tls::{ClientTls, ServerTls};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("tower-mqtt-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let (certificate, key) = (directory.join("hub.pem"), directory.join("hub.key"));
/// # let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
/// # std::fs::write(&certificate, made.cert.pem())?;
/// # std::fs::write(&key, made.signing_key.serialize_pem())?;
/// let tls = ServerTls::builder(&certificate, &key).load()?;
/// let listener = Listener::tls("127.0.0.1:0", tls.clone());
/// let hub = Hub::builder().listen(listener).start().await?;
///
/// let url = hub.listeners()[0].to_string(); // mqtts://127.0.0.1:41883
/// let trust = ClientTls::new().ca_file(&certificate);
/// let link = Client::builder(&url).tls(trust).connect().await?;
///
/// tls.reload()?; // the files were replaced
/// # assert!(link.connected().await);
/// # hub.shutdown(std::time::Duration::from_secs(1)).await;
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(())
/// # }
/// ```
///
/// # When files change
///
/// A hub that listens with it reads its files [every minute](ServerTlsBuilder::check_every) and uses
/// what has changed for new connections; connections that are there stay. [`reload`](Self::reload) does
/// it at once. Files that cannot be used are an error in the log, and what was loaded before stays in
/// use. So a chain and a key can be replaced one after the other: until both are there they do not
/// match.
///
/// A client authority that is taken out of its file, and with it all whom it has signed, is no longer
/// trusted by new connections. To end those that are there too, stop the hub. With client certificates
/// no session is resumed, so that each connection is verified anew.
///
/// Clones share what is loaded.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    files: ServerTlsBuilder,
    /// One at a time: who has read the files earlier must not have the last word.
    reloading: Mutex<()>,
    loaded: RwLock<Loaded>,
}

#[derive(Clone)]
struct Loaded {
    material: Arc<Material>,
    mqtt: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

/// What the files hold.
#[derive(PartialEq)]
struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Option<Vec<CertificateDer<'static>>>,
}

impl ServerTls {
    /// From a certificate chain, the server's own certificate first, and its private key, each in a
    /// PEM file.
    pub fn builder(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> ServerTlsBuilder {
        ServerTlsBuilder {
            certificate: certificate.into(),
            key: key.into(),
            authorities: None,
            check_every: CHECK_EVERY,
        }
    }

    /// Reads the files again, for connections that are made from now on; whether anything has changed.
    /// It reads small files and may block for that long.
    ///
    /// # Errors
    /// As [`ServerTlsBuilder::load`]; then what was loaded before stays in use.
    pub fn reload(&self) -> Result<bool, ServerTlsError> {
        let _alone = self.0.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let material = self.0.files.read()?;
        if *self.loaded().material == material {
            return Ok(false);
        }
        let loaded = self.0.files.make(material)?;
        *self.0.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }

    /// Whether clients are asked for a certificate.
    pub(crate) fn verifies_clients(&self) -> bool {
        self.0.files.authorities.is_some()
    }

    /// Loads the files again whenever they have changed. It never ends.
    pub(crate) async fn keep_loaded(&self) {
        loop {
            tokio::time::sleep(self.0.files.check_every).await;
            let reading = self.clone();
            match tokio::task::spawn_blocking(move || reading.reload()).await {
                Ok(Ok(true)) => tracing::info!(tls = ?self, "certificates are loaded again"),
                Ok(Err(error)) => {
                    tracing::error!(%error, "certificates stay as they were: what is there now cannot be used");
                }
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }

    /// What a new connection is made with, for MQTT right over TLS or over WebSocket.
    pub(crate) fn config(&self, websocket: bool) -> Arc<ServerConfig> {
        let Loaded { mqtt, http, .. } = self.loaded();
        if websocket { http } else { mqtt }
    }

    fn loaded(&self) -> Loaded {
        self.0.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.0.files).finish_non_exhaustive()
    }
}

/// Configures a [`ServerTls`].
#[derive(Debug, Clone)]
pub struct ServerTlsBuilder {
    certificate: PathBuf,
    key: PathBuf,
    authorities: Option<(PathBuf, ClientCertificates)>,
    check_every: Duration,
}

impl ServerTlsBuilder {
    /// Asks clients for a certificate that one of these authorities has signed: a PEM file with their
    /// certificates.
    ///
    /// What the certificate says reaches the
    /// [authentication hook](crate::hub::Credentials::certificate). Without a hook, the client is who its
    /// common name says.
    pub fn client_authorities(
        mut self,
        file: impl Into<PathBuf>,
        certificates: ClientCertificates,
    ) -> Self {
        self.authorities = Some((file.into(), certificates));
        self
    }

    /// How often a hub looks whether the files have changed: at most 100 times a second, and every
    /// minute by default, as certificates are replaced days before they end.
    pub fn check_every(mut self, interval: Duration) -> Self {
        self.check_every = interval.max(SHORTEST_CHECK);
        self
    }

    /// Reads the files. It may block for that long.
    ///
    /// # Errors
    /// [`ServerTlsError::File`] when a file cannot be read or is no PEM of its kind,
    /// [`ServerTlsError::Certificate`] when certificate and key do not fit or cannot be used,
    /// [`ServerTlsError::Authorities`] when no client could be verified with the authorities.
    pub fn load(self) -> Result<ServerTls, ServerTlsError> {
        let loaded = self.read().and_then(|material| self.make(material))?;
        let (reloading, loaded) = (Mutex::new(()), RwLock::new(loaded));
        Ok(ServerTls(Arc::new(Inner { files: self, reloading, loaded })))
    }

    fn read(&self) -> Result<Material, ServerTlsError> {
        let authorities = self.authorities.as_ref();
        let authorities = authorities.map(|(file, _)| Pem::File(file.clone()).certificates());
        Ok(Material {
            chain: Pem::File(self.certificate.clone()).certificates()?,
            key: Pem::File(self.key.clone()).private_key()?,
            authorities: authorities.transpose()?,
        })
    }

    fn make(&self, material: Material) -> Result<Loaded, ServerTlsError> {
        let mut config = self.config(&material)?;
        let mut with_protocol = |protocol: &[u8]| {
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config.clone())
        };
        let (mqtt, http) = (with_protocol(b"mqtt"), with_protocol(b"http/1.1"));
        Ok(Loaded { material: Arc::new(material), mqtt, http })
    }

    fn config(&self, material: &Material) -> Result<ServerConfig, ServerTlsError> {
        let wrong = |error: rustls::Error| ServerTlsError::Certificate {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            problem: error.to_string().into(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.verifier(material, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(wrong)?;
        let asks_clients = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let certified = builder.with_single_cert(material.chain.clone(), material.key.clone_key());
        let mut config = certified.map_err(wrong)?;
        if asks_clients {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    fn verifier(
        &self,
        material: &Material,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, ServerTlsError> {
        let (Some((file, wanted)), Some(authorities)) = (&self.authorities, &material.authorities)
        else {
            return Ok(None);
        };
        let wrong = |problem: String| ServerTlsError::Authorities {
            file: file.clone(),
            problem: problem.into(),
        };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| wrong(error.to_string()))?;
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match wanted {
            ClientCertificates::Required => builder,
            ClientCertificates::Optional => builder.allow_unauthenticated(),
        };
        builder.build().map(Some).map_err(|error| wrong(error.to_string()))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn a_reload_that_has_read_the_files_earlier_does_not_have_the_last_word() {
        let directory = std::env::temp_dir().join(format!("tower-mqtt-tls-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (chain, key) = (directory.join("chain.pem"), directory.join("key.pem"));
        let pair = rcgen::KeyPair::generate().expect("a key");
        fs::write(&key, pair.serialize_pem()).expect("written");
        let [first, old, new] = ["first", "old", "new"].map(|name| {
            let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
            params.self_signed(&pair).expect("a certificate")
        });
        fs::write(&chain, first.pem()).expect("written");
        let tls = ServerTls::builder(&chain, &key).load().expect("loaded");
        // A pipe in the place of the file keeps the first reload where it reads.
        fs::remove_file(&chain).expect("removed");
        assert!(Command::new("mkfifo").arg(&chain).status().expect("a program").success());
        let reload = |tls: &ServerTls| {
            let tls = tls.clone();
            thread::spawn(move || tls.reload())
        };
        let earlier = reload(&tls);
        let mut pipe = fs::OpenOptions::new().write(true).open(&chain).expect("it is read");
        fs::remove_file(&chain).expect("removed");
        fs::write(&chain, new.pem()).expect("written");
        let later = reload(&tls);
        // Time for the later one to end first, which it must not.
        (0..100_000).take_while(|_| !later.is_finished()).for_each(|_| thread::yield_now());
        std::io::Write::write_all(&mut pipe, old.pem().as_bytes()).expect("written");
        drop(pipe);
        for reload in [earlier, later] {
            reload.join().expect("no panic").expect("usable");
        }
        assert_eq!(tls.loaded().material.chain, [new.der().clone()]);
        fs::remove_dir_all(&directory).expect("removed");
    }
}

//! A certificate authority for tests: it writes certificates and keys into a directory of its own.
#![allow(dead_code, reason = "not every test that shares this file needs all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Signs certificates. Its directory is removed when it is dropped.
pub(crate) struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = format!("tower-mqtt-certificates-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir_all(&directory).expect("a directory for certificates");
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(directory.join("ca.pem"), certificate.pem()).expect("written");
        Self { directory, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, which others trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// For a server with these names or IP addresses.
    pub(crate) fn server(&self, names: &[&str]) -> Files {
        self.sign(&server(names))
    }

    /// The certificate expired long ago.
    pub(crate) fn expired_server(&self, names: &[&str]) -> Files {
        let mut params = server(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(&params)
    }

    /// The certificate becomes valid in a distant future.
    pub(crate) fn future_server(&self, names: &[&str]) -> Files {
        let mut params = server(names);
        params.not_before = date_time_ymd(2090, 1, 1);
        self.sign(&params)
    }

    /// For a client: the name is the common name, and the one alternative name when it can be one.
    pub(crate) fn client(&self, name: &str) -> Files {
        let mut params = params(&[name], name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Files {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let write = |name: String, text: String| {
            let path = self.directory.join(name);
            fs::write(&path, text).expect("written");
            path
        };
        Files {
            certificate: write(format!("{count}.pem"), certificate.pem()),
            key: write(format!("{count}.key"), key.serialize_pem()),
        }
    }
}

impl Files {
    /// Puts these in the place of others, as a rotation does.
    pub(crate) fn replace(&self, old: &Self) {
        let copy = |from: &Path, to: &Path| fs::copy(from, to).expect("copied");
        copy(&self.certificate, &old.certificate);
        copy(&self.key, &old.key);
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn server(names: &[&str]) -> CertificateParams {
    let mut params = params(names, names.first().copied().unwrap_or("server"));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params
}

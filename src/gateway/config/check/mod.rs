//! What a configuration must be beside well written.

mod keys;
mod names;
mod products;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::Mistake;
use super::url::{self, NO_TLS, Place};
use super::{Broker, Cluster, Config, Http, Limits, Mqtt, TlsFiles};
use crate::gateway::cluster::{ALIVE, DEAD_AFTER};

/// A day: clocks that are set to it never overflow.
const LONGEST: Duration = Duration::from_hours(24);

/// Calls in flight and connections: each has an entry in tables.
const MOST: usize = 1_000_000;

/// All mistakes that are found in a configuration that is complete.
pub(super) fn all(config: &Config) -> Vec<Mistake> {
    let mut found = Mistakes(mistakes(config));
    if config.cluster.is_some() && config.mqtt.broker.is_none() {
        found.add("cluster", "expected mqtt.broker, which several gateways share, found none");
    }
    found.0
}

/// Those that are found in a file. What it leaves to the command line is not one of them.
pub(super) fn mistakes(config: &Config) -> Vec<Mistake> {
    let mut found = Mistakes(Vec::new());
    let Config { http, mqtt, limits, cluster, keys, products } = config;
    found.http(http);
    found.mqtt(mqtt);
    found.limits(limits);
    if let Some(cluster) = cluster {
        found.cluster(cluster);
    }
    found.keys(keys, products);
    found.products(products);
    found.0
}

struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn add(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Mistake::new(path, problem));
    }

    fn add_if_wrong<T>(&mut self, path: &str, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|problem| self.add(path, problem)).ok()
    }

    fn number(&mut self, path: &str, found: usize, range: RangeInclusive<usize>) {
        if !range.contains(&found) {
            self.add(path, outside(&range.start(), &range.end(), &found));
        }
    }

    fn duration(&mut self, path: &str, found: Duration, range: &RangeInclusive<Duration>) {
        if !range.contains(&found) {
            let text = humantime::format_duration;
            self.add(path, outside(&text(*range.start()), &text(*range.end()), &text(found)));
        }
    }

    fn http(&mut self, http: &Http) {
        if http.listen.is_empty() {
            self.add("http.listen", "expected at least one address, found none");
        }
        if let Some(again) = url::repeated(&http.listen) {
            let address = http.listen[again];
            let problem = format!("expected each address once, found {address} again");
            self.add(format!("http.listen[{again}]"), problem);
        }
        if let Some(files) = &http.tls {
            self.tls("http.tls", files);
        }
        self.number("http.body", http.body, 1..=64 * 1024 * 1024);
        let window = Duration::from_secs(1)..=LONGEST;
        self.duration("http.replay_window", http.replay_window, &window);
        self.number("http.connections", http.connections, 1..=MOST);
    }

    fn mqtt(&mut self, mqtt: &Mqtt) {
        self.number("mqtt.connections", mqtt.connections, 1..=MOST);
        if let Some(files) = &mqtt.tls {
            self.tls("mqtt.tls", files);
        }
        if let Some(broker) = &mqtt.broker {
            self.broker(broker);
            if mqtt.tls.is_some() {
                self.add(
                    "mqtt.tls",
                    "expected a listener for it, and beside a broker there is none",
                );
            }
            return;
        }
        if mqtt.listen.is_empty() {
            self.add("mqtt.listen", "expected at least one URL, found none");
        }
        let mut uses_tls = false;
        for (index, url) in mqtt.listen.iter().enumerate() {
            let path = format!("mqtt.listen[{index}]");
            let Some(place) = self.add_if_wrong(&path, Place::parse(url)) else {
                uses_tls = true; // Perhaps.
                continue;
            };
            uses_tls |= place.scheme.has_tls();
            if place.scheme.has_tls() && mqtt.tls.is_none() {
                self.add(path, NO_TLS);
            }
        }
        // Somebody may believe that what is not encrypted is.
        if mqtt.tls.is_some() && !uses_tls {
            self.add("mqtt.tls", "expected a listener with mqtts or wss for it, found none");
        }
    }

    fn broker(&mut self, broker: &Broker) {
        let has_tls = self.add_if_wrong("mqtt.broker.url", url::check_broker(&broker.url));
        if let Some(file) = &broker.ca {
            self.add_if_wrong("mqtt.broker.ca", certificates(file));
            if has_tls == Some(false) {
                self.add("mqtt.broker.ca", "expected a broker with mqtts or wss for it");
            }
        }
        if broker.client_id.as_ref().is_some_and(String::is_empty) {
            self.add("mqtt.broker.client_id", "expected a client identifier, found nothing");
        }
        if broker.password.is_some() && broker.username.is_none() {
            self.add("mqtt.broker.password", "expected a username beside it, found none");
        }
    }

    fn tls(&mut self, path: &str, files: &TlsFiles) {
        let problem = "expected a certificate and its key in PEM";
        self.add_if_wrong(
            path,
            files.server().load().map_err(|error| format!("{problem}: {error}")),
        );
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits { in_flight, per_device, per_key } = *limits;
        self.number("limits.in_flight", in_flight, 1..=MOST);
        self.number("limits.per_device", per_device, 1..=MOST);
        self.number("limits.per_key", per_key, 1..=MOST);
    }

    fn cluster(&mut self, cluster: &Cluster) {
        self.add_if_wrong("cluster.name", names::level(&cluster.name, &[]));
        if let Some(id) = &cluster.id {
            self.add_if_wrong("cluster.id", names::level(id, &[]));
            if id == ALIVE {
                let problem =
                    format!("expected another id than {ALIVE:?}, which is for all gateways");
                self.add("cluster.id", problem);
            }
        }
        self.duration("cluster.dead_after", cluster.dead_after, &DEAD_AFTER);
    }
}

fn outside(first: &dyn Display, last: &dyn Display, found: &dyn Display) -> String {
    format!("expected {first} to {last}, found {found}")
}

fn certificates(file: &Path) -> Result<(), String> {
    let expected = "expected a file with certificates in PEM";
    // Not the error of what is no PEM: it may show a line.
    let text = std::fs::read(file).map_err(|error| format!("{expected}: {error}"))?;
    let mut certificates = CertificateDer::pem_slice_iter(&text);
    let is_some = matches!(certificates.next(), Some(Ok(_)));
    if is_some { Ok(()) } else { Err(format!("{expected}, found none")) }
}

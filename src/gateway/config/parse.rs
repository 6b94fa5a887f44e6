//! A configuration from a file. What values mean together is [checked](super::check) behind this.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use toml::de::DeTable;

use super::error::{ConfigErrors, Mistake, shown};
use super::fields::{Fields, Notes, parent};
use super::secret::{BEARER, PASSWORD, SECRET};
use super::{
    AccessKey, Broker, Cluster, Config, Device, Dialect, Http, Limits, Mqtt, Product, TlsFiles,
    check, file,
};
use crate::core::topic::TopicFilter;

/// Bytes of a file: hundreds of thousands of devices.
const LONGEST: u64 = 64 * 1024 * 1024;

pub(super) fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let mut text = String::new();
    file::read(path, LONGEST, &mut text).map_err(|error| {
        let mistake = Mistake::new("", format!("the file cannot be read: {error}"));
        ConfigErrors::in_file(path, [(None, mistake)])
    })?;
    parse(&text, path)
}

pub(super) fn parse(text: &str, name: &Path) -> Result<Config, ConfigErrors> {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mistake = |error: &toml::de::Error| {
            let line = error.span().map(|span| lines.number(span.start));
            // Not the error as text: that shows the line.
            (line, Mistake::new("", error.message()))
        };
        return Err(ConfigErrors::in_file(name, errors.iter().map(mistake)));
    }
    let mut notes = Notes::default();
    let directory = name.parent().unwrap_or(Path::new(""));
    let mut config =
        Fields::read("", document.into_inner(), &mut notes, |fields| config(fields, directory));
    if !notes.incomplete {
        add_what_does_not_fit(&config, &mut notes);
    }
    let mistakes = std::mem::take(&mut notes.mistakes).into_iter();
    let line = |path: &str| notes.place(path).map(|place| lines.number(place));
    if mistakes.len() == 0 {
        if let Some(cluster) = &mut config.cluster {
            cluster.place = line("cluster").map(|line| (name.display().to_string().into(), line));
        }
        return Ok(config);
    }
    Err(ConfigErrors::in_file(name, mistakes.map(|mistake| (line(&mistake.path), mistake))))
}

/// A table with a mistake has made-up values, which are not looked at.
fn add_what_does_not_fit(config: &Config, notes: &mut Notes) {
    let tables: HashSet<_> = notes
        .mistakes
        .iter()
        .filter_map(|mistake| parent(&mistake.path))
        .map(str::to_owned)
        .collect();
    let found = check::mistakes(config);
    let is_new = |mistake: &Mistake| {
        tables.is_empty()
            || !tables.contains(&mistake.path)
                && parent(&mistake.path).is_none_or(|table| !tables.contains(table))
    };
    notes.mistakes.extend(found.into_iter().filter(is_new));
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(place, _)| place + 1).collect())
    }

    /// From 1.
    fn number(&self, place: usize) -> usize {
        self.0.partition_point(|begin| *begin <= place) + 1
    }
}

fn config(fields: &mut Fields<'_, '_>, directory: &Path) -> Config {
    Config {
        http: fields.table("http", |fields| http(fields, directory)).unwrap_or_default(),
        mqtt: fields.table("mqtt", |fields| mqtt(fields, directory)).unwrap_or_default(),
        limits: fields.table("limits", limits).unwrap_or_default(),
        cluster: fields.table("cluster", cluster),
        keys: fields.tables("keys", |fields| key(fields, directory)),
        products: fields.tables("products", |fields| product(fields, directory)),
    }
}

fn http(fields: &mut Fields<'_, '_>, directory: &Path) -> Http {
    let Http { listen, tls: _, body, replay_window, connections } = Http::default();
    Http {
        listen: addresses(fields).unwrap_or(listen),
        tls: tls(fields, directory),
        body: fields.number("body").unwrap_or(body),
        replay_window: fields.duration("replay_window").unwrap_or(replay_window),
        connections: fields.number("connections").unwrap_or(connections),
    }
}

fn addresses(fields: &mut Fields<'_, '_>) -> Option<Vec<SocketAddr>> {
    let expected = "expected an IP address and a port, such as \"127.0.0.1:8080\"";
    fields.list("listen", |text| {
        text.parse().map_err(|_| format!("{expected}, found {}", shown(&text)))
    })
}

fn tls(fields: &mut Fields<'_, '_>, directory: &Path) -> Option<TlsFiles> {
    fields.table("tls", |fields| TlsFiles {
        cert: directory.join(fields.required_text("cert")),
        key: directory.join(fields.required_text("key")),
    })
}

fn mqtt(fields: &mut Fields<'_, '_>, directory: &Path) -> Mqtt {
    let listen = fields.texts("listen");
    let tls = tls(fields, directory);
    let broker = fields.table("broker", |fields| broker(fields, directory));
    if listen.is_some() && broker.is_some() {
        let problem =
            "expected either this or mqtt.broker: beside a broker nothing listens for MQTT";
        fields.notes.mistake(fields.path("listen"), problem);
    }
    let default = if broker.is_some() { Vec::new() } else { Mqtt::default().listen };
    let Mqtt { connections, response_topics, .. } = Mqtt::default();
    let connections = fields.number("connections").unwrap_or(connections);
    let response_topics = self::response_topics(fields).unwrap_or(response_topics);
    Mqtt { listen: listen.unwrap_or(default), tls, connections, response_topics, broker }
}

fn response_topics(fields: &mut Fields<'_, '_>) -> Option<Vec<TopicFilter>> {
    fields.list("response_topics", |text| match TopicFilter::new(&*text) {
        Ok(filter) if filter.share_name().is_none() => Ok(filter),
        _ => Err(format!("expected a filter of topics, found {}", shown(&text))),
    })
}

fn broker(fields: &mut Fields<'_, '_>, directory: &Path) -> Broker {
    Broker {
        url: fields.required_text("url"),
        client_id: fields.text("client_id"),
        username: fields.text("username"),
        password: fields.secret(&PASSWORD, directory),
        ca: fields.text("ca").map(|file| directory.join(file)),
    }
}

fn limits(fields: &mut Fields<'_, '_>) -> Limits {
    let Limits { in_flight, per_device, per_key } = Limits::default();
    Limits {
        in_flight: fields.number("in_flight").unwrap_or(in_flight),
        per_device: fields.number("per_device").unwrap_or(per_device),
        per_key: fields.number("per_key").unwrap_or(per_key),
    }
}

fn cluster(fields: &mut Fields<'_, '_>) -> Cluster {
    let Cluster { name, dead_after, .. } = Cluster::default();
    Cluster {
        name: fields.text("name").unwrap_or(name),
        id: fields.text("id"),
        dead_after: fields.duration("dead_after").unwrap_or(dead_after),
        place: None,
    }
}

fn key(fields: &mut Fields<'_, '_>, directory: &Path) -> AccessKey {
    AccessKey {
        id: fields.required_text("id"),
        secret: fields.secret(&SECRET, directory),
        bearer: fields.secret(&BEARER, directory),
        products: fields.texts("products"),
    }
}

fn product(fields: &mut Fields<'_, '_>, directory: &Path) -> Product {
    let id = fields.required_text("id");
    let Product { id, dialect, timeout: _, one_in_flight, ext, devices: _ } =
        Product::new(id, dialect(fields));
    Product {
        id,
        dialect,
        timeout: fields.duration("timeout"),
        one_in_flight: fields.boolean("one_in_flight").unwrap_or(one_in_flight),
        ext: fields.boolean("ext").unwrap_or(ext),
        devices: fields.tables("devices", |fields| device(fields, directory)),
    }
}

fn dialect(fields: &mut Fields<'_, '_>) -> Dialect {
    let before = fields.notes.mistakes.len();
    let text = fields.required_text("dialect");
    let found = Dialect::ALL.into_iter().find(|dialect| dialect.name() == text);
    if found.is_none() && fields.notes.mistakes.len() == before {
        let names = Dialect::ALL.map(|dialect| format!("{:?}", dialect.name())).join(", ");
        let problem = format!("expected one of {names}, found {}", shown(&text));
        fields.notes.mistake(fields.path("dialect"), problem);
    }
    found.unwrap_or(Dialect::Native)
}

fn device(fields: &mut Fields<'_, '_>, directory: &Path) -> Device {
    Device {
        name: fields.required_text("name"),
        secret: fields.required_secret(&SECRET, directory),
        disabled: fields.boolean("disabled").unwrap_or_default(),
    }
}

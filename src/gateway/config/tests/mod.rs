//! What is wrong with a file is said with its line, and without its secrets.

mod meaning;
mod places;
mod secrets;
mod shape;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

const EXAMPLE: &str = include_str!("../../../../examples/gateway.toml");

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "gateway.toml")
}

fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err(text);
    errors.iter().map(ToString::to_string).collect()
}

/// Each with all that is wrong with it, behind `gateway.toml:`.
fn check(table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        let expected: Vec<_> = expected.iter().map(|text| format!("gateway.toml:{text}")).collect();
        assert_eq!(errors(text), expected, "{text}");
    }
}

/// A product that speaks this, with more about it.
fn product(dialect: &str, more: &str) -> String {
    format!("[[products]]\nid = \"p1\"\ndialect = {dialect:?}\n{more}\n")
}

/// A directory of this test's own.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let name = format!("tower-mqtt-config-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn parse(&self, text: &str) -> Result<Config, ConfigErrors> {
        Config::parse(text, self.0.join("gateway.toml"))
    }

    /// Without the directory.
    fn errors(&self, text: &str) -> Vec<String> {
        let directory = format!("{}/", self.0.display());
        let errors = self.parse(text).expect_err(text);
        errors.iter().map(|error| error.to_string().replace(&directory, "")).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_example_has_what_it_says() {
    let config = parse(EXAMPLE).unwrap();
    let ids: Vec<_> = config.products.iter().map(|it| (&*it.id, it.dialect)).collect();
    let expected = [
        ("a1example", Dialect::Aliyun),
        ("KL4J2TEST1", Dialect::Tencent),
        ("kitchens", Dialect::Native),
    ];
    assert_eq!(ids, expected);
    let devices: usize = config.products.iter().map(|it| it.devices.len()).sum();
    assert_eq!((devices, config.keys.len()), (5, 2));
    assert_eq!(config.products[0].timeout, Some(Duration::from_secs(5)));
    assert_eq!(config.products[0].devices[1].name, "door");
    assert!(config.products[1].one_in_flight && !config.products[2].one_in_flight);
    assert_eq!(config.keys[1].products.as_ref().unwrap().len(), 2);
    let text = format!("{config:?}");
    for secret in ["0123456789abcdef", "MDEyMzQ1", "example-secret", "example-bearer"] {
        assert!(EXAMPLE.contains(secret) && !text.contains(secret), "{text}");
    }
}

/// The comments of the example say what the defaults are.
#[test]
fn what_the_example_comments_out_are_the_defaults() {
    let own = |line: &str| {
        let setting = line.strip_prefix("# ").unwrap_or(line);
        let names = ["body", "replay_window", "connections", "one_in_flight", "ext", "timeout"];
        let name = setting.split(" = ").next().unwrap_or_default();
        if names.contains(&name) { setting.to_owned() } else { line.to_owned() }
    };
    // The first product has a timeout already.
    let text: Vec<_> = EXAMPLE.lines().map(own).collect();
    assert_eq!(text.iter().filter(|line| line.starts_with("timeout")).count(), 3);
    let with_comments = parse(&text.join("\n")).unwrap();
    let without = parse(EXAMPLE).unwrap();
    let text = |config: &Config| format!("{:?}{:?}{:?}", config.http, config.mqtt, config.limits);
    assert_eq!(text(&with_comments), text(&without));
    for (with, without) in with_comments.products.iter().zip(&without.products) {
        let waits = |it: &Product| it.timeout.unwrap_or(it.dialect.default_timeout());
        assert_eq!(waits(with), waits(without));
        assert_eq!((with.one_in_flight, with.ext), (without.one_in_flight, without.ext));
    }
    let Limits { in_flight, per_device, per_key } = without.limits;
    let default = Limits::default();
    assert_eq!(
        (in_flight, per_device, per_key),
        (default.in_flight, default.per_device, default.per_key)
    );
}

#[test]
fn an_empty_file_is_the_default() {
    let config = parse("").unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    Config::default().check().unwrap();
}

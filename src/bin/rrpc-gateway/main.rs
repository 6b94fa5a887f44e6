//! The gateway as a program: a [`Gateway`] with a configuration file, or a demo of one.

mod arguments;
mod demo;
mod service;
mod stop;

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tower_mqtt::gateway::config::ConfigErrors;
use tower_mqtt::gateway::{Config, Gateway, GatewayBuilder, GatewayError};
use tower_mqtt::hub::HubError;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use self::arguments::{Arguments, Source};
use self::demo::Demo;
use self::stop::Stop;

/// The program could not do, or go on with, what it was told.
const FAILED: u8 = 1;

/// What it was told is wrong.
const MISUSED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    let Some(source) = arguments.source() else {
        return fail(MISUSED, arguments::WHAT_TO_DO);
    };
    if let (true, Source::File(file)) = (arguments.check, &source) {
        return match arguments.configuration(&source) {
            Ok(config) => {
                say(format_args!("{}: ok: {}", file.display(), summary(&config)));
                ExitCode::SUCCESS
            }
            Err(errors) => fail(FAILED, errors),
        };
    }
    match run(&arguments, &source).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(errors)) => fail(MISUSED, errors),
        Err(Failure::Running(text)) => fail(FAILED, format_args!("error: {text}")),
    }
}

/// Why the program ends.
enum Failure {
    Config(ConfigErrors),
    Running(String),
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        let listening =
            matches!(error, GatewayError::Hub(HubError::Bind { .. }) | GatewayError::Http { .. });
        let advice = "\n--listen-http and --listen-mqtt take other addresses; with port 0 the \
                      system chooses a free one";
        Self::Running(format!("{error}{}", if listening { advice } else { "" }))
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Running(text)
    }
}

async fn run(arguments: &Arguments, source: &Source<'_>) -> Result<(), Failure> {
    let config = arguments.configuration(source)?;
    // From now on, so that no signal is lost while it starts.
    let mut stop = Stop::listen().map_err(|error| format!("signals: {error}"))?;
    tokio::select! {
        // What has been started stops when it is dropped.
        () = stop.next() => Ok(()),
        started = start(config, source) => {
            let (gateway, demo) = started?;
            stop.next().await;
            end(gateway, arguments.grace, &mut stop).await?;
            drop(demo);
            Ok(())
        }
    }
}

/// It listens, and the devices of a demo are connected.
async fn start(config: Config, source: &Source<'_>) -> Result<(Gateway, Option<Demo>), Failure> {
    let is_https = config.http.tls.is_some();
    let broker = config.mqtt.broker.as_ref().map(|broker| broker.url.clone());
    let shown = matches!(source, Source::Demo).then(|| config.clone());
    let passed = service::listeners();
    let passed = passed.map_err(|error| format!("a socket that was passed: {error}"))?;
    let builder = passed.into_iter().fold(Gateway::builder(config), GatewayBuilder::http_listener);
    let gateway = builder.start().await?;
    let demo = match shown {
        Some(config) => Some(Demo::connect(&gateway, &config).await?),
        None => None,
    };
    service::ready();
    say(format_args!("ready: {}", places(&gateway, is_https, broker.as_deref())));
    if let Some(demo) = &demo {
        say(demo);
    }
    Ok((gateway, demo))
}

/// `http 127.0.0.1:8080, mqtt 127.0.0.1:1883`
fn places(gateway: &Gateway, is_https: bool, broker: Option<&str>) -> String {
    let scheme = if is_https { "https" } else { "http" };
    let http = gateway.http_addrs().iter().map(|address| format!("{scheme} {address}"));
    let mqtt = gateway.mqtt().iter().map(|place| place.to_string().replacen("://", " ", 1));
    let broker = broker.map(|url| format!("broker {url}"));
    http.chain(mqtt).chain(broker).collect::<Vec<_>>().join(", ")
}

async fn end(gateway: Gateway, grace: Duration, stop: &mut Stop) -> Result<(), String> {
    service::stopping();
    tracing::info!(grace = %humantime::format_duration(grace), "stopping");
    tokio::select! {
        () = gateway.shutdown(grace) => Ok(()),
        () = stop.next() => Err("stopped at once, without waiting for calls".to_owned()),
    }
}

fn log() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

/// `3 products, 5 devices, 2 keys`
fn summary(config: &Config) -> String {
    let devices = config.products.iter().map(|product| product.devices.len()).sum();
    let counts =
        [(config.products.len(), "product"), (devices, "device"), (config.keys.len(), "key")];
    let mut text = String::new();
    for (count, what) in counts {
        let comma = if text.is_empty() { "" } else { ", " };
        let plural = if count == 1 { "" } else { "s" };
        let _ = write!(text, "{comma}{count} {what}{plural}");
    }
    text
}

/// A line, unless nobody reads it.
fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

fn fail(code: u8, why: impl fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "{why}");
    code.into()
}

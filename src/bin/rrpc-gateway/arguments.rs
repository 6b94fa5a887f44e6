//! What the program is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use tower_mqtt::gateway::Config;
use tower_mqtt::gateway::config::{Broker, ConfigErrors, Mqtt};

use crate::demo;

/// When neither a file nor the demo is asked for.
pub(crate) const WHAT_TO_DO: &str = "\
error: there is no configuration

  rrpc-gateway --config FILE   serves what FILE says; examples/gateway.toml is one to begin with
  rrpc-gateway --demo          serves two devices that are built in, on 127.0.0.1

--help says more.";

/// Longer than anybody waits.
const LONGEST_GRACE: Duration = Duration::from_hours(1);

/// Servers call devices over HTTP, as they did in the vendors' clouds.
///
/// Servers that were written for the cloud SDKs of Aliyun or Tencent, and devices that were written for
/// their device SDKs, work with it when their endpoint is changed; a plain HTTP API is for all others.
///
/// When it is ready it prints a line on stdout: `ready: http 127.0.0.1:8080, mqtt 127.0.0.1:1883`.
/// It logs to stderr; `RUST_LOG` says how much (info). SIGINT and SIGTERM let calls in flight end, and a
/// second signal ends it at once.
///
/// Started by systemd it tells when it is ready and when it stops (Type=notify), and serves HTTP on the
/// sockets that it is passed, instead of where the configuration says.
///
/// Exit codes: 0 it was stopped, or the file is right; 1 it could not start or go on, or with --check
/// the file is wrong; 2 the arguments or the file are wrong.
#[derive(Debug, Parser)]
#[command(name = "rrpc-gateway", version)]
pub(crate) struct Arguments {
    /// The configuration, TOML; examples/gateway.toml explains all of it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve two devices that are built in, on 127.0.0.1, and print what to try
    #[arg(long, conflicts_with = "config")]
    demo: bool,
    /// Say what is wrong with the configuration, or that it is right, and stop
    #[arg(long, requires = "config", conflicts_with = "demo")]
    pub(crate) check: bool,
    /// The broker that devices are connected to, instead of what the configuration says about MQTT:
    /// mqtt://USER:PASSWORD@HOST:PORT
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Where HTTP is served, instead of what the configuration says; may be repeated
    #[arg(long, value_name = "IP:PORT")]
    listen_http: Vec<SocketAddr>,
    /// Where devices connect, instead of what the configuration says; may be repeated
    #[arg(long, value_name = "URL", conflicts_with = "broker")]
    listen_mqtt: Vec<String>,
    /// How long calls in flight may take to end when the gateway is told to stop
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = grace)]
    pub(crate) grace: Duration,
}

/// Where the configuration is from.
pub(crate) enum Source<'a> {
    File(&'a Path),
    Demo,
}

impl Arguments {
    /// `None`: it is not said.
    pub(crate) fn source(&self) -> Option<Source<'_>> {
        match &self.config {
            Some(file) => Some(Source::File(file)),
            None => self.demo.then_some(Source::Demo),
        }
    }

    /// The configuration, and what the command line has in its place.
    pub(crate) fn configuration(&self, source: &Source<'_>) -> Result<Config, ConfigErrors> {
        let mut config = match source {
            Source::File(file) => Config::load(file)?,
            Source::Demo => demo::config(),
        };
        if let Some(url) = &self.broker {
            let response_topics = std::mem::take(&mut config.mqtt.response_topics);
            config.mqtt = Mqtt::default();
            config.mqtt.response_topics = response_topics;
            config.mqtt.broker = Some(Broker::at(url));
        }
        if !self.listen_mqtt.is_empty() {
            config.mqtt.listen.clone_from(&self.listen_mqtt);
            config.mqtt.broker = None;
        }
        if !self.listen_http.is_empty() {
            config.http.listen.clone_from(&self.listen_http);
        }
        config.check()?;
        Ok(config)
    }
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if grace > LONGEST_GRACE {
        return Err("expected one hour at most".to_owned());
    }
    Ok(grace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_for_this_machine_alone() {
        let arguments = Arguments::parse_from(["rrpc-gateway", "--demo"]);
        let source = arguments.source().expect("the demo");
        let config = arguments.configuration(&source).expect("it is right");
        assert!(!config.http.listen.is_empty() && !config.mqtt.listen.is_empty());
        assert!(config.http.listen.iter().all(|address| address.ip().is_loopback()));
        for url in &config.mqtt.listen {
            let place = url.strip_prefix("mqtt://").expect("TCP");
            let address: SocketAddr = place.parse().expect("an address");
            assert!(address.ip().is_loopback(), "{url}");
        }
        assert!(config.mqtt.broker.is_none());
    }
}

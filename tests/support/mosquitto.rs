//! A mosquitto of its own for a test: on a free port of 127.0.0.1, with its own configuration.
#![allow(dead_code, reason = "not every test that shares this file needs all of it")]

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Mosquitto {
    process: Option<Child>,
    directory: PathBuf,
    port: u16,
    /// 0: none.
    second_port: u16,
}

impl Mosquitto {
    /// Starts a broker with these lines in its configuration; without a line about access
    /// everybody may connect. It accepts connections when this returns.
    pub(crate) async fn start(config: &[&str]) -> Self {
        Self::start_with(config, None).await
    }

    /// Starts a broker with a second listener, for `WebSocket`, which has these lines.
    pub(crate) async fn start_web_sockets(config: &[&str]) -> Self {
        Self::start_beside(&[], &[&["protocol websockets"], config].concat()).await
    }

    /// Starts a broker with a second listener, which has the lines `second`.
    pub(crate) async fn start_beside(config: &[&str], second: &[&str]) -> Self {
        Self::start_with(config, Some(second)).await
    }

    async fn start_with(config: &[&str], second: Option<&[&str]>) -> Self {
        let name =
            format!("tower-mqtt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory for the broker");
        let mut broker = Self { process: None, directory, port: 0, second_port: 0 };
        // Somebody else may take the port before the broker does.
        for _ in 0..10 {
            broker.port = free_port();
            broker.second_port = second.map_or(0, |_| free_port());
            broker.configure(config, second.unwrap_or_default());
            if broker.launch().await.is_ok() {
                return broker;
            }
        }
        panic!("mosquitto does not start; is it installed?");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Of its process, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub(crate) fn second_port(&self) -> u16 {
        self.second_port
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Puts a file beside the configuration and returns its path.
    pub(crate) fn file(config_name: &str, text: &str) -> PathBuf {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-mqtt-{}-{count}-{config_name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("a file for the broker");
        path
    }

    /// Ends the broker at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port, after `kill`.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.launch().await.expect("the port is still free");
    }

    fn configure(&self, config: &[&str], second: &[&str]) {
        let mut lines = vec![format!("listener {} 127.0.0.1", self.port)];
        lines.extend(config.iter().map(|line| (*line).to_owned()));
        if !config.iter().any(|line| line.starts_with("allow_anonymous")) {
            lines.push("allow_anonymous true".to_owned());
        }
        if self.second_port > 0 {
            lines.push(format!("listener {} 127.0.0.1", self.second_port));
            lines.extend(second.iter().map(|line| (*line).to_owned()));
        }
        fs::write(self.directory.join("mosquitto.conf"), lines.join("\n")).expect("configuration");
    }

    async fn launch(&mut self) -> io::Result<()> {
        let log = self.directory.join("log");
        let command = ["mosquitto", "/usr/sbin/mosquitto"].into_iter().find_map(|program| {
            Command::new(program)
                .arg("-c")
                .arg(self.directory.join("mosquitto.conf"))
                .stdout(Stdio::null())
                .stderr(fs::File::create(&log).ok()?)
                .spawn()
                .ok()
        });
        self.process = command;
        let Some(process) = &mut self.process else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        // Somebody else may answer on the port: only the broker knows whether it is its own.
        while !fs::read_to_string(&log)?.contains(" running") {
            if process.try_wait()?.is_some() {
                return Err(io::Error::from(io::ErrorKind::AddrInUse));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

//! The candidates, and the processes in which they are measured.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Error;
use super::measure::Measurement;

/// The load of one measurement.
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    pub(crate) payload: usize,
    pub(crate) window: Duration,
}

/// One way to ask and answer.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    program: PathBuf,
    /// More arguments of the responder.
    respond: &'static [&'static str],
    /// More arguments of the asking process.
    ask: &'static [&'static str],
    qos: u8,
    broker: Option<&'static str>,
}

/// Lines of mosquitto's configuration.
const TUNED: &str = "set_tcp_nodelay true\n";
const AS_INSTALLED: &str = "";

/// All of them: ours, then the bare loops, which are the floor.
pub(crate) fn candidates() -> Result<Vec<Candidate>, Error> {
    let ours = env::current_exe()?;
    let bare = build_peers()?.join("bare-ntex-mqtt");
    let candidate = |name, program: &Path, qos, broker| Candidate {
        name,
        program: program.to_owned(),
        respond: &[],
        ask: &[],
        qos,
        broker,
    };
    Ok(vec![
        candidate("tower-mqtt, hub, QoS 0", &ours, 0, None),
        Candidate {
            respond: &["--inline"],
            ..candidate("tower-mqtt, hub, inline, QoS 0", &ours, 0, None)
        },
        Candidate {
            respond: &["--inline"],
            ask: &["--local"],
            ..candidate("tower-mqtt, hub, inline + local, QoS 0", &ours, 0, None)
        },
        candidate("bare ntex-mqtt, direct, QoS 0", &bare, 0, None),
        candidate("tower-mqtt, hub, QoS 1", &ours, 1, None),
        candidate("bare ntex-mqtt, direct, QoS 1", &bare, 1, None),
        candidate("tower-mqtt, mosquitto, QoS 1", &ours, 1, Some(TUNED)),
        candidate("bare ntex-mqtt, mosquitto, QoS 1", &bare, 1, Some(TUNED)),
        candidate("tower-mqtt, mosquitto as installed, QoS 1", &ours, 1, Some(AS_INSTALLED)),
    ])
}

/// Builds the package of the peers, and says where their programs are.
fn build_peers() -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .status()?;
    if !status.success() {
        return Err("the peers do not build".into());
    }
    Ok(package.join("target/release"))
}

impl Candidate {
    /// One measurement in fresh processes.
    pub(crate) fn measure(&self, load: &Load) -> Result<Measurement, Error> {
        let broker = self.broker.map(Mosquitto::start).transpose()?;
        let mut responder = Command::new(&self.program);
        responder.arg("respond").args(self.respond);
        if let Some(broker) = &broker {
            responder.args(["--broker", &broker.address]);
        }
        let mut responder = Ended(responder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let address = first_line(&mut responder.0)?;
        let output = Command::new(&self.program)
            .args(["ask", "--address", &address, "--qos", &self.qos.to_string()])
            .args(["--in-flight", &load.in_flight.to_string()])
            .args(["--payload", &load.payload.to_string()])
            .args(["--millis", &load.window.as_millis().to_string()])
            .args(self.ask)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{}: asking failed", self.name).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn first_line(child: &mut Child) -> Result<String, Error> {
    let stdout = child.stdout.take().ok_or("the child's output is not piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        return Err("the responder ended before it was ready".into());
    }
    Ok(line.trim_end().to_owned())
}

/// A process that is ended with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Mosquitto {
    address: String,
    _process: Ended,
}

impl Mosquitto {
    fn start(lines: &str) -> Result<Self, Error> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        write!(config, "max_inflight_messages 0\nmax_queued_messages 0\n{lines}")?;
        let path = env::temp_dir().join(format!("tower-mqtt-bench-{port}.conf"));
        fs::write(&path, config)?;
        let process = Command::new(mosquitto()).arg("-c").arg(&path).stderr(Stdio::null()).spawn();
        let process = Ended(process.map_err(|error| format!("mosquitto: {error}"))?);
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("mosquitto does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(&path)?;
        Ok(Self { address: format!("mqtt://127.0.0.1:{port}"), _process: process })
    }
}

/// Debian puts it where only root's PATH looks.
fn mosquitto() -> &'static str {
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}

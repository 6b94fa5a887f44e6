//! The processes in which a candidate is measured, new ones each time.

use std::env;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path as FilePath;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use closed_loop::{Error, Measurement};

use super::candidates::{Candidate, Nagle, Path};
use super::programs::{Programs, mosquitto};

/// The load of one measurement.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    pub(crate) payload: usize,
}

impl FromStr for Load {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (in_flight, payload) = text.split_once('x').unwrap_or((text, "64"));
        Ok(Self { in_flight: in_flight.parse()?, payload: payload.parse()? })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in flight, {} B", self.in_flight, self.payload)
    }
}

/// One measurement.
pub(crate) fn measure(
    candidate: &Candidate,
    programs: &Programs,
    load: &Load,
    window: Duration,
) -> Result<Measurement, Error> {
    measure_with(&programs.path(candidate), candidate, programs, load, window)
}

/// Allocations of the requester for each request, from a measurement of their own.
pub(crate) fn allocations(
    candidate: &Candidate,
    programs: &Programs,
    load: &Load,
    window: Duration,
) -> Option<f64> {
    let counted = programs.counted(candidate)?;
    let measured = measure_with(&counted, candidate, programs, load, window);
    measured.ok()?.allocations_per_request
}

fn measure_with(
    ask: &FilePath,
    candidate: &Candidate,
    programs: &Programs,
    load: &Load,
    window: Duration,
) -> Result<Measurement, Error> {
    let broker = match candidate.path {
        Path::InProcess | Path::Direct => None,
        Path::Mosquitto(nagle) => Some(Broker::mosquitto(nagle)?),
        Path::NatsServer => Some(Broker::nats_server()?),
    };
    let mut asking = Command::new(ask);
    asking.args(["ask", "--qos", &candidate.qos.to_string()]).args(candidate.ask);
    asking.args(["--in-flight", &load.in_flight.to_string()]);
    asking.args(["--payload", &load.payload.to_string()]);
    asking.args(["--millis", &window.as_millis().to_string()]);
    if let Some(broker) = &broker {
        asking.args(["--broker-pid", &broker.process.0.id().to_string()]);
    }
    let _responder = if candidate.path == Path::InProcess {
        None
    } else {
        let (process, address) = respond(candidate, programs, broker.as_ref())?;
        asking.args(["--responder-pid", &process.0.id().to_string(), "--address", &address]);
        Some(process)
    };
    let asking =
        asking.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let patience = Duration::from_secs(30) + window * 4;
    let output = Ended(asking).output_within(patience)?;
    Ok(serde_json::from_slice(&output)?)
}

fn respond(
    candidate: &Candidate,
    programs: &Programs,
    broker: Option<&Broker>,
) -> Result<(Ended, String), Error> {
    let mut responder = Command::new(programs.path(candidate));
    responder.arg("respond").args(candidate.respond);
    if let Some(broker) = broker {
        responder.args(["--broker", &broker.address]);
    }
    responder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut responder = Ended(responder.spawn()?);
    let stdout = responder.0.stdout.take().ok_or("the responder's output is not piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        return Err("the responder ended before it was ready".into());
    }
    Ok((responder, line.trim_end().to_owned()))
}

/// A process that is ended with this value.
struct Ended(Child);

impl Ended {
    /// What it writes: one line, which the pipe holds until it has ended.
    fn output_within(mut self, patience: Duration) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.0.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                return Err("asking takes too long".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut pipes = (Vec::new(), String::new());
        self.0.stdout.take().map(|mut out| std::io::Read::read_to_end(&mut out, &mut pipes.0));
        self.0.stderr.take().map(|mut err| std::io::Read::read_to_string(&mut err, &mut pipes.1));
        if status.success() { Ok(pipes.0) } else { Err(pipes.1.trim().into()) }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Broker {
    address: String,
    process: Ended,
}

impl Broker {
    fn mosquitto(nagle: Nagle) -> Result<Self, Error> {
        let port = free_port()?;
        let mut config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        // A loop of 1,024 does not fit into the queues of an installation.
        config.push_str("max_inflight_messages 0\nmax_queued_messages 0\n");
        if nagle == Nagle::Off {
            writeln!(config, "set_tcp_nodelay true")?;
        }
        let path = env::temp_dir().join(format!("tower-mqtt-bench-{port}.conf"));
        fs::write(&path, config)?;
        let broker = Self::start(Command::new(mosquitto()).arg("-c").arg(&path), "mqtt", port);
        fs::remove_file(&path)?;
        broker
    }

    fn nats_server() -> Result<Self, Error> {
        let port = free_port()?;
        let mut server = Command::new("nats-server");
        server.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
        Self::start(&mut server, "nats", port)
    }

    fn start(command: &mut Command, scheme: &str, port: u16) -> Result<Self, Error> {
        let process = Ended(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("the broker does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { address: format!("{scheme}://127.0.0.1:{port}"), process })
    }
}

fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

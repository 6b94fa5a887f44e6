//! Programs that we did not write, or that do as those do.
#![allow(dead_code, reason = "not every test that shares this file needs all of it")]

#[path = "soon.rs"]
mod soon;

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub(crate) use self::soon::soon;

/// A program of the package mosquitto-clients.
pub(crate) fn mosquitto_client(name: &str, broker: u16) -> Command {
    let mut command = Command::new(name);
    command.args(["-h", "127.0.0.1", "-p", &broker.to_string()]);
    command
}

/// One of the programs under `tests/foreign`.
pub(crate) fn python(program: &str, broker: u16) -> Command {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let mut command = Command::new("python3");
    command.arg("-B").arg(directory.join(program)).arg(broker.to_string());
    command
}

/// A program under `tests/foreign` for Node, with what `npm ci` has installed under `target/node`.
pub(crate) fn node(program: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.arg(root.join("tests/foreign").join(program));
    command.env("NODE_PATH", root.join("target/node/node_modules"));
    command
}

fn advice(command: &Command) -> String {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    match program.as_str() {
        "python3" => "this test needs Python 3 and paho-mqtt: install python3, then \
                      `python3 -m pip install -r tests/foreign/requirements.txt`"
            .to_owned(),
        "node" => "this test needs Node and MQTT.js: install nodejs and npm, copy \
                   tests/foreign/package*.json to target/node, and run `npm ci` there"
            .to_owned(),
        other => format!("this test needs {other}: install the package mosquitto-clients"),
    }
}

/// Starts a program, which ends with the test at the latest.
pub(crate) fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| panic!("{} ({error})", advice(&command)))
}

/// Starts a program, and waits until it says that it is ready.
pub(crate) async fn spawn_ready(command: Command) -> Child {
    let advice = advice(&command);
    let mut child = spawn(command);
    let stdout = child.stdout.as_mut().expect("piped");
    let line = soon(BufReader::new(stdout).lines().next_line()).await.expect("UTF-8");
    if line.as_deref() != Some("ready") {
        let output = soon(child.wait_with_output()).await.expect("it runs");
        panic!("{advice}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    child
}

/// What a program prints, when it ends well.
pub(crate) async fn output(command: Command) -> String {
    let advice = advice(&command);
    let Output { status, stdout, stderr } =
        soon(spawn(command).wait_with_output()).await.expect("it runs");
    let stderr = String::from_utf8_lossy(&stderr);
    let missing = ["No module named", "Cannot find module"];
    assert!(!missing.iter().any(|text| stderr.contains(text)), "{advice}\n{stderr}");
    assert!(status.success(), "{status}\n{stderr}");
    String::from_utf8(stdout).expect("UTF-8")
}

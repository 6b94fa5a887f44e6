//! The program `rrpc-gateway`, as it is run.
#![cfg(all(feature = "gateway", unix))]

#[path = "support/programs.rs"]
mod programs;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tower_mqtt::{Client, Request, Responder, Router};

use self::programs::{soon, spawn};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway.toml");

/// Free ports.
const ANYWHERE: [&str; 4] = ["--listen-http", "127.0.0.1:0", "--listen-mqtt", "mqtt://127.0.0.1:0"];

fn gateway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrpc-gateway"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// How it ends by itself: its code, and what it has written.
async fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = soon(spawn(gateway(arguments)).wait_with_output()).await.expect("it runs");
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

/// A configuration file of a test's own.
struct File(PathBuf);

impl File {
    fn new(test: &str, content: &str) -> Self {
        let name = format!("tower-mqtt-program-{test}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).expect("written");
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A gateway that is ready.
struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
    http: String,
    mqtt: String,
}

impl Running {
    async fn start(arguments: &[&str]) -> Self {
        let mut child = spawn(gateway(arguments));
        let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let Some(line) = soon(stdout.next_line()).await.expect("UTF-8") else {
            let output = soon(child.wait_with_output()).await.expect("it runs");
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        };
        let places = line.strip_prefix("ready: http ").and_then(|it| it.split_once(", mqtt "));
        let (http, mqtt) = places.unwrap_or_else(|| panic!("{line}"));
        let (http, mqtt) = (http.to_owned(), format!("mqtt://{mqtt}"));
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, stdout, stderr, http, mqtt }
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(status.expect("kill is there").success());
    }

    async fn logs(&mut self, text: &str) {
        while let Some(line) = soon(self.stderr.next_line()).await.expect("UTF-8") {
            if line.contains(text) {
                return;
            }
        }
        panic!("it ended before it logged {text:?}");
    }

    /// Its code, and what else it logs.
    async fn end(mut self) -> (i32, String) {
        let mut log = String::new();
        while let Some(line) = soon(self.stderr.next_line()).await.expect("UTF-8") {
            log += &(line + "\n");
        }
        let status = soon(self.child.wait()).await.expect("it runs");
        (status.code().expect("no signal"), log)
    }

    /// Status and body of the answer to a call.
    async fn call(&self, token: &str, path: &str, payload: &str) -> (u16, String) {
        let mut answer = String::new();
        let mut stream = self.asking(token, path, payload).await;
        soon(stream.read_to_string(&mut answer)).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    async fn asking(&self, token: &str, path: &str, payload: &str) -> TcpStream {
        let mut stream = soon(TcpStream::connect(&self.http)).await.expect("it listens");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: \
             {}\r\nConnection: close\r\n\r\n{payload}",
            self.http,
            payload.len(),
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        stream
    }
}

#[tokio::test]
async fn a_right_file_is_right() {
    let (code, stdout, stderr) = run(&["--check", "--config", EXAMPLE]).await;
    assert_eq!(stdout, format!("{EXAMPLE}: ok: 3 products, 5 devices, 2 keys\n"), "{stderr}");
    assert_eq!((code, &*stderr), (0, ""));
}

#[tokio::test]
async fn all_that_is_wrong_with_a_file_is_said() {
    let text = "[http]\nbody = 0\n\n[[products]]\nid = \"a1\"\ndialect = \"aliun\"\n\n\
                [[keys]]\nid = \"key\"\nsecret = [\"hunter2\"]\n";
    let file = File::new("wrong", text);
    let name = file.name();
    let expected = format!(
        "{name}:2: http.body: expected 1 to 67108864, found 0\n\
         {name}:6: products[0].dialect: expected one of \"aliyun\", \"tencent\", \
         \"tencent-explorer\", \"native\", found \"aliun\"\n\
         {name}:10: keys[0].secret: expected a string, found an array\n"
    );
    let (code, stdout, stderr) = run(&["--check", "--config", name]).await;
    assert_eq!((code, &*stdout, &*stderr), (1, "", &*expected));
    let (code, stdout, stderr) = run(&["--config", name]).await;
    assert_eq!((code, &*stdout, &*stderr), (2, "", &*expected));
}

#[tokio::test]
async fn the_command_line_may_complete_a_file() {
    let file = File::new("cluster", "[cluster]\nname = \"kitchens\"\n");
    let check = ["--check", "--config", file.name()];
    let (code, _, stderr) = run(&check).await;
    assert_eq!(code, 1);
    let expected = format!("{}:1: cluster: expected mqtt.broker", file.name());
    assert!(stderr.starts_with(&expected), "{stderr}");
    let (code, stdout, _) = run(&[&check[..], &["--broker", "mqtt://127.0.0.1"]].concat()).await;
    assert_eq!(code, 0);
    assert!(stdout.ends_with(": ok: 0 products, 0 devices, 0 keys\n"), "{stdout}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let (code, _, stderr) = run(&["--config", "/nowhere/gateway.toml"]).await;
    assert_eq!(code, 2);
    assert!(stderr.starts_with("/nowhere/gateway.toml: the file cannot be read: "), "{stderr}");
}

#[tokio::test]
async fn it_explains_itself() {
    let (code, stdout, _) = run(&["--help"]).await;
    assert_eq!(code, 0);
    for option in ["--config <FILE>", "--demo", "--check", "--broker <URL>", "--grace", "Exit"] {
        assert!(stdout.contains(option), "{stdout}");
    }
    for arguments in [&[] as &[&str], &["--grace", "1s"]] {
        let (code, stdout, stderr) = run(arguments).await;
        assert_eq!((code, &*stdout), (2, ""));
        assert!(stderr.contains("--config FILE") && stderr.contains("--demo"), "{stderr}");
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused() {
    let wrong = [
        &["--demo", "--config", EXAMPLE] as &[&str],
        &["--check"],
        &["--check", "--demo"],
        &["--demo", "--grace", "2h"],
        &["--demo", "--grace", "soon"],
        &["--demo", "--listen-http", "localhost"],
        &["--demo", "--listen-mqtt", "http://127.0.0.1"],
        &["--demo", "--listen-mqtt", "mqtts://127.0.0.1:0"],
        &["--demo", "--listen-mqtt", "mqtt://h", "--broker", "mqtt://h"],
        &["--demo", "--broker", "mqt://anna:hunter2@h"],
        &["--demo", "--broker", "anna:hunter2@h"],
    ];
    for arguments in wrong {
        let (code, stdout, stderr) = run(arguments).await;
        assert_eq!((code, &*stdout), (2, ""), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty() && !stderr.contains("hunter2"), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let url = format!("mqtt://{address}");
    for arguments in [
        ["--demo", "--listen-http", &address, "--listen-mqtt", "mqtt://127.0.0.1:0"],
        ["--demo", "--listen-http", "127.0.0.1:0", "--listen-mqtt", &url],
    ] {
        let (code, stdout, stderr) = run(&arguments).await;
        assert_eq!((code, &*stdout), (1, ""), "{stderr}");
        for text in [&*address, "--listen-http", "--listen-mqtt", "in use"] {
            assert!(stderr.contains(text), "{stderr}");
        }
    }
}

/// As from a socket unit for datagrams, or with `Accept=yes`.
#[tokio::test]
async fn a_socket_that_does_not_listen_is_named() {
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let connection = TcpStream::connect(listener.local_addr().expect("an address")).await;
    let connection = connection.and_then(TcpStream::into_std).expect("connected");
    for socket in [OwnedFd::from(datagrams), OwnedFd::from(connection)] {
        // As systemd passes it.
        let pass = "export LISTEN_PID=$$ LISTEN_FDS=1 && exec 3<&0 </dev/null && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", pass, "sh", env!("CARGO_BIN_EXE_rrpc-gateway"), "--demo"]);
        command.args(ANYWHERE).stdin(Stdio::from(socket)).kill_on_drop(true);
        let Output { status, stderr, .. } = soon(command.output()).await.expect("it runs");
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: a socket that was passed: "), "{stderr}");
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("bound");
    let url = format!("mqtt://anna:hunter2@{free}");
    let arguments = ["--demo", "--listen-http", "127.0.0.1:0", "--broker", &url];
    let (code, _, stderr) = run(&arguments).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&free.to_string()) && !stderr.contains("hunter2"), "{stderr}");
}

#[tokio::test]
async fn the_example_starts_and_stops() {
    for signal in ["INT", "TERM"] {
        let gateway = Running::start(&[&["--config", EXAMPLE], &ANYWHERE[..]].concat()).await;
        soon(TcpStream::connect(&gateway.http)).await.expect("it listens");
        gateway.signal(signal).await;
        let (code, log) = gateway.end().await;
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("stopping"), "{log}");
    }
}

/// `curl -H 'Authorization: Bearer TOKEN' -d PAYLOAD 'http://HOST:PORT/PATH'`: token, path, payload.
fn curl(line: &str) -> Option<(&str, &str, &str)> {
    let line = line.trim().strip_prefix("curl -H 'Authorization: Bearer ")?;
    let (token, rest) = line.split_once("' -d ")?;
    let (payload, url) = rest.strip_suffix('\'')?.split_once(" 'http://")?;
    Some((token, &url[url.find('/')?..], payload.trim_matches('\'')))
}

#[tokio::test]
async fn the_demo_does_what_it_says() {
    let mut demo = Running::start(&[&["--demo"], &ANYWHERE[..]].concat()).await;
    let expected = ["ok", "HELLO", "{\"light\":{\"on\":true}}"];
    let mut answers = Vec::new();
    while answers.len() < expected.len() {
        let line = soon(demo.stdout.next_line()).await.expect("UTF-8").expect("a line");
        let Some((token, path, payload)) = curl(&line) else { continue };
        assert!(line.contains(&format!("http://{}/", demo.http)), "{line}");
        answers.push(demo.call(token, path, payload).await);
        assert_eq!(demo.call("another", path, payload).await.0, 401);
    }
    assert_eq!(answers, expected.map(|body| (200, body.to_owned())));
    demo.signal("TERM").await;
    let (code, log) = demo.end().await;
    assert_eq!(code, 0, "{log}");
}

const KITCHEN: &str = "\
    [[keys]]\nid = \"shop\"\nbearer = \"token\"\n\
    [[products]]\nid = \"kitchens\"\ndialect = \"native\"\ntimeout = \"1h\"\n\
    devices = [{ name = \"oven\", secret = \"secret\" }]\n";

/// An oven that says when it is asked, and answers when it is told.
async fn oven(
    url: &str,
) -> (Responder, tokio::sync::mpsc::Receiver<()>, tokio::sync::mpsc::Sender<()>) {
    let client = Client::builder(url).client_id("kitchens/oven");
    let link = client.credentials("kitchens/oven", "secret").connect().await.expect("let in");
    let (asked, is_asked) = tokio::sync::mpsc::channel(1);
    let (told, is_told) = tokio::sync::mpsc::channel(1);
    let is_told = std::sync::Arc::new(tokio::sync::Mutex::new(is_told));
    let router = Router::new().route("devices/kitchens/oven", async move |_: Request| {
        asked.send(()).await.expect("the test waits");
        is_told.lock().await.recv().await;
        "done"
    });
    let responder = Responder::builder(link).serve(router).await.expect("subscribed");
    (responder, is_asked, told)
}

#[tokio::test]
async fn a_call_in_flight_may_end() {
    let file = File::new("drain", KITCHEN);
    let arguments = [&["--config", file.name(), "--grace", "1h"], &ANYWHERE[..]].concat();
    let mut gateway = Running::start(&arguments).await;
    let (_oven, mut is_asked, told) = oven(&gateway.mqtt).await;
    let mut call = gateway.asking("token", "/v1/devices/kitchens/oven/call", "bake").await;
    soon(is_asked.recv()).await.expect("asked");
    gateway.signal("TERM").await;
    gateway.logs("stopping").await;
    told.send(()).await.expect("the oven waits");
    let mut answer = String::new();
    soon(call.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    assert_eq!(gateway.end().await.0, 0);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let file = File::new("at-once", KITCHEN);
    let arguments = [&["--config", file.name(), "--grace", "1h"], &ANYWHERE[..]].concat();
    let mut gateway = Running::start(&arguments).await;
    let (_oven, mut is_asked, _told) = oven(&gateway.mqtt).await;
    let _call = gateway.asking("token", "/v1/devices/kitchens/oven/call", "bake").await;
    soon(is_asked.recv()).await.expect("asked");
    gateway.signal("TERM").await;
    gateway.logs("stopping").await;
    gateway.signal("TERM").await;
    let (code, log) = gateway.end().await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("stopped at once"), "{log}");
}

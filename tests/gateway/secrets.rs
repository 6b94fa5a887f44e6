//! No secret stands in the log of the program, however much of it is asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tower_mqtt::link::Client;

use super::devices::{Form, KINDS, Kind, Mode, PSK, SECRET};
use super::http;
use super::mosquitto::Mosquitto;
use super::programs::{soon, spawn};
use super::raw::{Connect, Packet, Raw};
use super::running::{config, fleet};
use super::servers::{KEY, acs3, aliyun_api, plain_api, tencent_api};
use super::signing;

/// What is shown by those who have no right to come in.
const WRONG: &str = "hunter2-of-another";
const BROKERS: &str = "the-password-of-the-broker";

/// The program, and all that it writes.
struct Program {
    process: Child,
    written: Vec<JoinHandle<String>>,
    file: PathBuf,
    /// `http 127.0.0.1:8080, mqtt 127.0.0.1:1883`
    places: String,
}

impl Program {
    async fn start(config: &str) -> Self {
        let file = Mosquitto::file("secrets.toml", config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_rrpc-gateway"));
        command.arg("--config").arg(&file).env("RUST_LOG", "trace");
        let mut process = spawn(command);
        let mut stderr = process.stderr.take().expect("piped");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let log = tokio::spawn(async move {
            let mut text = String::new();
            stderr.read_to_string(&mut text).await.expect("UTF-8");
            text
        });
        let mut line = String::new();
        soon(stdout.read_line(&mut line)).await.expect("UTF-8");
        let Some(places) = line.strip_prefix("ready: ") else {
            panic!("{line}{}", log.await.expect("no panic"));
        };
        let places = places.trim_end().to_owned();
        let rest = tokio::spawn(async move {
            stdout.read_to_string(&mut line).await.expect("UTF-8");
            line
        });
        Self { process, written: vec![log, rest], file, places }
    }

    fn place(&self, of: &str) -> SocketAddr {
        let mut places = self.places.split(", ").filter_map(|place| place.split_once(' '));
        let place = places.find(|(name, _)| *name == of).expect("it is said").1;
        place.parse().expect("an address")
    }

    async fn end(mut self) -> String {
        let id = self.process.id().expect("it runs").to_string();
        let killed = Command::new("kill").args(["-s", "TERM", &id]).status().await;
        assert!(killed.expect("kill is there").success());
        assert!(soon(self.process.wait()).await.expect("it runs").success());
        let mut all = String::new();
        for written in self.written {
            all += &soon(written).await.expect("no panic");
        }
        let _ = std::fs::remove_file(self.file);
        all
    }
}

/// What nobody may read, as it is and as it may be written.
#[derive(Default)]
struct Hidden(BTreeMap<String, Vec<String>>);

impl Hidden {
    fn hide(&mut self, text: &str) {
        let hex = hex::encode(text);
        let bytes = format!("{:?}", text.as_bytes());
        let forms = [
            text.to_owned(),
            signing::encode(text),
            BASE64_STANDARD.encode(text).trim_end_matches('=').to_owned(),
            hex.to_uppercase(),
            hex,
            bytes.trim_matches(['[', ']']).to_owned(),
        ];
        self.0.insert(text.to_owned(), forms.into());
    }

    fn of_all() -> Self {
        let mut hidden = Self::default();
        for text in [KEY.1, KEY.2, SECRET, PSK, WRONG, BROKERS, "0123456789abcdef"] {
            hidden.hide(text);
        }
        hidden
    }

    fn assert_not_in(&self, log: &str) {
        for (secret, forms) in &self.0 {
            for form in forms {
                let line = log.lines().find(|line| line.contains(form));
                assert!(line.is_none(), "{secret} stands in the log: {line:?}");
            }
        }
    }
}

/// Each kind of device with its own password, and with another one, in each version of MQTT.
async fn devices_log_in(hub: SocketAddr, hidden: &mut Hidden) {
    for kind in KINDS {
        let (client_id, user, password) = kind.credentials("lamp");
        let forged = format!("{}{WRONG}", &password[1..]);
        for version in [3, 4, 5] {
            let connect = Connect::new(&client_id).version(version);
            Raw::connect(hub, &connect.clone().credentials(&user, &password)).await;
            for (user, password) in [(&*user, &*forged), (&*user, WRONG), ("nobody", &*password)] {
                let connect = connect.clone().credentials(user, password);
                let (_, answer) = Raw::try_connect(hub, &connect).await;
                assert!(!matches!(answer, Packet::ConnAck { reason: 0, .. }), "{kind:?}");
            }
            // A byte is left over, or one is missing.
            let mut whole = connect.credentials(&user, &password).bytes();
            let length = whole.len();
            whole.push(0);
            for (by, end) in [(1, length + 1), (-1, length)] {
                let mut bytes = whole[..end].to_vec();
                // Remaining Length is one byte, or two of which the second stays as it is.
                bytes[1] = bytes[1].wrapping_add_signed(by);
                let mut raw = Raw::open_version(hub, version).await;
                raw.send(&bytes).await;
                raw.disconnect().await;
                raw.last_words().await;
            }
        }
        hidden.hide(&password);
        hidden.hide(&forged);
    }
}

async fn servers_log_in(hub: SocketAddr) {
    for (password, right) in [(KEY.1, true), (WRONG, false), (KEY.2, false)] {
        let client = Client::builder(&format!("mqtt://{hub}")).client_id("shop");
        let connected = soon(client.credentials(KEY.0, password).connect()).await;
        assert_eq!(connected.is_ok(), right);
    }
}

/// A call in each way that it can be signed, right and wrong; all of them are answered.
async fn servers_call(gateway: SocketAddr) {
    let product = Kind::Plain.product();
    let query =
        [("Action", "RRpc"), ("ProductKey", product), ("DeviceName", "oven"), ("Timeout", "1000")];
    let form = [("RequestBase64Byte", "b24=")];
    let body = json!({"ProductId": product, "DeviceName": "oven", "Payload": "on"});
    let action = ("iotcloud", "PublishRRPCMessage", "2021-04-08");
    for (secret, right) in [(KEY.1, true), (WRONG, false)] {
        let key = (KEY.0, secret);
        let answer = aliyun_api(gateway, key, &query, &form).await;
        assert_eq!(answer.json()["Success"] == true, right, "{answer:?}");
        let answer = signed_by_acs3(gateway, key, &query, &form).await;
        assert_eq!(answer.json()["Success"] == true, right, "{answer:?}");
        let answer = tencent_api(gateway, key, action, &body).await;
        assert_eq!(answer.json()["Response"]["PayloadBase64"] == "T04=", right, "{answer:?}");
    }
    let to = format!("{product}/oven/call");
    for (token, status) in [(KEY.2, 200), (WRONG, 401), (KEY.1, 401)] {
        assert_eq!(plain_api(gateway, token, &to, b"on").await.status, status);
    }
    // HTTP that is none, around a token.
    for head in ["Authorization: Bearer", "Authorization\0: Bearer"] {
        let text = format!("GET /v1/devices HTTP/1.1\r\n{head} {}\u{1}\r\n\r\n", KEY.2);
        let mut stream = TcpStream::connect(gateway).await.expect("connected");
        stream.write_all(text.as_bytes()).await.expect("written");
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

/// As the SDKs of the Tea family call.
async fn signed_by_acs3(
    gateway: SocketAddr,
    key: (&str, &str),
    query: &[(&str, &str)],
    form: &[(&str, &str)],
) -> http::Answer {
    let action = query[0].1;
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", signing::encode(value));
    let query = query[1..].iter().map(pair).collect::<Vec<_>>().join("&");
    let body = form.iter().map(pair).collect::<Vec<_>>().join("&");
    let headers = acs3(key, &gateway.to_string(), action, &query, body.as_bytes());
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
    http::send(gateway, &format!("POST /?{query}"), &headers, body.as_bytes()).await
}

#[tokio::test]
async fn no_secret_is_in_the_log() {
    let devices: Vec<_> = KINDS.map(|kind| (kind, "lamp".to_owned())).into();
    let oven = (Kind::Plain, "oven".to_owned());
    let program = Program::start(&config(&[devices, vec![oven]].concat())).await;
    let (gateway, hub) = (program.place("http"), program.place("mqtt"));
    let mut hidden = Hidden::of_all();
    let _oven = Kind::Plain.start(hub, "oven", Form::Device, Mode::Upper).await;
    hidden.hide(&Kind::Plain.credentials("oven").2);
    devices_log_in(hub, &mut hidden).await;
    servers_log_in(hub).await;
    servers_call(gateway).await;
    let log = program.end().await;
    // It is the log of all this.
    for line in ["its password is wrong", "DEBUG", "an HTTP connection ended early", "stopping"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    hidden.assert_not_in(&log);
}

#[tokio::test]
async fn the_password_of_the_broker_is_not_in_the_log() {
    let broker = Mosquitto::start(&[]).await;
    let url = broker.url();
    let places = "[http]\nlisten = [\"127.0.0.1:0\"]\n";
    let broker_of = |password: &str| {
        format!(
            "[mqtt.broker]\nurl = \"{url}\"\nusername = \"gateway\"\npassword = \"{password}\"\n"
        )
    };
    let devices = fleet(&[(Kind::Plain, "oven".to_owned())]);
    let program = Program::start(&format!("{places}{}{devices}", broker_of(BROKERS))).await;
    let at = SocketAddr::from(([127, 0, 0, 1], broker.port()));
    let _oven = Kind::Plain.start(at, "oven", Form::Device, Mode::Upper).await;
    servers_call(program.place("http")).await;
    drop(broker);
    let log = program.end().await;
    assert!(log.contains("stopping"), "{log}");
    Hidden::of_all().assert_not_in(&log);
}

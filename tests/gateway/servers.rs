//! Servers that call devices, each in its own way.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use ulid::Ulid;

use super::devices::{Form, Kind};
use super::http::{self, Answer};
use super::mqtt_servers;
use super::signing;

/// The key that all of them have.
pub(crate) const KEY: (&str, &str, &str) = ("testid", "testsecret", "a token for tests");

/// How a server calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Aliyun,
    Tencent,
    Plain,
    /// By this crate's own requester.
    Native,
    /// As any client of MQTT 5, which does not say how long it waits.
    Peer,
}

pub(crate) const SERVERS: [Server; 5] =
    [Server::Aliyun, Server::Tencent, Server::Plain, Server::Native, Server::Peer];

/// What it learns, in the words of none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer(String),
    /// The device says that it has failed, with 500.
    Failed,
    Timeout,
    Offline,
    Else(String),
}

/// A device, and what of it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) kind: Kind,
    pub(crate) device: &'a str,
    pub(crate) form: Form,
    /// How long the server waits, where it has a say in it: 1 s to 8 s.
    pub(crate) timeout: Duration,
}

impl Server {
    /// Sends `payload`.
    pub(crate) async fn call(
        self,
        gateway: (SocketAddr, SocketAddr),
        asked: Asked<'_>,
        payload: &str,
    ) -> Outcome {
        match self {
            Self::Aliyun => aliyun(gateway.0, asked, payload).await,
            Self::Tencent => tencent(gateway.0, asked, payload).await,
            Self::Plain => plain(gateway.0, asked, payload).await,
            Self::Native => mqtt_servers::native(gateway.1, asked, payload).await,
            Self::Peer => mqtt_servers::peer(gateway.1, asked, payload).await,
        }
    }
}

/// The type of Aliyun's forms.
pub(crate) const FORM: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded")];

pub(crate) async fn aliyun_api(
    gateway: SocketAddr,
    key: (&str, &str),
    query: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Answer {
    let (line, body) = aliyun_request(key, query, form);
    http::send(gateway, &line, &FORM, body.as_bytes()).await
}

/// Parameters of query and body, signed as aliyun-python-sdk-core signs them: the line and the body.
pub(crate) fn aliyun_request(
    (id, secret): (&str, &str),
    query: &[(&str, &str)],
    form: &[(&str, &str)],
) -> (String, String) {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let nonce = Ulid::new().to_string();
    let own = [
        ("Version", "2018-01-20"),
        ("Format", "JSON"),
        ("RegionId", "cn-shanghai"),
        ("Timestamp", &now),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureType", ""),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", &nonce),
        ("AccessKeyId", id),
    ];
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut query: Vec<_> = query.iter().chain(&own).map(pair).collect();
    let form: Vec<_> = form.iter().map(pair).collect();
    let all: Vec<_> = query.iter().chain(&form).cloned().collect();
    query.push(("Signature".to_owned(), signing::aliyun("POST", &all, secret)));
    let encode = |pairs: &[(String, String)]| {
        let encode = |(name, value): &(String, String)| {
            format!("{}={}", signing::encode(name), signing::encode(value))
        };
        pairs.iter().map(encode).collect::<Vec<_>>().join("&")
    };
    (format!("POST /?{}", encode(&query)), encode(&form))
}

/// Headers with Aliyun's newer signature, for a form that is posted now.
pub(crate) fn acs3(
    (id, secret): (&str, &str),
    host: &str,
    action: &str,
    query: &str,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("host", host.to_owned()),
        ("x-acs-action", action.to_owned()),
        ("x-acs-content-sha256", signing::sha256_hex(body)),
        ("x-acs-date", humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        ("x-acs-signature-nonce", Ulid::new().to_string()),
        ("x-acs-version", "2018-01-20".to_owned()),
    ];
    let mut sorted: Vec<_> = query.split('&').collect();
    sorted.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let lines = lines.concat();
    let digest = signing::sha256_hex(body);
    let canonical = format!("POST\n/\n{}\n{lines}\n{names}\n{digest}", sorted.join("&"));
    let text = format!("ACS3-HMAC-SHA256\n{}", signing::sha256_hex(canonical.as_bytes()));
    let signature = hex::encode(signing::hmac_sha256(secret.as_bytes(), &text));
    let authorization =
        format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={names},Signature={signature}");
    headers.push(("authorization", authorization));
    // The client writes it.
    headers.retain(|(name, _)| *name != "host");
    headers
}

async fn aliyun(gateway: SocketAddr, asked: Asked<'_>, payload: &str) -> Outcome {
    let Asked { kind, device, form, timeout } = asked;
    let (id, secret, _) = KEY;
    let to = [("ProductKey", kind.product()), ("DeviceName", device)];
    if form == Form::Service {
        let service =
            [("Action", "InvokeThingService"), ("Identifier", "light"), ("Args", payload)];
        let answer = aliyun_api(gateway, (id, secret), &[&to[..], &service].concat(), &[]).await;
        return of_thing_service(&answer);
    }
    let topic = format!("/{}/{device}/user/get", kind.product());
    let timeout = timeout.as_millis().to_string();
    let rrpc = [("Action", "RRpc"), ("Timeout", &timeout)];
    let topic = (form == Form::Topic).then_some(("Topic", topic.as_str()));
    let query: Vec<_> = to.into_iter().chain(rrpc).chain(topic).collect();
    let payload = BASE64_STANDARD.encode(payload);
    let body = [("RequestBase64Byte", payload.as_str())];
    of_rrpc(&aliyun_api(gateway, (id, secret), &query, &body).await)
}

fn of_rrpc(answer: &Answer) -> Outcome {
    let body = answer.json();
    assert!(body["RequestId"].is_string() && answer.status == 200, "{answer:?}");
    match (body["Success"].as_bool(), body["RrpcCode"].as_str(), body["Code"].as_str()) {
        (Some(true), Some("SUCCESS"), _) => {
            assert!(body["MessageId"].as_u64().is_some_and(|id| id > 0), "{body}");
            Outcome::Answer(decoded(&body["PayloadBase64Byte"]))
        }
        (Some(false), Some("TIMEOUT"), Some("iot.messagebroker.TIMEOUT")) => Outcome::Timeout,
        (Some(false), Some("OFFLINE"), Some("iot.messagebroker.OFFLINE")) => Outcome::Offline,
        (Some(false), Some("UNKNOWN"), Some("iot.messagebroker.RrpcFailed"))
            if body["ErrorMessage"].as_str().is_some_and(|text| text.contains("500")) =>
        {
            Outcome::Failed
        }
        _ => Outcome::Else(body.to_string()),
    }
}

fn of_thing_service(answer: &Answer) -> Outcome {
    let body = answer.json();
    match (body["Success"].as_bool(), body["Code"].as_str()) {
        (Some(true), _) => {
            let result = body["Data"]["Result"].as_str().expect("a result");
            let result: Value = serde_json::from_str(result).expect("JSON");
            assert_eq!(result["id"], body["Data"]["MessageId"], "{body}");
            match result["code"].as_u64() {
                Some(200) => Outcome::Answer(result["data"].to_string()),
                Some(500) => Outcome::Failed,
                _ => Outcome::Else(body.to_string()),
            }
        }
        (_, Some("iot.messagebroker.OFFLINE")) => Outcome::Offline,
        (_, Some("iot.messagebroker.TIMEOUT")) => Outcome::Timeout,
        _ => Outcome::Else(body.to_string()),
    }
}

fn decoded(value: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(value.as_str().expect("text")).expect("base64");
    String::from_utf8(bytes).expect("text")
}

/// An action of Tencent's, signed as tencentcloud-sdk-python does.
pub(crate) async fn tencent_api(
    gateway: SocketAddr,
    (id, secret): (&str, &str),
    (service, action, version): (&str, &str, &str),
    body: &Value,
) -> Answer {
    let now = SystemTime::now();
    let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs();
    let text = humantime::format_rfc3339_seconds(now).to_string();
    let (body, host) = (body.to_string(), gateway.to_string());
    let content_type = "application/json";
    let authorization = signing::tencent(
        (id, secret),
        service,
        (&host, content_type),
        (timestamp, &text[..10]),
        body.as_bytes(),
    );
    let headers = [
        ("Content-Type", content_type),
        ("X-TC-Action", action),
        ("X-TC-Version", version),
        ("X-TC-Timestamp", &timestamp.to_string()),
        ("X-TC-Region", "ap-guangzhou"),
        ("Authorization", &authorization),
    ];
    let answer = http::send(gateway, "POST /", &headers, body.as_bytes()).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.status, 200);
    answer
}

async fn tencent(gateway: SocketAddr, asked: Asked<'_>, payload: &str) -> Outcome {
    let Asked { kind, device, form, .. } = asked;
    assert_eq!(form, Form::Device, "it has no other");
    let body = json!({"ProductId": kind.product(), "DeviceName": device, "Payload": payload});
    let action = match kind {
        Kind::Explorer => ("iotexplorer", "CallDeviceRRPCSync", "2019-04-23"),
        _ => ("iotcloud", "PublishRRPCMessage", "2021-04-08"),
    };
    let answer = tencent_api(gateway, (KEY.0, KEY.1), action, &body).await.json();
    let answer = &answer["Response"];
    if kind == Kind::Explorer && answer["Error"].is_null() {
        assert_eq!(answer["ReplyTopic"], format!("$iotrrpc/up/{}/{device}/+", kind.product()));
    }
    of_tencent(answer)
}

/// What the `Response` of either action says.
pub(crate) fn of_tencent(answer: &Value) -> Outcome {
    assert!(answer["RequestId"].is_string(), "{answer}");
    match (answer["Error"]["Code"].as_str(), answer["Status"].as_str()) {
        (None, None | Some("Replied")) => {
            assert!(answer["MessageId"].as_u64().is_some_and(|id| id > 0), "{answer}");
            Outcome::Answer(decoded(&answer["PayloadBase64"]))
        }
        (Some("FailedOperation.RRPCTimeout"), None) | (None, Some("Timeout")) => Outcome::Timeout,
        (Some("FailedOperation.DeviceOffline"), None) => Outcome::Offline,
        (Some("FailedOperation"), None)
            if answer["Error"]["Message"].to_string().contains("500") =>
        {
            Outcome::Failed
        }
        _ => Outcome::Else(answer.to_string()),
    }
}

/// A call of the plain API.
pub(crate) async fn plain_api(
    gateway: SocketAddr,
    token: &str,
    to: &str,
    payload: &[u8],
) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "text/plain")];
    http::send(gateway, &format!("POST /v1/devices/{to}"), &headers, payload).await
}

async fn plain(gateway: SocketAddr, asked: Asked<'_>, payload: &str) -> Outcome {
    let Asked { kind, device, form, timeout } = asked;
    let product = kind.product();
    let topic = format!("/{product}/{device}/user/get");
    let of = match form {
        Form::Device => String::new(),
        Form::Topic => format!("&topic={}", signing::encode(&topic)),
        Form::Service => "&service=light".to_owned(),
    };
    let to = format!("{product}/{device}/call?timeout={}ms{of}", timeout.as_millis());
    let answer = plain_api(gateway, KEY.2, &to, payload.as_bytes()).await;
    if answer.header("content-type") != Some("application/problem+json") {
        return match answer.status {
            200 => Outcome::Answer(answer.text().to_owned()),
            500 => Outcome::Failed,
            _ => Outcome::Else(format!("{answer:?}")),
        };
    }
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{problem}");
    match (answer.status, problem["code"].as_str()) {
        (503, Some("offline")) => Outcome::Offline,
        (504, Some("timeout")) => Outcome::Timeout,
        _ => Outcome::Else(problem.to_string()),
    }
}

//! A signed request that is changed on its way is refused, unless it says the same; one that is not
//! changed is taken, and, where it has a nonce, once.
//!
//! An input says which signature, which part is changed, and how: edits of a place, what is done there
//! and a byte.

#[path = "../../gateway/signing.rs"]
mod signing;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use ulid::Ulid;

use super::server::{KEY, Server, status};

pub fn run(input: &[u8]) {
    static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));
    let [kind, part, edits @ ..] = input else { return };
    let server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    let sign = [aliyun_rpc, acs3, tc3][usize::from(kind % 3)];
    let signed = sign(&server);
    let mut sent = signed.clone();
    if !sent.change(usize::from(*part), edits) {
        return;
    }
    let answer = server.ask(&sent.bytes());
    let same = sent.says() == signed.says();
    let accepted = is_accepted(&answer);
    let shown = || format!("{sent:?}\n{signed:?}\n{}", String::from_utf8_lossy(&answer));
    assert!(same || !accepted, "a changed request is accepted: {}", shown());
    if sent == signed {
        assert!(accepted, "a right signature is refused: {}", shown());
    }
    if accepted && sent.scheme != Scheme::Tc3 {
        assert!(!is_accepted(&server.ask(&sent.bytes())), "accepted twice: {}", shown());
    }
}

/// What comes after the signature was looked at, and found right.
fn is_accepted(answer: &[u8]) -> bool {
    const LATER: [&str; 4] =
        ["InvalidAction", "InvalidVersion", "InvalidFormat", "UnsupportedOperation"];
    let text = String::from_utf8_lossy(answer);
    let code = text.split("\"Code\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let Some(code) = code else { return status(answer) == Some(200) };
    code.starts_with("iot.")
        || code.starts_with("FailedOperation")
        || code.starts_with("ResourceNotFound")
        || LATER.iter().any(|later| code.starts_with(later))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    AliyunRpc,
    Acs3,
    Tc3,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    scheme: Scheme,
    /// Method, path, query, body, and the values of the headers.
    parts: Vec<Vec<u8>>,
    headers: Vec<&'static str>,
}

const METHOD: usize = 0;
const PATH: usize = 1;
const QUERY: usize = 2;
const BODY: usize = 3;
/// Tencent's SDKs do not sign these.
const UNSIGNED: [&str; 2] = ["X-TC-Action", "X-TC-Version"];
/// From here on.
const HEADERS: usize = 4;

impl Sent {
    fn post(
        scheme: Scheme,
        query: String,
        body: String,
        headers: &[(&'static str, String)],
    ) -> Self {
        let mut parts =
            vec![b"POST".to_vec(), b"/".to_vec(), query.into_bytes(), body.into_bytes()];
        parts.extend(headers.iter().map(|(_, value)| value.clone().into_bytes()));
        Self { scheme, parts, headers: headers.iter().map(|(name, _)| *name).collect() }
    }

    /// Whether the edits leave a request that has the same parts.
    fn change(&mut self, part: usize, edits: &[u8]) -> bool {
        let part = part % self.parts.len();
        for edit in edits.chunks_exact(4) {
            let bytes = &mut self.parts[part];
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
            let byte = edit[3];
            if part != BODY && matches!(byte, b'\r' | b'\n') {
                return false;
            }
            match edit[2] % 3 {
                0 if !bytes.is_empty() => {
                    let at = at % bytes.len();
                    bytes[at] = byte;
                }
                1 if !bytes.is_empty() => drop(bytes.remove(at % bytes.len())),
                2 => bytes.insert(at % (bytes.len() + 1), byte),
                _ => {}
            }
        }
        // A space or a question mark would move what follows into another part.
        let moved = |part: &[u8]| part.iter().any(|byte| matches!(byte, b' ' | b'?' | b'\t'));
        !self.parts[METHOD].is_empty()
            && !moved(&self.parts[METHOD])
            && self.parts[PATH].starts_with(b"/")
            && !moved(&self.parts[PATH])
            && !self.parts[PATH].contains(&b'#')
            && !self.parts[QUERY].iter().any(|byte| matches!(byte, b' ' | b'\t'))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = [&self.parts[METHOD][..], b" ", &self.parts[PATH]].concat();
        if !self.parts[QUERY].is_empty() {
            all.extend([b"?", &self.parts[QUERY][..]].concat());
        }
        all.extend(b" HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in self.headers.iter().zip(&self.parts[HEADERS..]) {
            all.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        all.extend(format!("Content-Length: {}\r\n\r\n", self.parts[BODY].len()).bytes());
        all.extend(&self.parts[BODY]);
        all
    }

    /// All that is signed, and the signature, without what is the same in another spelling.
    fn says(&self) -> Vec<Vec<u8>> {
        let query = self.parts[QUERY].split(|byte| *byte == b'#').next().unwrap_or_default();
        let method = self.parts[METHOD].clone();
        match self.scheme {
            Scheme::AliyunRpc => {
                let mut all = pairs(query);
                all.extend(pairs(&self.parts[BODY]));
                all.sort();
                all.push(method);
                all
            }
            Scheme::Acs3 => {
                let mut all = pairs(query);
                all.sort();
                all.extend([method, self.parts[PATH].clone(), self.parts[BODY].clone()]);
                all.extend(self.header_values(<[u8]>::to_vec));
                all
            }
            Scheme::Tc3 => {
                let mut all = vec![method, self.parts[PATH].clone(), query.to_vec()];
                all.push(self.parts[BODY].clone());
                // Either case of a value is right.
                all.extend(self.header_values(<[u8]>::to_ascii_lowercase));
                all
            }
        }
    }

    fn header_values(&self, form: fn(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
        let values = self.headers.iter().zip(&self.parts[HEADERS..]);
        values
            .filter(|(name, _)| !UNSIGNED.contains(name))
            .map(|(name, value)| match *name {
                "Authorization" => authorization(value),
                _ => form(value.trim_ascii()),
            })
            .collect()
    }
}

/// Names and values, decoded.
fn pairs(encoded: &[u8]) -> Vec<Vec<u8>> {
    let pairs = url::form_urlencoded::parse(encoded);
    pairs.map(|(name, value)| [name.as_bytes(), &[0xFF], value.as_bytes()].concat()).collect()
}

/// Its parts in order, without the spaces around them.
fn authorization(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    let space = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (algorithm, rest) = value.split_at(space);
    let mut parts: Vec<_> =
        String::from_utf8_lossy(rest).split(',').map(|part| part.trim().to_owned()).collect();
    parts.sort();
    [algorithm, b" ", parts.join(",").as_bytes()].concat()
}

fn now() -> (String, u64) {
    let now = SystemTime::now();
    let unix = now.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs();
    (humantime::format_rfc3339_seconds(now).to_string(), unix)
}

fn encoded(pairs: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| [name, "=", &signing::encode(value)].concat();
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

const FORM: &str = "application/x-www-form-urlencoded";

fn rrpc() -> Vec<(String, String)> {
    let pairs = [("ProductKey", "a1testPK001"), ("DeviceName", "device1"), ("Timeout", "1000")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn aliyun_rpc(server: &Server) -> Sent {
    let (time, nonce) = (now().0, Ulid::new().to_string());
    let own = [
        ("Action", "RRpc"),
        ("Version", "2018-01-20"),
        ("Format", "JSON"),
        ("Timestamp", &time),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", &nonce),
        ("AccessKeyId", KEY),
    ];
    let mut query = rrpc();
    query.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let body = vec![("RequestBase64Byte".to_owned(), "aGVsbG8gd29ybGQ=".to_owned())];
    let all = [&query[..], &body].concat();
    query.push(("Signature".to_owned(), signing::aliyun("POST", &all, &server.secret)));
    let headers = [("Host", server.address.to_string()), ("Content-Type", FORM.to_owned())];
    Sent::post(Scheme::AliyunRpc, encoded(&query), encoded(&body), &headers)
}

fn acs3(server: &Server) -> Sent {
    let mut query = rrpc();
    query.sort();
    let (query, body) = (encoded(&query), "RequestBase64Byte=aGVsbG8gd29ybGQ%3D".to_owned());
    let mut headers = vec![
        ("content-type", FORM.to_owned()),
        ("host", server.address.to_string()),
        ("x-acs-action", "RRpc".to_owned()),
        ("x-acs-content-sha256", signing::sha256_hex(body.as_bytes())),
        ("x-acs-date", now().0),
        ("x-acs-signature-nonce", Ulid::new().to_string()),
        ("x-acs-version", "2018-01-20".to_owned()),
    ];
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines = headers.iter().flat_map(|(name, value)| [name, ":", value, "\n"]);
    let lines: String = lines.collect();
    let digest = signing::sha256_hex(body.as_bytes());
    let canonical = format!("POST\n/\n{query}\n{lines}\n{names}\n{digest}");
    let text = format!("ACS3-HMAC-SHA256\n{}", signing::sha256_hex(canonical.as_bytes()));
    let signature = hex::encode(signing::hmac_sha256(server.secret.as_bytes(), &text));
    let authorization =
        format!("ACS3-HMAC-SHA256 Credential={KEY},SignedHeaders={names},Signature={signature}");
    headers.push(("Authorization", authorization));
    Sent::post(Scheme::Acs3, query, body, &headers)
}

fn tc3(server: &Server) -> Sent {
    let (time, unix) = now();
    let host = server.address.to_string();
    let content_type = "application/json";
    let body = r#"{"ProductId":"KL4J2TEST1","DeviceName":"airConditioner1","Payload":"{}"}"#;
    let authorization = signing::tencent(
        (KEY, &server.secret),
        "iotcloud",
        (&host, content_type),
        (unix, &time[..10]),
        body.as_bytes(),
    );
    let headers = [
        ("Host", host),
        ("Content-Type", content_type.to_owned()),
        ("X-TC-Timestamp", unix.to_string()),
        ("Authorization", authorization),
    ];
    let mut sent = Sent::post(Scheme::Tc3, String::new(), body.to_owned(), &headers);
    for (name, value) in [("X-TC-Action", "PublishRRPCMessage"), ("X-TC-Version", "2021-04-08")] {
        sent.headers.push(name);
        sent.parts.push(value.as_bytes().to_vec());
    }
    sent
}

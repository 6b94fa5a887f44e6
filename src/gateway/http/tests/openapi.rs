//! The description is true: there is a request for each response in it, and nothing else is served.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::routing::MethodFilter;
use serde_json::Value;

use super::client::{Reply, request};
use super::{BODY, Gateway, local};
use crate::gateway::config;
use crate::gateway::http::openapi::DOCUMENT;
use crate::gateway::http::routes::ROUTES;
use crate::gateway::http::server::Patience;

const CALL: &str = "/v1/devices/{product}/{device}/call";

/// A request, and which of the documented responses it gets.
struct Case {
    method: &'static str,
    path: &'static str,
    documented: &'static str,
    request: String,
}

fn case(method: &'static str, path: &'static str, documented: &'static str, query: &str) -> Case {
    let request = request(method, &format!("{path}{query}"), "", "");
    Case { method, path, documented, request }
}

fn device(documented: &'static str, device: &str) -> Case {
    let mut case = case("POST", CALL, documented, "");
    case.request = case.request.replace("{product}", "a1").replace("{device}", device);
    case
}

impl Case {
    fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.request.contains(old));
        self.request = self.request.replace(old, new);
        self
    }

    fn without_key(self) -> Self {
        self.with("token-all", "nobody")
    }

    fn with_half_a_body(self) -> Self {
        self.with("Content-Length: 0", "Content-Length: 1")
    }
}

fn usual() -> Vec<Case> {
    let too_large = format!("Content-Length: {}", 9 * BODY);
    vec![
        case("POST", "/", "default", ""),
        case("GET", "/", "default", "?Action=RRpc"),
        case("GET", "/", "200", ""),
        case("GET", "/", "404", "?x=y"),
        device("200", "echo"),
        device("204", "status-204"),
        device("400", "echo").with("/call", "/call?x=y"),
        device("401", "echo").without_key(),
        device("403", "echo").with("/a1/", "/a2/").with("token-all", "token-some"),
        device("404", "nobody"),
        device("404", "no_such_product"),
        device("409", "disabled"),
        device("413", "echo").with("Content-Length: 0", &too_large),
        device("413", "too_large"),
        device("429", "too_many"),
        device("502", "failed"),
        device("502", "lost"),
        device("502", "status-1000"),
        device("503", "offline"),
        device("503", "half_open"),
        device("503", "not_subscribed"),
        device("503", "unavailable"),
        device("504", "timeout"),
        device("default", "status-418"),
        case("GET", "/v1/devices", "200", ""),
        case("GET", "/v1/devices", "400", "?limit=0"),
        case("GET", "/v1/devices", "401", "").without_key(),
        case("GET", "/v1/calls", "200", ""),
        case("GET", "/v1/calls", "401", "").without_key(),
        case("GET", "/console/{file}", "200", "").with("{file}", "console.css"),
        case("GET", "/console/{file}", "404", "").with("{file}", "console.scss"),
        case("GET", "/metrics", "200", ""),
        case("GET", "/metrics", "401", "").without_key(),
        case("GET", "/metrics", "403", "").with("token-all", "token-some"),
        case("GET", "/healthz", "200", ""),
        case("GET", "/openapi.json", "200", ""),
    ]
}

/// Of a gateway that waits for nothing, has one connection, and whose broker is away.
fn unusual() -> Vec<Case> {
    vec![
        case("POST", "/", "default", "").with_half_a_body(),
        case("GET", "/", "default", "?Action=RRpc").with_half_a_body(),
        device("408", "echo").with_half_a_body(),
        case("GET", "/healthz", "503", ""),
        case("GET", "/v1/calls", "503", ""),
    ]
}

#[tokio::test]
async fn each_documented_response_can_be_had() {
    let document = Document(serde_json::from_str(DOCUMENT).unwrap());
    let mut had = BTreeSet::new();
    let patience = Patience { body: Duration::from_millis(20), ..Patience::default() };
    let config = config::Http { connections: 1, ..local() };
    let impatient = Gateway::start_with(config, patience).await;
    impatient.ready.store(false, Ordering::Relaxed);
    for (gateway, cases) in [(Gateway::start().await, usual()), (impatient, unusual())] {
        for case in cases {
            let reply = gateway.client().await.ask(&case.request).await;
            document.check(&case, &reply);
            had.insert((case.path, case.method.to_lowercase(), case.documented));
        }
    }
    let had: BTreeSet<_> = had.iter().map(|(a, b, c)| format!("{b} {a} {c}")).collect();
    assert_eq!(had, document.responses());
}

#[test]
fn each_route_is_documented() {
    let document = Document(serde_json::from_str(DOCUMENT).unwrap());
    let served: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| name(*method, path)).collect();
    assert_eq!(served, document.operations().map(|(name, _)| name).collect());
}

fn name(method: MethodFilter, path: &str) -> String {
    let method = [(MethodFilter::GET, "get"), (MethodFilter::POST, "post")]
        .into_iter()
        .find_map(|(filter, name)| (filter == method).then_some(name));
    format!("{} {path}", method.expect("a method"))
}

struct Document(Value);

impl Document {
    /// `get /healthz`, and what is said of it.
    fn operations(&self) -> impl Iterator<Item = (String, &Value)> {
        let paths = self.0["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, it)| (format!("{method} {path}"), it))
        })
    }

    fn responses(&self) -> BTreeSet<String> {
        let all = self.operations().flat_map(|(name, operation)| {
            let responses = operation["responses"].as_object().unwrap();
            responses.keys().map(move |status| format!("{name} {status}"))
        });
        all.collect()
    }

    fn check(&self, case: &Case, reply: &Reply) {
        let name = format!("{} {}", case.method.to_lowercase(), case.path);
        let operation = self.operations().find(|(it, _)| *it == name).expect(&name).1;
        let responses = operation["responses"].as_object().unwrap();
        let got = reply.status.to_string();
        let documented = if case.documented == "default" {
            assert!(!responses.contains_key(&got), "{name} {got} is documented itself");
            "default"
        } else {
            &got
        };
        assert_eq!(documented, case.documented, "{name}: {}", reply.text());
        let response = self.resolve(&responses[documented]);
        for (header, it) in response["headers"].as_object().into_iter().flatten() {
            let it = self.resolve(it);
            match reply.headers.get(header) {
                Some(value) => self.matches(&it["schema"], &value.as_str().into()),
                None => assert_ne!(it["required"], true, "{name} {got}: {header}"),
            }
        }
        let own = ["message-id", "status-from", "status-message", "retry-after", "link"];
        for header in own.into_iter().filter(|header| reply.headers.contains_key(*header)) {
            assert!(response["headers"].get(header).is_some(), "{name} {got}: {header}");
        }
        self.check_content(&response["content"], reply);
    }

    fn check_content(&self, content: &Value, reply: &Reply) {
        let Some(content) = content.as_object() else {
            assert!(!reply.headers.contains_key("content-type") && reply.body.is_empty());
            return;
        };
        assert_eq!(content.len(), 1, "say which");
        let (content_type, media) = content.iter().next().unwrap();
        let got = reply.header("content-type").split(';').next().unwrap();
        assert!(content_type == "*/*" || content_type == got, "{content_type}: {got}");
        match media.get("schema") {
            Some(schema) if got.ends_with("json") => self.matches(schema, &reply.json()),
            Some(schema) => self.matches(schema, &reply.text().into()),
            None => assert_eq!(content_type, "*/*"),
        }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value.get("$ref") else { return value };
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"))
    }

    /// As much of JSON Schema as the document uses.
    fn matches(&self, schema: &Value, value: &Value) {
        let schema = self.resolve(schema);
        for (keyword, wanted) in schema.as_object().unwrap() {
            let fits = match keyword.as_str() {
                "description" | "format" => true,
                "type" => match wanted.as_array() {
                    Some(any) => any.iter().any(|it| is(it, value)),
                    None => is(wanted, value),
                },
                "const" => wanted == value,
                "required" => wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|it| value.get(it.as_str().unwrap()).is_some()),
                "properties" => {
                    for (name, schema) in wanted.as_object().unwrap() {
                        value.get(name).inspect(|value| self.matches(schema, value));
                    }
                    true
                }
                "items" => {
                    value.as_array().unwrap().iter().for_each(|it| self.matches(wanted, it));
                    true
                }
                other => panic!("the test does not know {other}"),
            };
            assert!(fits, "{keyword} {wanted}: {value}");
        }
    }
}

fn is(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the test does not know {other}"),
    }
}

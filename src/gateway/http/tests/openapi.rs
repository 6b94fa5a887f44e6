//! The description is true: there is a request for each response in it, and nothing else is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::routing::MethodFilter;
use serde_json::{Value, json};

use super::client::{Reply, request};
use super::{BODY, Gateway, local};
use crate::gateway::config;
use crate::gateway::http::openapi::DOCUMENT;
use crate::gateway::http::routes::ROUTES;
use crate::gateway::http::server::Patience;
use crate::gateway::http::vendor::tests::every_error;

const CALL: &str = "/v1/devices/{product}/{device}/call";

/// Those of HTTP itself, and those that tell a browser to be careful, which are no part of the API.
const UNDOCUMENTED: [&str; 9] = [
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "cross-origin-resource-policy",
    "date",
    "referrer-policy",
    "transfer-encoding",
    "x-content-type-options",
];

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

    fn without_header(self) -> Self {
        Self { request: without_header(&self.request), ..self }
    }

    fn with_half_a_body(self) -> Self {
        self.with("Content-Length: 0", "Content-Length: 1")
    }
}

fn without_header(request: &str) -> String {
    let header = "Authorization: Bearer token-all\r\n";
    assert!(request.contains(header));
    request.replace(header, "")
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
    let document = Document::read();
    let (mut had, mut codes) = (BTreeSet::new(), BTreeSet::new());
    let patience = Patience { body: Duration::from_millis(20), ..Patience::default() };
    let config = config::Http { connections: 1, ..local() };
    let impatient = Gateway::start_with(config, patience).await;
    impatient.ready.store(false, Ordering::Relaxed);
    for (gateway, cases) in [(Gateway::start().await, usual()), (impatient, unusual())] {
        for case in cases {
            let open = is_open(document.operation(case.method, case.path));
            let case = if open { case.without_header() } else { case };
            let reply = gateway.client().await.ask(&case.request).await;
            codes.extend(document.check(&case, &reply));
            had.insert((case.path, case.method.to_lowercase(), case.documented));
        }
    }
    let had: BTreeSet<_> = had.iter().map(|(a, b, c)| format!("{b} {a} {c}")).collect();
    assert_eq!(had, document.responses());

    // It is no response of an operation.
    let gateway = Gateway::start().await;
    let reply = gateway.client().await.ask(&request("PUT", "/healthz", "", "")).await;
    reply.is_problem(405, "method_not_allowed");
    codes.insert("method_not_allowed".to_owned());
    let documented = document.0.pointer("/components/schemas/Problem/properties/code/enum");
    let documented = documented.and_then(Value::as_array).unwrap().iter();
    let documented: BTreeSet<_> = documented.map(|it| it.as_str().unwrap().to_owned()).collect();
    assert_eq!(codes, documented);
    for error in every_error() {
        assert!(documented.contains(error.code()), "{error:?}");
    }
}

#[tokio::test]
async fn a_key_is_needed_where_it_is_documented() {
    let (document, gateway) = (Document::read(), Gateway::start().await);
    for (name, operation) in document.operations() {
        let (method, path) = name.split_once(' ').unwrap();
        let asked = without_header(&request(&method.to_uppercase(), &example(path), "", ""));
        let reply = gateway.client().await.ask(&asked).await;
        let open = is_open(operation);
        assert_eq!(operation["responses"].get("401").is_none(), open, "{name}");
        match method {
            _ if !open => reply.is_problem(401, "unauthorized"),
            "get" => assert_eq!(reply.status, 200, "{name}"),
            // Who signs is another question.
            _ => assert_eq!(reply.json()["Code"], "MissingSignature"),
        }
    }
}

/// Each parameter is taken with what is documented, and refused with anything else.
#[tokio::test]
async fn the_documented_parameters_are_those_that_there_are() {
    let (document, gateway) = (Document::read(), Gateway::start().await);
    for (name, operation) in document.operations() {
        let (method, path) = name.split_once(' ').unwrap();
        let ask = async |query: &str| {
            let path = format!("{}{query}", example(path));
            let reply =
                gateway.client().await.ask(&request(&method.to_uppercase(), &path, "", "")).await;
            if reply.status != 200 {
                reply.is_problem(400, "invalid");
            }
            reply
        };
        let (of_path, of_query): (Vec<_>, Vec<_>) = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .partition(|it| it["in"] == "path" && it["required"] == true);
        let in_path = path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
        let of_path = of_path.iter().map(|it| it["name"].as_str().unwrap());
        assert!(in_path.eq(of_path), "{name}");
        let of_query: BTreeMap<_, _> =
            of_query.into_iter().map(|it| (it["name"].as_str().unwrap(), it)).collect();
        if of_query.is_empty() {
            continue;
        }
        // It says which ones there are.
        let detail =
            ask("?no_such_parameter=1").await.json()["detail"].as_str().unwrap().to_owned();
        let there = detail.split('`').skip(3).step_by(2).collect::<BTreeSet<_>>();
        assert!(there.iter().eq(of_query.keys()), "{name}: {detail}");
        for (name, parameter) in &of_query {
            assert_eq!(parameter["in"], "query");
            assert_ne!(parameter["required"], true);
            let (right, wrong) = values(&parameter["schema"]);
            assert!(!right.is_empty(), "{name}");
            for value in right {
                let status = ask(&format!("?{name}={value}")).await.status;
                assert_eq!(status, 200, "{name}={value}");
            }
            for value in wrong {
                let status = ask(&format!("?{name}={value}")).await.status;
                assert_eq!(status, 400, "{name}={value}");
            }
            let description = parameter["description"].as_str().unwrap_or_default();
            if let Some((_, others)) = description.split_once("Not with `") {
                let other = others.split('`').next().unwrap();
                let [value, its] = [&parameter["schema"], &of_query[other]["schema"]]
                    .map(|schema| values(schema).0.remove(0));
                let status = ask(&format!("?{name}={value}&{other}={its}")).await.status;
                assert_eq!(status, 400, "{name} with {other}");
            }
        }
    }
    // In words alone.
    let timeout = &document.operation("post", CALL)["parameters"][2];
    assert!(timeout["description"].as_str().unwrap().contains("from 1 ms to 60 s"));
    for wrong in ["999us", "60001ms", "2", ""] {
        let path = format!("{}?timeout={wrong}", example(CALL));
        let reply = gateway.client().await.ask(&request("POST", &path, "", "")).await;
        reply.is_problem(400, "invalid");
    }
}

#[tokio::test]
async fn a_body_of_a_documented_type_is_taken() {
    let (document, gateway) = (Document::read(), Gateway::start().await);
    let content = |method, path| {
        let content = &document.operation(method, path)["requestBody"]["content"];
        content.as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>()
    };
    assert_eq!(content("post", CALL), ["*/*"].into());
    let path = example(CALL);
    let asked = request("POST", &path, "Content-Type: odd/type; a=b\r\n", "payload");
    let reply = gateway.client().await.ask(&asked).await;
    assert_eq!((reply.header("content-type"), reply.text()), ("odd/type; a=b", "payload"));
    assert_eq!(content("post", "/"), super::recorded::content_types());
    let with_bodies = document.operations().filter(|(_, it)| it.get("requestBody").is_some());
    assert!(with_bodies.map(|(name, _)| name).eq(["post /".to_owned(), format!("post {CALL}")]));
}

/// Values that fit a schema, and values that do not.
fn values(schema: &Value) -> (Vec<String>, Vec<String>) {
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for (keyword, value) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "type" if value == "integer" => wrong.extend(["x", "", "-1", "1.5"].map(str::to_owned)),
            "type" => assert_eq!(value, "string"),
            "const" => {
                right.push(value.as_str().unwrap().to_owned());
                wrong.push("another".to_owned());
            }
            "examples" => right
                .extend(value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned())),
            "minLength" => wrong.push(String::new()),
            "minimum" | "maximum" | "default" => {
                right.push(value.to_string());
                match (keyword.as_str(), value.as_u64().unwrap()) {
                    ("minimum", least) => wrong.push((least - 1).to_string()),
                    ("maximum", most) => wrong.push((most + 1).to_string()),
                    _ => {}
                }
            }
            other => panic!("the test does not know {other}"),
        }
    }
    (right, wrong)
}

/// With what there is.
fn example(path: &str) -> String {
    let path = path.replace("{product}", "a1").replace("{device}", "echo");
    path.replace("{file}", "console.css")
}

fn is_open(operation: &Value) -> bool {
    operation.get("security").is_some_and(|it| *it == json!([]))
}

#[test]
fn each_route_is_documented() {
    let document = Document::read();
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
    fn read() -> Self {
        let document = Self(serde_json::from_str(DOCUMENT).unwrap());
        assert_eq!(document.0["security"], json!([{ "bearer": [] }]));
        document
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path}");
        operation
    }

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

    /// Returns the code of a problem.
    fn check(&self, case: &Case, reply: &Reply) -> Option<String> {
        let name = format!("{} {}", case.method.to_lowercase(), case.path);
        let operation = self.operation(case.method, case.path);
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
        for header in reply.headers.keys().filter(|it| !UNDOCUMENTED.contains(&&***it)) {
            assert!(response["headers"].get(header).is_some(), "{name} {got}: {header}");
        }
        self.check_content(&response["content"], reply);
        if reply.headers.get("content-type")? != "application/problem+json" {
            return None;
        }
        let code = reply.json()["code"].as_str().unwrap().to_owned();
        let description = response["description"].as_str().unwrap();
        assert!(description.contains(&format!("`{code}`")), "{name} {got}: {code}");
        Some(code)
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
                "enum" => wanted.as_array().unwrap().contains(value),
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

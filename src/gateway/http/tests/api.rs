//! What is asked and answered.

use axum::body::Body;
use axum::extract::Request;
use tokio_test::{assert_pending, task};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::client::{call, request};
use super::{BODY, Gateway, front, local};
use crate::gateway::call::Target;
use crate::gateway::http::routes::{App, router};

const ECHO: &str = "/v1/devices/a1/echo/call";

#[tokio::test]
async fn a_call_carries_the_payload_and_its_content_type_both_ways() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let path = format!("{ECHO}?timeout=1500ms&service=unlock");
    let reply = client.ask(&request("POST", &path, "Content-Type: a/b; c=d\r\n", "hello")).await;
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    assert_eq!(reply.header("content-type"), "a/b; c=d");
    assert_eq!((reply.header("message-id"), reply.header("status-from")), ("7", "device"));

    let asked = gateway.started().await;
    assert_eq!((&*asked.product, &*asked.device), ("a1", "echo"));
    assert_eq!(asked.target, Target::Service("unlock".into()));
    assert_eq!(asked.timeout.unwrap().as_millis(), 1500);
    assert_eq!(asked.key.as_deref(), Some("all"));

    let reply = client.ask(&call("echo", "")).await;
    assert_eq!((reply.status, reply.text()), (200, ""));
    assert_eq!(reply.header("content-type"), "application/octet-stream");
    let asked = gateway.started().await;
    assert_eq!((asked.target, asked.timeout, asked.content_type), (Target::Device, None, None));
}

#[tokio::test]
async fn a_name_in_the_path_is_decoded() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    client.ask(&call("b%2Fc%20%C3%BC", "")).await.is_problem(404, "no_such_device");
    assert_eq!(&*gateway.started().await.device, "b/c ü");
    client.ask(&call("%FF", "")).await.is_problem(400, "invalid");
}

#[tokio::test]
async fn what_a_device_refuses_is_told_from_what_the_gateway_does() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let reply = client.ask(&call("status-404", "gone")).await;
    assert_eq!((reply.status, reply.text()), (404, "gone"));
    assert_eq!(reply.header("status-from"), "device");
    assert_eq!(reply.header("status-message"), "it says so");
    let reply = client.ask(&call("status-204", "")).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    client.ask(&call("status-600", "")).await.is_problem(502, "invalid_status");
    client.ask(&call("nobody", "")).await.is_problem(404, "no_such_device");
    let reply = client.ask(&call("too_many", "")).await;
    reply.is_problem(429, "too_many");
    assert_eq!(reply.header("retry-after"), "1");
}

#[tokio::test]
async fn a_key_is_needed_and_calls_only_what_it_may() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    for header in ["X: y", "Authorization: Bearer nobody", "Authorization: Basic token-all"] {
        for (method, path) in [("POST", ECHO), ("GET", "/v1/devices"), ("GET", "/metrics")] {
            let text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
            let reply = client.ask(&text).await;
            reply.is_problem(401, "unauthorized");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
    }
    // Who has none need not send a body.
    let text = request("POST", ECHO, "", "").replace("Length: 0", "Length: 9");
    let text = text.replace("token-all", "nobody");
    gateway.client().await.ask(&text).await.is_problem(401, "unauthorized");

    let mut some = async |method: &str, path: &str| {
        let headers = "Host: x\r\nauthorization: BEARER token-some";
        client.ask(&format!("{method} {path} HTTP/1.1\r\n{headers}\r\n\r\n")).await
    };
    assert_eq!(some("POST", ECHO).await.status, 200);
    some("POST", "/v1/devices/a2/echo/call").await.is_problem(403, "not_allowed");
    some("POST", "/v1/devices/a3/echo/call").await.is_problem(403, "not_allowed");
    some("GET", "/metrics").await.is_problem(403, "not_allowed");
    let listed = some("GET", "/v1/devices").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn devices_are_listed_in_pages() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let first = client.ask(&request("GET", "/v1/devices?limit=2", "", "")).await;
    let listed = first.json();
    assert_eq!(
        listed[0],
        serde_json::json!({
            "product": "a1", "device": "b", "dialect": "native", "connected": true,
            "since": "2023-11-14T22:13:20Z", "in_flight": 2
        })
    );
    assert_eq!(listed[1]["device"], "b/c ü");
    assert_eq!((&listed[1]["connected"], &listed[1]["since"]), (&false.into(), &().into()));
    assert_eq!(first.header("devices-left"), "1");
    let next = first.header("link").strip_prefix('<').unwrap();
    let next = next.strip_suffix(">; rel=\"next\"").unwrap();
    let second = client.ask(&request("GET", next, "", "")).await;
    assert_eq!(
        (&second.json()[0]["product"], second.json().as_array().unwrap().len()),
        (&"a2".into(), 1)
    );
    assert!(!second.headers.contains_key("link"));
    assert_eq!(second.header("devices-left"), "0");
    for query in ["limit=0", "limit=1001", "limit=x", "after=a1", "befor=x"] {
        let path = format!("/v1/devices?{query}");
        client.ask(&request("GET", &path, "", "")).await.is_problem(400, "invalid");
    }
}

#[tokio::test]
async fn devices_are_found_by_a_part_of_their_names() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let mut found = async |query: &str| {
        let path = format!("/v1/devices?{query}");
        let reply = client.ask(&request("GET", &path, "", "")).await;
        let next = reply.headers.get("link").cloned();
        (reply.json().as_array().unwrap().len(), reply.header("devices-left").to_owned(), next)
    };
    for (text, count) in [("", 3), ("A1%2FB", 2), ("%C3%9C", 1), ("a2", 1), ("none", 0)] {
        assert_eq!(found(&format!("contains={text}")).await, (count, "0".into(), None), "{text}");
    }
    let (count, left, next) = found("limit=1&contains=A1/").await;
    assert_eq!((count, &*left), (1, "1"));
    let next = next.unwrap();
    let next = next.strip_prefix("</v1/devices?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert_eq!(found(next).await, (1, "0".into(), None));
}

#[tokio::test]
async fn other_paths_and_methods_are_problems() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    for path in ["/v2", "/v1/devices/", "/v1/devices/a1/echo", "/?x=y", "/?action=x"] {
        client.ask(&request("GET", path, "", "")).await.is_problem(404, "not_found");
    }
    let reply = client.ask(&request("DELETE", ECHO, "", "")).await;
    reply.is_problem(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), "POST");
    client.ask(&request("PUT", "/", "", "")).await.is_problem(405, "method_not_allowed");
    client.ask(&request("POST", "/healthz", "", "")).await.is_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let whole = "x".repeat(BODY);
    assert_eq!(client.ask(&call("echo", &whole)).await.text(), whole);
    // It is thrown away, and the connection stays.
    client.ask(&call("echo", &"x".repeat(BODY + 1))).await.is_problem(413, "too_large");
    assert_eq!(client.ask(&call("echo", "x")).await.status, 200);
    let reply = client.ask(&request("POST", "/", "", &"x".repeat(BODY + 1))).await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (413, "application/json;charset=utf-8")
    );

    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    let chunked = request("POST", ECHO, "Transfer-Encoding: chunked\r\n", "");
    let chunked = chunked.replace("Content-Length: 0\r\n", "");
    let text = format!("{chunked}{}{}0\r\n\r\n", chunk(BODY / 2), chunk(BODY / 2));
    assert_eq!(client.ask(&text).await.body.len(), BODY);
    let text = format!("{chunked}{}{}0\r\n\r\n", chunk(BODY), chunk(1));
    client.ask(&text).await.is_problem(413, "too_large");
}

#[tokio::test]
async fn a_body_that_is_much_too_large_is_not_waited_for() {
    let gateway = Gateway::start().await;
    let head = |length: usize, more: &str| {
        let head = request("POST", ECHO, more, "");
        head.replace("Content-Length: 0", &format!("Content-Length: {length}"))
    };
    let much = head(BODY * 8 + 1, "");
    gateway.client().await.ask(&much).await.is_problem(413, "too_large");
    let asks_first = head(BODY + 1, "Expect: 100-continue\r\n");
    gateway.client().await.ask(&asks_first).await.is_problem(413, "too_large");
    let mut client = gateway.client().await;
    let asks_first = head(BODY, "Expect: 100-continue\r\n");
    assert_eq!(client.ask(&asks_first).await.status, 100);
    assert_eq!(client.ask(&"x".repeat(BODY)).await.status, 200);
}

#[tokio::test]
async fn calls_are_counted_by_what_came_of_them() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    for device in ["echo", "echo", "status-404", "status-100", "status-600", "offline", "nobody"] {
        client.ask(&call(device, "")).await;
    }
    client.ask(&request("POST", "/v1/devices/a3/echo/call", "", "")).await;
    client.ask(&format!("POST {ECHO} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    client.ask(&request("POST", "/", "", "")).await;
    let reply = client.ask(&request("GET", "/metrics", "", "")).await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = reply.text();
    let ended = |api: &str, product: &str, outcome: &str, count: u32| {
        let labels = format!("api=\"{api}\",product=\"{product}\",outcome=\"{outcome}\"");
        format!("rrpc_gateway_calls_total{{{labels}}} {count}")
    };
    for line in [
        ended("plain", "a1", "ok", 2),
        ended("plain", "a1", "device_error", 1),
        ended("plain", "a1", "invalid_status", 2),
        ended("plain", "a1", "offline", 1),
        ended("plain", "a1", "no_such_device", 1),
        ended("plain", "a1", "unauthorized", 1),
        ended("plain", "", "ok", 1),
        ended("aliyun", "", "unauthorized", 1),
        "rrpc_gateway_call_duration_seconds_count{api=\"plain\",product=\"a1\"} 8".into(),
        "rrpc_gateway_calls_in_flight 0".into(),
        "rrpc_gateway_connections 1".into(),
        "rrpc_gateway_connections_limit 4096".into(),
        "rrpc_gateway_ready 1".into(),
        "rrpc_gateway_devices 3".into(),
        "rrpc_gateway_hub_connections 4".into(),
        "rrpc_gateway_hub_connections_limit 6".into(),
        "rrpc_gateway_hub_refused_total 5".into(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn what_could_not_be_read_is_counted_where_it_was_sent() {
    let (front, _devices) = front();
    let router = router(App::new(&local(), front, super::LIMIT, CancellationToken::new()).into());
    let send = async |path: &str, authorization: &str, body: Body| {
        let request = Request::post(path).header("authorization", authorization).body(body);
        router.clone().oneshot(request.unwrap()).await.unwrap()
    };
    let cut = Body::from_stream(futures_util::stream::iter([Err::<&str, _>("cut")]));
    send("/", "TC3-HMAC-SHA256 Credential=a", cut).await;
    send("/v1/devices/%ff/echo/call", "Bearer token-all", Body::empty()).await;
    let request = Request::get("/metrics").header("authorization", "Bearer token-all");
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(body.into()).unwrap();
    for api in ["tencent", "plain"] {
        let labels = format!("{{api=\"{api}\",product=\"\",outcome=\"invalid\"}} 1\n");
        assert!(text.contains(&labels), "{api}: {text}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_is_counted() {
    let (front, _devices) = front();
    let app = App::new(&local(), front, super::LIMIT, CancellationToken::new());
    let router = router(app.into());
    let request = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        request.header("authorization", "Bearer token-all").body(Body::empty()).unwrap()
    };
    let numbers = async || {
        let response = router.clone().oneshot(request("GET", "/metrics")).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.into()).unwrap()
    };
    let call = request("POST", "/v1/devices/a1/gate/call");
    let mut call = task::spawn(router.clone().oneshot(call));
    assert_pending!(call.poll());
    assert!(numbers().await.contains("rrpc_gateway_calls_in_flight 1\n"));
    drop(call);
    let text = numbers().await;
    assert!(text.contains("rrpc_gateway_calls_in_flight 0\n"));
    assert!(text.contains("{api=\"plain\",product=\"a1\",outcome=\"cancelled\"} 1\n"), "{text}");
}

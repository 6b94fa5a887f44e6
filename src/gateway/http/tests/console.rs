//! The page for people, as far as it is HTTP. What it does is seen in a browser: tests/console.

use super::Gateway;
use super::client::{Client, Reply};

async fn get(client: &mut Client, path: &str) -> Reply {
    // Nobody needs a key to be asked for one.
    client.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

/// What the page and its scripts load, as they write it.
fn loaded(text: &str) -> Vec<&str> {
    ["href=\"", "src=\"", "from '"]
        .into_iter()
        .flat_map(|before| text.split(before).skip(1))
        .filter_map(|rest| rest.split(['"', '\'']).next())
        .filter(|address| !address.starts_with('#') && *address != "openapi.json")
        .collect()
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_are_served_with_strict_headers() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let mut seen = vec!["/".to_owned()];
    let mut at = 0;
    while let Some(path) = seen.get(at).cloned() {
        at += 1;
        let reply = get(&mut client, &path).await;
        assert_eq!(reply.status, 200, "{path}");
        let kind = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        for (name, value) in [
            ("content-type", kind),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), value, "{path}");
        }
        let policy = reply.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|it| it == rule), "{path}: {rule}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for address in loaded(reply.text()) {
            let path = format!(
                "/console/{}",
                address.trim_start_matches("console/").trim_start_matches("./")
            );
            if !seen.contains(&path) {
                seen.push(path);
            }
        }
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
}

#[tokio::test]
async fn nothing_of_it_is_inline_or_from_elsewhere() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let page = get(&mut client, "/").await;
    for word in ["style=", "<style", " onclick", " onload", "javascript:", "://"] {
        assert!(!page.text().contains(word), "{word}");
    }
    for script in page.text().split("<script").skip(1) {
        assert!(script.contains("src=") && script.contains("></script>"), "{script}");
    }
}

#[tokio::test]
async fn only_what_there_is_is_served_and_only_to_be_read() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    for path in ["/console/", "/console/mod.rs", "/console/..%2Fmod.rs", "/console/%FF", "/?a=b"] {
        get(&mut client, path).await.is_problem(404, "not_found");
    }
    let post = "POST /console/console.css HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    client.ask(post).await.is_problem(405, "method_not_allowed");
}

//! The console: a page for people, who see which devices are connected, call one, and look on while
//! calls end.
//!
//! The page has no secret and is served to everybody. What it shows it asks the API for, with the
//! bearer key that the person types, which the browser keeps for as long as the tab is open. It is part of
//! the program, and needs nothing from elsewhere. A browser runs nothing but its scripts
//! (Content-Security-Policy), and nothing that a device says becomes HTML (Trusted Types).

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, Uri};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::routes::not_found;

const PAGE: &str = include_str!("index.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page is made of: name, content type, content.
const FILES: [(&str, &str, &str); 9] = [
    ("console.css", "text/css; charset=utf-8", include_str!("console.css")),
    ("console.js", SCRIPT, include_str!("console.js")),
    ("api.js", SCRIPT, include_str!("api.js")),
    ("call.js", SCRIPT, include_str!("call.js")),
    ("devices.js", SCRIPT, include_str!("devices.js")),
    ("live.js", SCRIPT, include_str!("live.js")),
    ("picture.js", SCRIPT, include_str!("picture.js")),
    ("words.js", SCRIPT, include_str!("words.js")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const SAME_ORIGIN: (HeaderName, &str) =
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin");

/// `GET /`.
pub(super) fn page() -> Response {
    serve("text/html; charset=utf-8", PAGE)
}

/// `GET /console/{file}`.
pub(super) async fn file(
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let found = path.ok().and_then(|Path(name)| FILES.iter().find(|(known, ..)| *known == name));
    match found {
        Some((_, content_type, content)) => Ok(serve(content_type, content)),
        None => Err(not_found(uri).await),
    }
}

fn serve(content_type: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        // Another gateway at this address may have another console.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        SAME_ORIGIN,
    ];
    (headers, content).into_response()
}

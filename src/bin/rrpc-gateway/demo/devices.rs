//! What the devices do.

use serde_json::{Value, json};
use tower_mqtt::dialect::Dialect;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::responder::extract::Json;
use tower_mqtt::{Client, Link, Request, Responder, Router};

use super::credentials::Credentials;

type Device = (Link, Vec<Responder>);

/// Answers `ok` when it is told `closed` or `open`.
pub(super) async fn air_conditioner(
    server: &str,
    (product, name): (&str, &str),
    credentials: Credentials,
) -> Result<Device, String> {
    let link = connect(server, name, credentials).await?;
    let router = Router::new().route(&format!("{product}/{name}"), async |told: String| {
        if matches!(&*told, "closed" | "open") { "ok" } else { "unknown" }
    });
    let responders = vec![serve(&link, tencent::rrpc(), router).await?];
    Ok((link, responders))
}

/// Answers in capitals, and has a service `light`.
pub(super) async fn lamp(
    server: &str,
    (product, name): (&str, &str),
    credentials: Credentials,
) -> Result<Device, String> {
    let link = connect(server, name, credentials).await?;
    let lamp = Router::new().route(&format!("{product}/{name}"), async |request: Request| {
        request.payload().to_ascii_uppercase()
    });
    let route = format!("{product}/{name}/light");
    let services =
        Router::new().route(&route, async |Json(told): Json<Value>| Json(json!({ "light": told })));
    let responders = vec![
        serve(&link, aliyun::system(), lamp).await?,
        serve(&link, aliyun::thing_service(), services).await?,
    ];
    Ok((link, responders))
}

async fn connect(server: &str, name: &str, credentials: Credentials) -> Result<Link, String> {
    let Credentials { client_id, user, password } = credentials;
    let client = Client::builder(server).client_id(client_id).credentials(user, password);
    client.connect().await.map_err(|error| format!("the demo's {name}: {error}"))
}

async fn serve(link: &Link, dialect: impl Dialect, router: Router) -> Result<Responder, String> {
    let responder = Responder::builder(link.clone()).dialect(dialect).serve(router).await;
    responder.map_err(|error| format!("the demo's device: {error}"))
}

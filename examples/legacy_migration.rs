//! A fleet leaves its cloud, in one process: the story that `src/docs/moving_a_fleet.md` tells with commands.
//!
//! ```text
//! cargo run --features gateway --example legacy_migration
//! ```
//!
//! No cloud takes part. The *old side* is a second gateway, which takes the vendors' logins and speaks
//! their RRPC as the cloud does; asking it over the plain API saves this example the vendors' request
//! signatures. Everything goes over TCP on 127.0.0.1.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::gateway::config::{AccessKey, Dialect, Product};
use tower_mqtt::gateway::{Config, Gateway};
use tower_mqtt::hub::Change;
use tower_mqtt::{Client, Link, Responder, Router, dialect};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Two models with a device each, and the secrets that the vendors gave them.
const LAMP: (&str, &str, &str) = ("a1testPK001", "lamp1", "0123456789abcdef0123456789abcdef");
const COOLER: (&str, &str, &str) = ("KL4J2TEST1", "cooler1", "MDEyMzQ1Njc4OWFiY2RlZg==");
const TOKEN: &str = "the token of the shop";

#[tokio::main]
async fn main() -> Result<()> {
    let old = start(Dialect::Tencent).await?;
    let lamp = Device::connect(&old, LAMP, Dialect::Aliyun).await?;
    let cooler = Device::connect(&old, COOLER, Dialect::Tencent).await?;

    println!("1. The new side stands beside the old one, and servers ask both.");
    let mut new = start(Dialect::Tencent).await?;
    assert_eq!(call(&new, &old, LAMP).await?, "old side: on is done");
    assert_eq!(call(&new, &old, COOLER).await?, "old side: on is done");

    println!("2. The cooler gets another endpoint.");
    cooler.leave(&old).await;
    let cooler = Device::connect(&new, COOLER, Dialect::Tencent).await?;
    assert_eq!(call(&new, &old, LAMP).await?, "old side: on is done");
    assert_eq!(call(&new, &old, COOLER).await?, "new side: on is done");

    println!("3. Still on the old side: {}", connected(&old).join(", "));
    assert_eq!(connected(&old), ["a1testPK001/lamp1"]);
    lamp.leave(&old).await;
    let lamp = Device::connect(&new, LAMP, Dialect::Aliyun).await?;
    assert!(connected(&old).is_empty());
    assert_eq!(call(&new, &old, LAMP).await?, "new side: on is done");
    old.shutdown(Duration::from_secs(1)).await;

    println!("4. The cooler's model goes native: a line of the configuration, and new firmware.");
    cooler.leave(&new).await;
    lamp.leave(&new).await; // By itself it would come back to the same address.
    new.shutdown(Duration::from_secs(1)).await;
    new = start(Dialect::Native).await?;
    let _lamp = Device::connect(&new, LAMP, Dialect::Aliyun).await?;
    let _cooler = Device::connect(&new, COOLER, Dialect::Native).await?;
    assert_eq!(ask(&new, LAMP).await?, (200, "on is done".to_owned()));
    assert_eq!(ask(&new, COOLER).await?, (200, "on is done".to_owned()));
    println!("   The same call to each of them: on is done");

    new.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// A gateway that knows both devices.
async fn start(coolers: Dialect) -> Result<Gateway> {
    let mut config = Config::default();
    config.http.listen = vec!["127.0.0.1:0".parse()?];
    config.mqtt.listen = vec!["mqtt://127.0.0.1:0".to_owned()];
    config.keys.push(AccessKey::new("shop").with_bearer(TOKEN));
    for ((product, name, secret), dialect) in [(LAMP, Dialect::Aliyun), (COOLER, coolers)] {
        config.products.push(Product::new(product, dialect).with_device(name, secret));
    }
    Ok(Gateway::builder(config).start().await?)
}

/// Asks on whichever side the device is: the old one only when the new one says that it is not connected
/// there. Any other failure may come after the device has done what it was asked.
async fn call(new: &Gateway, old: &Gateway, device: (&str, &str, &str)) -> Result<String> {
    let (mut side, mut answer) = ("new", ask(new, device).await?);
    if answer.0 == 503 {
        let problem: Value = serde_json::from_str(&answer.1)?;
        if problem["code"] == "offline" || problem["code"] == "half_open" {
            (side, answer) = ("old", ask(old, device).await?);
        }
    }
    let said = format!("{side} side: {}", answer.1);
    println!("   {}/{}: {said}", device.0, device.1);
    Ok(said)
}

/// Asks on one side, with as much of an HTTP client as this needs: the status, and the body.
async fn ask(side: &Gateway, (product, name, _): (&str, &str, &str)) -> Result<(u16, String)> {
    let address: SocketAddr = side.http_addrs()[0];
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "POST /v1/devices/{product}/{name}/call HTTP/1.1\r\nHost: {address}\r\n\
         Authorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: 2\r\n\r\non"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or("it has no head")?;
    let status = head.split(' ').nth(1).ok_or("it has no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// Who is connected to a side: in its process the hub knows, from elsewhere `GET /v1/devices` tells.
fn connected(side: &Gateway) -> Vec<String> {
    let (clients, _) = side.hub().expect("there is no broker").presence();
    let names = clients.iter().map(|client| client.identity.as_str().to_owned());
    names.filter(|name| name.contains('/')).collect()
}

/// What runs on a device. Its endpoint and its firmware can be changed, and nothing else.
struct Device {
    link: Link,
    _responder: Responder,
    address: String,
}

impl Device {
    async fn connect(
        side: &Gateway,
        (product, name, secret): (&str, &str, &str),
        firmware: Dialect,
    ) -> Result<Self> {
        let endpoint = side.mqtt()[0].to_string();
        let address = format!("{product}/{name}");
        // As the vendors' SDKs log in.
        let (client_id, user, password) = match firmware {
            Dialect::Aliyun => {
                let id = format!("{product}&{name}");
                let signed = format!("clientId{id}deviceName{name}productKey{product}");
                let client_id = format!("{id}|securemode=3,signmethod=hmacsha256|");
                (client_id, format!("{name}&{product}"), sign(secret.as_bytes(), &signed))
            }
            Dialect::Tencent => {
                let client_id = format!("{product}{name}");
                let user = format!("{client_id};12010126;abcde;2147483647");
                let signature = sign(&BASE64_STANDARD.decode(secret)?, &user);
                (client_id, user, format!("{signature};hmacsha256"))
            }
            _ => (address.clone(), address.clone(), secret.to_owned()),
        };
        let client = Client::builder(&endpoint).client_id(client_id).credentials(user, password);
        let link = client.connect().await?;

        let route = match firmware {
            Dialect::Native => format!("devices/{address}"),
            _ => address.clone(),
        };
        let router = Router::new().route(&route, async |told: String| format!("{told} is done"));
        let responder = Responder::builder(link.clone());
        let responder = match firmware {
            Dialect::Aliyun => responder.dialect(aliyun::system()),
            Dialect::Tencent => responder.dialect(tencent::rrpc()),
            _ => responder.dialect(dialect::Native::new()),
        };
        Ok(Self { link, _responder: responder.serve(router).await?, address })
    }

    /// Resolves when the side has noticed.
    async fn leave(self, side: &Gateway) {
        let (_, mut presence) = side.hub().expect("there is no broker").presence();
        self.link.close();
        while let Some(change) = presence.next().await {
            if matches!(change, Change::Disconnected(it) if it.identity.as_str() == self.address) {
                return;
            }
        }
    }
}

/// HMAC-SHA256, in hex.
fn sign(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("it takes a key of any length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

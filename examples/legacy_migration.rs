//! One hub, devices of three generations, and a caller that does not care which is which.
//!
//! ```text
//! cargo run --example legacy_migration
//! ```
//!
//! The firmware of two of the devices cannot be changed: one was made for Tencent IoT Hub, one for
//! Aliyun IoT Platform. The third speaks MQTT 5 as the standard has it. The hub translates, so that all
//! of them are asked as `devices/{product}/{device}`; when a product gets new firmware, its
//! translation goes and no caller notices.

use std::error::Error;
use std::time::Duration;

use tower::ServiceExt;
use tower_mqtt::bridge::Translation;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::{Dialect, Native};
use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};

/// A device, and how it identifies itself when it connects.
struct Device {
    address: &'static str,
    client_id: &'static str,
}

const OLD_CONDITIONER: Device =
    Device { address: "KL4J2TEST1/conditioner1", client_id: "KL4J2TEST1conditioner1" };
const OLD_LAMP: Device =
    Device { address: "a1testPK001/lamp1", client_id: "a1testPK001&lamp1|securemode=3|" };
const NEW_LAMP: Device = Device { address: "devices/lamps/lamp2", client_id: "lamps/lamp2" };

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::builder()
        .bind("127.0.0.1:0")
        .translate(
            Translation::new(Native::new(), tencent::rrpc())
                .route("devices/KL4J2TEST1/{device}", "KL4J2TEST1/{device}"),
        )
        .translate(
            Translation::new(Native::new(), aliyun::system())
                .route("devices/a1testPK001/{device}", "a1testPK001/{device}"),
        )
        .start()
        .await?;
    let url = format!("mqtt://{}", hub.local_addr().expect("it was bound"));

    // Programs of their own, elsewhere: all of them have the same code.
    let _conditioner = connect(&url, &OLD_CONDITIONER, tencent::rrpc()).await?;
    let _old_lamp = connect(&url, &OLD_LAMP, aliyun::system()).await?;
    let _new_lamp = connect(&url, &NEW_LAMP, Native::new()).await?;

    let caller = Requester::builder(Client::connect(&url).await?).build().await?;
    for device in ["KL4J2TEST1/conditioner1", "a1testPK001/lamp1", "lamps/lamp2"] {
        let request = Request::new(format!("devices/{device}"), "turn on")?;
        let answer = caller.clone().oneshot(request).await?.error_for_status()?;
        println!("{device}: {}", String::from_utf8_lossy(answer.payload()));
    }

    // Nobody has to wait to learn that a device is away, whatever it speaks.
    let absent = Request::new("devices/KL4J2TEST1/conditioner2", "turn on")?;
    let answer = caller.oneshot(absent).await?;
    println!("KL4J2TEST1/conditioner2: {}", answer.status());
    assert_eq!(answer.status().code(), 503, "the caller is told");

    hub.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// What runs on a device.
async fn connect(
    url: &str,
    device: &Device,
    dialect: impl Dialect,
) -> Result<Responder, Box<dyn Error>> {
    let link = Client::builder(url).client_id(device.client_id).connect().await?;
    let name = device.client_id;
    let handler = async move |order: String| format!("{name} says: {order} is done");
    let router = Router::new().route(device.address, handler);
    Ok(Responder::builder(link).dialect(dialect).serve(router).await?)
}

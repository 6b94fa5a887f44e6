//! A question and its answer in one process, over the in-memory link: `cargo run --example hello`.

use std::error::Error;

use tower::{Service, ServiceExt};
use tower_mqtt::link::memory;
use tower_mqtt::responder::extract::Path;
use tower_mqtt::{Request, Requester, Responder, Router};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (machine, kitchen) = memory::pair();

    let greet = async |Path(name): Path<String>| format!("Hello, {name}!");
    let _responder =
        Responder::builder(kitchen).serve(Router::new().route("greet/{name}", greet)).await?;

    let mut requester = Requester::builder(machine).build().await?;
    let response = requester.ready().await?.call(Request::new("greet/anna", "")?).await?;
    println!("{}", String::from_utf8_lossy(response.payload()));
    Ok(())
}

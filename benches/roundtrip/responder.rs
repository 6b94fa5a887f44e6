//! The answering process: an echo, in a hub of its own or as the client of a broker.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use closed_loop::Error;
use tokio::io::AsyncReadExt;
use tower_mqtt::{Client, Hub, Link, Responder, Router};

use super::Layers;

#[derive(Args)]
pub(crate) struct Options {
    /// The broker; without it, a hub.
    #[arg(long)]
    broker: Option<String>,
    /// Run the handler on the connection's thread.
    #[arg(long)]
    inline: bool,
    /// Listen over TLS, with a certificate made for it.
    #[cfg(feature = "tls")]
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    layers: Layers,
}

pub(crate) async fn respond(options: &Options) -> Result<(), Error> {
    if let Some(address) = &options.broker {
        return serve(Client::connect(address).await?, address, options).await;
    }
    #[cfg(feature = "tls")]
    if options.tls {
        let authority = super::certificates::Authority::new("benchmark");
        let files = authority.server(&["127.0.0.1"]);
        let tls = tower_mqtt::tls::ServerTls::builder(files.certificate, files.key).load()?;
        let listener = tower_mqtt::hub::Listener::tls("127.0.0.1:0", tls);
        let hub = Hub::builder().listen(listener).start().await?;
        let address = hub.local_addr().ok_or("the hub listens nowhere")?;
        let address = format!("mqtts://{address}?ca={}", authority.certificate().display());
        return serve(hub.link("responder"), &address, options).await;
    }
    let hub = Hub::builder().bind("127.0.0.1:0").start().await?;
    let address = hub.local_addr().ok_or("the hub listens nowhere")?;
    serve(hub.link("responder"), &format!("mqtt://{address}"), options).await?;
    hub.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Writes where to ask, and answers until the parent closes our standard input.
async fn serve(link: Link, address: &str, options: &Options) -> Result<(), Error> {
    let builder = Responder::builder(link).concurrency(4096);
    let builder = if options.inline { builder.inline() } else { builder };
    let responder = builder.serve(router(options.layers)).await?;
    println!("{address}");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    responder.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

pub(crate) fn router(layers: Layers) -> Router {
    let router = Router::new().route("bench/echo", async |payload: Bytes| payload);
    #[cfg(all(feature = "auth", feature = "metrics"))]
    if layers.layers {
        return super::stack::inside(router);
    }
    let _ = layers;
    router
}

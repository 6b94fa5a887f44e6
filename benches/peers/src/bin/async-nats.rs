//! NATS: request and reply through nats-server.

use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;
use tower_mqtt_peers::{Ask, Error, Load, Respond, measure, run, serve_at};

fn main() -> Result<(), Error> {
    run(respond, ask)
}

async fn respond(options: Respond) -> Result<(), Error> {
    let address = options.broker()?;
    let client = async_nats::connect(&address).await?;
    let mut requests = client.subscribe("bench.echo").await?;
    client.flush().await?;
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                client.publish(reply, request.payload).await?;
            }
        }
        Ok::<_, Error>(())
    });
    serve_at(&address).await
}

#[derive(Clone)]
struct Asker {
    client: Client,
    payload: Bytes,
}

impl Ask for Asker {
    async fn ask(&mut self) -> Result<usize, Error> {
        Ok(self.client.request("bench.echo", self.payload.clone()).await?.payload.len())
    }
}

async fn ask(load: Load) -> Result<(), Error> {
    let client = async_nats::connect(&load.address).await?;
    measure(&load, Asker { client, payload: vec![b'x'; load.payload].into() }).await
}

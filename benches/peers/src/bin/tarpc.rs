//! tarpc over TCP with bincode.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::StreamExt;
use tarpc::server::{self, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tarpc::{client, context, serde_transport};
use tokio::net::{TcpListener, TcpStream};
use tower_mqtt_peers::{Ask, Error, Load, Respond, measure, run, serve_at};

#[tarpc::service]
trait Bench {
    async fn echo(payload: Bytes) -> Bytes;
}

fn main() -> Result<(), Error> {
    run(respond, ask)
}

#[derive(Clone)]
struct Echo;

impl Bench for Echo {
    async fn echo(self, _: context::Context, payload: Bytes) -> Bytes {
        payload
    }
}

async fn respond(_: Respond) -> Result<(), Error> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    serve_at(&address).await
}

async fn serve(stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let framed = LengthDelimitedCodec::builder().new_framed(stream);
    let transport = serde_transport::new(framed, Bincode::default());
    let requests = server::BaseChannel::with_defaults(transport).execute(Echo.serve());
    requests
        .for_each(async |handling| {
            tokio::spawn(handling);
        })
        .await;
    Ok(())
}

#[derive(Clone)]
struct Client {
    client: BenchClient,
    payload: Bytes,
}

impl Ask for Client {
    async fn ask(&mut self) -> Result<usize, Error> {
        Ok(self.client.echo(context::current(), self.payload.clone()).await?.len())
    }
}

async fn ask(load: Load) -> Result<(), Error> {
    let stream = TcpStream::connect(&load.address).await?;
    stream.set_nodelay(true)?;
    let framed = LengthDelimitedCodec::builder().new_framed(stream);
    let transport = serde_transport::new(framed, Bincode::default());
    let mut config = client::Config::default();
    config.max_in_flight_requests = load.in_flight.max(config.max_in_flight_requests);
    config.pending_request_buffer = load.in_flight.max(config.pending_request_buffer);
    let client = BenchClient::new(config, transport).spawn();
    measure(&load, Client { client, payload: vec![b'x'; load.payload].into() }).await
}

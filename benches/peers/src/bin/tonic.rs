//! gRPC: a unary echo over one HTTP/2 connection.

use std::net::SocketAddr;

use bytes::Bytes;
use stubs::bench_client::BenchClient;
use stubs::bench_server::{Bench, BenchServer};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tower_mqtt_peers::{Ask, Error, Load, Respond, measure, run, serve_at};

mod stubs {
    tonic::include_proto!("bench.Bench");
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

fn main() -> Result<(), Error> {
    run(respond, ask)
}

struct Echo;

#[tonic::async_trait]
impl Bench for Echo {
    async fn echo(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

async fn respond(_: Respond) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = format!("http://{}", listener.local_addr()?);
    let server = Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(u32::from(u16::MAX))
        .add_service(BenchServer::new(Echo));
    let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |stream| {
        stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    });
    tokio::spawn(server.serve_with_incoming(incoming));
    serve_at(&address).await
}

#[derive(Clone)]
struct Client {
    client: BenchClient<Channel>,
    payload: Bytes,
}

impl Ask for Client {
    async fn ask(&mut self) -> Result<usize, Error> {
        let request = Payload { bytes: self.payload.clone() };
        Ok(self.client.echo(request).await?.into_inner().bytes.len())
    }
}

async fn ask(load: Load) -> Result<(), Error> {
    let channel = Channel::from_shared(load.address.clone())?.tcp_nodelay(true).connect().await?;
    let client = BenchClient::new(channel);
    measure(&load, Client { client, payload: vec![b'x'; load.payload].into() }).await
}

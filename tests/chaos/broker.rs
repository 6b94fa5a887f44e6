//! A broker that can be killed, started again, and frozen.

use std::net::{Ipv4Addr, SocketAddr};

use tower_mqtt::Hub;

use crate::mosquitto::Mosquitto;
use crate::process::{self, Signal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mosquitto,
    /// With so many workers.
    Hub(usize),
}

pub(crate) struct Broker {
    kind: Kind,
    address: SocketAddr,
    server: Server,
}

enum Server {
    Mosquitto(Mosquitto),
    /// `None` while it is down.
    Hub(Option<Hub>),
}

impl Broker {
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Mosquitto => {
                let mosquitto = Mosquitto::start(&["set_tcp_nodelay true"]).await;
                let address = (Ipv4Addr::LOCALHOST, mosquitto.port()).into();
                Self { kind, address, server: Server::Mosquitto(mosquitto) }
            }
            Kind::Hub(workers) => {
                let hub = hub(workers, "127.0.0.1:0").await;
                let address = hub.local_addr().expect("bound");
                Self { kind, address, server: Server::Hub(Some(hub)) }
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a crash would.
    pub(crate) fn kill(&mut self) {
        match &mut self.server {
            Server::Mosquitto(mosquitto) => mosquitto.kill(),
            Server::Hub(hub) => drop(hub.take()),
        }
    }

    /// At the same address, unless it is up.
    pub(crate) async fn restart(&mut self) {
        match (&mut self.server, self.kind) {
            (Server::Mosquitto(mosquitto), _) if mosquitto.id().is_none() => {
                mosquitto.restart().await;
            }
            (Server::Hub(down @ None), Kind::Hub(workers)) => {
                *down = Some(hub(workers, &self.address.to_string()).await);
            }
            _ => {}
        }
    }

    /// Only a process of its own can be stopped.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Server::Mosquitto(mosquitto) = &self.server
            && let Some(id) = mosquitto.id()
        {
            process::signal(id, signal);
        }
    }

    pub(crate) fn hub(&self) -> Option<&Hub> {
        match &self.server {
            Server::Hub(hub) => hub.as_ref(),
            Server::Mosquitto(_) => None,
        }
    }
}

async fn hub(workers: usize, address: &str) -> Hub {
    Hub::builder().workers(workers).bind(address).start().await.expect("the address is free")
}

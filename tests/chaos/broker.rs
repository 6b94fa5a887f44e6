//! A broker that can be killed, started again, and frozen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tower_mqtt::{Hub, Link};

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
    Hub(Inside),
}

/// Where links of the hub's process begin.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    /// `None` while it is down.
    hub: Arc<Mutex<Option<Hub>>>,
}

impl Inside {
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&Hub) -> T) -> Option<T> {
        self.hub.lock().expect("nobody panics with it").as_ref().map(use_it)
    }

    pub(crate) fn link(&self, client_id: &str) -> Option<Link> {
        self.with(|hub| hub.link(client_id))
    }

    fn put(&self, hub: Option<Hub>) {
        let old = std::mem::replace(&mut *self.hub.lock().expect("nobody panics with it"), hub);
        // Joins threads: not with the lock.
        drop(old);
    }
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
                let inside = Inside { hub: Arc::new(Mutex::new(Some(hub))) };
                Self { kind, address, server: Server::Hub(inside) }
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
            Server::Hub(inside) => inside.put(None),
        }
    }

    /// At the same address, unless it is up.
    pub(crate) async fn restart(&mut self) {
        match (&mut self.server, self.kind) {
            (Server::Mosquitto(mosquitto), _) if mosquitto.id().is_none() => {
                mosquitto.restart().await;
            }
            (Server::Hub(inside), Kind::Hub(workers)) if inside.with(|_| ()).is_none() => {
                inside.put(Some(hub(workers, &self.address.to_string()).await));
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

    pub(crate) fn inside(&self) -> Option<&Inside> {
        match &self.server {
            Server::Hub(inside) => Some(inside),
            Server::Mosquitto(_) => None,
        }
    }
}

async fn hub(workers: usize, address: &str) -> Hub {
    Hub::builder().workers(workers).bind(address).start().await.expect("the address is free")
}

//! Every way of calling, with every kind of device, and every way in which that may end.

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::devices::{Form, KINDS, Kind, Mode};
use super::programs::soon;
use super::running::{Running, config};
use super::servers::{Asked, Outcome, SERVERS, Server};

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Timeout,
    Offline,
    DeviceError,
}

const ENDS: [End; 4] = [End::Success, End::Timeout, End::Offline, End::DeviceError];

/// One field of the matrix. Each has a device of its own, so that all can be filled in at once.
#[derive(Debug, Clone, Copy)]
struct Cell {
    server: Server,
    kind: Kind,
    end: End,
}

impl Cell {
    fn device(self) -> String {
        format!("{:?}-{:?}", self.server, self.end)
    }

    /// What is asked of the device. Where there is a way to say that something has failed, it is used.
    fn form(self) -> Form {
        match (self.server, self.kind, self.end) {
            (Server::Tencent, ..) | (_, Kind::Tencent | Kind::Native, _) => Form::Device,
            (.., End::DeviceError) => Form::Service,
            (_, Kind::Extended, _) => Form::Topic,
            (_, Kind::Plain, _) => Form::Device,
        }
    }

    fn payload(self) -> &'static str {
        if self.form() == Form::Service { r#"{"on":1}"# } else { "on" }
    }

    fn expected(self) -> Outcome {
        match self.end {
            End::Success => Outcome::Answer("ON".to_owned()),
            End::Timeout => Outcome::Timeout,
            End::Offline => Outcome::Offline,
            // Raw RRPC has no place for a failure: the device is silent.
            End::DeviceError if self.form() == Form::Device && self.kind != Kind::Native => {
                Outcome::Timeout
            }
            End::DeviceError => Outcome::Failed,
        }
    }

    async fn fill_in(self, (http, hub): (SocketAddr, SocketAddr)) -> Option<String> {
        let (device, form) = (self.device(), self.form());
        let mode = match self.end {
            End::Success => Some(Mode::Upper),
            End::Timeout => Some(Mode::Silent),
            End::Offline => None,
            End::DeviceError => Some(Mode::Fails),
        };
        let running = match mode {
            Some(mode) => Some(self.kind.start(hub, &device, form, mode).await),
            None => None,
        };
        let asked = Asked { kind: self.kind, device: &device, form };
        let outcome = self.server.call((http, hub), asked, self.payload()).await;
        drop(running);
        (outcome != self.expected()).then(|| format!("{self:?}: {outcome:?}"))
    }
}

fn cells() -> Vec<Cell> {
    let kinds = |server| KINDS.map(|kind| ENDS.map(|end| Cell { server, kind, end })).concat();
    SERVERS.map(kinds).concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_calls_every_device() {
    let cells = cells();
    assert_eq!(cells.len(), 64);
    let devices: Vec<_> = cells.iter().map(|cell| (cell.kind, cell.device())).collect();
    let running = Running::start(&config(&devices)).await;
    let places = (running.http, running.hub());
    let outcomes = soon(join_all(cells.iter().map(|cell| cell.fill_in(places)))).await;
    let wrong: Vec<String> = outcomes.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    running.stop().await;
}

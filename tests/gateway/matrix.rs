//! Every way of calling, with every kind of device, and every way in which that may end.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tower_mqtt::Responder;

use super::devices::{Form, KINDS, Kind, Mode};
use super::programs::soon;
use super::running::{Running, config};
use super::servers::{Asked, Outcome, SERVERS, Server};
use super::vendor_devices::{FAILURE, VendorDevice};

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Timeout,
    Offline,
    DeviceError,
}

const ENDS: [End; 4] = [End::Success, End::Timeout, End::Offline, End::DeviceError];

/// What is between a server and a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    Hub,
    Broker,
}

/// One field of the matrix. Each has a device of its own, so that all can be filled in at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    server: Server,
    kind: Kind,
    end: End,
    between: Between,
}

/// A field that is filled in, with its device, which is still there.
pub(crate) struct Filled {
    cell: Cell,
    outcome: Outcome,
    vendors: Option<VendorDevice>,
    _ours: Option<Responder>,
}

impl Cell {
    fn device(self) -> String {
        format!("{:?}-{:?}", self.server, self.end)
    }

    /// What is asked of the device. Where there is a way to say that something has failed, it is used.
    fn form(self) -> Form {
        match (self.server, self.kind, self.end) {
            (Server::Tencent, ..) => Form::Device,
            (_, Kind::Plain | Kind::Extended, End::DeviceError) => Form::Service,
            (_, Kind::Extended, _) => Form::Topic,
            _ => Form::Device,
        }
    }

    fn payload(self) -> &'static str {
        if self.form() == Form::Service { r#"{"on":1}"# } else { "on" }
    }

    /// Short only for a call that is to end so.
    fn timeout(self) -> Duration {
        Duration::from_secs(if self.expected() == Outcome::Timeout { 1 } else { 8 })
    }

    /// Whether it is the product that says how long the call may take, not the server.
    fn needs_short_limit(self) -> bool {
        self.expected() == Outcome::Timeout && matches!(self.server, Server::Tencent | Server::Peer)
    }

    fn expected(self) -> Outcome {
        match self.end {
            End::Success => Outcome::Answer("ON".to_owned()),
            End::Timeout => Outcome::Timeout,
            // The gateway listens where the device answers, so the broker does not say that nobody does.
            End::Offline if self.form() == Form::Topic && self.between == Between::Broker => {
                Outcome::Timeout
            }
            End::Offline => Outcome::Offline,
            End::DeviceError if self.form() == Form::Service || self.kind == Kind::Native => {
                Outcome::Failed
            }
            End::DeviceError => Outcome::Answer(FAILURE.to_owned()),
        }
    }

    /// Beside a broker a device of MQTT 3 that answers on the topic of the request hears itself, and answers
    /// for ever: there it is ours.
    fn is_vendors(self) -> bool {
        match self.kind {
            Kind::Native => false,
            Kind::Extended => self.between == Between::Hub || self.form() == Form::Device,
            Kind::Plain | Kind::Tencent | Kind::Explorer => true,
        }
    }

    async fn fill_in(self, (http, mqtt): Places) -> Filled {
        let Self { server, kind, end, .. } = self;
        let (device, form) = (self.device(), self.form());
        let mode = match end {
            End::Success => Some(Mode::Upper),
            End::Timeout => Some(Mode::Silent),
            End::Offline => None,
            End::DeviceError => Some(Mode::Fails),
        };
        let (mut vendors, mut ours) = (None, None);
        match mode {
            Some(mode) if self.is_vendors() => {
                vendors = Some(VendorDevice::start(kind, mqtt, &device, mode).await);
            }
            Some(mode) => ours = Some(kind.start(mqtt, &device, form, mode).await),
            None => {}
        }
        let asked = Asked { kind, device: &device, form, timeout: self.timeout() };
        let outcome = server.call((http, mqtt), asked, self.payload()).await;
        Filled { cell: self, outcome, vendors, _ours: ours }
    }
}

impl Filled {
    /// Each device was asked once, and has not heard itself.
    fn wrong(&self) -> Option<String> {
        let heard = self.vendors.as_ref().map(VendorDevice::heard);
        let once = heard.as_ref().is_none_or(|heard| heard.len() == 1);
        let Self { cell, outcome, .. } = self;
        let right = once && *outcome == cell.expected();
        (!right).then(|| format!("{cell:?}: {outcome:?} {heard:?}"))
    }
}

/// All fields. A peer asks native devices as a requester does, without a gateway.
pub(crate) fn cells(between: Between) -> Vec<Cell> {
    let cell = |server, kind, end| Cell { server, kind, end, between };
    let kinds =
        |server| KINDS.map(|kind| ENDS.map(|end| cell(server, kind, end)).to_vec()).concat();
    let cells = SERVERS.map(kinds).concat();
    cells.into_iter().filter(|it| (it.server, it.kind) != (Server::Peer, Kind::Native)).collect()
}

pub(crate) fn devices(cells: &[Cell]) -> Vec<(Kind, String)> {
    cells.iter().map(|cell| (cell.kind, cell.device())).collect()
}

/// Where servers and devices connect.
type Places = (SocketAddr, SocketAddr);

/// Fills them in, and says what is wrong: at a gateway whose limits no call reaches, and at one whose limits
/// end what the server does not.
pub(crate) async fn fill_in(cells: &[Cell], patient: Places, impatient: Places) -> Vec<String> {
    let places = |cell: &Cell| if cell.needs_short_limit() { impatient } else { patient };
    let filled = soon(join_all(cells.iter().map(|cell| cell.fill_in(places(cell))))).await;
    filled.iter().filter_map(Filled::wrong).collect()
}

/// With limits that no call of a test reaches; but Aliyun's are 8 s at most.
pub(crate) fn patient(config: &str) -> String {
    let aliyun = |timeout| format!("dialect = \"aliyun\"\ntimeout = \"{timeout}\"");
    let config = config.replace(&aliyun("1s"), &aliyun("8s"));
    config.replace("timeout = \"1s\"", "timeout = \"1h\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_calls_every_device() {
    let cells = cells(Between::Hub);
    assert_eq!(cells.len(), 4 * 5 * 4 + 4 * 4);
    let config = config(&devices(&cells));
    let (first, second) = (Running::start(&patient(&config)).await, Running::start(&config).await);
    let places = |running: &Running| (running.http, running.hub());
    let wrong = fill_in(&cells, places(&first), places(&second)).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What its caller has given up, it gives up too.
    let idle = async {
        while first.gateway.in_flight() + second.gateway.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(idle).await;
    first.stop().await;
    second.stop().await;
}

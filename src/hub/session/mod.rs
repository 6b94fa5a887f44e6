//! A network connection: handshake, then packets, for both versions of the protocol.

mod packets;
mod v3;
mod v5;

use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use ntex::io::{IoBoxed, IoConfig};
use ntex::service::cfg::SharedCfg;
use ntex::service::{Pipeline, Service, ServiceFactory, boxed};
use ntex::time::Seconds;
use ntex::util::Bytes as NtexBytes;
use ntex_mqtt::control::Control;
use ntex_mqtt::{MqttServer, MqttServiceConfig, Payload, QoS};
use ulid::Ulid;

use self::packets::WholePackets;
use super::builder::HubLimits;
use super::client::Client;
use super::shared::Shared;
use super::worker::Worker;
use crate::link::ntex::convert::LastTopics;

/// Bytes in a connection's write buffer above which further messages wait in the client's queue,
/// and below which they go on.
const WRITE_BUFFER: (usize, usize) = (64 * 1024, 16 * 1024);

/// What is not an outcome of the protocol: it ends the connection.
#[derive(Debug)]
pub(super) struct SessionError;

impl From<()> for SessionError {
    fn from((): ()) -> Self {
        Self
    }
}

impl TryFrom<SessionError> for ntex_mqtt::v5::PublishAck {
    type Error = SessionError;

    fn try_from(error: SessionError) -> Result<Self, SessionError> {
        Err(error)
    }
}

/// A client for as long as its connection lasts.
pub(super) struct Seat {
    worker: Rc<Worker>,
    client: Rc<Client>,
    last_topics: RefCell<LastTopics>,
}

impl Seat {
    fn new(worker: &Rc<Worker>, client: Rc<Client>) -> Rc<Self> {
        let last_topics = RefCell::default();
        Rc::new(Self { worker: Rc::clone(worker), client, last_topics })
    }

    /// Whether a payload of this size can have been meant. ntex-mqtt's codec takes a PUBLISH whose
    /// header is longer than its Remaining Length for one with almost 4 GiB of payload.
    fn is_possible(&self, payload: u32) -> bool {
        payload <= longest_packet(&self.worker.shared.limits)
    }
}

/// The payload of a packet that is [there completely](WholePackets).
fn whole(payload: &Payload) -> Result<NtexBytes, SessionError> {
    payload.read_all().now_or_never().and_then(Result::ok).ok_or(SessionError)
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.leave(&self.client);
    }
}

/// Serves the connections of one worker.
pub(super) struct Server {
    service: Pipeline<boxed::BoxService<IoBoxed, (), ()>>,
    config: SharedCfg,
}

impl Server {
    pub(super) async fn new(worker: &Rc<Worker>) -> Self {
        let config = config(&worker.shared);
        let server = MqttServer::new().v3(v3::server!(worker)).v5(v5::server!(worker));
        let created = ServiceFactory::<IoBoxed, SharedCfg>::create(&server, config.clone()).await;
        let Ok(service) = created else {
            unreachable!("the factories of handshake services do not fail")
        };
        let service = service.map_err(|error| tracing::debug!(?error, "a connection ended"));
        Self { service: Pipeline::new(boxed::service(service)), config }
    }

    /// Takes a connection over. It counts as one until it has ended.
    pub(super) fn serve(&self, worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
        let connection = Connection(Arc::clone(&worker.shared));
        let packets = WholePackets::new(longest_packet(&worker.shared.limits));
        let _ = stream.set_nodelay(true);
        let io = match ntex::rt::from_tcp_stream(stream, self.config.clone()) {
            Ok(io) => IoBoxed::from(io.add_filter(packets)),
            Err(error) => return tracing::debug!(%peer, %error, "a connection was lost at once"),
        };
        let service = self.service.clone();
        ntex::rt::spawn(async move {
            let _ = service.call(io).await;
            drop(connection);
        });
    }
}

/// What both versions do with what happens to a connection.
fn control(seat: &Seat, control: &Control<SessionError>) {
    match control {
        Control::WrBackpressure(pressure) if pressure.enabled() => watch(seat),
        Control::WrBackpressure(_) => {
            seat.client.relieve();
            seat.worker.drain(&seat.client);
        }
        Control::Stop(reason) => {
            tracing::debug!(client_id = %seat.client.client_id, ?reason, "a client is gone");
            seat.worker.leave(&seat.client);
        }
    }
}

/// Closes a connection that takes nothing of what is written to it: as long as it does not,
/// ntex-mqtt does not look at its keep-alive either.
fn watch(seat: &Seat) {
    let (client, patience) = (Rc::clone(&seat.client), seat.worker.shared.limits.stalled);
    if client.watched.replace(true) {
        return;
    }
    ntex::rt::spawn(async move {
        while let Some(before) = client.backlog() {
            tokio::time::sleep(patience).await;
            if client.backlog() == Some(before) {
                tracing::debug!(client_id = %client.client_id, "a client that reads nothing is closed");
                client.terminate();
                break;
            }
        }
        client.watched.set(false);
    });
}

/// The client identifier as sent, or a fresh one.
fn client_id(sent: &str) -> Arc<str> {
    if sent.is_empty() { Ulid::new().to_string().into() } else { sent.into() }
}

/// Counted in [`Shared::connections`]; the listener has counted it already.
struct Connection(Arc<Shared>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn config(shared: &Shared) -> SharedCfg {
    let limits = &shared.limits;
    let handshake = Seconds::new(whole_seconds(limits.handshake));
    let mqtt = MqttServiceConfig::new()
        .set_max_qos(QoS::AtLeastOnce)
        .set_max_size(longest_packet(limits))
        .set_max_receive(limits.receive_maximum.max(1))
        .set_max_send(u16::MAX)
        .protocol_version_timeout(handshake)
        .set_connect_timeout(handshake)
        .set_handshake_timeout(handshake);
    let io = IoConfig::new()
        .set_write_buf(WRITE_BUFFER.0, WRITE_BUFFER.1, 16)
        .set_disconnect_timeout(Seconds::new(1));
    SharedCfg::new("hub").add(mqtt).add(io).into()
}

/// Zero would be no limit.
fn longest_packet(limits: &HubLimits) -> u32 {
    limits.packet.max(1)
}

fn whole_seconds(duration: Duration) -> u16 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u16::try_from(seconds).unwrap_or(u16::MAX).max(1)
}

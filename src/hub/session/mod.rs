//! A network connection: handshake, then packets, for both versions of the protocol.

mod packets;
mod stalled;
mod v3;
mod v5;
mod well_formed;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ntex::codec::Decoder;
use ntex::io::{IoBoxed, IoConfig};
use ntex::service::cfg::SharedCfg;
use ntex::service::{Pipeline, Service, ServiceFactory, boxed};
use ntex::time::Seconds;
use ntex::util::{Bytes as NtexBytes, BytesMut, Either};
use ntex_mqtt::control::Control;
use ntex_mqtt::error::DecodeError;
use ntex_mqtt::{MqttServer, MqttServiceConfig, Payload, QoS};
use tokio::time::timeout;
use ulid::Ulid;

pub(super) use self::packets::WholePackets;
pub(super) use self::stalled::Backlog;
use self::stalled::watch;
pub(super) use self::v5::Outbound;
use super::client::Client;
use super::listener::{Accepted, Entrance};
use super::shared::Shared;
use super::transport;
use super::worker::Worker;

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

/// A client for as long as its connection lasts.
pub(super) struct Seat {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl Seat {
    fn new(worker: &Rc<Worker>, client: Rc<Client>) -> Rc<Self> {
        Rc::new(Self { worker: Rc::clone(worker), client })
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

/// Serves the connections that one worker has over one listener.
pub(super) struct Server {
    worker: Rc<Worker>,
    entrance: Arc<Entrance>,
    /// For MQTT 3.1.1, for 3.1 that is [presented](WholePackets) as such, and for what is no MQTT.
    service: Pipeline<boxed::BoxService<IoBoxed, (), ()>>,
    config: SharedCfg,
}

impl Server {
    pub(super) async fn new(worker: &Rc<Worker>, entrance: &Arc<Entrance>) -> Self {
        let config = config(&worker.shared, entrance);
        let server = MqttServer::new().v3(v3::server!(worker, entrance));
        let created = ServiceFactory::<IoBoxed, SharedCfg>::create(&server, config.clone()).await;
        let Ok(service) = created else {
            unreachable!("the factories of handshake services do not fail")
        };
        let service = service.map_err(|error| tracing::debug!(?error, "a connection ended"));
        let service = Pipeline::new(boxed::service(service));
        Self { worker: Rc::clone(worker), entrance: Arc::clone(entrance), service, config }
    }

    /// Takes a connection over. It counts as one until it has ended.
    pub(super) fn serve(&self, accepted: Accepted) {
        let Accepted { socket, peer, counted, .. } = accepted;
        let (entrance, config) = (Arc::clone(&self.entrance), self.config.clone());
        let (worker, service) = (Rc::clone(&self.worker), self.service.clone());
        ntex::rt::spawn(async move {
            match transport::open(socket, &entrance, config).await {
                Ok(io) => match timeout(entrance.handshake, version(&io)).await {
                    Ok(Ok(MQTT_5)) => v5::serve(io, &worker, &entrance).await,
                    Ok(Ok(_)) => drop(service.call(io).await),
                    Ok(Err(error)) => tracing::debug!(?peer, %error, "a client says no CONNECT"),
                    Err(_) => tracing::debug!(?peer, "a client says nothing"),
                },
                Err(error) => {
                    let transport = entrance.transport;
                    tracing::debug!(?peer, ?transport, %error, "a connection was not made");
                }
            }
            drop(counted);
        });
    }
}

const MQTT_5: u8 = 5;

/// The version of the protocol that a client speaks. Its CONNECT stays in the read buffer. For what is
/// none it ends here: ntex-mqtt would wait for the rest of it.
async fn version(io: &IoBoxed) -> io::Result<u8> {
    match io.recv(&Peek).await {
        Ok(Some(Some(version))) => Ok(version),
        Ok(Some(None)) => Err(io::Error::new(io::ErrorKind::InvalidData, "this is not MQTT")),
        Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(Either::Left(error)) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(Either::Right(error)) => Err(error),
    }
}

struct Peek;

impl Decoder for Peek {
    type Item = Option<u8>;
    type Error = DecodeError;

    fn decode(&self, read: &mut BytesMut) -> Result<Option<Option<u8>>, DecodeError> {
        Ok((!read.is_empty()).then(|| packets::version(read)))
    }
}

/// What is done with what happens to a connection.
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

/// Topic filters of one packet that are dealt with before others have their turn.
const FILTERS_PER_TURN: usize = 64;

/// Lets others have their turn, before the filter at this place of a packet; there may be 100,000.
async fn take_turns(place: usize) {
    if place % FILTERS_PER_TURN == FILTERS_PER_TURN - 1 {
        tokio::task::yield_now().await;
    }
}

/// The client identifier as sent, or a fresh one.
fn client_id(sent: &str) -> Arc<str> {
    if sent.is_empty() { Ulid::new().to_string().into() } else { sent.into() }
}

fn config(shared: &Shared, entrance: &Entrance) -> SharedCfg {
    let handshake = Seconds::new(whole_seconds(entrance.handshake));
    let mqtt = MqttServiceConfig::new()
        .set_max_qos(QoS::AtLeastOnce)
        .set_max_size(entrance.longest_packet)
        .set_max_receive(shared.limits.receive_maximum.max(1))
        .set_max_send(u16::MAX)
        .protocol_version_timeout(handshake)
        .set_connect_timeout(handshake)
        .set_handshake_timeout(handshake);
    let io = IoConfig::new()
        .set_write_buf(WRITE_BUFFER.0, WRITE_BUFFER.1, 16)
        .set_disconnect_timeout(Seconds::new(1));
    SharedCfg::new("hub").add(mqtt).add(io).into()
}

fn whole_seconds(duration: Duration) -> u16 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u16::try_from(seconds).unwrap_or(u16::MAX).max(1)
}

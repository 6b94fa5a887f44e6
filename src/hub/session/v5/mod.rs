//! MQTT 5: a connection from its CONNECT to its end.
//!
//! ntex-mqtt gives the codec. Its server is not used for this version: a chain of services lies between
//! a packet and what is done for it, whose futures are moved and asked for their readiness each time,
//! and that was more than half of the hub's work for a message. Here the packets of a connection are
//! taken one by one from its read buffer, and everything but a change of subscriptions is done when the next
//! is taken.

mod aliases;
mod handshake;
mod keep_alive;
mod outbound;
mod packets;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ntex::io::{IoBoxed, RecvError};
use ntex_mqtt::error::DecodeError;
use ntex_mqtt::v5::codec::{Codec, Disconnect, DisconnectReasonCode, Subscribe, Unsubscribe};
use tokio::time::timeout;

use self::aliases::Aliases;
use self::keep_alive::KeepAlive;
pub(in crate::hub) use self::outbound::Outbound;
use super::{Seat, watch};
use crate::hub::listener::Entrance;
use crate::hub::worker::Worker;
use crate::link::ntex::convert::LastTopics;

/// Packets taken in one turn before the task yields, so that a busy connection does not starve the
/// others of its worker.
const PACKETS_PER_TURN: usize = 256;

/// How long a turn may be; it is exceeded by one packet at most. What a packet costs is up to clients: a
/// message whose topic matches thousands of filters takes milliseconds.
const TURN: Duration = Duration::from_micros(500);

/// How long what was written last may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client whose handshake is over.
struct Connection {
    io: IoBoxed,
    codec: Rc<Codec>,
    outbound: Rc<Outbound>,
    keep_alive: KeepAlive,
    aliases: Aliases,
    last_topics: LastTopics,
    /// CONNECT asked for a session that outlives the connection.
    session_expires: bool,
    seat: Rc<Seat>,
}

/// A packet that takes its time.
enum Subscriptions {
    Begin(Subscribe),
    End(Unsubscribe),
}

/// Why a connection is over.
#[derive(Debug)]
enum Ended {
    /// The socket is closed, or this side has closed it.
    Lost,
    /// The client said so.
    Left,
    /// The client broke the protocol, or asked for what there is not: it is told.
    Violated(DisconnectReasonCode),
}

/// Serves a connection to its end.
pub(super) async fn serve(io: IoBoxed, worker: &Rc<Worker>, entrance: &Arc<Entrance>) {
    match handshake::shake(io, worker, entrance).await {
        Ok(connection) => connection.run().await,
        Err(refused) => {
            tracing::debug!(reason = refused.reason, "a client was not let in");
            if let Some(io) = refused.told {
                shut_down(&io).await;
            }
        }
    }
}

async fn shut_down(io: &IoBoxed) {
    let _ = timeout(FAREWELL, io.shutdown()).await;
}

impl Connection {
    async fn run(mut self) {
        let ended = loop {
            match poll_fn(|cx| self.poll(cx)).await {
                // What follows it waits, so that answers have the order of their requests.
                Ok(packet) => {
                    if let Err(ended) = self.change_subscriptions(packet).await {
                        break ended;
                    }
                }
                Err(ended) => break ended,
            }
        };
        let Self { io, outbound, seat, .. } = self;
        tracing::debug!(client_id = %seat.client.client_id, ?ended, "a client is gone");
        if let Ended::Violated(reason) = ended {
            outbound.disconnect(Disconnect::new(reason));
        }
        seat.worker.leave(&seat.client);
        shut_down(&io).await;
    }

    /// Takes packets until one has to wait, or the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Subscriptions, Ended>> {
        let end = Instant::now() + TURN;
        for _ in 0..PACKETS_PER_TURN {
            // Before the next packet is taken: `poll_recv` says it only when no whole packet is there,
            // so that the answers to a flood would have no bound. One whom this side has told to go
            // is not waited for.
            if self.io.is_wr_backpressure() && !self.outbound.is_closed() {
                ready!(self.poll_relieved(cx))?;
            }
            match self.io.poll_recv(&*self.codec, cx) {
                // What comes behind our own DISCONNECT is not answered.
                Poll::Ready(Ok(_)) if self.outbound.is_closed() => {
                    return Poll::Ready(Err(Ended::Lost));
                }
                Poll::Ready(Ok(decoded)) => {
                    self.keep_alive.heard();
                    if let Some(waits) = self.receive(decoded).transpose() {
                        return Poll::Ready(waits);
                    }
                }
                Poll::Pending => {
                    let silent = DisconnectReasonCode::KeepAliveTimeout;
                    return self.keep_alive.poll(cx).map(|()| Err(Ended::Violated(silent)));
                }
                Poll::Ready(Err(RecvError::WriteBackpressure)) => ready!(self.poll_relieved(cx))?,
                Poll::Ready(Err(RecvError::Decoder(error))) => {
                    return Poll::Ready(Err(Ended::Violated(malformed(&error))));
                }
                Poll::Ready(Err(RecvError::PeerGone(_) | RecvError::KeepAlive)) => {
                    return Poll::Ready(Err(Ended::Lost));
                }
            }
            if Instant::now() >= end {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until the socket has taken enough to be written to again, and sends what waits for that.
    fn poll_relieved(&self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        watch(&self.seat);
        if ready!(self.io.poll_flush(cx, false)).is_err() {
            return Poll::Ready(Err(Ended::Lost));
        }
        self.seat.client.relieve();
        self.seat.worker.drain(&self.seat.client);
        Poll::Ready(Ok(()))
    }
}

/// What a client is told whose packet cannot be read.
fn malformed(error: &DecodeError) -> DisconnectReasonCode {
    match error {
        DecodeError::MaxSizeExceeded { .. } => DisconnectReasonCode::PacketTooLarge,
        _ => DisconnectReasonCode::MalformedPacket,
    }
}

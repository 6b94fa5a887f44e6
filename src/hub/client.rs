//! One client of the hub, and the queue of what waits for it.
#![expect(clippy::result_large_err, reason = "a message that is not taken is given back")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ntex::io::IoRef;
use ntex_mqtt::v3;
use tokio::sync::oneshot;

use super::access::Identity;
use super::builder::HubLimits;
use super::convert;
use super::in_process::Inbox;
use super::listener::Place;
use super::session::{Backlog, Outbound};
use super::shared::ClientKey;
use crate::core::packet::{Message, Qos, ReasonCode};
use crate::core::topic::TopicName;

/// A client that is connected to this worker.
#[expect(
    clippy::struct_field_names,
    reason = "the client identifier has this name in the standard"
)]
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) client_id: Arc<str>,
    pub(super) identity: Identity,
    /// What it is called in topics.
    pub(super) names: Vec<Arc<str>>,
    /// The topic under which its answers go: its own.
    pub(super) response_base: TopicName,
    /// What the hub publishes for it when it is lost without a DISCONNECT.
    pub(super) will: RefCell<Option<Message>>,
    /// Set when it says DISCONNECT.
    pub(super) has_left: Cell<bool>,
    /// Among the clients of its listener.
    pub(super) place: RefCell<Option<Place>>,
    peer: Peer,
    limits: HubLimits,
    queue: RefCell<VecDeque<Waiting>>,
    queued_bytes: Cell<usize>,
    /// Set while what waits is being sent.
    pub(super) draining: Cell<bool>,
    gone: Cell<bool>,
    /// How often it has taken what was too much for its socket.
    relieved: Cell<u64>,
    /// Whether somebody looks at its progress.
    pub(super) watched: Cell<bool>,
    waiting_for_end: RefCell<Vec<oneshot::Sender<()>>>,
}

/// How a client is reached.
pub(super) enum Peer {
    V5(Rc<Outbound>),
    V3(v3::MqttSink, IoRef),
    InProcess(Rc<Inbox>),
}

/// A message that waits for a client.
pub(super) struct Waiting {
    message: Message,
    since: Instant,
    /// Nobody else gets it.
    pub(super) alone: bool,
}

impl Waiting {
    /// The message with what is left of its Message Expiry Interval [MQTT-3.3.2-6]; `None` when
    /// that has passed.
    pub(super) fn aged(mut self) -> Option<Message> {
        if let Some(expiry) = &mut self.message.properties.message_expiry {
            let waited = u32::try_from(self.since.elapsed().as_secs()).unwrap_or(u32::MAX);
            *expiry = expiry.checked_sub(waited).filter(|left| *left > 0)?;
        }
        Some(self.message)
    }
}

impl Client {
    pub(super) fn new(
        key: ClientKey,
        client_id: Arc<str>,
        identity: Identity,
        names: Vec<Arc<str>>,
        response_base: TopicName,
        peer: Peer,
        limits: HubLimits,
    ) -> Self {
        Self {
            key,
            client_id,
            identity,
            names,
            response_base,
            will: RefCell::new(None),
            has_left: Cell::new(false),
            place: RefCell::new(None),
            peer,
            limits,
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            draining: Cell::new(false),
            gone: Cell::new(false),
            relieved: Cell::new(0),
            watched: Cell::new(false),
            waiting_for_end: RefCell::default(),
        }
    }

    /// Whether a message would be taken now.
    pub(super) fn has_room(&self) -> bool {
        !self.gone.get()
            && match &self.peer {
                Peer::InProcess(inbox) => inbox.has_room(),
                Peer::V5(..) | Peer::V3(..) => {
                    self.queue.borrow().len() < self.limits.queued_messages
                        && self.queued_bytes.get() < self.limits.queued_bytes
                }
            }
    }

    /// Sends a message, or lets it wait: whoever owns the client takes it out again with
    /// [`next_to_send`](Self::next_to_send) when there is room. Gives it back when the queue is full
    /// or the client cannot take it.
    pub(super) fn deliver(&self, message: Message, alone: bool) -> Result<(), Message> {
        if !self.has_room() {
            return Err(message);
        }
        if self.queue.borrow().is_empty() && self.may_send(message.qos) {
            return self.send(message);
        }
        self.queued_bytes.set(self.queued_bytes.get() + message.size());
        self.queue.borrow_mut().push_back(Waiting { message, since: Instant::now(), alone });
        Ok(())
    }

    /// The message that has waited longest, when it can be sent.
    pub(super) fn next_to_send(&self) -> Option<Waiting> {
        let mut queue = self.queue.borrow_mut();
        let waiting = queue.pop_front_if(|waiting| self.may_send(waiting.message.qos))?;
        self.queued_bytes.set(self.queued_bytes.get() - waiting.message.size());
        Some(waiting)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Whether a message can be written now: the socket's buffer has room, and at QoS 1 the
    /// client's Receive Maximum.
    fn may_send(&self, qos: Qos) -> bool {
        match &self.peer {
            Peer::V5(outbound) => outbound.may_send(qos),
            Peer::V3(sink, io) => {
                !io.is_wr_backpressure() && (qos == Qos::AtMostOnce || sink.is_ready())
            }
            Peer::InProcess(_) => true,
        }
    }

    /// Counts that the socket has taken enough to be written to again.
    pub(super) fn relieve(&self) {
        self.relieved.set(self.relieved.get() + 1);
    }

    /// While more is written than the socket takes: how often it has taken enough, and the bytes that
    /// wait.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        let io = match &self.peer {
            Peer::V5(outbound) => outbound.io(),
            Peer::V3(_, io) => io,
            Peer::InProcess(_) => return None,
        };
        let slow = !self.gone.get() && io.is_wr_backpressure();
        let waiting = || io.with_write_dst_buf(|buffer| buffer.len());
        slow.then(|| Backlog { relieved: self.relieved.get(), waiting: waiting() })
    }

    /// Gives the message back when the client is gone, or takes no packet of this size.
    pub(super) fn send(&self, message: Message) -> Result<(), Message> {
        let sent = match &self.peer {
            Peer::V5(outbound) => outbound.send(&message),
            Peer::V3(sink, _) => {
                let (packet, payload) = convert::to_v3(&message);
                let publish = sink.publish_pkt(packet);
                match message.qos {
                    Qos::AtMostOnce => publish.send_at_most_once(payload).is_ok(),
                    Qos::AtLeastOnce => publish.send_at_least_once_no_block(payload).is_ok(),
                }
            }
            Peer::InProcess(inbox) => {
                inbox.push(message);
                return Ok(());
            }
        };
        if sent { Ok(()) } else { Err(message) }
    }

    /// Ends the connection, saying why where the protocol can.
    pub(super) fn close(&self, reason: ReasonCode) {
        match &self.peer {
            Peer::V5(outbound) => outbound.close(reason),
            Peer::V3(sink, _) => sink.close(),
            Peer::InProcess(inbox) => inbox.close(),
        }
    }

    /// Ends the connection without waiting for the peer.
    pub(super) fn terminate(&self) {
        match &self.peer {
            Peer::V5(outbound) => outbound.terminate(),
            Peer::V3(sink, _) => sink.force_close(),
            Peer::InProcess(inbox) => inbox.close(),
        }
    }

    /// Marks the client as gone and returns what waited for it, and for nobody else. `None`: it was gone
    /// before.
    pub(super) fn leave(&self) -> Option<impl Iterator<Item = Message> + use<>> {
        if self.gone.replace(true) {
            return None;
        }
        self.queued_bytes.set(0);
        let queue = std::mem::take(&mut *self.queue.borrow_mut());
        Some(queue.into_iter().filter(|waiting| waiting.alone).filter_map(Waiting::aged))
    }

    /// Drops `told` when the client is gone.
    pub(super) fn when_gone(&self, told: oneshot::Sender<()>) {
        self.waiting_for_end.borrow_mut().push(told);
    }

    /// Drops what [`when_gone`](Self::when_gone) was given.
    pub(super) fn tell_those_who_wait(&self) {
        self.waiting_for_end.borrow_mut().clear();
    }
}

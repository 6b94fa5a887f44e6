//! One client of the hub, and the queue of what waits for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ntex::io::IoRef;
use ntex_mqtt::{v3, v5};
use tokio::sync::oneshot;

use super::access::Identity;
use super::builder::HubLimits;
use super::convert;
use super::in_process::Inbox;
use super::shared::ClientKey;
use crate::core::packet::{Message, Qos};
use crate::core::topic::TopicName;

/// A client that is connected to this worker.
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) client_id: Arc<str>,
    pub(super) identity: Identity,
    /// The topic under which its answers go: its own.
    pub(super) response_base: TopicName,
    /// What the hub publishes for it when it is lost without a DISCONNECT.
    pub(super) will: RefCell<Option<Message>>,
    peer: Peer,
    limits: HubLimits,
    queue: RefCell<VecDeque<Message>>,
    queued_bytes: Cell<usize>,
    gone: Cell<bool>,
    waiting_for_end: RefCell<Vec<oneshot::Sender<()>>>,
}

/// How a client is reached.
pub(super) enum Peer {
    V5(v5::MqttSink, IoRef),
    V3(v3::MqttSink, IoRef),
    InProcess(Rc<Inbox>),
}

/// What became of a message for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivered {
    Sent,
    /// It waits: whoever owns the client must call [`Client::drain`] when there is room.
    Queued,
    /// The queue is full, or the client is gone.
    Refused,
}

impl Client {
    pub(super) fn new(
        key: ClientKey,
        client_id: Arc<str>,
        identity: Identity,
        response_base: TopicName,
        peer: Peer,
        limits: HubLimits,
    ) -> Self {
        Self {
            key,
            client_id,
            identity,
            response_base,
            will: RefCell::new(None),
            peer,
            limits,
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            gone: Cell::new(false),
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

    /// Sends a message, or lets it wait.
    pub(super) fn deliver(&self, message: Message) -> Delivered {
        if !self.has_room() {
            return Delivered::Refused;
        }
        if self.queue.borrow().is_empty() && self.may_send(message.qos) {
            return if self.send(message) { Delivered::Sent } else { Delivered::Refused };
        }
        self.queued_bytes.set(self.queued_bytes.get() + message.size());
        self.queue.borrow_mut().push_back(message);
        Delivered::Queued
    }

    /// Sends what waits, as far as it can be sent.
    pub(super) fn drain(&self) {
        loop {
            let qos = self.queue.borrow().front().map(|message| message.qos);
            if !qos.is_some_and(|qos| self.may_send(qos)) {
                return;
            }
            let Some(message) = self.queue.borrow_mut().pop_front() else { return };
            self.queued_bytes.set(self.queued_bytes.get() - message.size());
            self.send(message);
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    pub(super) fn is_in_process(&self) -> bool {
        matches!(self.peer, Peer::InProcess(_))
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Whether a message can be written now: the socket's buffer has room, and at QoS 1 the
    /// client's Receive Maximum.
    fn may_send(&self, qos: Qos) -> bool {
        match &self.peer {
            Peer::V5(sink, io) => {
                !io.is_wr_backpressure() && (qos == Qos::AtMostOnce || sink.is_ready())
            }
            Peer::V3(sink, io) => {
                !io.is_wr_backpressure() && (qos == Qos::AtMostOnce || sink.is_ready())
            }
            Peer::InProcess(_) => true,
        }
    }

    /// `false`: the client is gone, or its limit of a packet's size is too small.
    fn send(&self, message: Message) -> bool {
        match &self.peer {
            Peer::V5(sink, _) => {
                let (packet, payload) = convert::to_v5(&message);
                let publish = sink.publish_pkt(packet);
                match message.qos {
                    Qos::AtMostOnce => publish.send_at_most_once(payload).is_ok(),
                    Qos::AtLeastOnce => publish.send_at_least_once_no_block(payload).is_ok(),
                }
            }
            Peer::V3(sink, _) => {
                let (packet, payload) = convert::to_v3(&message);
                let publish = sink.publish_pkt(packet);
                match message.qos {
                    Qos::AtMostOnce => publish.send_at_most_once(payload).is_ok(),
                    Qos::AtLeastOnce => publish.send_at_least_once_no_block(payload).is_ok(),
                }
            }
            Peer::InProcess(inbox) => inbox.push(message),
        }
    }

    /// Ends the connection, saying why where the protocol can.
    pub(super) fn close(&self, reason: v5::codec::DisconnectReasonCode) {
        match &self.peer {
            Peer::V5(sink, _) => sink.close_with_reason(v5::codec::Disconnect::new(reason)),
            Peer::V3(sink, _) => sink.close(),
            Peer::InProcess(inbox) => inbox.close(),
        }
    }

    /// Ends the connection without waiting for the peer.
    pub(super) fn terminate(&self) {
        match &self.peer {
            Peer::V5(sink, _) => sink.force_close(),
            Peer::V3(sink, _) => sink.force_close(),
            Peer::InProcess(inbox) => inbox.close(),
        }
    }

    /// Marks the client as gone. `false`: it was before.
    pub(super) fn leave(&self) -> bool {
        if self.gone.replace(true) {
            return false;
        }
        self.queue.borrow_mut().clear();
        self.queued_bytes.set(0);
        // Dropping the senders tells those who wait.
        self.waiting_for_end.borrow_mut().clear();
        true
    }

    /// Drops `told` when the client is gone.
    pub(super) fn when_gone(&self, told: oneshot::Sender<()>) {
        if !self.gone.get() {
            self.waiting_for_end.borrow_mut().push(told);
        }
    }
}

//! What leaves to a client: messages, and the end of its connection.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU16;
use std::rc::Rc;

use ntex::io::IoRef;
use ntex::util::HashSet;
use ntex_mqtt::v5::codec::{Codec, Disconnect, Encoded, Packet};

use crate::core::packet::{Message, Qos, ReasonCode};
use crate::hub::convert;
use crate::link::ntex::publish::PublishWriter;

/// A client's connection as the rest of the hub sees it.
pub(in crate::hub) struct Outbound {
    io: IoRef,
    codec: Rc<Codec>,
    /// Shared by the clients of a worker.
    writer: Rc<RefCell<PublishWriter>>,
    /// Of the client: how many messages at QoS 1 it takes without acknowledging them.
    receive_maximum: usize,
    /// Of the client: bytes of the longest packet that it takes, 0 for any. The codec keeps five less.
    maximum_packet_size: u32,
    last_id: Cell<u16>,
    /// Nothing follows a DISCONNECT [MQTT-3.14.4-1].
    closed: Cell<bool>,
    /// What it has not acknowledged. At most `receive_maximum`, so that one of the packet identifiers is
    /// free while there may be more.
    unacknowledged: RefCell<HashSet<NonZeroU16>>,
}

impl Outbound {
    pub(super) fn new(
        io: IoRef,
        codec: Rc<Codec>,
        writer: Rc<RefCell<PublishWriter>>,
        receive_maximum: u16,
        maximum_packet_size: u32,
    ) -> Self {
        Self {
            io,
            codec,
            writer,
            receive_maximum: receive_maximum.into(),
            maximum_packet_size,
            last_id: Cell::new(0),
            closed: Cell::new(false),
            unacknowledged: RefCell::default(),
        }
    }

    /// The socket.
    pub(in crate::hub) fn io(&self) -> &IoRef {
        &self.io
    }

    /// Whether a message can be written now: the socket's buffer has room, and at QoS 1 the client's
    /// Receive Maximum [MQTT-3.3.4-9].
    pub(in crate::hub) fn may_send(&self, qos: Qos) -> bool {
        !self.io.is_wr_backpressure()
            && (qos == Qos::AtMostOnce || self.unacknowledged.borrow().len() < self.receive_maximum)
    }

    /// Whether this side has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Writes a message that [may be sent](Self::may_send). `false`: the connection is closed, or the
    /// client takes no packet of this size.
    pub(in crate::hub) fn send(&self, message: &Message) -> bool {
        if self.is_closed() {
            return false;
        }
        let packet_id = match message.qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(self.next_id()),
        };
        let limit = self.maximum_packet_size;
        let mut writer = self.writer.borrow_mut();
        let write = |buffer: &mut _| writer.write(message, packet_id, limit, buffer);
        let written = matches!(self.io.with_write_buf(write), Ok(Ok(())));
        if written {
            self.unacknowledged.borrow_mut().extend(packet_id);
        }
        written
    }

    /// One that is not in use.
    fn next_id(&self) -> NonZeroU16 {
        let unacknowledged = self.unacknowledged.borrow();
        loop {
            self.last_id.set(self.last_id.get().wrapping_add(1));
            match NonZeroU16::new(self.last_id.get()) {
                Some(id) if !unacknowledged.contains(&id) => return id,
                _ => {}
            }
        }
    }

    /// A PUBACK arrived. One that nobody waits for is ignored.
    pub(super) fn acknowledged(&self, packet_id: NonZeroU16) {
        self.unacknowledged.borrow_mut().remove(&packet_id);
    }

    /// Ends the connection and says why. Again: nothing.
    pub(in crate::hub) fn close(&self, reason: ReasonCode) {
        self.disconnect(convert::disconnect(reason));
    }

    pub(super) fn disconnect(&self, packet: Disconnect) {
        if self.closed.replace(true) {
            return;
        }
        // It is not heard when the connection is lost already.
        let _ = self.io.encode(Encoded::Packet(Packet::Disconnect(packet)), &*self.codec);
        self.io.close();
    }

    /// Ends the connection without waiting for the client.
    pub(in crate::hub) fn terminate(&self) {
        self.closed.set(true);
        self.io.terminate();
    }
}

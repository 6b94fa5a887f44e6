//! WebSocket frames under MQTT: their payloads are one stream of bytes, whatever their limits
//! [MQTT-6.0.0-2].

use std::cell::Cell;
use std::io;
use std::task::Poll;

use ntex::codec::{Decoder, Encoder};
use ntex::io::{FilterBuf, FilterLayer};
use ntex::util::BytesMut;
use ntex::ws::error::ProtocolError;
use ntex::ws::{CloseCode, CloseReason, Codec, Frame, Item, Message};

/// Bytes that wait to be written above which a ping is not answered. Nothing else keeps a client that
/// pings and does not read from filling the memory.
const WAITING: usize = 64 * 1024;

/// A layer that takes the frames of a client apart, and writes its own.
#[derive(Debug)]
pub(super) struct Frames {
    codec: Codec,
    /// Why it will be closed.
    reason: Cell<CloseCode>,
    state: Cell<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What still comes counts no more.
    Closing,
    /// The Close frame is written.
    Closed,
}

impl Frames {
    /// With frames of so many bytes at most.
    pub(super) fn new(longest: usize) -> Self {
        Self {
            codec: Codec::new().max_size(longest),
            reason: Cell::new(CloseCode::Normal),
            state: Cell::new(State::Open),
        }
    }

    /// Takes the next frame; whether there was one.
    fn take(
        &self,
        buf: &FilterBuf<'_>,
        from: &mut BytesMut,
        to: &mut BytesMut,
        pongs: bool,
    ) -> bool {
        match self.codec.decode(from) {
            Ok(None) => return false,
            Ok(Some(
                Frame::Binary(bytes)
                | Frame::Continuation(
                    Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
                ),
            )) => to.extend_from_slice(&bytes),
            Ok(Some(Frame::Ping(payload))) => {
                if pongs {
                    self.write(buf, Message::Pong(payload));
                }
            }
            Ok(Some(Frame::Pong(_))) => {}
            Ok(Some(Frame::Close(_))) => self.close(buf, CloseCode::Normal),
            // [MQTT-6.0.0-1]
            Ok(Some(Frame::Text(_) | Frame::Continuation(Item::FirstText(_)))) => {
                tracing::debug!("a client is closed: it sends text over its WebSocket");
                self.close(buf, CloseCode::Unsupported);
            }
            Err(error) => {
                tracing::debug!(%error, "a client is closed: it breaks the protocol of WebSocket");
                let long = matches!(error, ProtocolError::Overflow);
                self.close(buf, if long { CloseCode::Size } else { CloseCode::Protocol });
            }
        }
        true
    }

    fn close(&self, buf: &FilterBuf<'_>, reason: CloseCode) {
        self.reason.set(reason);
        self.state.set(State::Closing);
        buf.io().close();
    }

    fn write(&self, buf: &FilterBuf<'_>, message: Message) {
        let written = buf.with_write_buffers(|_, to| self.codec.encodev(message, to));
        debug_assert!(written.is_ok(), "control frames are not fragments");
    }
}

impl FilterLayer for Frames {
    fn process_read_buf(&self, buf: &FilterBuf<'_>) -> io::Result<()> {
        let pongs = buf.io().with_write_dst_buf(|waiting| waiting.len()) < WAITING;
        buf.with_read_buffers(|from, to| {
            let Some(from) = from else { return };
            while self.state.get() == State::Open && self.take(buf, from, to, pongs) {}
            if self.state.get() != State::Open {
                from.clear();
            }
        });
        Ok(())
    }

    fn process_write_buf(&self, buf: &FilterBuf<'_>) -> io::Result<()> {
        buf.with_write_buffers(|from, to| {
            while let Some(page) = from.take() {
                self.codec.encode_page(page, to);
            }
        });
        Ok(())
    }

    fn shutdown(&self, buf: &FilterBuf<'_>) -> io::Result<Poll<()>> {
        if self.state.replace(State::Closed) != State::Closed {
            let reason = CloseReason { code: self.reason.get(), description: None };
            self.write(buf, Message::Close(Some(reason)));
        }
        Ok(Poll::Ready(()))
    }
}

//! The client's connection over its whole life: lost and made again, until it is closed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ntex::SharedCfg;
use ntex::io::IoBoxed;
use ntex_mqtt::v5::codec::DisconnectReasonCode;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use super::connect::{Accepted, connect};
use super::options::Options;
use super::reconnect::Backoff;
use super::session::{Ended, Resumed, Session};
use crate::core::packet::{Message, ReasonCode, Subscription};
use crate::error::ConnectError;
use crate::link::{AckId, Event, SendError, SendId, Task, Transport};

/// How long a DISCONNECT may take to leave.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Client {
    options: Arc<Options>,
    buffers: SharedCfg,
    state: State,
    backoff: Backoff,
    events: VecDeque<Event>,
    /// Of the connection before.
    resumed: Resumed,
    farewell: Farewell,
}

enum State {
    Up(Box<Session>),
    Waiting(Pin<Box<Sleep>>),
    Connecting(Pin<Box<dyn Future<Output = Result<Accepted, ConnectError>>>>),
    Closed,
}

/// A connection that was closed, with a DISCONNECT that has still to leave.
#[derive(Clone, Default)]
pub(super) struct Farewell(Rc<Cell<Option<IoBoxed>>>);

impl Farewell {
    /// Lets it leave.
    pub(super) async fn finish(self) {
        if let Some(io) = self.0.take() {
            shut_down(io).await;
        }
    }
}

async fn shut_down(io: IoBoxed) {
    let _ = timeout(FAREWELL_LIMIT, io.shutdown()).await;
}

impl Client {
    pub(super) fn new(options: Arc<Options>, buffers: SharedCfg, accepted: Accepted) -> Self {
        let mut client = Self {
            backoff: Backoff::new(options.reconnect),
            options,
            buffers,
            state: State::Closed,
            events: VecDeque::new(),
            resumed: Resumed::default(),
            farewell: Farewell::default(),
        };
        client.accepted(accepted);
        client
    }

    /// Where the last connection is put when this one is disconnected.
    pub(super) fn farewell(&self) -> Farewell {
        self.farewell.clone()
    }

    fn accepted(&mut self, accepted: Accepted) {
        self.backoff.connected();
        self.events.push_back(Event::Connected(accepted.connection.clone()));
        let mut resumed = std::mem::take(&mut self.resumed);
        if !accepted.connection.session_present {
            resumed.forget_session();
        }
        let session = Session::new(accepted, resumed);
        self.state = State::Up(Box::new(session));
    }

    fn ended(&mut self, ended: &Ended) {
        let State::Up(mut session) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        self.resumed = session.leave();
        match ended {
            Ended::TakenOver => {
                let client_id = &self.options.client_id;
                tracing::warn!(client_id, "another client took this client id over: link closed");
                self.events.push_back(Event::Closed);
                return;
            }
            Ended::Violated(reason) => {
                drop(tokio::task::spawn_local(shut_down(session.disconnect(*reason))));
            }
            Ended::Lost => {}
        }
        self.events.push_back(Event::Disconnected);
        self.wait(false);
    }

    fn refused(&mut self, error: &ConnectError) {
        let hopeless = is_hopeless(error);
        if hopeless {
            tracing::warn!(%error, address = %self.options.address, "cannot connect again");
        } else {
            tracing::debug!(%error, address = %self.options.address, "cannot connect again yet");
        }
        self.wait(hopeless);
    }

    fn wait(&mut self, hopeless: bool) {
        let delay = self.backoff.next_delay(hopeless);
        self.state = State::Waiting(Box::pin(sleep(delay)));
    }

    fn connect_again(&mut self) {
        // A session that the server keeps is what a reconnect is to find.
        let clean_start = self.options.session_expiry == 0;
        let connecting = connect(Arc::clone(&self.options), self.buffers.clone(), clean_start);
        self.state = State::Connecting(Box::pin(connecting));
    }

    /// As if the network had failed.
    #[cfg(test)]
    pub(super) fn drop_connection(&mut self) {
        self.ended(&Ended::Violated(DisconnectReasonCode::UnspecifiedError));
        self.events.retain(|event| matches!(event, Event::Disconnected));
    }

    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Up(session) => Some(session),
            _ => None,
        }
    }
}

impl Transport for Client {
    fn publish(&mut self, message: &Message, id: SendId) -> Result<(), SendError> {
        self.session().map_or(Err(SendError::Disconnected), |session| session.publish(message, id))
    }

    fn subscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        if let Some(session) = self.session() {
            session.subscribe(subscriptions, id);
        }
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        if let Some(session) = self.session() {
            session.unsubscribe(subscriptions, id);
        }
    }

    fn acknowledge(&mut self, ack: AckId, reason: ReasonCode) {
        if let Some(session) = self.session() {
            session.acknowledge(ack, reason);
        }
    }

    fn is_writable(&self) -> bool {
        matches!(&self.state, State::Up(session) if session.is_writable())
    }

    /// Events that need no look at the socket: its readiness can be asked for only with a waker.
    fn try_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        event.or_else(|| self.session().and_then(Session::refusal))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.try_event() {
                return Poll::Ready(event);
            }
            match &mut self.state {
                State::Up(session) => match ready!(session.poll(cx)) {
                    Ok(event) => return Poll::Ready(event),
                    Err(ended) => self.ended(&ended),
                },
                State::Waiting(delay) => {
                    ready!(delay.as_mut().poll(cx));
                    self.connect_again();
                }
                State::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(accepted) => self.accepted(accepted),
                    Err(error) => self.refused(&error),
                },
                State::Closed => return Poll::Pending,
            }
        }
    }

    fn disconnect(&mut self) {
        self.events.clear();
        if let State::Up(session) = std::mem::replace(&mut self.state, State::Closed) {
            let io = session.disconnect(DisconnectReasonCode::NormalDisconnection);
            self.farewell.0.set(Some(io));
        }
    }

    fn turn_is_over(&mut self, in_flight: usize) {
        if let Some(session) = self.session() {
            session.turn_is_over(in_flight);
        }
    }

    fn spawn(&self, task: Task, tasks: &mut JoinSet<()>) {
        tasks.spawn_local(task);
    }
}

/// Whether it will be the same again until somebody changes something, there or here.
fn is_hopeless(error: &ConnectError) -> bool {
    match error {
        ConnectError::Refused { reason, .. } => matches!(
            *reason,
            ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
                | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
                | ReasonCode::BAD_USER_NAME_OR_PASSWORD
                | ReasonCode::NOT_AUTHORIZED
                | ReasonCode::BANNED
        ),
        #[cfg(feature = "tls")]
        ConnectError::Tls { reason, .. } => reason.is_hopeless(),
        #[cfg(feature = "ws")]
        ConnectError::WebSocket { status, .. } => {
            matches!(status, Some(400 | 401 | 403 | 404 | 405 | 426))
        }
        _ => false,
    }
}

//! Requesters and responders of the hub's own process: a connection without a socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::access::{Credentials, Protocol};
use super::client::{Client, Peer};
use super::shared::{Order, Shared};
use super::worker::Worker;
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::link::ntex::convert;
use crate::link::ntex::thread::run;
use crate::link::{
    AckId, Connecting, Connection, Driver, Event, Host, Link, LinkParts, LinkSeat, OutgoingLimits,
    SendError, SendId, Task, Transport,
};

type LocalDriver = RefCell<Driver<LocalTransport>>;

/// A link to this hub, driven by one of its workers.
pub(super) fn link(shared: &Arc<Shared>, client_id: &str) -> Link {
    let client_id: Arc<str> = client_id.into();
    let parts = LinkParts::new(OutgoingLimits::default());
    let (link, seat) = parts.into_link(Arc::clone(&client_id), Box::new(Arc::clone(shared)));
    // It fails only when the hub has stopped; then the seat is dropped, and the link is closed.
    let _ = shared.pick().orders.send(Order::Attach(seat, client_id));
    link
}

impl Host for Arc<Shared> {
    fn connect_as(&self, client_id: String) -> Connecting {
        let shared = Self::clone(self);
        Box::pin(async move { Ok(link(&shared, &client_id)) })
    }
}

/// Takes the link in as a client of this worker.
pub(super) fn attach(worker: &Rc<Worker>, seat: LinkSeat, client_id: Arc<str>) {
    let worker = Rc::clone(worker);
    ntex::rt::spawn(async move {
        let limits = &worker.shared.limits;
        let inbox = Rc::new(Inbox::new(limits.queued_messages, limits.queued_bytes));
        let credentials = Credentials {
            client_id,
            username: None,
            password: None,
            peer: None,
            protocol: Protocol::InProcess,
            transport: super::Transport::InProcess,
            #[cfg(feature = "tls")]
            certificate: None,
        };
        let peer = Peer::InProcess(Rc::clone(&inbox));
        let client = match worker.admit(credentials, None, Duration::ZERO, None, || peer).await {
            Ok(client) => client,
            Err(reason) => return tracing::warn!(%reason, "a link to the hub was refused"),
        };
        inbox.events.borrow_mut().push_back(Event::Connected(Connection {
            session_present: false,
            response_base: client.response_base.clone(),
            receive_maximum: u16::MAX,
        }));
        let transport =
            LocalTransport { worker, client, inbox: Rc::clone(&inbox), turn: Rc::default() };
        let driver = Rc::new(RefCell::new(Driver::new(transport, seat)));
        *inbox.driver.borrow_mut() = Rc::downgrade(&driver);
        run(&driver).await;
    });
}

/// What happens to a link, in order, until its driver takes it.
pub(super) struct Inbox {
    events: RefCell<VecDeque<Event>>,
    /// Messages among the events.
    messages: Cell<usize>,
    /// Bytes of these.
    bytes: Cell<usize>,
    limits: (usize, usize),
    waker: RefCell<Option<Waker>>,
    driver: RefCell<Weak<LocalDriver>>,
}

impl Inbox {
    fn new(messages: usize, bytes: usize) -> Self {
        Self {
            events: RefCell::default(),
            messages: Cell::new(0),
            bytes: Cell::new(0),
            limits: (messages, bytes),
            waker: RefCell::default(),
            driver: RefCell::default(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.messages.get() < self.limits.0 && self.bytes.get() < self.limits.1
    }

    /// Delivers a message: at once, or, when the driver is busy (it may be the one that publishes),
    /// as soon as it is done.
    pub(super) fn push(&self, message: Message) {
        self.messages.set(self.messages.get() + 1);
        self.bytes.set(self.bytes.get() + message.size());
        self.add(Event::Message(message, None));
    }

    pub(super) fn close(&self) {
        self.events.borrow_mut().push_back(Event::Closed);
        self.wake();
    }

    fn add(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
        let driver = self.driver.borrow().upgrade();
        match driver.as_ref().map(|driver| driver.try_borrow_mut()) {
            Some(Ok(mut driver)) => {
                // A panic belongs to this link, not to the client whose message is delivered.
                match catch_unwind(AssertUnwindSafe(|| driver.pump())) {
                    Ok(true) => self.wake(),
                    Ok(false) => {}
                    Err(_) => {
                        tracing::error!("a panic on a link of the hub: the link is closed");
                        self.close();
                    }
                }
            }
            _ => self.wake(),
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn take(&self) -> Option<Event> {
        let event = self.events.borrow_mut().pop_front()?;
        if let Event::Message(message, _) = &event {
            self.messages.set(self.messages.get() - 1);
            self.bytes.set(self.bytes.get() - message.size());
        }
        Some(event)
    }
}

struct LocalTransport {
    worker: Rc<Worker>,
    client: Rc<Client>,
    inbox: Rc<Inbox>,
    /// Subscriptions begin and end in the order in which that was asked for: what waits for the
    /// other workers would otherwise be overtaken by its own end.
    turn: Rc<Mutex<()>>,
}

impl LocalTransport {
    /// What cannot be written must not reach the connection of another client.
    fn check(&self, message: &Message) -> Result<(), SendError> {
        convert::check(message)?;
        let (size, limit) = (message.size(), self.worker.shared.limits.packet as usize);
        if size > limit { Err(SendError::TooLarge { size, limit }) } else { Ok(()) }
    }

    fn later(&self, event: Event) {
        self.inbox.events.borrow_mut().push_back(event);
        self.inbox.wake();
    }
}

impl Transport for LocalTransport {
    fn publish_once(&mut self, message: Message, _: SendId) -> Result<(), (SendError, Message)> {
        match self.check(&message) {
            Ok(()) => {
                self.worker.publish(&self.client, message);
                Ok(())
            }
            Err(error) => Err((error, message)),
        }
    }

    fn publish(&mut self, message: &Message, id: SendId) -> Result<(), SendError> {
        self.check(message)?;
        let acknowledgement = self.worker.publish(&self.client, message.clone());
        if message.qos == Qos::AtLeastOnce {
            self.later(Event::Acknowledged(id, acknowledgement));
        }
        Ok(())
    }

    fn subscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        let (worker, client) = (Rc::clone(&self.worker), Rc::clone(&self.client));
        let (inbox, subscriptions) = (Rc::clone(&self.inbox), subscriptions.to_vec());
        let turn = Rc::clone(&self.turn);
        ntex::rt::spawn(async move {
            let _turn = turn.lock().await;
            let mut reasons = Vec::with_capacity(subscriptions.len());
            for subscription in subscriptions {
                reasons.push(worker.subscribe(&client, subscription).await);
            }
            inbox.events.borrow_mut().push_back(Event::Subscribed(id, reasons));
            inbox.wake();
        });
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription], id: SendId) {
        let (worker, client) = (Rc::clone(&self.worker), Rc::clone(&self.client));
        let (inbox, subscriptions) = (Rc::clone(&self.inbox), subscriptions.to_vec());
        let turn = Rc::clone(&self.turn);
        ntex::rt::spawn(async move {
            let _turn = turn.lock().await;
            let reasons = subscriptions
                .iter()
                .map(|subscription| worker.unsubscribe(&client, &subscription.filter))
                .collect();
            inbox.events.borrow_mut().push_back(Event::Subscribed(id, reasons));
            inbox.wake();
        });
    }

    fn acknowledge(&mut self, _: AckId, _: ReasonCode) {}

    fn is_writable(&self) -> bool {
        true
    }

    fn try_event(&mut self) -> Option<Event> {
        self.inbox.take()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.inbox.take() {
            return Poll::Ready(event);
        }
        *self.inbox.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn disconnect(&mut self) {
        self.client.has_left.set(true);
        self.worker.leave(&self.client);
    }

    fn spawn(&self, task: Task, tasks: &mut JoinSet<()>) {
        tasks.spawn_local(task);
    }
}

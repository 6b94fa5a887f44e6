//! A worker: one thread with its connections, its copy of the routing table, and its mailbox.
//! What it does for a message is in [`forward`](super::forward), for a client that comes or goes in
//! [`admission`](super::admission).

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ntex::util::HashMap;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::access::{self, Access};
use super::builder::HubBuilder;
use super::client::Client;
use super::listener::{self, Bound, Listener};
use super::loops::Loops;
use super::shared::{Acknowledge, ClientKey, Mail, Mailbox, Order, Shared};
use super::{in_process, session};
use crate::core::packet::{Qos, ReasonCode, Subscription};
use crate::core::subscriptions::{Recipient, SubscribeOptions, Subscriptions, bytes};
use crate::core::topic::TopicFilter;
use crate::link::ntex::publish::PublishWriter;
use crate::link::ntex::thread::Thread;

/// Messages from other workers that are delivered in one turn.
const TURN: usize = 256;

/// How long a worker that stops waits for its connections to end.
const END: Duration = Duration::from_secs(1);

type Routes = Subscriptions<ClientKey, Qos>;
pub(super) type Deliveries = Vec<Recipient<ClientKey, Qos>>;

/// What belongs to one worker. Lives on its thread.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    /// The clients that are connected here.
    pub(super) clients: RefCell<HashMap<u64, Rc<Client>>>,
    /// Told after each client that leaves.
    pub(super) left: Notify,
    /// Sessions whose handshake is not over, with those who wait for their end.
    pub(super) starting: RefCell<HashMap<u64, Vec<oneshot::Sender<()>>>>,
    /// The subscriptions of every client of the hub.
    pub(super) routes: RefCell<Routes>,
    /// Those to response topics, each made by the client that the topic belongs to. Kept apart so
    /// that no wildcard of another client reaches them.
    pub(super) private: RefCell<Routes>,
    /// Clients whose acknowledgements may have made room for what waits for them.
    unblocked: RefCell<Vec<Rc<Client>>>,
    unblock: Notify,
    pub(super) loops: RefCell<Loops>,
    /// Kept between messages so that forwarding does not allocate.
    pub(super) deliveries: Cell<Deliveries>,
    pub(super) writer: Rc<RefCell<PublishWriter>>,
}

/// The threads of a hub.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
}

impl Workers {
    /// Starts `count` workers; the first accepts for all.
    pub(super) async fn start(
        builder: HubBuilder,
        count: usize,
        listeners: Vec<(Listener, Bound)>,
    ) -> io::Result<(Arc<Shared>, Self)> {
        let HubBuilder { limits, authenticate, authorize, dialects, .. } = builder;
        let mut mailboxes = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..count {
            let (orders, orders_rx) = mpsc::unbounded_channel();
            let (messages, messages_rx) =
                mpsc::channel(limits.between_workers.clamp(1, Semaphore::MAX_PERMITS));
            mailboxes.push(Mailbox { orders, messages });
            inboxes.push((orders_rx, messages_rx));
        }
        let (listeners, bound): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let shared =
            Shared::new(limits, authenticate.as_ref(), authorize, dialects, listeners, mailboxes);
        let shared = Arc::new(shared);
        let mut workers = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let mut bound = Some(bound);
        let mut starting = Vec::new();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let bound = bound.take().unwrap_or_default();
            let (ready, is_ready) = oneshot::channel();
            let thread = Thread::start(&format!("mqtt-hub-{index}"), move || {
                run(index, shared, inbox, bound, ready)
            });
            workers.threads.push(thread?);
            starting.push(is_ready);
        }
        for is_ready in starting {
            is_ready.await.map_err(|_| io::Error::other("it panicked"))?;
        }
        Ok((shared, workers))
    }

    /// Tells every client, waits until they are gone or `grace` is over, and joins the threads.
    pub(super) async fn shutdown(&mut self, grace: Duration) {
        let (_, mut presence) = self.shared.presence.watch();
        // First, so that who is sent away does not come back.
        self.shared.accepting.cancel();
        for mailbox in &self.shared.mailboxes {
            let _ = mailbox.orders.send(Order::Dismiss);
        }
        let everybody_gone = async {
            while !self.shared.presence.is_empty() {
                presence.next().await;
            }
        };
        let _ = tokio::time::timeout(grace, everybody_gone).await;
        self.shared.stop.cancel();
        for thread in self.threads.drain(..) {
            let _ = tokio::task::spawn_blocking(move || drop(thread)).await;
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

type MailboxReceiver = (mpsc::UnboundedReceiver<Order>, mpsc::Receiver<Mail>);

/// The life of a worker's thread.
async fn run(
    index: usize,
    shared: Arc<Shared>,
    inbox: MailboxReceiver,
    bound: Vec<Bound>,
    ready: oneshot::Sender<()>,
) {
    let worker = Rc::new(Worker {
        index,
        clients: RefCell::default(),
        left: Notify::new(),
        starting: RefCell::default(),
        routes: RefCell::new(Routes::new()),
        private: RefCell::new(Routes::new()),
        unblocked: RefCell::default(),
        unblock: Notify::new(),
        loops: RefCell::new(Loops::new(shared.devices.dialects())),
        deliveries: Cell::default(),
        writer: Rc::default(),
        shared: Arc::clone(&shared),
    });
    let mut servers = Vec::new();
    for entrance in &shared.entrances {
        servers.push(session::Server::new(&worker, entrance).await);
    }
    for (index, bound) in bound.into_iter().enumerate() {
        ntex::rt::spawn(listener::accept(bound, index, Arc::clone(&shared)));
        #[cfg(feature = "tls")]
        ntex::rt::spawn(super::transport::keep_loaded(index, Arc::clone(&shared)));
    }
    let _ = ready.send(());
    let (mut orders, mut messages) = inbox;
    let mut batch = Vec::with_capacity(TURN);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(order) = orders.recv() => survive(|| worker.obey(order, &servers)),
            _ = messages.recv_many(&mut batch, TURN) => {
                batch.drain(..).for_each(|mail| survive(|| worker.take(mail)));
            }
            () = worker.unblock.notified() => {
                let unblocked = std::mem::take(&mut *worker.unblocked.borrow_mut());
                for client in &unblocked {
                    survive(|| worker.drain(client));
                }
            }
        }
    }
    worker.connected().iter().for_each(|client| client.terminate());
    let all_left = async {
        while !worker.clients.borrow().is_empty() {
            worker.left.notified().await;
        }
    };
    let _ = timeout(END, all_left).await;
}

/// A hook or a dialect that panics for one message must not end the worker, and with it the connections
/// of all.
fn survive(step: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(step)).is_err() {
        tracing::error!("a panic between clients of the hub: what it was about is lost");
    }
}

impl Worker {
    fn obey(self: &Rc<Self>, order: Order, servers: &[session::Server]) {
        match order {
            Order::Accept(accepted) => servers[accepted.entrance].serve(accepted),
            Order::Attach(seat, client_id) => in_process::attach(self, seat, client_id),
            Order::Subscribe(client, subscription, seen) => {
                self.add_route(client, &subscription);
                drop(seen);
            }
            Order::Unsubscribe(client, filter) => drop(self.remove_route(client, &filter)),
            Order::Forget(client) => self.forget(client),
            Order::TakeOver(key, closed) => self.hand_over(key, closed),
            Order::Dismiss => {
                let reason = ReasonCode::SERVER_SHUTTING_DOWN;
                self.connected().iter().for_each(|client| client.close(reason));
            }
        }
    }

    fn connected(&self) -> Vec<Rc<Client>> {
        self.clients.borrow().values().cloned().collect()
    }

    pub(super) fn client(&self, key: ClientKey) -> Option<Rc<Client>> {
        self.clients.borrow().get(&key.serial).cloned()
    }

    fn table(&self, filter: &TopicFilter) -> &RefCell<Routes> {
        if access::is_private(filter.filter()) { &self.private } else { &self.routes }
    }

    fn add_route(&self, client: ClientKey, subscription: &Subscription) {
        let Subscription { filter, qos, no_local } = subscription;
        let options = SubscribeOptions { qos: *qos, no_local: *no_local };
        self.table(filter).borrow_mut().subscribe(client, filter, options);
    }

    fn remove_route(&self, client: ClientKey, filter: &TopicFilter) -> bool {
        self.table(filter).borrow_mut().unsubscribe(client, filter)
    }

    pub(super) fn forget(&self, client: ClientKey) {
        self.routes.borrow_mut().remove_client(client);
        self.private.borrow_mut().remove_client(client);
    }

    /// The other workers.
    pub(super) fn others(&self) -> impl Iterator<Item = &Mailbox> {
        let mailboxes = self.shared.mailboxes.iter().enumerate();
        mailboxes.filter(|(index, _)| *index != self.index).map(|(_, mailbox)| mailbox)
    }

    /// Makes a subscription known to every worker; the code for SUBACK.
    pub(super) async fn subscribe(
        &self,
        client: &Client,
        subscription: Subscription,
    ) -> ReasonCode {
        if let Err(reason) = self.may_subscribe(client, &subscription.filter) {
            self.shared.counters.refused.increment();
            return reason;
        }
        let granted = match subscription.qos {
            Qos::AtMostOnce => ReasonCode::SUCCESS,
            Qos::AtLeastOnce => ReasonCode::GRANTED_QOS_1,
        };
        self.add_route(client.key, &subscription);
        let (seen, mut all_seen): (Acknowledge, _) = mpsc::channel(1);
        for mailbox in self.others() {
            let order = Order::Subscribe(client.key, subscription.clone(), seen.clone());
            let _ = mailbox.orders.send(order);
        }
        drop(seen);
        // Nothing is ever sent: it resolves when the last worker has dropped its sender.
        all_seen.recv().await;
        granted
    }

    fn may_subscribe(&self, client: &Client, filter: &TopicFilter) -> Result<(), ReasonCode> {
        if client.is_gone() {
            return Err(ReasonCode::UNSPECIFIED_ERROR);
        }
        let limits = &self.shared.limits;
        if filter.levels().count() > limits.filter_levels {
            return Err(ReasonCode::TOPIC_FILTER_INVALID);
        }
        let (shared, private) = (self.routes.borrow(), self.private.borrow());
        let count = shared.count_of(client.key) + private.count_of(client.key);
        let size = shared.bytes_of(client.key) + private.bytes_of(client.key) + bytes(filter);
        let full = count >= limits.subscriptions || size > limits.subscription_bytes;
        // One that is there is replaced [MQTT-3.8.4-3].
        let another = || !self.table(filter).borrow().contains(client.key, filter);
        if full && another() {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        drop((shared, private));
        let private = access::is_private(filter.filter());
        if private && !access::owns(&client.response_base, filter) {
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        if self.allows(client, Access::Subscribe(filter)) {
            Ok(())
        } else {
            Err(ReasonCode::NOT_AUTHORIZED)
        }
    }

    /// The code for UNSUBACK.
    pub(super) fn unsubscribe(&self, client: &Client, filter: &TopicFilter) -> ReasonCode {
        if !self.remove_route(client.key, filter) {
            return ReasonCode::NO_SUBSCRIPTION_EXISTED;
        }
        for mailbox in self.others() {
            let _ = mailbox.orders.send(Order::Unsubscribe(client.key, filter.clone()));
        }
        ReasonCode::SUCCESS
    }

    pub(super) fn allows(&self, client: &Client, access: Access<'_>) -> bool {
        self.shared.allows(client.key, &client.identity, &client.client_id, access)
    }

    /// A client may have room again; called where its sink must not be touched.
    pub(super) fn unblock(&self, client: &Rc<Client>) {
        if client.is_waiting() {
            self.unblocked.borrow_mut().push(Rc::clone(client));
            self.unblock.notify_one();
        }
    }
}

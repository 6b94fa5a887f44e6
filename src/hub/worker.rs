//! A worker: one thread with its connections, its copy of the routing table, and its mailbox.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ntex_mqtt::v5::codec::DisconnectReasonCode;
use tokio::sync::{Notify, mpsc, oneshot};

use super::access::{self, Access, Credentials, Identity, Protocol};
use super::builder::HubBuilder;
use super::client::{Client, Delivered, Peer};
use super::presence::ClientInfo;
use super::shared::{Acknowledge, ClientKey, Mailbox, Order, Shared};
use super::{in_process, listener, session};
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::core::subscriptions::{Delivery, SubscribeOptions, Subscriptions};
use crate::core::topic::{TopicFilter, TopicName};
use crate::dialect::{Dialect, Native, ReplyTo};
use crate::link::ntex::thread::Thread;
use crate::message::{Response, Status};

/// How long a client that connects again waits for the end of its earlier session.
const TAKEOVER: Duration = Duration::from_secs(5);

/// Messages from other workers that are delivered in one turn.
const TURN: usize = 256;

type Routes = Subscriptions<ClientKey, Qos>;

/// What belongs to one worker. Lives on its thread.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    /// The clients that are connected here.
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    /// The subscriptions of every client of the hub.
    routes: RefCell<Routes>,
    /// Those to response topics, each made by the client that the topic belongs to. Kept apart so
    /// that no wildcard of another client reaches them.
    private: RefCell<Routes>,
    /// Clients whose acknowledgements may have made room for what waits for them.
    unblocked: RefCell<Vec<Rc<Client>>>,
    unblock: Notify,
    /// Kept between messages so that forwarding does not allocate.
    deliveries: Cell<Vec<Delivery<ClientKey, Qos>>>,
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
        listeners: Vec<TcpListener>,
    ) -> io::Result<(Arc<Shared>, Self)> {
        let HubBuilder { limits, authenticate, authorize, .. } = builder;
        let mut mailboxes = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..count {
            let (orders, orders_rx) = mpsc::unbounded_channel();
            let (messages, messages_rx) = mpsc::channel(limits.between_workers.max(1));
            mailboxes.push(Mailbox { orders, messages });
            inboxes.push((orders_rx, messages_rx));
        }
        let shared = Arc::new(Shared::new(limits, authenticate, authorize, mailboxes));
        let mut workers = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let mut listeners = Some(listeners);
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let listeners = listeners.take().unwrap_or_default();
            let thread = Thread::start(&format!("mqtt-hub-{index}"), move || {
                run(index, shared, inbox, listeners)
            });
            workers.threads.push(thread?);
        }
        Ok((shared, workers))
    }

    /// Tells every client, waits until they are gone or `grace` is over, and joins the threads.
    pub(super) async fn shutdown(&mut self, grace: Duration) {
        let (_, mut presence) = self.shared.presence.watch();
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

type MailboxReceiver = (mpsc::UnboundedReceiver<Order>, mpsc::Receiver<(ClientKey, Qos, Message)>);

/// The life of a worker's thread.
async fn run(
    index: usize,
    shared: Arc<Shared>,
    inbox: MailboxReceiver,
    listeners: Vec<TcpListener>,
) {
    let worker = Rc::new(Worker {
        index,
        clients: RefCell::default(),
        routes: RefCell::new(Routes::new()),
        private: RefCell::new(Routes::new()),
        unblocked: RefCell::default(),
        unblock: Notify::new(),
        deliveries: Cell::default(),
        shared: Arc::clone(&shared),
    });
    let server = session::Server::new(&worker).await;
    for listener in listeners {
        ntex::rt::spawn(listener::accept(listener, Arc::clone(&shared)));
    }
    let (mut orders, mut messages) = inbox;
    let mut batch = Vec::with_capacity(TURN);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(order) = orders.recv() => worker.obey(order, &server),
            _ = messages.recv_many(&mut batch, TURN) => {
                batch.drain(..).for_each(|(key, qos, message)| worker.take(key, qos, message));
            }
            () = worker.unblock.notified() => {
                let unblocked = std::mem::take(&mut *worker.unblocked.borrow_mut());
                unblocked.iter().for_each(|client| client.drain());
            }
        }
    }
    let clients: Vec<Rc<Client>> = worker.clients.borrow().values().cloned().collect();
    for client in clients {
        client.terminate();
        worker.leave(&client);
    }
}

impl Worker {
    fn obey(self: &Rc<Self>, order: Order, server: &session::Server) {
        match order {
            Order::Accept(stream, peer) => server.serve(self, stream, peer),
            Order::Attach(seat, client_id) => in_process::attach(self, seat, client_id),
            Order::Subscribe(client, subscription, seen) => {
                self.add_route(client, &subscription);
                drop(seen);
            }
            Order::Unsubscribe(client, filter) => drop(self.remove_route(client, &filter)),
            Order::Forget(client) => self.forget(client),
            Order::TakeOver(key, closed) => {
                if let Some(client) = self.client(key) {
                    client.when_gone(closed);
                    client.close(DisconnectReasonCode::SessionTakenOver);
                }
            }
            Order::Dismiss => {
                for client in self.clients.borrow().values() {
                    client.close(DisconnectReasonCode::ServerShuttingDown);
                }
            }
        }
    }

    fn client(&self, key: ClientKey) -> Option<Rc<Client>> {
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

    fn forget(&self, client: ClientKey) {
        self.routes.borrow_mut().remove_client(client);
        self.private.borrow_mut().remove_client(client);
    }

    /// The other workers.
    fn others(&self) -> impl Iterator<Item = &Mailbox> {
        let mailboxes = self.shared.mailboxes.iter().enumerate();
        mailboxes.filter(|(index, _)| *index != self.index).map(|(_, mailbox)| mailbox)
    }

    /// Decides whether a client may connect, ends its earlier session, and takes it in.
    pub(super) async fn admit(
        self: &Rc<Self>,
        credentials: Credentials,
        peer: impl FnOnce() -> Peer,
    ) -> Result<Rc<Client>, ReasonCode> {
        let Credentials { client_id, peer: address, protocol, .. } = credentials.clone();
        let identity = self.authenticate(credentials).await?;
        let response_base =
            access::response_base(&client_id).ok_or(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID)?;
        let key = self.shared.new_key(self.index);
        if let Some(earlier) = self.shared.claim(&client_id, key) {
            self.take_over(earlier).await;
        }
        let info = ClientInfo {
            client_id: Arc::clone(&client_id),
            identity: identity.clone(),
            peer: address,
            protocol,
            since: SystemTime::now(),
        };
        let limits = self.shared.limits;
        let client = Client::new(key, client_id, identity, response_base, peer(), limits);
        let client = Rc::new(client);
        self.clients.borrow_mut().insert(key.serial, Rc::clone(&client));
        self.shared.presence.arrive(key.serial, info);
        Ok(client)
    }

    async fn authenticate(&self, credentials: Credentials) -> Result<Identity, ReasonCode> {
        match &self.shared.authenticate {
            Some(hook) if credentials.protocol != Protocol::InProcess => hook(credentials).await,
            _ => Ok(Identity::new(credentials.client_id)),
        }
    }

    /// Closes the session that had the client identifier, and waits until its worker has done so:
    /// the client must not get what was meant for its earlier connection.
    async fn take_over(self: &Rc<Self>, earlier: ClientKey) {
        let (closed, is_closed) = oneshot::channel();
        let mailbox = &self.shared.mailboxes[earlier.worker];
        if mailbox.orders.send(Order::TakeOver(earlier, closed)).is_ok() {
            let _ = tokio::time::timeout(TAKEOVER, is_closed).await;
        }
    }

    /// Takes a client out, once.
    pub(super) fn leave(&self, client: &Client) {
        if !client.leave() {
            return;
        }
        self.clients.borrow_mut().remove(&client.key.serial);
        self.forget(client.key);
        for mailbox in self.others() {
            let _ = mailbox.orders.send(Order::Forget(client.key));
        }
        self.shared.release(&client.client_id, client.key);
        self.shared.presence.leave(client.key.serial);
        if let Some(will) = client.will.borrow_mut().take() {
            self.publish(client, will);
        }
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
        let count =
            self.routes.borrow().count_of(client.key) + self.private.borrow().count_of(client.key);
        if count >= self.shared.limits.subscriptions {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
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

    fn allows(&self, client: &Client, access: Access<'_>) -> bool {
        match &self.shared.authorize {
            Some(hook) if !client.is_in_process() => {
                hook(&client.identity, &client.client_id, access)
            }
            _ => true,
        }
    }

    /// Forwards a message to those who are subscribed; the code for PUBACK.
    pub(super) fn publish(&self, from: &Client, message: Message) -> ReasonCode {
        let counters = &self.shared.counters;
        if !self.allows(from, Access::Publish(&message.topic)) {
            counters.refused.increment();
            return ReasonCode::NOT_AUTHORIZED;
        }
        // [MQTT-3.3.2-14]
        let response_topic = message.properties.response_topic.as_deref();
        if response_topic.is_some_and(|topic| TopicName::new(topic).is_err()) {
            counters.refused.increment();
            return ReasonCode::TOPIC_NAME_INVALID;
        }
        self.forward(Some(from.key), message)
    }

    fn forward(&self, from: Option<ClientKey>, message: Message) -> ReasonCode {
        let counters = &self.shared.counters;
        let mut deliveries = self.deliveries.take();
        let topic = message.topic.as_str();
        let table = if access::is_private(topic) { &self.private } else { &self.routes };
        let routed =
            table.borrow_mut().route_with(topic, from, &mut deliveries, |key| self.has_room(key));
        let reason = if routed.matched == 0 {
            counters.unmatched.increment();
            ReasonCode::NO_MATCHING_SUBSCRIBERS
        } else if self.deliver_all(&mut deliveries, message) {
            counters.forwarded.increment();
            ReasonCode::SUCCESS
        } else {
            ReasonCode::QUOTA_EXCEEDED
        };
        deliveries.clear();
        self.deliveries.set(deliveries);
        reason
    }

    /// `true`: at least one queue took it.
    fn deliver_all(
        &self,
        deliveries: &mut Vec<Delivery<ClientKey, Qos>>,
        message: Message,
    ) -> bool {
        let Some(last) = deliveries.pop() else {
            self.shared.counters.overflowed.increment();
            self.answer_unavailable(&message);
            return false;
        };
        let mut taken = false;
        for delivery in deliveries.drain(..) {
            taken |= self.pass(delivery.client, delivery.qos, message.clone()).is_ok();
        }
        match self.pass(last.client, last.qos, message) {
            Ok(()) => true,
            Err(message) => {
                if !taken {
                    self.answer_unavailable(&message);
                }
                taken
            }
        }
    }

    /// Whether a client can take a message, as far as this worker knows.
    fn has_room(&self, key: ClientKey) -> bool {
        if key.worker == self.index {
            self.clients.borrow().get(&key.serial).is_some_and(|client| client.has_room())
        } else {
            self.shared.mailboxes[key.worker].messages.capacity() > 0
        }
    }

    /// Hands a message to a client here or on another worker; gives it back when nobody took it.
    fn pass(&self, key: ClientKey, qos: Qos, mut message: Message) -> Result<(), Message> {
        if key.worker == self.index {
            let Some(client) = self.client(key) else { return Err(message) };
            message.qos = message.qos.min(qos);
            return match client.has_room() {
                true => {
                    self.deliver(&client, message);
                    Ok(())
                }
                false => {
                    self.shared.counters.overflowed.increment();
                    Err(message)
                }
            };
        }
        let mailbox = &self.shared.mailboxes[key.worker];
        mailbox.messages.try_send((key, qos, message)).map_err(|error| {
            self.shared.counters.overflowed.increment();
            error.into_inner().2
        })
    }

    /// Delivers a message that another worker passed on. If it cannot be delivered, the requester
    /// has its PUBACK already, so it gets an answer instead.
    fn take(&self, key: ClientKey, qos: Qos, message: Message) {
        if let Err(message) = self.pass(key, qos, message) {
            self.answer_unavailable(&message);
        }
    }

    fn deliver(&self, client: &Rc<Client>, message: Message) {
        if client.deliver(message) == Delivered::Refused {
            self.shared.counters.overflowed.increment();
        }
    }

    /// Answers a request in the name of a responder whose queue is full.
    fn answer_unavailable(&self, request: &Message) {
        let properties = &request.properties;
        let Some(topic) = properties.response_topic.as_deref().map(TopicName::new) else { return };
        let Ok(topic) = topic else { return };
        let reply_to = ReplyTo::new(topic, properties.correlation_data.clone(), request.qos);
        let status = Status::UNAVAILABLE.with_message("the responder's queue is full");
        if let Ok(answer) = Native::new().encode_response(&reply_to, Response::error(status), None)
        {
            // It has no response topic itself, so this ends here.
            self.forward(None, answer);
        }
    }

    /// A client may have room again; called where its sink must not be touched.
    pub(super) fn unblock(&self, client: &Rc<Client>) {
        if client.is_waiting() {
            self.unblocked.borrow_mut().push(Rc::clone(client));
            self.unblock.notify_one();
        }
    }
}

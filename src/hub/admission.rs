//! Clients that come and go: authentication, the end of an earlier session, and the last will.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::access::{self, Credentials, Identity, Protocol};
use super::client::{Client, Peer};
use super::devices::{self, Present};
use super::listener::Entrance;
use super::presence::ClientInfo;
use super::shared::{ClientKey, Order};
use super::worker::Worker;
use crate::core::packet::{Message, ReasonCode};
use crate::core::topic::is_unsafe;

/// How long a client that connects again waits for the end of its earlier session.
const TAKEOVER: Duration = Duration::from_secs(5);

/// A session that is starting: it has the client identifier, and gives it back when it is dropped
/// before [`keep`](Self::keep).
struct Claim<'a> {
    worker: &'a Worker,
    client_id: &'a Arc<str>,
    key: ClientKey,
    kept: bool,
}

impl<'a> Claim<'a> {
    /// Takes the client identifier; returns as well which session had it.
    fn take(
        worker: &'a Worker,
        client_id: &'a Arc<str>,
        identity: &Identity,
        protocol: Protocol,
    ) -> Result<(Self, Option<ClientKey>), ReasonCode> {
        let key = worker.shared.new_key(worker.index, protocol == Protocol::InProcess);
        let earlier = worker.shared.claim(client_id, key, identity)?;
        worker.starting.borrow_mut().insert(key.serial, Vec::new());
        Ok((Self { worker, client_id, key, kept: false }, earlier))
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.worker.shared.release(self.client_id, self.key);
        }
        // Dropping the senders tells the session that took the identifier meanwhile.
        drop(self.worker.starting.borrow_mut().remove(&self.key.serial));
    }
}

impl Worker {
    /// Decides whether a client may connect, ends its earlier session, and takes it in.
    pub(super) async fn admit(
        &self,
        credentials: Credentials,
        entrance: Option<&Arc<Entrance>>,
        keep_alive: Duration,
        will: Option<Message>,
        peer: impl FnOnce() -> Peer,
    ) -> Result<Rc<Client>, ReasonCode> {
        if credentials.client_id.contains(is_unsafe) {
            // MQTT 5 §1.5.4: U+0000 is none, and the others would look alike where handlers see them.
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
        let identity = self.authenticate(credentials.clone(), entrance).await?;
        let names = devices::names(&credentials, &identity);
        let Credentials { client_id, peer: address, protocol, transport, .. } = credentials;
        let response_base =
            access::response_base(&client_id).ok_or(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID)?;
        let (claim, earlier) = Claim::take(self, &client_id, &identity, protocol)?;
        if let Some(earlier) = earlier {
            self.take_over(earlier).await;
        }
        // From here to the end nothing waits, so that nobody can come between.
        let key = claim.key;
        if !self.shared.holds(&client_id, key) {
            // A third connection has taken the identifier since.
            return Err(ReasonCode::SERVER_BUSY);
        }
        if self.shared.accepting.is_cancelled() {
            return Err(ReasonCode::SERVER_UNAVAILABLE);
        }
        let place =
            entrance.map(|entrance| entrance.take_place().ok_or(ReasonCode::QUOTA_EXCEEDED));
        let place = place.transpose()?;
        claim.keep();
        let info = ClientInfo {
            client_id: Arc::clone(&client_id),
            identity: identity.clone(),
            peer: address,
            protocol,
            transport,
            since: SystemTime::now(),
            keep_alive,
            has_left: false,
        };
        let limits = self.shared.limits;
        let present =
            Present { key, client_id: Arc::clone(&client_id), identity: identity.clone() };
        let client = Client::new(key, client_id, identity, names, response_base, peer(), limits);
        *client.will.borrow_mut() = will;
        *client.place.borrow_mut() = place;
        let client = Rc::new(client);
        self.clients.borrow_mut().insert(key.serial, Rc::clone(&client));
        self.shared.devices.arrive(&client.names, &present);
        self.shared.presence.arrive(key.serial, info);
        Ok(client)
    }

    /// Links of this process are who they say.
    async fn authenticate(
        &self,
        credentials: Credentials,
        entrance: Option<&Arc<Entrance>>,
    ) -> Result<Identity, ReasonCode> {
        let Some(entrance) = entrance else { return Ok(Identity::new(credentials.client_id)) };
        if let Some(hook) = &entrance.authenticate {
            let decided = timeout(entrance.handshake, hook(credentials)).await;
            return decided.unwrap_or(Err(ReasonCode::SERVER_BUSY));
        }
        #[cfg(feature = "tls")]
        if let Some(certificate) = &credentials.certificate {
            // One with such characters would look like another where handlers see it.
            let name = certificate.common_name().filter(|name| !name.contains(is_unsafe));
            return name.map(Identity::new).ok_or_else(|| {
                tracing::debug!(?certificate, "refused: the certificate has no common name");
                ReasonCode::NOT_AUTHORIZED
            });
        }
        Ok(Identity::claimed(credentials.client_id))
    }

    /// Closes the session that had the client identifier, and waits until its worker has done so:
    /// the client must not get what was meant for its earlier connection.
    async fn take_over(&self, earlier: ClientKey) {
        let (closed, is_closed) = oneshot::channel();
        let mailbox = &self.shared.mailboxes[earlier.worker];
        if mailbox.orders.send(Order::TakeOver(earlier, closed)).is_ok() {
            let _ = timeout(TAKEOVER, is_closed).await;
        }
    }

    /// Ends a session of this worker; `closed` is dropped when it has ended.
    pub(super) fn hand_over(&self, key: ClientKey, closed: oneshot::Sender<()>) {
        if let Some(waiting) = self.starting.borrow_mut().get_mut(&key.serial) {
            // It will find that it does not hold its identifier any more.
            waiting.push(closed);
        } else if let Some(client) = self.client(key) {
            client.when_gone(closed);
            client.close(ReasonCode::SESSION_TAKEN_OVER);
        }
    }

    /// Takes a client out. Again: nothing.
    pub(super) fn leave(&self, client: &Client) {
        let Some(undelivered) = client.leave() else { return };
        // Before its subscriptions end, so that nobody is told that it is there without them.
        self.shared.devices.leave(&client.names, client.key);
        self.clients.borrow_mut().remove(&client.key.serial);
        client.place.borrow_mut().take();
        self.forget(client.key);
        for mailbox in self.others() {
            let _ = mailbox.orders.send(Order::Forget(client.key));
        }
        self.shared.release(&client.client_id, client.key);
        self.shared.presence.leave(client.key.serial, client.has_left.get());
        let will = client.will.borrow_mut().take();
        // A hook or a dialect that panics may be why the client leaves: while one panic is on its way, a
        // second one would end the process.
        let told = catch_unwind(AssertUnwindSafe(|| {
            undelivered.for_each(|message| self.answer_unavailable(&message));
            will.map(|will| self.publish(client, will));
        }));
        if told.is_err() {
            tracing::error!(client_id = %client.client_id, "a panic for a client that leaves");
        }
        // Last, so that all of this has happened when the client's next session starts.
        client.tell_those_who_wait();
        self.left.notify_one();
    }
}

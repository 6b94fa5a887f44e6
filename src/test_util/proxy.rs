//! The proxy, and what a test does with it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::connection::{Conn, close, reset, serve};
use super::lane::{Conditions, Settings, Stop};
use super::packet::Direction;
use super::rule::{Cut, Fault, Packets};
use super::state::{ProxyStats, Shared};
use super::watch::{Watch, Watched};

/// Connections at once; a further one is refused.
const MAX_CONNECTIONS: usize = 4_096;

/// Stands between clients and a broker on a port of its own, and does to their packets what it is
/// told.
///
/// A clone is another handle. With the last one the proxy ends, and every connection with RST.
#[derive(Clone)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: Arc<End>,
}

/// Ends the proxy when the last handle is dropped; its tasks do not count.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl FaultProxy {
    /// Starts a proxy to `upstream`, on a free port of 127.0.0.1. Its seed is 0.
    ///
    /// # Errors
    /// When there is no free port.
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn start(upstream: impl Into<SocketAddr>) -> io::Result<Self> {
        Self::start_with_seed(upstream, 0).await
    }

    /// As [`start`](Self::start), with another seed: it decides jitter and
    /// [`one_in`](Packets::one_in), for each packet by its connection, its direction and how many
    /// came before.
    ///
    /// # Errors
    /// When there is no free port.
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn start_with_seed(upstream: impl Into<SocketAddr>, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(upstream.into(), seed));
        tokio::spawn(accept(Arc::clone(&shared), listener));
        let end = Arc::new(End(Arc::clone(&shared)));
        Ok(Self { address, shared, _end: end })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Leads connections to come to another broker, or to the same one at its new address.
    pub fn set_upstream(&self, upstream: impl Into<SocketAddr>) {
        self.shared.lock().upstream = upstream.into();
    }

    /// Adds a rule. A packet that several mean is decided by the first that was added.
    ///
    /// Rules see a packet when it comes; none sees what is lost in a [black hole](Self::blackhole).
    pub fn rule(&self, packets: Packets, fault: Fault) -> Rule {
        let (number, hits) = self.shared.lock().add_rule(packets, fault);
        Rule { number, hits, shared: Arc::clone(&self.shared) }
    }

    /// Counts, and keeps for a while, what passes of these from now on.
    pub fn watch(&self, packets: Packets) -> Watch {
        let (watched, watch) = Watched::new(packets);
        self.shared.lock().watch(watched);
        watch
    }

    /// Lets go what rules hold. They go on holding what comes.
    pub fn release(&self) {
        self.shared.lock().release_all();
    }

    /// What the network is like in this direction from now on, for all connections.
    pub fn conditions(&self, direction: Direction, conditions: Conditions) {
        self.shared.lock().change(direction, |settings| settings.conditions = conditions);
    }

    /// Reads, and forwards nothing, in this direction of all connections: what comes is lost, and
    /// so is the news that a peer has closed. In [both](Direction::BOTH) it is a peer that is gone
    /// without a FIN. A packet of which a part was written is finished first; what waited in the
    /// proxy goes on after [`heal`](Self::heal).
    pub fn blackhole(&self, direction: Direction) {
        self.stop(direction, Stop::Blackhole);
    }

    /// Forwards nothing in this direction of all connections until [`heal`](Self::heal), and loses
    /// nothing: when enough has come, nothing more is read.
    pub fn pause(&self, direction: Direction) {
        self.stop(direction, Stop::Pause);
    }

    fn stop(&self, direction: Direction, stop: Stop) {
        self.shared.lock().change(direction, |settings| settings.stop = stop);
    }

    /// Resets new connections at once, or does so no more.
    pub fn refuse(&self, refuse: bool) {
        self.shared.lock().refuses = refuse;
    }

    /// Ends all connections. New ones are accepted.
    pub fn cut_all(&self, how: Cut) {
        for connection in self.shared.lock().connections.values() {
            connection.cut(how);
        }
    }

    /// Undoes every fault: ends all rules and lets go what they hold, forwards again, makes the
    /// network perfect, and accepts new connections. What is lost stays lost.
    pub fn heal(&self) {
        let mut state = self.shared.lock();
        state.refuses = false;
        state.end_rules();
        for direction in Direction::BOTH {
            state.change(direction, |settings| *settings = Settings::default());
        }
    }

    /// The connections that are open, in the order in which they were accepted.
    pub fn connections(&self) -> Vec<Connection> {
        let state = self.shared.lock();
        state.connections.values().map(|conn| Connection { conn: Arc::clone(conn) }).collect()
    }

    /// The newest connection of a client that has said this client identifier.
    pub fn client(&self, client_id: &str) -> Option<Connection> {
        let connections = self.connections().into_iter().rev();
        connections.into_iter().find(|connection| connection.client_id() == Some(client_id))
    }

    /// How many packets rules hold at this moment.
    pub fn held(&self) -> usize {
        let state = self.shared.lock();
        let lanes = state.connections.values();
        lanes.flat_map(|conn| Direction::BOTH.map(|direction| conn.lane(direction).held())).sum()
    }

    /// What it has done so far.
    pub fn stats(&self) -> ProxyStats {
        *self.shared.lock().stats.borrow()
    }

    /// Resolves when this is true of what it has done.
    ///
    /// ```
    /// # use tower_mqtt::test_util::FaultProxy;
    /// # async fn example(proxy: FaultProxy) {
    /// proxy.until(|stats| stats.closed >= 2).await;
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn until(&self, is: impl FnMut(&ProxyStats) -> bool) {
        let mut stats = self.shared.lock().stats.subscribe();
        // An error would mean that the proxy has ended; it ends with its last handle, not before.
        let _ = stats.wait_for(is).await;
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("address", &self.address)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A rule that the proxy was told. It stays in force when this handle is dropped.
#[derive(Debug)]
pub struct Rule {
    number: u64,
    hits: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl Rule {
    /// How many packets it has decided.
    pub fn hits(&self) -> u64 {
        *self.hits.borrow()
    }

    /// Resolves when it has decided `n` packets.
    ///
    /// `false`: the rule has ended, and it were fewer.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn hit(&self, n: u64) -> bool {
        self.hits.clone().wait_for(|hits| *hits >= n).await.is_ok()
    }

    /// Lets go what it holds, in the order in which that came. It goes on holding what comes.
    pub fn release(&self) {
        self.shared.lock().release(self.number, false);
    }

    /// Ends it, and lets go what it holds.
    pub fn remove(self) {
        self.shared.lock().release(self.number, true);
    }
}

/// One connection through the proxy, open or over.
#[derive(Debug, Clone)]
pub struct Connection {
    conn: Arc<Conn>,
}

impl Connection {
    /// Connections are numbered from 1 in the order in which they were accepted.
    pub fn number(&self) -> u64 {
        self.conn.number
    }

    /// What its CONNECT said. `None`: nothing, or there was none yet.
    pub fn client_id(&self) -> Option<&str> {
        self.conn.client_id().map(|id| &**id)
    }

    /// Ends it.
    pub fn cut(&self, how: Cut) {
        self.conn.cut(how);
    }

    /// As [`FaultProxy::conditions`], for this connection.
    pub fn conditions(&self, direction: Direction, conditions: Conditions) {
        self.conn.lane(direction).change(|settings| settings.conditions = conditions);
    }

    /// As [`FaultProxy::blackhole`], for this connection.
    pub fn blackhole(&self, direction: Direction) {
        self.conn.lane(direction).change(|settings| settings.stop = Stop::Blackhole);
    }

    /// As [`FaultProxy::pause`], for this connection.
    pub fn pause(&self, direction: Direction) {
        self.conn.lane(direction).change(|settings| settings.stop = Stop::Pause);
    }

    /// Forwards again, over a perfect network, and lets go what rules hold of it; they stay in
    /// force.
    pub fn heal(&self) {
        for direction in Direction::BOTH {
            self.conn.lane(direction).change(|settings| *settings = Settings::default());
        }
        self.conn.release(None);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else {
            // Too many open files, say: others must end first.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        number += 1;
        let shared = Arc::clone(&shared);
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(async move {
                    carry(&shared, number, client).await;
                    drop(place);
                });
            }
            Err(_) => refuse(&shared, client),
        }
    }
}

fn refuse(shared: &Shared, client: TcpStream) {
    reset(client);
    shared.lock().count(|stats| stats.refused += 1);
}

async fn carry(shared: &Shared, number: u64, client: TcpStream) {
    let Some(server) = connect(shared).await else { return refuse(shared, client) };
    // What is written apart shall leave apart.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let open = Open::new(shared, number);
    let closing = serve(shared, &open.conn, client, server).await;
    drop(open);
    if let Some((client, server)) = closing {
        close(client, server).await;
    }
}

async fn connect(shared: &Shared) -> Option<TcpStream> {
    let upstream = {
        let state = shared.lock();
        (!state.refuses).then_some(state.upstream)?
    };
    tokio::select! {
        () = shared.stop.cancelled() => None,
        stream = TcpStream::connect(upstream) => stream.ok(),
    }
}

/// A connection that is in the proxy's table, until this is dropped.
struct Open<'a> {
    shared: &'a Shared,
    conn: Arc<Conn>,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, number: u64) -> Self {
        let mut state = shared.lock();
        let conn = Arc::new(Conn::new(number, state.settings));
        state.connections.insert(number, Arc::clone(&conn));
        state.count(|stats| stats.opened += 1);
        Self { shared, conn }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.connections.remove(&self.conn.number);
        state.count(|stats| stats.closed += 1);
    }
}

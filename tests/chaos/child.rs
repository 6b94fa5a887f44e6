//! A responder in a process of its own, which can be frozen and killed.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_mqtt::responder::ResponderStats;

use super::history::History;
use super::pairs::Pair;
use super::process::{self, Signal};
use super::station::{Place, Station};

/// The parent's view of it. There may be several in a row.
pub(crate) struct Apart {
    pair: &'static str,
    address: SocketAddr,
    history: Arc<History>,
    /// How many there were.
    count: u32,
    running: Option<Running>,
}

struct Running {
    child: Child,
    /// It ends when this closes.
    _stdin: ChildStdin,
    reading: JoinHandle<()>,
}

impl Apart {
    pub(crate) fn start(pair: &'static str, address: SocketAddr, history: Arc<History>) -> Self {
        let mut apart = Self { pair, address, history, count: 0, running: None };
        apart.launch();
        apart
    }

    fn launch(&mut self) {
        self.count += 1;
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--answer-as", self.pair, "--at", &self.address.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("this program again");
        let stdin = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (history, process) = (Arc::clone(&self.history), self.count);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // A line that is cut short by a kill is none.
                if let Some(id) = line.strip_suffix(';').and_then(|id| id.parse().ok()) {
                    history.execution(id, process);
                }
            }
        });
        self.running = Some(Running { child, _stdin: stdin, reading });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(id) = self.running.as_ref().and_then(|running| running.child.id()) {
            process::signal(id, signal);
        }
    }

    /// Kills it, and starts the next.
    pub(crate) async fn replace(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill().await;
            let _ = running.reading.await;
        }
        self.launch();
    }

    /// Lets it end; all that it has said is known then.
    pub(crate) async fn end(mut self) {
        self.signal(Signal::CONT);
        if let Some(Running { mut child, _stdin: stdin, reading }) = self.running.take() {
            drop(stdin);
            let _ = child.wait().await;
            let _ = reading.await;
        }
    }
}

/// What the child does, until nobody writes to its standard input any more.
pub(crate) async fn serve(pair: &str, address: SocketAddr) {
    let pair = Pair::named(pair);
    // Before the handler goes on, so that no answer is given that nobody knows of.
    let router = pair.router(Arc::new(|id| println!("{id};")));
    let client_id = format!("{}-answers-1", pair.name);
    let station = Arc::new(Station::new(pair, client_id, Place::Network(address)));
    let (stats, _) = watch::channel(ResponderStats::default());
    let history = Arc::new(History::new());
    let serving = tokio::spawn(Arc::clone(&station).answer(router, stats, history));
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    station.stop();
    let _ = serving.await;
}

//! Gateways are restarted under load, as `systemctl restart` does it, and no call is lost.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixDatagram;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tower_mqtt::Responder;

use super::devices::Kind;
use super::http::Answer;
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::running::fleet;
use super::servers::{KEY, plain_api};

const DEVICES: usize = 12;
/// One that answers when it is told to.
const PATIENT: &str = "patient";

/// What systemd does to a service with a socket: the third descriptor is the listener, which is stdin here.
const PASS: &str = r#"export LISTEN_PID=$$ LISTEN_FDS=1 && exec 3<&0 </dev/null && exec "$@""#;

/// A machine with a socket that outlives its gateway.
struct Machine {
    listener: TcpListener,
    http: SocketAddr,
    config: PathBuf,
    /// Whether the balancer sends calls there.
    in_rotation: AtomicBool,
}

/// Its gateway, which calls can be made through.
struct Service {
    process: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    told: UnixDatagram,
    place: PathBuf,
}

impl Machine {
    fn new(config: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let http = listener.local_addr().expect("an address");
        Self { listener, http, config: config.to_owned(), in_rotation: AtomicBool::new(true) }
    }

    async fn start(&self) -> Service {
        let place = self.config.with_extension(format!("{}.notify", self.http.port()));
        let _ = std::fs::remove_file(&place);
        let told = UnixDatagram::bind(&place).expect("a socket for what it tells");
        let stdin = OwnedFd::from(self.listener.try_clone().expect("a descriptor"));
        let mut process = Command::new("sh")
            .args([
                "-c",
                PASS,
                "sh",
                env!("CARGO_BIN_EXE_rrpc-gateway"),
                "--grace",
                "1m",
                "--config",
            ])
            .arg(&self.config)
            .env("NOTIFY_SOCKET", &place)
            .env_remove("RUST_LOG")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let stderr = BufReader::new(process.stderr.take().expect("piped")).lines();
        let mut service = Service { process, stderr, told, place };
        service.tells("READY=1").await;
        service
    }
}

impl Service {
    async fn tells(&mut self, state: &str) {
        let mut text = [0; 64];
        tokio::select! {
            length = soon(self.told.recv(&mut text)) => {
                let text = text[..length.expect("told")].trim_ascii();
                assert_eq!(std::str::from_utf8(text), Ok(state));
            }
            ended = self.process.wait() => {
                let mut log = String::new();
                while let Some(line) = self.stderr.next_line().await.expect("text") {
                    log += &(line + "\n");
                }
                panic!("{ended:?}: {log}");
            }
        }
    }

    /// Tells it to stop; it knows when this returns.
    async fn stop(&mut self) {
        let id = self.process.id().expect("it runs").to_string();
        let killed = Command::new("kill").args(["-s", "TERM", &id]).status().await;
        assert!(killed.expect("kill is there").success());
        self.tells("STOPPING=1").await;
    }

    async fn end(mut self) {
        let status = soon(self.process.wait()).await.expect("it runs");
        assert!(status.success(), "{status}");
        let _ = std::fs::remove_file(self.place);
    }
}

/// Devices at a broker, and what they were asked.
struct Fleet {
    devices: Vec<Responder>,
    asked: Arc<Mutex<HashMap<String, usize>>>,
    patient_is_asked: mpsc::UnboundedReceiver<()>,
    answer: Arc<Notify>,
}

/// The kind of a device of a load.
fn kind(number: usize) -> Kind {
    [Kind::Tencent, Kind::Plain, Kind::Native][number % 3]
}

fn names() -> Vec<(Kind, String)> {
    let loaded = (0..DEVICES).map(|n| (kind(n), format!("d{n}")));
    loaded.chain([(Kind::Native, PATIENT.to_owned())]).collect()
}

impl Fleet {
    async fn connect(broker: &Mosquitto) -> Self {
        let at = SocketAddr::from(([127, 0, 0, 1], broker.port()));
        let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let answer = Arc::new(Notify::new());
        let (told, patient_is_asked) = mpsc::unbounded_channel();
        let devices = names().into_iter().map(|(kind, name)| {
            let (asked, answer, told) = (Arc::clone(&asked), Arc::clone(&answer), told.clone());
            let is_patient = name == PATIENT;
            async move {
                let handler = move |text: String| {
                    *asked.lock().expect("counts").entry(text.clone()).or_default() += 1;
                    let (answer, told) = (Arc::clone(&answer), told.clone());
                    async move {
                        if is_patient {
                            let _ = told.send(());
                            answer.notified().await;
                        }
                        text.to_uppercase()
                    }
                };
                kind.start_with(at, &name, handler).await
            }
        });
        let devices = join_all(devices).await;
        Self { devices, asked, patient_is_asked, answer }
    }
}

/// Machines that calls are spread over: each goes to the next one in rotation, and once more to the next
/// one when a gateway says that it was not executed.
struct Balancer {
    machines: Vec<Machine>,
    turn: AtomicUsize,
}

impl Balancer {
    fn over(machines: usize, config: &Path) -> Arc<Self> {
        let machines = (0..machines).map(|_| Machine::new(config)).collect();
        Arc::new(Self { machines, turn: AtomicUsize::new(0) })
    }

    async fn call(&self, to: &str, payload: &str) -> Answer {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let all =
            (0..self.machines.len()).map(|n| &self.machines[(turn + n) % self.machines.len()]);
        let (mut chosen, others): (Vec<_>, Vec<_>) =
            all.partition(|machine| machine.in_rotation.load(Ordering::SeqCst));
        chosen.extend(others);
        let mut answer = None;
        for machine in chosen {
            let given = call(machine.http, to, payload).await;
            let again = given.status == 503 && given.json()["code"] == "unavailable";
            answer = Some(given);
            if !again {
                break;
            }
        }
        answer.expect("there is a machine")
    }
}

async fn call(gateway: SocketAddr, to: &str, payload: &str) -> Answer {
    // The longest that the dialect allows.
    plain_api(gateway, KEY.2, &format!("{to}/call?timeout=1m"), payload.as_bytes()).await
}

/// Calls one device again and again, and says what was wrong.
async fn load(
    balancer: Arc<Balancer>,
    number: usize,
    calls: watch::Sender<usize>,
    over: Arc<AtomicBool>,
) -> (usize, Vec<String>) {
    let (mut made, mut wrong) = (0, Vec::new());
    let to = format!("{}/d{number}", kind(number).product());
    while !over.load(Ordering::SeqCst) {
        let payload = format!("\"d{number}-{made}\"");
        let answer = balancer.call(&to, &payload).await;
        if answer.status != 200 || answer.text() != payload.to_uppercase() {
            wrong.push(format!("{payload}: {answer:?}"));
        }
        made += 1;
        calls.send_modify(|calls| *calls += 1);
    }
    (made, wrong)
}

/// Calls to every device, one after the other, that go on beside what else happens.
struct Loads {
    running: Vec<JoinHandle<(usize, Vec<String>)>>,
    progress: watch::Receiver<usize>,
    over: Arc<AtomicBool>,
}

impl Loads {
    fn start(balancer: &Arc<Balancer>) -> Self {
        let (calls, progress) = watch::channel(0);
        let over = Arc::new(AtomicBool::new(false));
        let running = (0..DEVICES)
            .map(|n| tokio::spawn(load(Arc::clone(balancer), n, calls.clone(), Arc::clone(&over))))
            .collect();
        Self { running, progress, over }
    }

    async fn go_on(&mut self) {
        let more = *self.progress.borrow_and_update() + 3 * DEVICES;
        soon(self.progress.wait_for(|calls| *calls >= more)).await.expect("calls are made");
    }

    /// What was asked; each with its own answer.
    async fn end(self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        let (mut asked, mut wrong) = (Vec::new(), Vec::new());
        for (number, load) in soon(join_all(self.running)).await.into_iter().enumerate() {
            let (made, of_load) = load.expect("no panic");
            asked.extend((0..made).map(|n| format!("\"d{number}-{n}\"")));
            wrong.extend(of_load);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        asked
    }
}

/// Devices at a broker, and the gateways beside it.
struct Site {
    fleet: Fleet,
    balancer: Arc<Balancer>,
    services: Vec<Service>,
    config: PathBuf,
    _broker: Mosquitto,
}

impl Site {
    async fn start(machines: usize, cluster: &str) -> Self {
        let broker = Mosquitto::start(&[]).await;
        let places = format!("{cluster}[mqtt.broker]\nurl = \"{}\"\n", broker.url());
        let config = Mosquitto::file("restart.toml", &format!("{places}{}", fleet(&names())));
        let fleet = Fleet::connect(&broker).await;
        let balancer = Balancer::over(machines, &config);
        let mut services = Vec::new();
        for machine in &balancer.machines {
            services.push(machine.start().await);
        }
        Self { fleet, balancer, services, config, _broker: broker }
    }

    /// Restarts one gateway; with others that take its calls it is taken out of rotation meanwhile. Two
    /// calls to it alone are answered: one is in flight when it stops, the other comes while there is none.
    async fn restart(&mut self, at: usize, turn: usize) -> [String; 2] {
        let machine = &self.balancer.machines[at];
        let asked = [format!("\"in flight {turn}\""), format!("\"waits {turn}\"")];
        let ask = |device: String, payload: &str| {
            let (http, payload) = (machine.http, payload.to_owned());
            tokio::spawn(async move { call(http, &device, &payload).await })
        };
        let in_flight = ask(format!("{}/{PATIENT}", Kind::Native.product()), &asked[0]);
        soon(self.fleet.patient_is_asked.recv()).await.expect("asked");

        machine.in_rotation.store(self.services.len() == 1, Ordering::SeqCst);
        self.services[at].stop().await;
        self.fleet.answer.notify_one();
        let answer = soon(in_flight).await.expect("no panic");
        assert_eq!((answer.status, answer.text()), (200, &*asked[0].to_uppercase()));
        self.services.remove(at).end().await;

        let waiting = ask(format!("{}/d0", kind(0).product()), &asked[1]);
        self.services.insert(at, machine.start().await);
        let answer = soon(waiting).await.expect("no panic");
        assert_eq!((answer.status, answer.text()), (200, &*asked[1].to_uppercase()));
        machine.in_rotation.store(true, Ordering::SeqCst);
        asked
    }

    fn assert_executed_once(&self, asked: Vec<String>) {
        let expected: HashMap<_, _> = asked.into_iter().map(|payload| (payload, 1)).collect();
        let executed = self.fleet.asked.lock().expect("counts").clone();
        assert_eq!(executed.len(), expected.len());
        assert_eq!(executed, expected, "each was executed once");
    }

    async fn end(self) {
        for mut service in self.services {
            service.stop().await;
            service.end().await;
        }
        drop(self.fleet.devices);
        let _ = std::fs::remove_file(self.config);
    }
}

/// Restarts every gateway twice under load, one after the other.
async fn restart_under_load(machines: usize, cluster: &str) {
    let mut site = Site::start(machines, cluster).await;
    let mut loads = Loads::start(&site.balancer);
    loads.go_on().await;
    let mut asked = Vec::new();
    for turn in 0..2 * machines {
        asked.extend(site.restart(turn % machines, turn).await);
        loads.go_on().await;
    }
    asked.extend(loads.end().await);
    site.assert_executed_once(asked);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_a_socket_is_restarted_under_load() {
    restart_under_load(1, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_are_restarted_one_after_the_other_under_load() {
    restart_under_load(2, "[cluster]\nname = \"two\"\ndead_after = \"3s\"\n").await;
}

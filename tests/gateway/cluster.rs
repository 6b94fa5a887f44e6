//! Three gateways and one broker; one of them is killed under load.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, mpsc, watch};
use tower_mqtt::Responder;

use super::devices::Kind;
use super::http;
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::running::fleet;
use super::servers::{KEY, plain_api};

const DEVICES: usize = 12;
/// One that answers when it is told to.
const GATED: &str = "gated";

/// A gateway in a process of its own.
struct Program {
    process: Child,
    http: SocketAddr,
}

async fn program(broker: &Mosquitto, config: &std::path::Path) -> Program {
    let mut process = Command::new(env!("CARGO_BIN_EXE_rrpc-gateway"))
        .arg("--config")
        .arg(config)
        .args(["--broker", &broker.url(), "--listen-http", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let stdout = process.stdout.take().expect("piped");
    let mut lines = BufReader::new(stdout).lines();
    let http = async {
        while let Some(line) = lines.next_line().await.expect("text") {
            let place = line.strip_prefix("ready: http ").and_then(|it| it.split(',').next());
            if let Some(place) = place {
                return place.parse().expect("an address");
            }
        }
        panic!("the gateway does not say that it is ready");
    };
    let http = soon(http).await;
    Program { process, http }
}

/// What the calls and the test tell each other.
#[derive(Default)]
struct Seen {
    calls: watch::Sender<usize>,
    /// From now on a call may fail.
    dying: AtomicBool,
    /// It was killed.
    dead: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

/// A device whose SDK mixes up calls that overlap, and what it was asked while it was being asked.
struct Device {
    name: String,
    _serving: Responder,
    asked: mpsc::UnboundedReceiver<()>,
    /// A permit for each answer.
    answers: Arc<Semaphore>,
}

impl Device {
    async fn connect(at: SocketAddr, name: &str, seen: &Arc<Seen>) -> Self {
        let (told, asked) = mpsc::unbounded_channel();
        let answers =
            Arc::new(Semaphore::new(if name == GATED { 0 } else { Semaphore::MAX_PERMITS }));
        let (own, seen, in_flight) =
            (Arc::clone(&answers), Arc::clone(seen), Arc::<AtomicUsize>::default());
        let handler = move |text: String| {
            let overlaps = in_flight.fetch_add(1, Ordering::SeqCst) > 0;
            if overlaps && !seen.dying.load(Ordering::SeqCst) {
                seen.is_wrong(format!("{text} while it is being asked"));
            }
            let _ = told.send(());
            let (answers, in_flight) = (Arc::clone(&own), Arc::clone(&in_flight));
            async move {
                answers.acquire().await.expect("it is never closed").forget();
                // Others have their turn, so that what overlaps is seen.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                in_flight.fetch_sub(1, Ordering::SeqCst);
                text.to_uppercase()
            }
        };
        let serving = Kind::Tencent.start_with(at, name, handler).await;
        Self { name: name.to_owned(), _serving: serving, asked, answers }
    }
}

fn to(device: &str) -> String {
    format!("{}/{device}/call", Kind::Tencent.product())
}

/// Calls in flight to a device, as a gateway says.
async fn in_flight(gateway: SocketAddr, device: &str) -> u64 {
    let bearer = format!("Bearer {}", KEY.2);
    let headers = [("Authorization", &*bearer)];
    let answer = http::send(gateway, "GET /v1/devices", &headers, b"").await.json();
    let listed = answer.as_array().expect("a list").iter();
    let found = listed.filter(|it| it["device"] == device).find_map(|it| it["in_flight"].as_u64());
    found.unwrap_or_default()
}

/// Whichever gateways it is called through, one of them asks the device, and waits for its answer before it
/// asks again.
async fn has_one_owner(gated: &mut Device, gateways: &[SocketAddr]) {
    let call = |gateway: SocketAddr| {
        tokio::spawn(async move { plain_api(gateway, KEY.2, &to(GATED), b"\"on\"").await })
    };
    let calls: Vec<_> = gateways.iter().map(|gateway| call(*gateway)).collect();
    let in_flight_everywhere = async {
        for gateway in gateways {
            while in_flight(*gateway, GATED).await == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    soon(in_flight_everywhere).await;
    // What each had to send before this has come by now.
    for gateway in gateways {
        assert_eq!(plain_api(*gateway, KEY.2, &to("d0"), b"\"on\"").await.text(), "\"ON\"");
    }
    for _ in gateways {
        soon(gated.asked.recv()).await.expect("it is asked");
        assert!(gated.asked.is_empty(), "{} is asked twice at once", gated.name);
        gated.answers.add_permits(1);
    }
    for call in calls {
        let answer = soon(call).await.expect("no panic");
        assert_eq!((answer.status, answer.text()), (200, "\"ON\""));
    }
}

impl Seen {
    fn is_wrong(&self, what: String) {
        self.wrong.lock().expect("a list").push(what);
    }
}

/// Calls every device in turn, until all have answered after the kill.
async fn load(gateway: SocketAddr, number: usize, seen: Arc<Seen>) {
    let mut answered = HashSet::new();
    for n in 0.. {
        // Three at a time go for the same ones.
        let device = (number / 3 + n) % DEVICES;
        let after = seen.dead.load(Ordering::SeqCst);
        let payload = format!("\"g{number}-{n}\"");
        let to = to(&format!("d{device}"));
        let answer = plain_api(gateway, KEY.2, &to, payload.as_bytes()).await;
        seen.calls.send_modify(|calls| *calls += 1);
        match answer.status {
            200 if answer.text() == payload.to_uppercase() => {
                if after {
                    answered.insert(device);
                }
            }
            // The dead gateway took it along, or had not been missed yet.
            502..=504 if seen.dying.load(Ordering::SeqCst) => {}
            _ => seen.is_wrong(format!("{payload}: {answer:?}")),
        }
        if answered.len() == DEVICES {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_gateways_is_killed_under_load() {
    let broker = Mosquitto::start(&[]).await;
    let names: Vec<_> = (0..DEVICES).map(|n| format!("d{n}")).chain([GATED.to_owned()]).collect();
    let fleet = fleet(&names.iter().map(|name| (Kind::Tencent, name.clone())).collect::<Vec<_>>());
    // Calls wait for each other: longer than a busy machine takes.
    let fleet = fleet.replace("timeout = \"1s\"", "timeout = \"8s\"");
    // The broker says when one is not there, so none need be missed; and a busy machine silences nobody so
    // long.
    let cluster = "[cluster]\nname = \"three\"\ndead_after = \"6s\"\n";
    let config = Mosquitto::file("cluster.toml", &format!("{cluster}{fleet}"));
    let address = SocketAddr::from(([127, 0, 0, 1], broker.port()));
    let seen = Arc::new(Seen::default());
    let devices = names.iter().map(|name| Device::connect(address, name, &seen));
    let mut devices = join_all(devices).await;
    let mut programs = join_all((0..3).map(|_| program(&broker, &config))).await;
    let gateways: Vec<_> = programs.iter().map(|program| program.http).collect();
    has_one_owner(devices.last_mut().expect("the gated one"), &gateways).await;

    // The one that will be killed is called as well, until then.
    let survivors = (0..6).map(|n| load(gateways[n % 2], n, Arc::clone(&seen)));
    let loads: Vec<_> = survivors.map(tokio::spawn).collect();
    let last = tokio::spawn(load(gateways[2], 6, Arc::clone(&seen)));
    let mut calls = seen.calls.subscribe();
    soon(calls.wait_for(|calls| *calls >= 20 * DEVICES)).await.expect("they go on");
    seen.dying.store(true, Ordering::SeqCst);
    last.abort();
    soon(programs[2].process.kill()).await.expect("killed");
    seen.dead.store(true, Ordering::SeqCst);
    soon(join_all(loads)).await.into_iter().for_each(|load| load.expect("no panic"));
    let wrong = seen.wrong.lock().expect("a list");
    assert!(wrong.is_empty(), "{wrong:#?}");
    drop(devices);
    let _ = std::fs::remove_file(config);
}

//! Three gateways and one broker; one of them is killed under load.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::devices::{Form, Kind, Mode};
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::running::fleet;
use super::servers::{KEY, plain_api};

const DEVICES: usize = 12;

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
}

/// Calls every device in turn, until all have answered after the kill.
async fn load(gateway: SocketAddr, number: usize, seen: Arc<Seen>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut answered = HashSet::new();
    for n in 0.. {
        let device = (number + n) % DEVICES;
        let after = seen.dead.load(Ordering::SeqCst);
        let payload = format!("\"g{number}-{n}\"");
        let to = format!("{}/d{device}/call", Kind::Tencent.product());
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
            _ => wrong.push(format!("{payload}: {answer:?}")),
        }
        if answered.len() == DEVICES {
            break;
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_gateways_is_killed_under_load() {
    let broker = Mosquitto::start(&[]).await;
    let names: Vec<_> = (0..DEVICES).map(|n| (Kind::Tencent, format!("d{n}"))).collect();
    // The broker says when one is not there, so none need be missed; and a busy machine silences nobody so
    // long.
    let cluster = "[cluster]\nname = \"three\"\ndead_after = \"6s\"\n";
    let config = Mosquitto::file("cluster.toml", &format!("{cluster}{}", fleet(&names)));
    let address = SocketAddr::from(([127, 0, 0, 1], broker.port()));
    let devices =
        names.iter().map(|(kind, name)| kind.start(address, name, Form::Device, Mode::Upper));
    let devices = join_all(devices).await;
    let mut programs = Vec::new();
    for _ in 0..3 {
        programs.push(program(&broker, &config).await);
    }

    let seen = Arc::new(Seen::default());
    let loads: Vec<_> =
        (0..6).map(|n| tokio::spawn(load(programs[n % 2].http, n, Arc::clone(&seen)))).collect();
    let mut calls = seen.calls.subscribe();
    soon(calls.wait_for(|calls| *calls >= 20 * DEVICES)).await.expect("they go on");
    seen.dying.store(true, Ordering::SeqCst);
    soon(programs[2].process.kill()).await.expect("killed");
    seen.dead.store(true, Ordering::SeqCst);
    let wrong: Vec<String> =
        soon(join_all(loads)).await.into_iter().flat_map(|load| load.expect("no panic")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    drop(devices);
    let _ = std::fs::remove_file(config);
}

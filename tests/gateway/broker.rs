//! Beside a broker.

use std::net::SocketAddr;
use std::time::Duration;

use super::devices::{Form, Kind, Mode};
use super::http;
use super::matrix::{self, Between};
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::running::{Running, fleet};
use super::servers::{Asked, KEY, Outcome, Server, plain_api};

const PATIENT: Duration = Duration::from_secs(8);

/// The configuration of a gateway that has these devices at a broker.
fn config(broker: &Mosquitto, devices: &[(Kind, String)]) -> String {
    let places =
        format!("[http]\nlisten = [\"127.0.0.1:0\"]\n[mqtt.broker]\nurl = \"{}\"\n", broker.url());
    // Nobody sees here what a device says.
    let id = format!("id = \"{}\"\n", Kind::Extended.product());
    places + &fleet(devices).replace(&id, &format!("{id}ext = true\n"))
}

async fn beside(broker: &Mosquitto, devices: &[(Kind, String)]) -> Running {
    Running::start(&config(broker, devices)).await
}

fn address(broker: &Mosquitto) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], broker.port()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_calls_every_device_through_a_broker() {
    let cells = matrix::cells(Between::Broker);
    let devices = matrix::devices(&cells);
    // Two gateways beside one would both answer.
    let brokers = [Mosquitto::start(&[]).await, Mosquitto::start(&[]).await];
    let patient = Running::start(&matrix::patient(&config(&brokers[0], &devices))).await;
    let impatient = beside(&brokers[1], &devices).await;
    let first = (patient.http, address(&brokers[0]));
    let wrong = matrix::fill_in(&cells, first, (impatient.http, address(&brokers[1]))).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    patient.stop().await;
    impatient.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_may_go_away_and_come_back() {
    let mut broker = Mosquitto::start(&[]).await;
    let running = beside(&broker, &[(Kind::Plain, "lamp".to_owned())]).await;
    let places = (running.http, address(&broker));
    let _lamp = Kind::Plain.start(places.1, "lamp", Form::Device, Mode::Upper).await;
    let asked = Asked { kind: Kind::Plain, device: "lamp", form: Form::Device, timeout: PATIENT };
    let answered = Outcome::Answer("ON".to_owned());
    assert_eq!(Server::Plain.call(places, asked, "on").await, answered);

    broker.kill();
    let health = async |expected| {
        while http::send(places.0, "GET /healthz", &[], b"").await.status != expected {
            tokio::task::yield_now().await;
        }
    };
    soon(health(503)).await;
    let to = format!("{}/lamp/call", Kind::Plain.product());
    let answer = plain_api(places.0, KEY.2, &to, b"on").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("unavailable")));

    broker.restart().await;
    soon(health(200)).await;
    // The device comes back in its own time.
    let again = async {
        while Server::Plain.call(places, asked, "on").await != answered {
            tokio::task::yield_now().await;
        }
    };
    soon(again).await;
    running.stop().await;
}

/// Mosquitto closes the connection because of such topics, which all calls share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_costs_the_others_the_connection() {
    let broker = Mosquitto::start(&[]).await;
    let running = beside(&broker, &[(Kind::Native, "lamp".to_owned())]).await;
    let places = (running.http, address(&broker));
    let lamp = format!("{}/lamp", Kind::Native.product());
    for query in ["service=%EF%BF%BF", &format!("topic=devices/{lamp}{}x", "/".repeat(300))] {
        let answer = plain_api(places.0, KEY.2, &format!("{lamp}/call?{query}"), b"on").await;
        let found = (answer.status, answer.json()["code"].as_str().map(str::to_owned));
        assert_eq!(found, (400, Some("invalid".to_owned())), "{query}");
    }
    let asked = Asked { kind: Kind::Native, device: "lamp", form: Form::Device, timeout: PATIENT };
    assert_eq!(Server::Plain.call(places, asked, "on").await, Outcome::Offline);
    running.stop().await;
}

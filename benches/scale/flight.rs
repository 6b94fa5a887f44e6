//! One requester with many calls in flight at QoS 0, through a hub.

use bytes::Bytes;
use closed_loop::{Ask, Error, Load, Measurement, measure as measure_loop};
use tokio::io::AsyncReadExt;
use tower::{Service, ServiceExt};
use tower_mqtt::core::packet::Qos;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::link::OutgoingLimits;
use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};

use super::process::Process;
use super::targets::Targets;

/// As many messages may wait anywhere.
const ROOM: usize = 1 << 18;
const ROOM_BYTES: usize = 1 << 30;

pub(crate) fn measure(in_flight: &[usize], targets: &mut Targets) -> Result<(), Error> {
    println!(
        "\n| in flight | requests/s | p50 ms | CPU µs, requester + hub | ÷ first | peak MiB |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    let mut first = None;
    for &count in in_flight {
        let measurement = measure_one(count)?;
        let responder = measurement.responder.as_ref().ok_or("the hub was not measured")?;
        let requester = &measurement.requester;
        let cpu = requester.cpu_us_per_request + responder.cpu_us_per_request;
        let (first_count, first_cpu) = *first.get_or_insert((count, cpu));
        if (first_count, count) == (100, 100_000) {
            targets.check("CPU per request, 100,000 in flight ÷ 100", cpu / first_cpu, 2.0);
        }
        println!(
            "| {count} | {:.0} | {:.1} | {:.1} + {:.1} | {:.2} | {} + {} |",
            f64::from(u32::try_from(measurement.requests)?) / measurement.seconds,
            measurement.p50_us / 1e3,
            requester.cpu_us_per_request,
            responder.cpu_us_per_request,
            cpu / first_cpu,
            requester.peak_kib / 1024,
            responder.peak_kib / 1024,
        );
    }
    Ok(())
}

fn measure_one(in_flight: usize) -> Result<Measurement, Error> {
    let mut responder = Process::role(&["respond"])?;
    let (address, pid) = (responder.line()?, responder.id().to_string());
    let in_flight = in_flight.to_string();
    let load = ["--in-flight", &in_flight, "--payload", "64", "--millis", "3000"];
    let peer = ["ask", "--address", &address, "--responder-pid", &pid];
    let mut requester = Process::role(&[&peer[..], &load[..]].concat())?;
    Ok(serde_json::from_str(&requester.line()?)?)
}

pub(crate) async fn respond() -> Result<(), Error> {
    let builder = Hub::builder().bind("127.0.0.1:0").limits(|limits| {
        limits.queued_messages = ROOM;
        limits.queued_bytes = ROOM_BYTES;
        limits.between_workers = ROOM;
    });
    let hub = builder.start().await?;
    let router = Router::new().route("bench/echo", async |payload: Bytes| payload);
    let responder = Responder::builder(hub.link("responder")).concurrency(ROOM);
    let _responder = responder.serve(router).await?;
    println!("mqtt://{}", hub.local_addr().ok_or("the hub listens nowhere")?);
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

#[derive(Clone)]
struct Asker {
    requester: Requester,
    request: Request,
}

impl Ask for Asker {
    async fn ask(&mut self) -> Result<usize, Error> {
        let request = self.request.clone();
        let response = self.requester.ready().await?.call(request).await?;
        Ok(response.error_for_status()?.payload().len())
    }
}

pub(crate) async fn ask(load: &Load) -> Result<(), Error> {
    let limits = OutgoingLimits { messages: ROOM, bytes: ROOM_BYTES };
    let link = Client::builder(&load.address).outgoing_limits(limits).connect().await?;
    let requester = Requester::builder(link).max_in_flight(load.in_flight).build().await?;
    let payload = Bytes::from(vec![b'x'; load.payload]);
    let request = Request::to(TopicName::new("bench/echo")?, payload).qos(Qos::AtMostOnce);
    measure_loop(load, Asker { requester, request }).await
}

//! The asking process: a closed loop with a number of calls in flight.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use tower::{Service, ServiceExt};
use tower_mqtt::core::packet::Qos;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::{Client, Request, Requester};

use super::Error;
use super::measure::{Measurement, cpu_time};

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: String,
    #[arg(long)]
    qos: u8,
    #[arg(long)]
    in_flight: usize,
    #[arg(long)]
    payload: usize,
    #[arg(long)]
    millis: u64,
    /// Ask on the connection's thread.
    #[arg(long)]
    local: bool,
}

pub(crate) async fn ask(options: &Options) -> Result<(), Error> {
    let link = Client::connect(&options.address).await?;
    let requester = Requester::builder(link).max_in_flight(options.in_flight).build().await?;
    let topic = TopicName::new("bench/echo")?;
    let payload = bytes::Bytes::from(vec![b'x'; options.payload]);
    let qos = if options.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let request = Request::to(topic, payload).qos(qos);

    let window = Duration::from_millis(options.millis);
    let load = Load { requester, request, in_flight: options.in_flight, local: options.local };
    load.run_for(window / 3).await?;
    let (before, start) = (cpu_time()?, Instant::now());
    let times = load.run_for(window).await?;
    let measurement = Measurement::new(&times, start.elapsed(), cpu_time()?.saturating_sub(before));
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &measurement)?;
    out.flush()?;
    Ok(())
}

struct Load {
    requester: Requester,
    request: Request,
    in_flight: usize,
    local: bool,
}

impl Load {
    async fn run_for(&self, window: Duration) -> Result<Histogram<u64>, Error> {
        let end = Instant::now() + window;
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..self.in_flight {
            let calls = call_until(end, self.requester.clone(), self.request.clone());
            if self.local {
                let link = self.requester.link().clone();
                callers.spawn(async move { link.run_local(calls).await? });
            } else {
                callers.spawn(calls);
            }
        }
        let mut all = Histogram::new(3)?;
        while let Some(times) = callers.join_next().await {
            all.add(times??)?;
        }
        Ok(all)
    }
}

async fn call_until(
    end: Instant,
    mut requester: Requester,
    request: Request,
) -> Result<Histogram<u64>, Error> {
    let mut times = Histogram::new(3)?;
    let mut start = Instant::now();
    while start < end {
        let response = requester.ready().await?.call(request.clone()).await?;
        if response.payload().len() != request.payload().len() {
            return Err("an answer that is not the echo of its request".into());
        }
        let now = Instant::now();
        times.record(u64::try_from((now - start).as_nanos())?)?;
        start = now;
    }
    Ok(times)
}

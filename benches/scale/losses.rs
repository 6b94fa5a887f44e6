//! Calls that time out or are cancelled, over a link in memory that loses every request.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::time::{Duration, Instant};

use clap::Args;
use closed_loop::{Error, current_memory};
use tower::{Service, ServiceExt};
use tower_mqtt::core::packet::Qos;
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Router};

use super::process::Process;

const CALLERS: usize = 1024;
const STEPS: usize = 10;
const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    calls: usize,
}

pub(crate) fn measure(calls: usize) -> Result<(), Error> {
    println!("\n| timed out or cancelled, half each | memory MiB | µs each |\n|--:|--:|--:|");
    let mut process = Process::role(&["lose", "--calls", &calls.to_string()])?;
    let mut memory = Vec::new();
    for step in 1..=STEPS {
        let line = process.line()?;
        let (mib, micros) = line.split_once(' ').ok_or("a line without a time")?;
        memory.push(mib.parse::<f64>()?);
        println!("| {} | {mib} | {micros} |", calls * step / STEPS);
    }
    let most = |half: &[f64]| half.iter().copied().fold(0.0, f64::max);
    let (first, second) = memory.split_at(STEPS / 2);
    println!("\nMemory, second half ÷ first: {:.2}.", most(second) / most(first));
    println!("In flight at the end: {}.", process.line()?);
    Ok(())
}

/// Writes memory and time after each tenth, and at the end what is in flight.
pub(crate) async fn lose(options: &Options) -> Result<(), Error> {
    let network = Network::new();
    let router = Router::new().route("bench/lost", async || "never");
    let _responder = Responder::builder(network.link("responder")).serve(router).await?;
    let requester = Requester::builder(network.link("requester"));
    let requester = requester.max_in_flight(CALLERS).build().await?;
    network.on_message(|message| match message.topic.as_str() {
        "bench/lost" => Fate::Lose,
        _ => Fate::Deliver,
    });
    for _ in 0..STEPS {
        let start = Instant::now();
        let calls = options.calls / STEPS / CALLERS;
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..CALLERS {
            callers.spawn(lose_calls(requester.clone(), calls, number % 2 == 0));
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        let micros = start.elapsed().as_secs_f64() * 1e6 / (calls * CALLERS) as f64;
        println!("{:.1} {micros:.1}", current_memory(std::process::id())? as f64 / 1024.0);
    }
    // The link hears of the last cancels in its next turn.
    tokio::time::sleep(SHORT).await;
    println!("{}", requester.stats().in_flight);
    Ok(())
}

async fn lose_calls(mut requester: Requester, calls: usize, is_patient: bool) -> Result<(), Error> {
    for _ in 0..calls {
        let (timeout, patience) = if is_patient { (SHORT, LONG) } else { (LONG, SHORT) };
        let request = Request::new("bench/lost", "x")?.qos(Qos::AtMostOnce).timeout(timeout);
        let call = requester.ready().await?.call(request);
        match (is_patient, tokio::time::timeout(patience, call).await) {
            (true, Ok(Err(RequestError::Timeout))) | (false, Err(_)) => {}
            (_, other) => return Err(format!("a lost call ended with {other:?}").into()),
        }
    }
    Ok(())
}

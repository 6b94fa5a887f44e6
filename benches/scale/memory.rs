//! A responder that remembers its answers, over a link in memory.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use closed_loop::{Error, cpu_time};
use tower::{Service, ServiceExt};
use tower_mqtt::layer::DedupLayer;
use tower_mqtt::layer::dedup::InboxLimits;
use tower_mqtt::link::memory;
use tower_mqtt::{Request, Requester, Responder, Router};

use super::process::Process;
use super::targets::{Targets, median};

const CALLERS: usize = 64;
const ROUNDS: usize = 5;
/// Calls that are measured at a time.
const CALLS: usize = 200_000;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    answers: usize,
}

pub(crate) fn measure(answers: usize, targets: &mut Targets) -> Result<(), Error> {
    let sizes = [1, answers / 100, answers / 10, answers];
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let measured: Result<Vec<f64>, Error> = sizes.into_iter().map(measure_one).collect();
        rounds.push(measured?);
    }
    println!("\n| answers that are remembered | CPU µs per call | ÷ first |\n|--:|--:|--:|");
    for (column, size) in sizes.into_iter().enumerate() {
        let micros = median(rounds.iter().map(|round| round[column]).collect())?;
        let ratio = median(rounds.iter().map(|round| round[column] / round[0]).collect())?;
        println!("| {size} | {micros:.2} | {ratio:.2} |");
        if size == 100_000 {
            targets.check("CPU per request, 100,000 remembered answers ÷ 1", ratio, 1.2);
        }
    }
    println!("\nBoth sides together, {CALLERS} in flight. Medians of {ROUNDS} rounds.");
    Ok(())
}

fn measure_one(answers: usize) -> Result<f64, Error> {
    let mut process = Process::role(&["remember", "--answers", &answers.to_string()])?;
    Ok(process.line()?.parse()?)
}

/// Fills the memory, and then measures: each call is remembered, and the oldest answer forgotten.
pub(crate) async fn remember(options: &Options) -> Result<(), Error> {
    let mut limits = InboxLimits { bytes: 1 << 30, ..InboxLimits::default() };
    // Requests in progress are entries as well.
    limits.entries = options.answers + CALLERS;
    limits.age = Duration::from_hours(1);
    let dedup = DedupLayer::new(limits);
    let (asking, answering) = memory::pair();
    let router = Router::new().route("bench/echo", async |payload: Bytes| payload);
    let _responder = Responder::builder(answering).serve(router.layer(dedup.clone())).await?;
    let requester = Requester::builder(asking).build().await?;

    call(&requester, options.answers + CALLS / 10).await?;
    let before = cpu_time(std::process::id())?;
    call(&requester, CALLS).await?;
    let cpu = cpu_time(std::process::id())?.saturating_sub(before);
    if dedup.remembered() < options.answers {
        return Err(format!("only {} answers are remembered", dedup.remembered()).into());
    }
    println!("{}", cpu.as_secs_f64() * 1e6 / CALLS as f64);
    Ok(())
}

async fn call(requester: &Requester, calls: usize) -> Result<(), Error> {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let mut requester = requester.clone();
        callers.spawn(async move {
            for _ in 0..calls / CALLERS {
                let request = Request::new("bench/echo", vec![b'x'; 64])?;
                requester.ready().await?.call(request).await?.error_for_status()?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

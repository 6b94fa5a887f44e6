//! How every candidate is measured, ours and the peers alike: a closed loop with a number of calls
//! in flight, for a while, and what the processes used meanwhile.
//!
//! A candidate's program has two commands. `respond` writes its address to standard output and
//! answers until its standard input closes. `ask` takes a [`Load`] and writes a [`Measurement`].

mod measurement;
mod process;

use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;

pub use self::measurement::{Measurement, Usage};
pub use self::process::{cpu_time, current_memory, peak_memory};

/// Whatever stops a measurement.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The load of one measurement, as options of `ask`.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// What `respond` wrote.
    #[arg(long, default_value = "")]
    pub address: String,
    /// Of requests and answers, where there is such a thing.
    #[arg(long, default_value_t = 0)]
    pub qos: u8,
    /// Calls in flight at once.
    #[arg(long)]
    pub in_flight: usize,
    /// Bytes, both ways.
    #[arg(long)]
    pub payload: usize,
    /// How long it is measured, after a third of that as warm-up.
    #[arg(long)]
    pub millis: u64,
    /// The answering process.
    #[arg(long)]
    pub responder_pid: Option<u32>,
    /// What is between.
    #[arg(long)]
    pub broker_pid: Option<u32>,
}

/// One way to ask.
pub trait Ask: Clone + Send + 'static {
    /// Sends a request, and returns how many bytes the answer has.
    fn ask(&mut self) -> impl Future<Output = Result<usize, Error>> + Send;
}

/// Measures with every caller a task of this runtime, and writes the result.
///
/// # Errors
/// Whatever asking fails with.
pub async fn measure(load: &Load, asker: impl Ask) -> Result<(), Error> {
    let callers = async |window| {
        let end = Instant::now() + window;
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..load.in_flight {
            callers.spawn(ask_until(end, load.payload, asker.clone()));
        }
        let mut all = Histogram::new(3)?;
        while let Some(times) = callers.join_next().await {
            all.add(times??)?;
        }
        Ok(all)
    };
    measure_callers(load, callers).await
}

/// Measures callers that are started by `run_for`, which returns how long each call took. For what
/// cannot be sent to another thread.
///
/// # Errors
/// Whatever `run_for` fails with.
pub async fn measure_callers(
    load: &Load,
    run_for: impl AsyncFn(Duration) -> Result<Histogram<u64>, Error>,
) -> Result<(), Error> {
    let window = Duration::from_millis(load.millis);
    run_for(window / 3).await?;
    let before = process::Snapshot::take(load)?;
    let times = run_for(window).await?;
    let measurement = Measurement::new(&times, &before, &process::Snapshot::take(load)?);
    serde_json::to_writer(std::io::stdout().lock(), &measurement)?;
    Ok(())
}

/// One caller: asks again and again until `end`, and returns how long each call took.
///
/// # Errors
/// Whatever asking fails with; an answer that has not as many bytes as the payload.
pub async fn ask_until(
    end: Instant,
    payload: usize,
    mut asker: impl Ask,
) -> Result<Histogram<u64>, Error> {
    let mut laps = Laps::until(end, payload)?;
    while laps.go_on() {
        laps.answered(asker.ask().await?)?;
    }
    Ok(laps.times())
}

/// One caller's clock.
#[derive(Debug)]
pub struct Laps {
    end: Instant,
    start: Instant,
    payload: usize,
    times: Histogram<u64>,
}

impl Laps {
    /// Starts the first call.
    ///
    /// # Errors
    /// None that happen: the histogram's precision is a constant.
    pub fn until(end: Instant, payload: usize) -> Result<Self, Error> {
        Ok(Self { end, start: Instant::now(), payload, times: Histogram::new(3)? })
    }

    /// Whether there is time for another call.
    pub fn go_on(&self) -> bool {
        self.start < self.end
    }

    /// Ends a call and starts the next.
    ///
    /// # Errors
    /// The answer is not as long as the request was.
    pub fn answered(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes != self.payload {
            return Err("an answer that is not the echo of its request".into());
        }
        let now = Instant::now();
        self.times.record(u64::try_from((now - self.start).as_nanos())?)?;
        self.start = now;
        Ok(())
    }

    /// How long the calls took, in nanoseconds.
    pub fn times(self) -> Histogram<u64> {
        self.times
    }
}

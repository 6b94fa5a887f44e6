//! How every candidate is measured, ours and the peers alike: a closed loop with a number of calls
//! in flight, for a while, and what the processes used meanwhile.
//!
//! A candidate's program has two commands. `respond` writes its address to standard output and
//! answers until its standard input closes. `ask` takes a [`Load`] and writes a [`Measurement`].

mod measurement;
mod process;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    let callers = async |laps: Laps| {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..load.in_flight {
            callers.spawn(ask_until_end(laps.clone(), asker.clone()));
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        Ok(())
    };
    measure_callers(load, callers).await
}

/// Measures callers that `run` starts and waits for. For what cannot be sent to another thread.
///
/// # Errors
/// Whatever `run` fails with.
pub async fn measure_callers(
    load: &Load,
    run: impl AsyncFn(Laps) -> Result<(), Error>,
) -> Result<(), Error> {
    let window = Duration::from_millis(load.millis);
    run(Laps::start(window / 3, load.payload)?).await?;
    let before = process::Snapshot::take(load)?;
    let laps = Laps::start(window, load.payload)?;
    run(laps.clone()).await?;
    let measurement = Measurement::new(&laps.times(), &before, &process::Snapshot::take(load)?);
    serde_json::to_writer(std::io::stdout().lock(), &measurement)?;
    Ok(())
}

/// One caller: asks again and again until the time is over.
///
/// # Errors
/// Whatever asking fails with; an answer that is not as long as its request.
pub async fn ask_until_end(mut laps: Laps, mut asker: impl Ask) -> Result<(), Error> {
    while laps.go_on() {
        laps.answered(asker.ask().await?)?;
    }
    Ok(())
}

/// One caller's clock. A clone is another caller's, which adds to the same times: a histogram for
/// each would be most of the memory that is measured.
#[derive(Debug, Clone)]
pub struct Laps {
    end: Instant,
    start: Instant,
    payload: usize,
    times: Arc<Mutex<Histogram<u64>>>,
}

impl Laps {
    fn start(window: Duration, payload: usize) -> Result<Self, Error> {
        let start = Instant::now();
        let times = Arc::new(Mutex::new(Histogram::new(3)?));
        Ok(Self { end: start + window, start, payload, times })
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
        self.times().record(u64::try_from((now - self.start).as_nanos())?)?;
        self.start = now;
        Ok(())
    }

    /// Never waited for: all callers are on one thread.
    fn times(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

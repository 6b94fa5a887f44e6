//! A thread with an ntex System, on which connections live: ntex's handles cannot leave it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ntex::rt::{DefaultRuntime, System};

use crate::link::{Driver, Transport};

/// How long dropping a [`Thread`] waits for its end: a DISCONNECT is written in far less.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// The longest name that Linux shows for a thread.
const NAME_LEN: usize = 15;

/// A named thread that runs one future, and is joined when this handle is dropped. Whoever drops
/// it has told the future to end.
#[derive(Debug)]
pub(crate) struct Thread {
    handle: Option<JoinHandle<()>>,
    /// Its other end goes with the thread.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Thread {
    /// Starts a single-threaded ntex System without signal handling. `make` runs on the new thread.
    pub(crate) fn start<F>(
        name: &str,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + 'static,
    {
        let name = short_name(name);
        let (alive, ended) = mpsc::channel();
        let handle = thread::Builder::new().name(name.clone()).spawn(move || {
            let _alive: mpsc::Sender<()> = alive;
            let system = System::build().name(name).signals(false).ping_interval(0);
            system.build(DefaultRuntime).block_on(async move { make().await });
        })?;
        Ok(Self { handle: Some(handle), ended: Mutex::new(ended) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        // The last handle of a link may be dropped by a service that runs on this very thread.
        if handle.thread().id() == thread::current().id() {
            return;
        }
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(JOIN_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(thread = handle.thread().name(), "a connection thread does not end");
            return;
        }
        // A panic was reported where it happened.
        let _ = handle.join();
    }
}

/// Runs a connection to its end. A panic in it becomes an error for everybody who waits on it.
/// Between two polls others on the thread may borrow the driver.
pub(crate) async fn run<T: Transport>(driver: &RefCell<Driver<T>>) {
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| driver.borrow_mut().poll(cx)));
        polled.unwrap_or_else(|_| {
            tracing::error!("a panic on a connection: its link is closed");
            Poll::Ready(())
        })
    })
    .await;
    // After a panic the endpoints still have to be told. Should that panic as well, dropping them
    // closes their channels.
    let _ = catch_unwind(AssertUnwindSafe(|| driver.borrow_mut().shut()));
}

fn short_name(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(NAME_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_joined_when_dropped() {
        let (tx, rx) = mpsc::channel();
        let thread = Thread::start("tower-mqtt-té\0st-name", move || async move {
            ntex::time::sleep(Duration::from_millis(1)).await;
            let _ = tx.send(thread::current().name().map(str::to_owned));
        });
        drop(thread.expect("threads can be started"));
        assert_eq!(rx.try_recv(), Ok(Some("tower-mqtt-tst-".to_owned())));
    }

    #[test]
    fn does_not_wait_for_itself() {
        let (hand_over, handle) = mpsc::channel();
        let (dropped, is_dropped) = mpsc::channel();
        let thread = Thread::start("tower-mqtt-self", move || async move {
            drop::<Thread>(handle.recv().expect("handed over"));
            let _ = dropped.send(());
        });
        hand_over.send(thread.expect("threads can be started")).expect("the thread waits");
        assert_eq!(is_dropped.recv(), Ok(()));
    }

    #[test]
    fn a_panic_ends_it_without_a_hang() {
        let thread = Thread::start("tower-mqtt-boom", || async { panic!("on purpose") });
        drop(thread.expect("threads can be started"));
    }
}

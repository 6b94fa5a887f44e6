//! Every input of the fuzzer's corpus, once: see `tests/fuzz`. What it ever found does not come again.
#![cfg(all(unix, feature = "gateway"))]
#![allow(unreachable_pub, reason = "there it is the interface of a library")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

#[path = "fuzz/src/lib.rs"]
mod targets;

/// Counts panics of every thread: a server's own would otherwise not be seen.
static PANICS: LazyLock<Arc<AtomicUsize>> = LazyLock::new(|| {
    let panics = Arc::new(AtomicUsize::new(0));
    let (seen, default) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        seen.fetch_add(1, Ordering::Relaxed);
        default(info);
    }));
    panics
});

fn corpus() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fuzz", "corpus"].iter().collect()
}

fn replay(target: &str, run: fn(&[u8])) {
    let before = PANICS.load(Ordering::Relaxed);
    let mut inputs = 0;
    for entry in fs::read_dir(corpus().join(target)).expect("a corpus") {
        let path = entry.expect("readable").path();
        // Shown when it fails.
        println!("{}", path.display());
        run(&fs::read(&path).expect("readable"));
        assert_eq!(PANICS.load(Ordering::Relaxed), before, "a thread has panicked");
        inputs += 1;
    }
    assert!(inputs > 0, "no inputs");
}

macro_rules! replayed {
    ($($target:ident)+) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target), targets::$target::run);
        })+

        #[test]
        fn every_corpus_has_its_target() {
            let targets: BTreeSet<_> = [$(stringify!($target)),+].map(String::from).into();
            let corpora: BTreeSet<_> = fs::read_dir(corpus())
                .expect("a corpus")
                .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
                .collect();
            assert_eq!(corpora, targets);
        }
    };
}

replayed! { config dialects http hub signatures templates topics }

//! Certificates that are replaced while the hub runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tower::ServiceExt;
use tower_mqtt::hub::Listener;
use tower_mqtt::tls::{ServerTls, ServerTlsBuilder, ServerTlsError};
use tower_mqtt::{Hub, Request, Requester};

use super::certificates::{Authority, Files};
use super::programs::soon;
use super::{client, echo, requester, works};

fn builder(files: &Files) -> ServerTlsBuilder {
    ServerTls::builder(&files.certificate, &files.key)
}

async fn hub(tls: &ServerTls) -> Hub {
    let listener = Listener::tls("127.0.0.1:0", tls.clone());
    Hub::builder().listen(listener).start().await.expect("started")
}

/// Calls until it is told to stop; how often.
async fn call(requester: Requester, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let request = Request::new("echo", "soup").expect("a topic");
        let response = soon(requester.clone().oneshot(request)).await.expect("answered");
        assert_eq!(response.payload(), "soup");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_under_load_and_no_call_is_lost() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = old.server(&["127.0.0.1"]);
    let tls = builder(&files).load().expect("loaded");
    let hub = hub(&tls).await;
    let _responder = echo(&hub).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut calls = Vec::new();
    for _ in 0..4 {
        let requester = requester(client(&hub.listeners()[0], &old)).await;
        calls.push(tokio::spawn(call(requester, Arc::clone(&stop), Arc::clone(&count))));
    }
    let proceeds = async |more: usize| {
        let goal = count.load(Ordering::Relaxed) + more;
        while count.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
    };
    soon(proceeds(50)).await;
    for authority in [&new, &old, &new] {
        authority.server(&["127.0.0.1"]).replace(&files);
        assert!(tls.reload().expect("loaded"));
        works(&requester(client(&hub.listeners()[0], authority)).await, 10).await;
        soon(proceeds(50)).await;
    }
    soon(client(&hub.listeners()[0], &old).connect()).await.expect_err("it has another one now");
    stop.store(true, Ordering::Relaxed);
    for call in calls {
        soon(call).await.expect("every call was answered");
    }
}

#[tokio::test]
async fn the_hub_looks_for_itself_whether_files_have_changed() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = old.server(&["127.0.0.1"]);
    let tls = builder(&files).check_every(Duration::from_millis(10)).load().expect("loaded");
    let hub = hub(&tls).await;
    new.server(&["127.0.0.1"]).replace(&files);
    soon(async { while client(&hub.listeners()[0], &new).connect().await.is_err() {} }).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_what_was_loaded() {
    let authority = Authority::new("kitchen");
    let files = authority.server(&["127.0.0.1"]);
    let tls = builder(&files).load().expect("loaded");
    let hub = hub(&tls).await;
    // Half of a rotation.
    fs::copy(authority.server(&["127.0.0.1"]).key, &files.key).expect("copied");
    let error = tls.reload().expect_err("they do not belong together");
    assert!(matches!(error, ServerTlsError::Certificate { .. }), "{error}");
    for (text, expected) in [("nothing", "holds no certificate"), ("", "holds no certificate")] {
        fs::write(&files.certificate, text).expect("written");
        let error = tls.reload().expect_err("no certificate").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&*files.certificate.to_string_lossy()), "{error}");
    }
    fs::remove_file(&files.certificate).expect("removed");
    assert!(matches!(tls.reload(), Err(ServerTlsError::File(_))));
    soon(client(&hub.listeners()[0], &authority).connect()).await.expect("accepted as before");
}

#[test]
fn what_cannot_be_used_is_not_loaded() {
    let authority = Authority::new("kitchen");
    let (one, other) = (authority.server(&["a"]), authority.server(&["a"]));
    let error = ServerTls::builder(&one.certificate, &other.key).load().expect_err("mixed up");
    let text = error.to_string();
    assert!(text.contains(&*other.key.to_string_lossy()) && text.contains("key"), "{text}");
    let error = ServerTls::builder(&one.key, &one.key).load().expect_err("no certificate");
    assert!(matches!(error, ServerTlsError::File(_)), "{error}");
}

//! What may be at the path of a Unix socket, and what becomes of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tower_mqtt::Hub;
use tower_mqtt::hub::{HubError, Listener, Transport};
use tower_mqtt::link::Client;

use super::certificates::Authority;
use super::programs::soon;
use super::socket;

async fn start(path: &Path) -> Result<Hub, HubError> {
    Hub::builder().listen(Listener::unix(path)).start().await
}

/// Whether a client is accepted there.
async fn is_served(path: &Path) -> bool {
    let url = format!("unix:{}", path.display());
    soon(Client::builder(&url).connect()).await.is_ok()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// A directory that goes with the authority, and a path in it.
fn place() -> (Authority, PathBuf) {
    let authority = Authority::new("kitchen");
    let path = socket(&authority);
    (authority, path)
}

#[tokio::test]
async fn a_socket_goes_with_its_hub() {
    let (_directory, path) = place();
    let hub = start(&path).await.expect("started");
    let url = format!("unix:{}", path.display());
    let link = soon(Client::connect(&url)).await.expect("accepted");
    let (present, _) = hub.presence();
    assert_eq!((present[0].peer, present[0].transport), (None, Transport::Unix));
    drop(link);
    hub.shutdown(Duration::from_secs(1)).await;
    assert!(!path.exists());
    let hub = start(&path).await.expect("started again");
    drop(hub);
    soon(async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn its_owner_may_connect_and_others_if_the_mode_says_so() {
    let (_directory, path) = place();
    let hub = start(&path).await.expect("started");
    assert_eq!(mode(&path), 0o600);
    hub.shutdown(Duration::from_secs(1)).await;
    let listener = Listener::unix(&path).mode(0o666);
    let _hub = Hub::builder().listen(listener).start().await.expect("started");
    assert_eq!(mode(&path), 0o666);
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "as after a crash");
    let _hub = start(&path).await.expect("started");
    assert!(is_served(&path).await);
}

#[tokio::test]
async fn what_is_not_a_stale_socket_stays() {
    let (_directory, path) = place();
    let file = path.with_file_name("file");
    fs::write(&file, "precious").expect("written");
    let folder = path.with_file_name("folder");
    fs::create_dir(&folder).expect("made");
    let stale = path.with_file_name("stale");
    drop(UnixListener::bind(&stale).expect("bound"));
    let [link, dangling] = ["link", "dangling"].map(|name| path.with_file_name(name));
    symlink(&stale, &link).expect("linked");
    symlink(path.with_file_name("nothing"), &dangling).expect("linked");
    let datagrams = path.with_file_name("datagrams");
    let _datagrams = UnixDatagram::bind(&datagrams).expect("bound");
    for taken in [&file, &folder, &link, &dangling, &datagrams] {
        let before = fs::symlink_metadata(taken).expect("there").file_type();
        let error = start(taken).await.expect_err("in the way").to_string();
        assert!(error.contains("socket"), "{error}");
        assert!(error.contains(&*taken.to_string_lossy()), "{error}");
        assert_eq!(fs::symlink_metadata(taken).expect("there").file_type(), before);
    }
    assert_eq!(fs::read_to_string(&file).expect("there"), "precious");
    assert!(stale.exists());
}

#[tokio::test]
async fn a_socket_in_use_stays() {
    let (_directory, path) = place();
    let _hub = start(&path).await.expect("started");
    let error = start(&path).await.expect_err("in use").to_string();
    assert!(error.contains("somebody listens"), "{error}");
    assert!(is_served(&path).await);
}

#[tokio::test]
async fn a_socket_that_took_the_place_of_the_hubs_stays() {
    let (_directory, path) = place();
    let hub = start(&path).await.expect("started");
    fs::remove_file(&path).expect("removed");
    let _other = UnixListener::bind(&path).expect("bound");
    hub.shutdown(Duration::from_secs(1)).await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_path_that_cannot_be_bound_is_an_error() {
    let (_directory, path) = place();
    for path in [path.with_file_name("x".repeat(200)), path.join("below")] {
        assert!(matches!(start(&path).await, Err(HubError::Bind { .. })), "{}", path.display());
    }
}

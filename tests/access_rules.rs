//! The lines that the threat model gives for mosquitto keep to what it says of them.
#![cfg(feature = "ntex")]

#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/soon.rs"]
mod soon;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tower::ServiceExt;
use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::{
    Client, ConnectError, Link, Request, RequestError, Requester, Responder, Response, Router,
};

use self::mosquitto::Mosquitto;
use self::soon::soon;

/// The two blocks below "Mosquitto" on the page: the configuration, and the access rules.
fn lines_of_the_page() -> (Vec<String>, String) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/threat_model.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, behind) = page.split_once("## Mosquitto\n").expect("the heading");
    let (section, _) = behind.split_once("\n## ").expect("another heading");
    let mut blocks = section.split("```text\n").skip(1);
    let mut block = || {
        let block = blocks.next().expect("two blocks");
        block.split_once("```").expect("its end").0.to_owned()
    };
    (block().lines().map(str::to_owned).collect(), block())
}

/// A mosquitto with the lines of the page, for the users kitchen, M7 and M8, and the files that it
/// reads.
struct Guarded {
    broker: Mosquitto,
    files: Vec<PathBuf>,
}

impl Guarded {
    /// `rules`: with the access rules; else with the rest only.
    async fn start(rules: bool) -> Self {
        let (config, acl) = lines_of_the_page();
        let passwords = Mosquitto::file("passwords", "");
        for user in ["kitchen", "M7", "M8"] {
            let mut command = Command::new("mosquitto_passwd");
            let command = command.arg("-b").arg(&passwords).args([user, &password(user)]);
            assert!(command.status().expect("it is part of mosquitto").success());
        }
        let acl = Mosquitto::file("acl", &acl);
        for file in [&passwords, &acl] {
            readable(file);
        }
        let place = |line: String| {
            line.replace("/etc/mosquitto/passwords", &passwords.display().to_string())
                .replace("/etc/mosquitto/acl", &acl.display().to_string())
        };
        let config: Vec<String> = config.into_iter().map(place).collect();
        let config = config.iter().map(String::as_str);
        let config: Vec<&str> =
            config.filter(|line| rules || !line.starts_with("acl_file")).collect();
        Self { broker: Mosquitto::start(&config).await, files: vec![passwords, acl] }
    }

    async fn connect(&self, user: &str, client_id: &str) -> Link {
        let client = Client::builder(&self.broker.url()).client_id(client_id);
        soon(client.credentials(user, password(user)).connect()).await.expect("connected")
    }

    async fn requester(&self, user: &str) -> Requester {
        let link = self.connect(user, user).await;
        Requester::builder(link).build().await.expect("subscribed")
    }

    /// Answers with its name.
    async fn responder(&self, user: &'static str, client_id: &str) -> Responder {
        let router = Router::new().route("recipes/{category}/get", async move || user);
        let link = self.connect(user, client_id).await;
        Responder::builder(link).serve(router).await.expect("mosquitto grants it")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.broker.kill();
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

fn password(user: &str) -> String {
    format!("the password of {user}")
}

/// By the user that mosquitto becomes when root starts it.
#[cfg(unix)]
fn readable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("our own file");
}

#[cfg(not(unix))]
fn readable(_: &Path) {}

async fn ask(requester: &Requester, topic: &str) -> Result<Response, RequestError> {
    soon(requester.clone().oneshot(Request::new(topic, "").expect("a topic name"))).await
}

/// Somebody who asks as well listens where the answers to M7 go: how many it hears.
async fn overheard(guarded: &Guarded) -> u64 {
    let kitchen = guarded.responder("kitchen", "kitchen").await;
    let victim = guarded.requester("M7").await;
    let spy = guarded.requester("M8").await;
    let topic = TopicName::new("clients/M7/responses").expect("a topic name");
    let ear = Requester::builder(spy.link().clone()).response_topic(topic);
    let ear = ear.build().await.expect("mosquitto grants it");
    let answer = ask(&victim, "recipes/soup/get").await.expect("answered");
    assert_eq!(answer.payload(), "kitchen");
    // Its own answer comes after what it may have heard before.
    ask(&spy, "recipes/soup/get").await.expect("answered");
    drop(kitchen);
    ear.stats().unknown
}

#[tokio::test]
async fn nobody_reads_the_answers_to_another() {
    assert_eq!(overheard(&Guarded::start(false).await).await, 1, "without the rules it would");
    assert_eq!(overheard(&Guarded::start(true).await).await, 0);
}

#[tokio::test]
async fn nobody_but_the_kitchen_answers_and_nobody_asks_for_what_he_may_not() {
    let guarded = Guarded::start(true).await;
    let kitchen = guarded.responder("kitchen", "kitchen").await;
    let requester = guarded.requester("M8").await;
    for topic in ["clients/M7/responses", "clients/M8/responses", "recipes/soup/set", "else"] {
        let refused = ask(&requester, topic).await;
        let expected = RequestError::Rejected(ReasonCode::NOT_AUTHORIZED);
        assert_eq!(refused.expect_err(topic), expected, "{topic}");
    }
    assert!(ask(&requester, "recipes/soup/get").await.is_ok());
    assert_eq!(kitchen.stats().received, 1);
}

#[tokio::test]
async fn nobody_but_the_kitchen_gets_requests() {
    let guarded = Guarded::start(true).await;
    let impostor = guarded.responder("M8", "M8").await;
    let kitchen = guarded.responder("kitchen", "kitchen").await;
    let victim = guarded.requester("M7").await;
    for _ in 0..3 {
        let answer = ask(&victim, "recipes/soup/get").await.expect("answered");
        assert_eq!(answer.payload(), "kitchen");
    }
    assert_eq!((impostor.stats().received, kitchen.stats().received), (0, 3));
}

#[tokio::test]
async fn nobody_takes_the_connection_of_another() {
    let guarded = Guarded::start(true).await;
    let kitchen = guarded.responder("kitchen", "kitchen").await;
    let _thief = guarded.connect("M8", "kitchen").await;
    let victim = guarded.requester("M7").await;
    assert!(ask(&victim, "recipes/soup/get").await.is_ok());
    assert!(kitchen.link().is_connected());
}

#[tokio::test]
async fn nobody_connects_without_his_password() {
    let guarded = Guarded::start(true).await;
    let url = guarded.broker.url();
    let clients = [
        Client::builder(&url),
        Client::builder(&url).credentials("M7", "guessed"),
        Client::builder(&url).credentials("M9", password("M9")),
    ];
    for client in clients {
        let refusal = soon(client.connect()).await.expect_err("refused");
        assert!(matches!(refusal, ConnectError::Refused { .. }), "{refusal}");
    }
}

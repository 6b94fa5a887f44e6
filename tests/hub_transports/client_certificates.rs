//! Mutual TLS: who a certificate says that a client is.

use std::fs;
use std::sync::{Arc, Mutex};

use tower::ServiceExt;
use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::hub::{Credentials, HubBuilder, Identity, Listener, Transport};
use tower_mqtt::layer::authorize::hub_identity::HubIdentity;
use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller};
use tower_mqtt::link::{Client, ClientBuilder};
use tower_mqtt::tls::{ClientCertificates, ClientTls, ServerTls};
use tower_mqtt::{ConnectError, Hub, Request, Responder, Router, Status};

use super::certificates::{Authority, Files};
use super::programs::soon;
use super::{echo, requester, works};

fn asking(authority: &Authority, certificates: ClientCertificates) -> ServerTls {
    let files = authority.server(&["127.0.0.1"]);
    let tls = ServerTls::builder(files.certificate, files.key);
    tls.client_authorities(authority.certificate(), certificates).load().expect("loaded")
}

/// A client with this certificate, or none.
fn client(hub: &Hub, authority: &Authority, files: Option<Files>) -> ClientBuilder {
    let tls = ClientTls::new().ca_file(authority.certificate());
    let tls = match files {
        Some(files) => tls.certificate_files(files.certificate, files.key),
        None => tls,
    };
    Client::builder(&hub.listeners()[0].to_string()).tls(tls).client_id("M7")
}

/// Says whom the hub takes the caller for.
async fn concierge(hub: &Hub) -> Responder {
    let router = Router::new()
        .route("who", async |caller: Caller| caller.to_string())
        .layer(AuthorizeLayer::new(HubIdentity::new()));
    Responder::builder(hub.link("concierge")).serve(router).await.expect("subscribed")
}

async fn who(client: ClientBuilder) -> Result<String, Status> {
    let requester = requester(client).await;
    let request = Request::new("who", "").expect("a topic");
    let response = soon(requester.oneshot(request)).await.expect("answered");
    if !response.status().is_success() {
        return Err(response.status().clone());
    }
    Ok(String::from_utf8(response.payload().to_vec()).expect("text"))
}

async fn start(hub: HubBuilder, listener: Listener) -> Hub {
    hub.listen(listener).start().await.expect("started")
}

#[tokio::test]
async fn without_a_hook_a_client_is_who_its_certificate_says() {
    let authority = Authority::new("kitchen");
    for secure in [Listener::tls, Listener::wss] {
        let tls = asking(&authority, ClientCertificates::Optional);
        let hub = start(Hub::builder(), secure("127.0.0.1:0", tls)).await;
        let _concierge = concierge(&hub).await;
        let anna = client(&hub, &authority, Some(authority.client("anna.kitchen")));
        assert_eq!(who(anna).await.as_deref(), Ok("anna.kitchen"));
        // It calls itself what it likes, so nobody is told.
        let stranger = client(&hub, &authority, None).client_id("anna.kitchen");
        assert_eq!(who(stranger).await, Err(Status::UNAUTHORIZED));
        let nameless = client(&hub, &authority, Some(authority.client("")));
        match soon(nameless.connect()).await {
            Err(ConnectError::Refused { reason: ReasonCode::NOT_AUTHORIZED, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A valid certificate lets a client choose its identifier, but not that of somebody else.
#[tokio::test]
async fn a_certificate_does_not_take_over_the_session_of_another() {
    let authority = Authority::new("kitchen");
    for secure in [Listener::tls, Listener::wss] {
        let tls = asking(&authority, ClientCertificates::Optional);
        let hub = start(Hub::builder(), secure("127.0.0.1:0", tls)).await;
        let _responder = echo(&hub).await;
        let [anna, bert] = ["anna", "bert"].map(|name| Some(authority.client(name)));
        let anna = client(&hub, &authority, anna);
        let calls = requester(anna.clone()).await;
        for other in [client(&hub, &authority, bert), client(&hub, &authority, None)] {
            match soon(other.connect()).await {
                Err(ConnectError::Refused { reason, .. }) => {
                    assert_eq!(reason, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
                }
                other => panic!("{other:?}"),
            }
        }
        works(&calls, 10).await;
        assert!(calls.link().is_connected());
        // Its own it takes.
        works(&requester(anna).await, 10).await;
        soon(calls.link().disconnected()).await;
    }
}

#[tokio::test]
async fn a_hook_sees_the_certificate_and_names_the_client() {
    let authority = Authority::new("kitchen");
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let hook = move |credentials: Credentials| {
        let certificate = credentials.certificate.clone().expect("verified");
        let name = format!("cook {}", certificate.common_name().expect("named"));
        *keep.lock().unwrap() = Some(credentials);
        async { Ok(Identity::new(name)) }
    };
    let tls = asking(&authority, ClientCertificates::Required);
    let hub = start(Hub::builder().authenticate(hook), Listener::tls("127.0.0.1:0", tls)).await;
    let _concierge = concierge(&hub).await;
    let files = authority.client("anna.kitchen");
    let pem = fs::read(&files.certificate).expect("written");
    assert_eq!(
        who(client(&hub, &authority, Some(files))).await.as_deref(),
        Ok("cook anna.kitchen")
    );
    let credentials = seen.lock().unwrap().take().expect("the hook was asked");
    assert_eq!(credentials.transport, Transport::Tls);
    let certificate = credentials.certificate.expect("verified");
    assert_eq!(certificate.dns_names().collect::<Vec<_>>(), ["anna.kitchen"]);
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(&pem);
    let der: rustls::pki_types::CertificateDer<'_> = der.expect("a certificate");
    assert_eq!(certificate.der(), &*der);
}

#[tokio::test]
async fn who_must_have_a_certificate_and_has_none_or_another_is_refused() {
    let (authority, other) = (Authority::new("kitchen"), Authority::new("other"));
    let tls = asking(&authority, ClientCertificates::Required);
    let hub = start(Hub::builder(), Listener::tls("127.0.0.1:0", tls)).await;
    soon(client(&hub, &authority, None).connect()).await.expect_err("no certificate");
    let foreign = Some(other.client("anna"));
    soon(client(&hub, &authority, foreign).connect()).await.expect_err("not ours");
    let own = Some(authority.client("anna"));
    soon(client(&hub, &authority, own).connect()).await.expect("ours");
}

#[tokio::test]
async fn an_authority_that_is_taken_out_signs_for_nobody_who_connects_from_then_on() {
    let (authority, second) = (Authority::new("kitchen"), Authority::new("second"));
    let trusted = authority.certificate().with_file_name("trusted.pem");
    let read =
        |authority: &Authority| fs::read_to_string(authority.certificate()).expect("written");
    fs::write(&trusted, [read(&authority), read(&second)].concat()).expect("written");
    let files = authority.server(&["127.0.0.1"]);
    let tls = ServerTls::builder(files.certificate, files.key)
        .client_authorities(&trusted, ClientCertificates::Required)
        .load()
        .expect("loaded");
    let hub = start(Hub::builder(), Listener::tls("127.0.0.1:0", tls.clone())).await;
    let _responder = echo(&hub).await;
    let first = client(&hub, &authority, Some(authority.client("first")));
    let second = client(&hub, &authority, Some(second.client("second"))).client_id("M8");
    let calls = requester(first.clone()).await;
    requester(second.clone()).await;
    fs::write(&trusted, read(&authority)).expect("written");
    assert!(tls.reload().expect("loaded"));
    assert!(!tls.reload().expect("loaded"), "nothing has changed since");
    soon(second.connect()).await.expect_err("not trusted any more");
    works(&calls, 10).await;
    soon(first.client_id("M9").connect()).await.expect("trusted");
}

//! Every pair of dialects translated by a hub: what its devices and their absence look like to callers.
#![cfg(all(feature = "ntex", feature = "json"))]

mod support;

use std::sync::Arc;

use support::*;
use tower_mqtt::bridge::{Translation, TranslationError};
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::{Dialect, Native};
use tower_mqtt::hub::HubError;
use tower_mqtt::{Hub, Request, RequestError, Requester, Responder, Router};

/// A dialect, and where it asks the device `dn` of the product `pk`, as a template.
type Side = (Arc<dyn Dialect>, &'static str);

fn sides() -> Vec<Side> {
    vec![
        (Arc::new(Native::new()), "devices/{product}/{device}"),
        (Arc::new(aliyun::system()), "{product}/{device}"),
        (Arc::new(aliyun::custom()), "{product}/{device}/user/get"),
        (Arc::new(aliyun::thing_service()), "{product}/{device}/lock"),
        (Arc::new(tencent::rrpc()), "{product}/{device}"),
    ]
}

fn pairs() -> impl Iterator<Item = (Side, Side)> {
    let pairs = sides().into_iter().flat_map(|a| sides().into_iter().map(move |b| (a.clone(), b)));
    pairs.filter(|(a, b)| a.0.name() != b.0.name())
}

fn address(template: &str) -> String {
    template.replace("{product}", "pk").replace("{device}", "dn")
}

/// A hub that translates, and a caller.
async fn hub(from: &Side, to: &Side) -> (Hub, Requester) {
    let narrow = |side: &Side| filter(if side.0.name() == "native" { "#" } else { "pk/#" });
    let peers = narrow(to);
    let translation = Translation::new(Arc::clone(&from.0), Arc::clone(&to.0))
        .route(from.1, to.1)
        .requester(move |builder| builder.peers(peers.clone()));
    let hub = Hub::builder().translate(translation).start().await.unwrap();
    let caller =
        Requester::builder(hub.link("caller")).dialect(Arc::clone(&from.0)).peers(narrow(from));
    let caller = caller.build().await.unwrap();
    (hub, caller)
}

#[tokio::test]
async fn an_answer_crosses_the_hub_in_every_pair() {
    for (from, to) in pairs() {
        let (hub, caller) = hub(&from, &to).await;
        let router = Router::new().route(&address(to.1), async |question: bytes::Bytes| question);
        let device = Responder::builder(hub.link("pk/dn")).dialect(Arc::clone(&to.0));
        let device = device.serve(router).await.unwrap();
        let request = Request::new(address(from.1), r#"{"turn":"left"}"#).unwrap();
        let answer = call(&caller, request).await.unwrap();
        assert_eq!(answer.payload(), r#"{"turn":"left"}"#, "{} {}", from.0.name(), to.0.name());
        assert_eq!(device.stats().answered, 1);
        hub.shutdown(SECOND).await;
    }
}

/// Why there is no device, as a caller is told who can be told; where it is pushed to there is one.
#[tokio::test]
async fn the_hub_knows_why_nobody_answers() {
    for (from, to) in pairs().filter(|(from, _)| from.0.carries().status) {
        let (hub, caller) = hub(&from, &to).await;
        let request = || Request::new(address(from.1), "{}").unwrap().timeout(SECOND);
        let names = format!("{} {}", from.0.name(), to.0.name());
        let why = |error: RequestError| Some(error.to_string());
        let absent = call(&caller, request()).await.unwrap();
        let offline =
            if to.0.name() == "native" { RequestError::NoResponder } else { RequestError::Offline };
        assert_eq!(absent.status().code(), 503, "{names}");
        assert_eq!(absent.status().message().map(str::to_owned), why(offline), "{names}");

        let deaf = hub.link("pk/dn");
        assert!(deaf.connected().await);
        let outcome = call(&caller, request()).await;
        if to.0.name() == "aliyun-service" {
            // It is pushed to, and says nothing.
            assert_eq!(outcome.unwrap_err(), RequestError::Timeout, "{names}");
        } else {
            let status = outcome.unwrap().status().clone();
            let expected = if to.0.name() == "native" {
                RequestError::NoResponder
            } else {
                RequestError::NotSubscribed
            };
            assert_eq!(status.message().map(str::to_owned), why(expected), "{names}");
        }
        hub.shutdown(SECOND).await;
    }
}

#[tokio::test]
async fn a_translation_that_would_hear_itself_is_refused() {
    let refused = async |translation: Translation| {
        let hub = Hub::builder().translate(translation).start().await;
        let Err(HubError::Translation(why)) = hub else { panic!("it was started") };
        why
    };
    let same = Translation::new(aliyun::system(), aliyun::system());
    let why = refused(same.route("{p}/{d}", "{p}/{d}")).await;
    assert!(matches!(why, TranslationError::Loop { .. }), "{why}");
    let wide = Translation::new(Native::new(), Native::new());
    let why = refused(wide.route("{rest*}", "there/{rest*}")).await;
    assert!(matches!(why, TranslationError::Loop { .. }), "{why}");
    let services = aliyun::thing_service().over_system_topics();
    let why = refused(Translation::new(services, aliyun::system()).route("{p}/{d}/{s}", "{p}/{d}"));
    assert!(matches!(why.await, TranslationError::Loop { .. }));
    let there = || Translation::new(Native::new(), aliyun::system()).route("a/{p}/{d}", "{p}/{d}");
    let back = || Translation::new(aliyun::system(), Native::new()).route("{p}/{d}", "a/{p}/{d}");
    let hub = Hub::builder().translate(there()).translate(back()).start().await;
    let Err(HubError::Translation(why)) = hub else { panic!("two make a loop") };
    assert!(matches!(why, TranslationError::Loop { .. }), "{why}");
    let crossed = Translation::new(Native::new(), Native::new()).route("a/{x}", "b/{x}");
    let why = refused(crossed.route("b/{x}", "a/{x}")).await;
    assert!(matches!(why, TranslationError::Loop { .. }), "{why}");
    let unknown = Translation::new(Native::new(), tencent::rrpc()).route("{p}", "{p}/{d}");
    assert!(matches!(refused(unknown).await, TranslationError::Route(_)));
}

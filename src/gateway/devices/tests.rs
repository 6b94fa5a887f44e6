//! A hub that lets devices in, and devices that do exactly what the tests tell them.

#[path = "../../../tests/support/raw.rs"]
mod raw;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::raw::{Connect, Packet, Properties, Raw};
use super::super::config::{AccessKey, Device, Dialect, Product};
use super::super::keys::Keys;
use super::super::products::Products;
use super::*;
use crate::gateway::listing::Wanted;
use crate::hub::Hub;

/// As the vendor's SDK for Python sends it (at 1795508464).
const ALIYUN: &str = "10b60100044d51545404c2003c006b613174657374504b303031266465766963\
    65317c7365637572656d6f64653d332c7369676e6d6574686f643d686d6163736861312c6578743d312c5f73733d31\
    2c6c616e3d507974686f6e2c5f763d312e322e31332c74696d657374616d703d313739353530383436347c0013646576\
    6963653126613174657374504b3030310028623431613864313134393761656335313831373639346439643262336138\
    64363935666162643139";

const SERVICE: &str = "/ext/rrpc/1/sys/a1testPK001/device1/thing/service/light";
const TENCENT_USER: &str = "KL4J2TEST1airConditioner1;21010406;abcde;1700000000000";

/// As Tencent's SDK for Python sends it, in MQTT 3.1.
fn tencent() -> Connect {
    Connect::new("KL4J2TEST1airConditioner1")
        .version(3)
        .keep_alive(60)
        .credentials(TENCENT_USER, "085ceea3b9cf28680f12700a49d3c03bd4844d70;hmacsha1")
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

fn products() -> Vec<Product> {
    let product = |id: &str, dialect, devices: &[(&str, &str)]| Product {
        id: id.to_owned(),
        dialect,
        timeout: None,
        one_in_flight: false,
        ext: false,
        devices: devices.iter().map(|(name, secret)| Device::new(*name, *secret)).collect(),
    };
    let secret = "0123456789abcdef0123456789abcdef";
    vec![
        product("a1testPK001", Dialect::Aliyun, &[("device1", secret), ("device2", "two")]),
        product("KL4J2TEST1", Dialect::Tencent, &[("airConditioner1", "MDEyMzQ1Njc4OWFiY2RlZg==")]),
        product("lamps", Dialect::Native, &[("kitchen", "secret")]),
    ]
}

async fn start(workers: usize) -> (Hub, SocketAddr, Roster) {
    let key = AccessKey {
        id: "LTAI".to_owned(),
        secret: Some("testsecret".into()),
        bearer: None,
        products: Some(vec!["lamps".to_owned()]),
    };
    let (products, keys) = (products(), Keys::new(&[key]));
    let store = Arc::new(ConfiguredDevices::new(&products));
    let admission = Admission::new(Arc::new(Products::new(&products)), store, Arc::new(keys));
    let admission = Arc::new(admission);
    let at_the_door = Arc::clone(&admission);
    let hub = Hub::builder()
        .bind("127.0.0.1:0")
        .workers(workers)
        .authenticate(move |credentials| {
            let admission = Arc::clone(&at_the_door);
            async move { admission.authenticate(credentials).await }
        })
        .authorize(move |identity, id, access| admission.allows(identity, id, access))
        .start()
        .await
        .expect("started");
    let address = hub.local_addr().expect("bound");
    let roster = Roster::of(&hub);
    (hub, address, roster)
}

async fn try_connect(address: SocketAddr, bytes: &[u8], version: u8) -> (Raw, u8) {
    let mut raw = Raw::open_version(address, version).await;
    raw.send(bytes).await;
    match soon(raw.read()).await {
        Some(Packet::ConnAck { reason, .. }) => (raw, reason),
        other => panic!("no CONNACK but {other:?}"),
    }
}

async fn aliyun(address: SocketAddr) -> Raw {
    let (raw, reason) = try_connect(address, &hex::decode(ALIYUN).expect("hex"), 4).await;
    assert_eq!(reason, 0);
    raw
}

async fn until(roster: &Roster, product: &str, device: &str, is: impl Fn(Whereabouts) -> bool) {
    let reached = async {
        while !is(roster.find(product, device)) {
            tokio::task::yield_now().await;
        }
    };
    soon(reached).await;
}

fn is_connected(whereabouts: Whereabouts) -> bool {
    matches!(whereabouts, Whereabouts::Connected { .. })
}

#[tokio::test]
async fn the_recorded_packets_are_let_in_and_each_changed_one_is_not() {
    let (_hub, address, _roster) = start(1).await;
    let (aliyun, tencent) = (hex::decode(ALIYUN).expect("hex"), tencent().bytes());
    assert_eq!((aliyun.len(), tencent.len()), (3 + 0x36 + 0x80, 3 + 0x12 + 0x80));
    for (bytes, version, password) in [(aliyun, 4, 40), (tencent, 3, 49)] {
        let (_raw, reason) = try_connect(address, &bytes, version).await;
        assert_eq!(reason, 0);
        for place in bytes.len() - password..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let (_, reason) = try_connect(address, &changed, version).await;
            assert_eq!(reason, 4, "{place}");
        }
    }
}

#[tokio::test]
async fn the_roster_follows_who_comes_and_goes() {
    let (hub, address, roster) = start(1).await;
    assert_eq!(roster.find("a1testPK001", "device1"), Whereabouts::Absent);
    let device = aliyun(address).await;
    until(&roster, "a1testPK001", "device1", |at| {
        matches!(at, Whereabouts::Connected { ext: true, .. })
    })
    .await;
    let mut air = Raw::connect(address, &tencent()).await;
    let is_there = |at| matches!(at, Whereabouts::Connected { ext: false, .. });
    until(&roster, "KL4J2TEST1", "airConditioner1", is_there).await;
    let server = Connect::new("server").credentials("LTAI", "testsecret");
    let _server = Raw::connect(address, &server).await;
    let all = roster.connected(&Wanted { limit: 10, is: &|_| true });
    let names: Vec<_> = all.first.into_iter().map(|(p, d, _)| (p, d)).collect();
    assert_eq!((all.left, roster.count()), (0, 2));
    let expected = [("KL4J2TEST1", "airConditioner1"), ("a1testPK001", "device1")];
    assert_eq!(names, expected.map(|(p, d)| (Box::from(p), Box::from(d))));

    drop(device);
    until(&roster, "a1testPK001", "device1", |at| at == Whereabouts::JustLost).await;
    air.disconnect().await;
    until(&roster, "KL4J2TEST1", "airConditioner1", |at| at == Whereabouts::Absent).await;
    let _again = aliyun(address).await;
    until(&roster, "a1testPK001", "device1", is_connected).await;
    // One that starts later begins with the list.
    assert!(is_connected(Roster::of(&hub).find("a1testPK001", "device1")));
}

/// Before a device has subscribed to anything it is asked under names; each is a text that it may have
/// chosen.
#[tokio::test]
async fn a_device_cannot_take_what_is_for_another() {
    for workers in [1, 2] {
        let (hub, address, _roster) = start(workers).await;
        let mut thieves = Vec::new();
        // Signed with the thief's own secret, and not: the password is right, the name is another's.
        for (id, refused) in [
            ("a1testPK001.device1|ext=1|", true),
            ("a1testPK001&device1|ext=1|", true),
            ("device1&a1testPK001|ext=1|", false),
            ("sys/a1testPK001/device1|ext=1|", false),
        ] {
            for version in [4, 5] {
                let connect = Connect::new(id).version(version);
                let connect = connect.credentials("device2&a1testPK001", "two");
                let (raw, answer) = Raw::try_connect(address, &connect).await;
                let accepted = matches!(answer, Packet::ConnAck { reason: 0, .. });
                assert_eq!(accepted, !refused, "{id}: {answer:?}");
                thieves.push(raw);
            }
        }
        let link = hub.link("platform");
        assert!(soon(link.connected()).await);
        let requester = crate::Requester::builder(link)
            .dialect(crate::dialect::rrpc::aliyun::thing_service())
            .build();
        let requester = soon(requester).await.expect("subscribed");
        let ask = || {
            let request = crate::Request::new("a1testPK001/device1/light", "{}").expect("a topic");
            tower::ServiceExt::oneshot(requester.clone(), request)
        };
        assert_eq!(soon(ask()).await.err(), Some(crate::RequestError::Offline));
        let mut device = aliyun(address).await;
        let answering = async {
            let request = soon(device.message()).await;
            assert!(request.topic.starts_with("/ext/rrpc/"), "{}", request.topic);
            let text = String::from_utf8(request.payload).expect("UTF-8");
            let id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
            let answer = format!(r#"{{"id":"{}","code":200,"data":{{}}}}"#, id.expect("an id"));
            device.publish(0x30, &request.topic, answer.as_bytes(), &Properties::none()).await;
        };
        let (answer, ()) = tokio::join!(soon(ask()), answering);
        assert_eq!(answer.expect("answered").payload(), "{}");
    }
}

#[tokio::test]
async fn a_device_does_not_end_the_session_of_another() {
    let (_hub, address, _roster) = start(1).await;
    let lamp = Connect::new("same").credentials("lamps/kitchen", "secret");
    let mut lamp = Raw::connect(address, &lamp).await;
    let other = Connect::new("same").credentials("device2&a1testPK001", "two");
    let (_, answer) = Raw::try_connect(address, &other).await;
    assert!(matches!(answer, Packet::ConnAck { reason: 0x85, .. }), "{answer:?}");
    lamp.ping().await;
    assert_eq!(soon(lamp.read()).await, Some(Packet::PingResp));
}

#[tokio::test]
async fn a_device_reaches_its_own_topics_alone() {
    let (_hub, address, _roster) = start(1).await;
    let mut device = aliyun(address).await;
    for (filter, granted) in [
        ("/sys/a1testPK001/device1/rrpc/request/+", 1),
        ("/ext/rrpc/+/a1testPK001/device1/user/get", 1),
        ("/shadow/get/a1testPK001/device1", 1),
        ("/sys/a1testPK001/device2/rrpc/request/+", 0x80),
        ("/sys/a1testPK001/+/rrpc/request/+", 0x80),
        ("/ext/rrpc/#", 0x80),
        ("#", 0x80),
        ("$share/all//sys/a1testPK001/device1/#", 0x80),
    ] {
        assert_eq!(device.subscribe(filter, 1).await, granted, "{filter}");
    }
    let connect = Connect::new("two").credentials("device2&a1testPK001", "two");
    let mut other = Raw::connect(address, &connect).await;
    let none = Properties::none();
    assert_eq!(other.ask("/sys/a1testPK001/device1/rrpc/request/1", b"", &none).await, 0x87);
    assert_eq!(other.ask(SERVICE, b"", &none).await, 0x87);
    assert_eq!(other.ask("/a1testPK001/device2/user/update", b"", &none).await, 0x10);
}

/// With MQTT 5 a device answers where the server wants it.
#[tokio::test]
async fn a_server_gets_answers_and_sees_no_calls_of_others() {
    let (_hub, address, _roster) = start(1).await;
    let connect = Connect::new("server").credentials("LTAI", "testsecret");
    let mut server = Raw::connect(address, &connect).await;
    assert_eq!(server.subscribe("clients/server/responses", 1).await, 1);
    for filter in ["#", "devices/lamps/#", "devices/+/+", "clients/+/responses", "/lamps/#"] {
        assert_eq!(server.subscribe(filter, 1).await, 0x87, "{filter}");
    }
    let connect = Connect::new("lamp").credentials("lamps/kitchen", "secret");
    let mut lamp = Raw::connect(address, &connect).await;
    assert_eq!(lamp.subscribe("devices/lamps/kitchen/#", 1).await, 1);
    let none = Properties::none();
    assert_eq!(server.ask("devices/lamps/kitchen/on", b"1", &none).await, 0);
    assert_eq!(lamp.message().await.topic, "devices/lamps/kitchen/on");
    assert_eq!(lamp.ask("clients/server/responses", b"done", &none).await, 0);
    assert_eq!(server.message().await.payload, b"done");
    assert_eq!(server.ask("devices/a1testPK001/device1", b"", &none).await, 0x87);
}

#[tokio::test]
async fn the_follower_ends_with_the_roster() {
    let (hub, _, roster) = start(1).await;
    let follower = roster.follower();
    drop(roster);
    let ended = async {
        while !follower.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    soon(ended).await;
    let roster = Roster::of(&hub);
    let follower = roster.follower();
    drop(hub);
    let ended = async {
        while !follower.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    soon(ended).await;
}

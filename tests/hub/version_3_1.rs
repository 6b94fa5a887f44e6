//! MQTT 3.1, which Tencent's SDK for Python speaks: it is served as 3.1.1.

use tower_mqtt::hub::Protocol;

use crate::raw::{Connect, Packet, Properties, Raw, packet, string};
use crate::{client, hub, soon};

/// What the SDK sends, with a client identifier that is longer than 3.1 allows.
fn recorded() -> Connect {
    Connect::new("KL4J2TEST1airConditioner1").version(3).keep_alive(60).credentials(
        "KL4J2TEST1airConditioner1;21010406;abcde;1700000000000",
        "085ceea3b9cf28680f12700a49d3c03bd4844d70;hmacsha1",
    )
}

#[test]
fn the_packet_is_the_recorded_one() {
    let beginning = b"\x10\x92\x01\0\x06MQIsdp\x03\xC2\0\x3C\0\x19KL4J2TEST1air";
    assert!(recorded().bytes().starts_with(beginning), "{:02x?}", recorded().bytes());
}

#[tokio::test]
async fn a_client_of_3_1_asks_and_is_asked() {
    let (hub, address) = hub(1).await;
    let mut device = Raw::connect(address, &recorded()).await;
    let present = hub.presence().0;
    assert_eq!(&*present[0].client_id, "KL4J2TEST1airConditioner1");
    assert_eq!(present[0].protocol, Protocol::V311);
    assert_eq!(present[0].keep_alive.as_secs(), 60);
    let topic = "$rrpc/rxd/KL4J2TEST1/airConditioner1/40675";
    assert_eq!(device.subscribe("$rrpc/rxd/KL4J2TEST1/airConditioner1/+", 0).await, 0);
    let mut server = client(address, "server").await;
    assert_eq!(server.subscribe("$rrpc/txd/#", 0).await, 0);
    assert_eq!(server.ask(topic, b"{}", &Properties::none()).await, 0);
    assert_eq!(device.message().await.topic, topic);
    let answer = "$rrpc/txd/KL4J2TEST1/airConditioner1/40675";
    device.publish(0x30, answer, b"\"ok\"", &Properties::none()).await;
    assert_eq!(server.message().await.payload, b"\"ok\"");
    device.ping().await;
    assert_eq!(device.read().await, Some(Packet::PingResp));
    device.disconnect().await;
    assert_eq!(device.read().await, None);
}

/// However the bytes come, and whatever follows them.
#[tokio::test]
async fn a_connect_of_3_1_may_come_in_pieces() {
    let (_hub, address) = hub(1).await;
    let subscribe = packet(0x82, &[&[0, 1][..], &string("t"), &[0]].concat());
    let all = [recorded().bytes(), subscribe, vec![0xC0, 0]].concat();
    let cuts = (1..30).chain([147, 148, 149, 150, all.len() - 1]);
    let splits = cuts.map(|cut| vec![cut]).chain([(1..all.len()).collect(), vec![]]);
    for split in splits {
        let mut raw = Raw::open_version(address, 3).await;
        let mut begin = 0;
        for end in split.iter().copied().chain([all.len()]) {
            raw.send(&all[begin..end]).await;
            begin = end;
            // So that the pieces are read one by one.
            tokio::task::yield_now().await;
        }
        let connack = soon(raw.read()).await;
        assert!(matches!(connack, Some(Packet::ConnAck { reason: 0, .. })), "{split:?}");
        assert_eq!(raw.read().await, Some(Packet::SubAck { reasons: vec![0] }), "{split:?}");
        assert_eq!(raw.read().await, Some(Packet::PingResp), "{split:?}");
    }
}

#[tokio::test]
async fn what_only_looks_like_3_1_is_closed() {
    let (_hub, address) = hub(1).await;
    let connect = |name: &str, level: u8| {
        let rest = [&[level, 2, 0, 60][..], &string("a")].concat();
        packet(0x10, &[string(name), rest].concat())
    };
    let cut = recorded().bytes()[3..9].to_vec();
    for bytes in [
        connect("MQIsdp", 4),
        connect("MQIsdp", 5),
        connect("MQTT", 3),
        connect("MQIsdP", 3),
        packet(0x10, b"\0\x06MQIsdp\x03"),
        packet(0x10, b"\0\x06MQIsdp\x03\x02\0"),
        packet(0x10, &cut),
        packet(0x20, b"\0\x06MQIsdp\x03\x02\0\x3C\0\x01a"),
    ] {
        let mut raw = Raw::open_version(address, 3).await;
        raw.send(&bytes).await;
        while let Some(said) = raw.read().await {
            assert!(!matches!(said, Packet::ConnAck { reason: 0, .. }), "{bytes:02x?}");
        }
    }
    client(address, "a").await;
}

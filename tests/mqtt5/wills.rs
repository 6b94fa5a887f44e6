//! §3.1.2.5 and §3.1.3.2: what is published for a client that is lost.

use crate::raw::{Connect, Properties, Raw, packet, property, string};
use crate::server::{Server, assert_quiet};

const WILL_DELAY: u8 = 0x18;

clauses! {
    both a_will_is_for_who_is_lost {
        "MQTT-3.1.2-7": "the will is kept with the session",
        "MQTT-3.1.2-8": "it is published when the connection ends without a good-bye",
        "MQTT-3.1.2-14": "as a message that is not retained, unless it says otherwise",
    }
    both a_good_bye_takes_the_will_back {
        "MQTT-3.14.4-3": "DISCONNECT with reason code 0 takes the will back",
        "MQTT-3.1.2-10": "it is forgotten then, and when it was published",
    }
    both a_client_may_ask_for_its_will {
        "MQTT-3.1.2-8": "DISCONNECT with 0x04 and a Protocol Error leave the will to be published",
    }
    both a_takeover_is_a_loss {
        "§3.1.4": "when a client connects again with a clean start, the will of its session before is published",
    }
    both a_will_has_the_properties_of_a_message {
        "MQTT-3.1.3-10": "user properties of a will keep their order",
        "§3.1.3.2": "Response Topic, Correlation Data, Content Type and Payload Format Indicator of a will arrive",
    }
    hub("mosquitto 2.0.11 waits for the delay") a_session_that_ends_does_not_wait_with_its_will {
        "§3.1.3.2.2": "the will is published when its delay is over or the session ends, whichever comes first",
    }
}

async fn a_will_is_for_who_is_lost(server: &Server) {
    for qos in [0, 1] {
        let mut watcher = server.subscriber("watcher", "gone/+").await;
        let lost = Connect::new("lost").will("gone/lost", "lost", qos, false);
        drop(server.connect(&lost).await);
        let will = watcher.message().await;
        assert_eq!((will.topic.as_str(), &will.payload[..]), ("gone/lost", &b"lost"[..]));
        assert_eq!((will.qos, will.retain, will.dup), (qos, false, false));
        // Once.
        drop(server.client("lost").await);
        let mut writer = server.client("writer").await;
        assert_eq!(writer.ask("gone/fence", b"", &Properties::none()).await, 0);
        assert_eq!(watcher.message().await.topic, "gone/fence");
    }
}

async fn a_good_bye_takes_the_will_back(server: &Server) {
    let mut watcher = server.subscriber("watcher", "gone").await;
    for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0]] {
        let mut polite = server.connect(&Connect::new("a").will("gone", "a", 1, false)).await;
        polite.send(bytes).await;
        assert_eq!(polite.read().await, None);
        assert_quiet(&mut watcher, "the will of a client that said good-bye").await;
    }
}

async fn a_client_may_ask_for_its_will(server: &Server) {
    let mut watcher = server.subscriber("watcher", "gone").await;
    for bytes in [&[0xE0, 1, 0x04][..], &[0xE0, 2, 0x04, 0], &packet(0x82, &[0, 1, 0])] {
        let mut a = server.connect(&Connect::new("a").will("gone", "a", 1, false)).await;
        a.send(bytes).await;
        assert_eq!(watcher.message().await.payload, b"a", "{bytes:02x?}");
    }
}

async fn a_takeover_is_a_loss(server: &Server) {
    let mut watcher = server.subscriber("watcher", "gone").await;
    let _old = server.connect(&Connect::new("a").will("gone", "a", 1, false)).await;
    let _new = server.client("a").await;
    assert_eq!(watcher.message().await.payload, b"a");
}

/// A client whose will has properties.
async fn with_will(server: &Server, properties: &Properties) -> Raw {
    let mut body = [&string("MQTT")[..], &[5, 0b1110, 0, 0, 0], &string("lost")].concat();
    properties.write(&mut body);
    body.extend([string("gone"), string("!")].concat());
    let mut raw = Raw::open(server.address()).await;
    raw.send(&packet(0x10, &body)).await;
    let (first, body) = raw.read_bytes().await.expect("a CONNACK");
    assert_eq!((first, body[1]), (0x20, 0));
    raw
}

async fn a_will_has_the_properties_of_a_message(server: &Server) {
    let mut watcher = server.subscriber("watcher", "gone").await;
    let properties = Properties::none()
        .text(property::RESPONSE_TOPIC, "answers")
        .text(property::CORRELATION_DATA, "42")
        .text(property::CONTENT_TYPE, "text/plain")
        .number(property::PAYLOAD_FORMAT, 1)
        .pair("b", "1")
        .pair("a", "2")
        .pair("b", "3");
    drop(with_will(server, &properties).await);
    let arrived = watcher.message().await.properties;
    assert_eq!(arrived.pairs(), properties.pairs());
    for id in [
        property::RESPONSE_TOPIC,
        property::CORRELATION_DATA,
        property::CONTENT_TYPE,
        property::PAYLOAD_FORMAT,
    ] {
        assert_eq!(arrived.find(id), properties.find(id), "{id:#x}");
    }
}

async fn a_session_that_ends_does_not_wait_with_its_will(server: &Server) {
    let mut watcher = server.subscriber("watcher", "gone").await;
    let delay = Properties::none().raw(WILL_DELAY, &3600_u32.to_be_bytes());
    drop(with_will(server, &delay).await);
    let arrived = watcher.message().await;
    assert_eq!(arrived.payload, b"!");
    assert_eq!(arrived.properties.find(WILL_DELAY), None, "no property of a message");
}

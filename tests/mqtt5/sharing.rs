//! §4.8.2: shared subscriptions.

use crate::raw::{Packet, Properties, Raw};
use crate::server::{AT_QOS_1, QOS_1, Server, assert_quiet, publish};

clauses! {
    hub("mosquitto 2.0.11 takes it for a filter") a_share_name_is_well_formed {
        "MQTT-4.8.2-2": "a share name has no /, + or #",
    }
    hub("mosquitto 2.0.11 takes it for a filter") a_share_name_is_followed_by_a_filter {
        "MQTT-4.8.2-1": "a share name has at least one character",
        "MQTT-4.8.2-2": "it is followed by / and a filter",
    }
    both each_group_gets_a_message_once {
        "§4.8.2": "a message goes to one member of each group, and to everybody who is subscribed alone",
    }
    both a_member_gets_its_own_qos {
        "MQTT-4.8.2-3": "a message arrives at the QoS that its member was granted",
    }
    both who_leaves_a_group_gets_nothing_more {
        "§4.8.2": "the group goes on without a member that ends its subscription or its connection",
    }
    both a_message_that_a_member_refuses_is_for_nobody_else {
        "MQTT-4.8.2-6": "a message that a member has refused in PUBACK is not sent to another",
    }
}

async fn a_share_name_is_well_formed(server: &Server) {
    for filter in ["$share/+/t", "$share/#/t", "$share/g+/t"] {
        let mut a = server.client("a").await;
        a.send_subscribe(filter, QOS_1).await;
        match a.read().await {
            None | Some(Packet::Disconnect { .. }) => {}
            Some(Packet::SubAck { reasons }) if reasons[0] >= 0x80 => {}
            other => panic!("{filter:?}: {other:?}"),
        }
    }
}

async fn a_share_name_is_followed_by_a_filter(server: &Server) {
    for filter in ["$share/g", "$share/g/", "$share//t"] {
        let mut a = server.client("a").await;
        assert_eq!(a.subscribe(filter, QOS_1).await, 0x8F, "{filter}");
    }
}

/// The payloads that have come.
async fn drain(raw: &mut Raw) -> Vec<u8> {
    raw.ping().await;
    let mut seen = Vec::new();
    while let Some(Packet::Publish(publish)) = raw.read().await {
        seen.push(publish.payload[0]);
        if publish.qos == 1 {
            raw.acknowledge(publish.id).await;
        }
    }
    seen
}

async fn each_group_gets_a_message_once(server: &Server) {
    let mut one = server.subscriber("g1", "$share/g/t/+").await;
    let mut two = server.subscriber("g2", "$share/g/t/+").await;
    let mut other = server.subscriber("h1", "$share/h/t/+").await;
    let mut alone = server.subscriber("alone", "t/1").await;
    let mut writer = server.client("writer").await;
    for number in 0..10 {
        assert_eq!(writer.ask("t/1", &[number], &Properties::none()).await, 0);
    }
    let mut group = [drain(&mut one).await, drain(&mut two).await].concat();
    group.sort_unstable();
    let all: Vec<u8> = (0..10).collect();
    assert_eq!(
        (group, drain(&mut other).await, drain(&mut alone).await),
        (all.clone(), all.clone(), all)
    );
}

async fn a_member_gets_its_own_qos(server: &Server) {
    let mut low = server.client("low").await;
    assert_eq!(low.subscribe("$share/g/t", 0).await, 0);
    let mut high = server.subscriber("high", "$share/g/t").await;
    let mut writer = server.client("writer").await;
    for _ in 0..6 {
        assert_eq!(writer.ask("t", b"x", &Properties::none()).await, 0);
    }
    let mut count = 0;
    for (member, granted) in [(&mut low, 0), (&mut high, 1)] {
        member.ping().await;
        while let Some(Packet::Publish(publish)) = member.read().await {
            assert_eq!(publish.qos, granted);
            count += 1;
        }
    }
    assert_eq!(count, 6);
}

async fn who_leaves_a_group_gets_nothing_more(server: &Server) {
    let mut stays = server.subscriber("stays", "$share/g/t").await;
    let mut ends = server.subscriber("ends", "$share/g/t").await;
    let mut leaves = server.subscriber("leaves", "$share/g/t").await;
    assert_eq!(ends.unsubscribe("$share/g/t").await, 0);
    leaves.disconnect().await;
    assert_eq!(leaves.read().await, None);
    let mut writer = server.client("writer").await;
    for number in 0..6 {
        assert_eq!(writer.ask("t", &[number], &Properties::none()).await, 0);
    }
    assert_eq!(drain(&mut stays).await, (0..6).collect::<Vec<u8>>());
    assert_quiet(&mut ends, "it has left").await;
}

async fn a_message_that_a_member_refuses_is_for_nobody_else(server: &Server) {
    let mut one = server.subscriber("one", "$share/g/t").await;
    let mut two = server.subscriber("two", "$share/g/t").await;
    let mut writer = server.client("writer").await;
    for number in 0..2 {
        writer.publish(AT_QOS_1, "t", &[number], &Properties::none()).await;
    }
    // They take turns.
    for member in [&mut one, &mut two] {
        let id = publish(member).await.id;
        member.refuse(id).await;
    }
    for member in [&mut one, &mut two] {
        assert_quiet(member, "refused by another").await;
    }
}

//! §4.10: Request / Response.

use crate::raw::{Connect, Packet, Properties, property, string};
use crate::server::{AT_QOS_0, AT_QOS_1, QOS_1, Server, assert_quiet, publish_bytes};

clauses! {
    both an_answer_finds_its_request {
        "§4.10.1": "a requester subscribes to a topic and names it in its request; the responder publishes the answer there, with the Correlation Data of the request",
    }
    both every_responder_gets_the_request {
        "§4.10.1": "a request reaches all that are subscribed to its topic, and each may answer",
    }
    both one_of_a_group_of_responders_gets_the_request {
        "§4.10.1": "with a shared subscription one responder of the group gets a request",
    }
    both requests_may_have_no_correlation_data {
        "§4.10.1": "Correlation Data is the requester's choice: the server adds none",
    }
    both the_response_topic_arrives_unaltered {
        "MQTT-3.3.2-15": "every subscriber gets the Response Topic as it was sent",
        "MQTT-1.5.4-3": "U+FEFF is a character like others, and stays where it is",
    }
    both correlation_data_arrive_unaltered {
        "MQTT-3.3.2-16": "every subscriber gets the Correlation Data as they were sent: any bytes, none, and as many as there can be",
    }
    hub("mosquitto 2.0.11 forwards it") a_response_topic_is_no_filter {
        "MQTT-3.3.2-14": "a Response Topic has no wildcards: such a request reaches nobody",
    }
    both a_response_topic_is_utf_8 {
        "MQTT-3.3.2-13": "a Response Topic is well-formed UTF-8: the connection ends",
    }
    both what_there_is_once_does_not_come_twice {
        "§3.3.2.3.5": "two Response Topics are a Protocol Error",
        "§3.3.2.3.6": "two values of Correlation Data are a Protocol Error",
        "§3.3.2.3.3": "two Message Expiry Intervals are a Protocol Error",
        "§3.3.2.3.9": "two Content Types are a Protocol Error",
    }
    both response_information_is_not_for_those_who_do_not_ask {
        "MQTT-3.1.2-28": "CONNACK has no Response Information for a client that has not asked for it",
        "§4.10.2": "Response Information is given on request only",
    }
    hub("mosquitto gives no Response Information") response_information_is_a_place_for_answers {
        "§4.10.2": "a client that asks for Response Information gets the beginning of a topic for its answers: it may subscribe there, others may not, and answers arrive",
    }
    both request_response_information_is_zero_or_one {
        "§3.1.2.11.6": "Request Response Information is 0 or 1, and not there twice",
    }
    both nobody_to_answer_is_said_at_once {
        "§3.4.2.1": "PUBACK may say that nobody is subscribed (0x10)",
    }
}

fn request(response_topic: &str, correlation_data: &[u8]) -> Properties {
    let length = u16::try_from(correlation_data.len()).expect("at most 65,535 bytes");
    let data = [&length.to_be_bytes(), correlation_data].concat();
    Properties::none()
        .text(property::RESPONSE_TOPIC, response_topic)
        .raw(property::CORRELATION_DATA, &data)
}

async fn an_answer_finds_its_request(server: &Server) {
    let mut asker = server.subscriber("asker", "answers/asker").await;
    let mut other = server.subscriber("other", "answers/other").await;
    let mut responder = server.subscriber("responder", "ask/+").await;
    for number in [1, 2] {
        asker.publish(AT_QOS_0, "ask/it", b"?", &request("answers/asker", &[number])).await;
    }
    let mut requests = vec![responder.message().await, responder.message().await];
    // In whatever order they are answered.
    requests.reverse();
    for request in &requests {
        let to = request.properties.find_text(property::RESPONSE_TOPIC).expect("a request");
        let data = request.properties.find(property::CORRELATION_DATA).expect("sent with it");
        let properties = Properties::none().raw(property::CORRELATION_DATA, data);
        assert_eq!(responder.ask(&to, b"!", &properties).await, 0);
    }
    for number in [2, 1] {
        let answer = asker.message().await;
        assert_eq!((answer.topic.as_str(), &answer.payload[..]), ("answers/asker", &b"!"[..]));
        assert_eq!(answer.properties.find(property::CORRELATION_DATA), Some(&[0, 1, number][..]));
        assert_eq!(answer.properties.find(property::RESPONSE_TOPIC), None);
    }
    assert_quiet(&mut other, "an answer for another").await;
}

async fn every_responder_gets_the_request(server: &Server) {
    let mut asker = server.subscriber("asker", "answers").await;
    let mut responders = Vec::new();
    for name in ["r1", "r2", "r3"] {
        responders.push(server.subscriber(name, "ask").await);
    }
    asker.publish(AT_QOS_0, "ask", b"", &request("answers", b"7")).await;
    for responder in &mut responders {
        let request = responder.message().await;
        let data = request.properties.find(property::CORRELATION_DATA).expect("sent with it");
        let properties = Properties::none().raw(property::CORRELATION_DATA, data);
        responder.publish(AT_QOS_0, "answers", b"", &properties).await;
    }
    for _ in 0..3 {
        let answer = asker.message().await;
        assert_eq!(answer.properties.find(property::CORRELATION_DATA), Some(&b"\0\x017"[..]));
    }
    assert_quiet(&mut asker, "a fourth answer").await;
}

async fn one_of_a_group_of_responders_gets_the_request(server: &Server) {
    let mut first = server.subscriber("first", "$share/kitchen/ask").await;
    let mut second = server.subscriber("second", "$share/kitchen/ask").await;
    let mut asker = server.client("asker").await;
    for number in 0..10 {
        assert_eq!(asker.ask("ask", b"", &request("answers", &[number])).await, 0);
    }
    let mut seen = Vec::new();
    for member in [&mut first, &mut second] {
        member.ping().await;
        while let Some(Packet::Publish(publish)) = member.read().await {
            seen.push(publish.properties.find(property::CORRELATION_DATA).expect("sent")[2]);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<u8>>());
}

async fn requests_may_have_no_correlation_data(server: &Server) {
    let mut responder = server.subscriber("responder", "ask").await;
    let mut asker = server.client("asker").await;
    let without = Properties::none().text(property::RESPONSE_TOPIC, "answers");
    assert_eq!(asker.ask("ask", b"", &without).await, 0);
    let request = responder.message().await;
    assert_eq!(request.properties.find(property::CORRELATION_DATA), None);
    assert_eq!(request.properties.find_text(property::RESPONSE_TOPIC).as_deref(), Some("answers"));
}

async fn the_response_topic_arrives_unaltered(server: &Server) {
    let mut first = server.subscriber("first", "ask").await;
    let mut second = server.subscriber("second", "#").await;
    let mut asker = server.client("asker").await;
    let long = "l".repeat(65_535);
    for topic in ["a", "/", "/a//b/", "Küche/汤", "\u{FEFF}bom/\u{FEFF}", "a b", "$x/y", &long] {
        assert_eq!(asker.ask("ask", b"", &request(topic, b"1")).await, 0, "{topic:.20}");
        for responder in [&mut first, &mut second] {
            let request = responder.message().await;
            let arrived = request.properties.find_text(property::RESPONSE_TOPIC);
            assert_eq!(arrived.as_deref(), Some(topic));
        }
    }
}

async fn correlation_data_arrive_unaltered(server: &Server) {
    let mut first = server.subscriber("first", "ask").await;
    let mut second = server.subscriber("second", "+").await;
    let mut asker = server.client("asker").await;
    let every_byte: Vec<u8> = (0..=255).collect();
    for data in [&b""[..], b"\0", &[0xFF; 16], &every_byte, &vec![0xC3; 65_535]] {
        assert_eq!(asker.ask("ask", b"", &request("answers", data)).await, 0);
        for responder in [&mut first, &mut second] {
            let request = responder.message().await;
            let arrived = request.properties.find(property::CORRELATION_DATA).expect("sent");
            assert_eq!(&arrived[2..], data);
        }
    }
}

async fn a_response_topic_is_no_filter(server: &Server) {
    let mut responder = server.subscriber("responder", "ask").await;
    for topic in ["+", "#", "a/+/b", "a/#", "a+", ""] {
        for first in [AT_QOS_0, AT_QOS_1] {
            let mut asker = server.client("asker").await;
            asker.publish(first, "ask", b"", &request(topic, b"1")).await;
            // Refused with a reason, or the end of the connection.
            asker.ping().await;
            match asker.read().await {
                None | Some(Packet::Disconnect { .. }) => {}
                Some(Packet::PubAck { reason, .. }) if reason >= 0x80 => {}
                Some(Packet::PingResp) if first == AT_QOS_0 => {}
                other => panic!("{topic:?}: {other:?}"),
            }
        }
        assert_quiet(&mut responder, topic).await;
    }
}

async fn a_response_topic_is_utf_8(server: &Server) {
    let mut responder = server.subscriber("responder", "ask").await;
    for text in [&[0xFF, 0xFE][..], &[0xED, 0xA0, 0x80], b"a\0b", &[0xC0, 0x80]] {
        let length = u8::try_from(text.len()).expect("short");
        let property = [&[property::RESPONSE_TOPIC, 0, length], text].concat();
        let bytes = publish_bytes(AT_QOS_0, b"ask", 0, &property);
        let mut asker = server.client("asker").await;
        asker.send(&bytes).await;
        server.ends(&mut asker, &[0x81, 0x82, 0x90], &format!("{text:02x?}")).await;
        assert_quiet(&mut responder, "what is not UTF-8").await;
    }
}

async fn what_there_is_once_does_not_come_twice(server: &Server) {
    let mut responder = server.subscriber("responder", "ask").await;
    for (id, value) in [
        (property::RESPONSE_TOPIC, string("answers")),
        (property::CORRELATION_DATA, string("1")),
        (property::MESSAGE_EXPIRY, vec![0, 0, 0, 9]),
        (property::CONTENT_TYPE, string("text/plain")),
        (property::PAYLOAD_FORMAT, vec![1]),
        (property::TOPIC_ALIAS, vec![0, 1]),
    ] {
        let twice = [&[id][..], &value].concat().repeat(2);
        let bytes = publish_bytes(AT_QOS_1, b"ask", 1, &twice);
        server.refuses(&bytes, &[0x82, 0x81], &format!("property {id:#x} twice")).await;
        assert_quiet(&mut responder, "a message with a property twice").await;
    }
}

async fn response_information_is_not_for_those_who_do_not_ask(server: &Server) {
    let no = Properties::none().number(property::REQUEST_RESPONSE_INFORMATION, 0);
    for properties in [Properties::none(), no] {
        let (_, _, reason, connack) =
            server.connack(&Connect::new("a").properties(properties)).await;
        assert_eq!(reason, 0);
        assert_eq!(connack.find(property::RESPONSE_INFORMATION), None);
    }
}

async fn response_information_is_a_place_for_answers(server: &Server) {
    let ask = Properties::none().number(property::REQUEST_RESPONSE_INFORMATION, 1);
    let (mut asker, _, _, connack) =
        server.connack(&Connect::new("the asker").properties(ask)).await;
    let base = connack.find_text(property::RESPONSE_INFORMATION).expect("it asked");
    assert_eq!(asker.subscribe(&format!("{base}/#"), QOS_1).await, 1);
    let mut responder = server.subscriber("responder", "#").await;
    assert_eq!(responder.subscribe(&base, QOS_1).await, 0x87);
    for topic in [base.clone(), format!("{base}/1")] {
        assert_eq!(asker.ask("ask", b"", &request(&topic, b"1")).await, 0);
        let request = responder.message().await;
        let to = request.properties.find_text(property::RESPONSE_TOPIC).expect("a request");
        assert_eq!(to, topic);
        assert_eq!(responder.ask(&to, b"!", &Properties::none()).await, 0);
        assert_eq!(asker.message().await.topic, topic);
        assert_quiet(&mut responder, "its own answer to another").await;
    }
}

async fn request_response_information_is_zero_or_one(server: &Server) {
    let ask = |value| Properties::none().number(property::REQUEST_RESPONSE_INFORMATION, value);
    let twice = ask(1).number(property::REQUEST_RESPONSE_INFORMATION, 1);
    for properties in [ask(2), ask(255), twice] {
        let connect = Connect::new("a").properties(properties);
        server.rejects(&connect.bytes(), &format!("{:?}", connect.properties)).await;
    }
}

async fn nobody_to_answer_is_said_at_once(server: &Server) {
    let mut asker = server.client("asker").await;
    assert_eq!(asker.ask("ask", b"", &request("answers", b"1")).await, 0x10);
}

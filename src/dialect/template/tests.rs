use super::*;
use crate::dialect::rrpc::{aliyun, tencent};

fn topic(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

fn request(dialect: &Template, address: &str, id: &'static str) -> Message {
    dialect
        .encode_request(OutgoingRequest {
            request: Request::new(address, "question").unwrap(),
            id: &Bytes::from_static(id.as_bytes()),
            response_topic: &topic("unused"),
            left: Duration::from_millis(1500),
        })
        .unwrap()
}

/// What a requester would find the answer by, of a request and of an answer on `answer`.
fn keys(dialect: &Template, address: &str, id: &'static str, answer: &str) -> [Option<Bytes>; 2] {
    let asked = Request::new(address, "").unwrap();
    let answer = Message::new(topic(answer), "");
    let id = Bytes::from_static(id.as_bytes());
    [dialect.request_key(&asked, &id).ok(), dialect.response_key(&answer, &topic("unused"))]
}

#[test]
fn a_request_survives_the_wire_and_finds_its_answer() {
    for (dialect, address, wire, answer) in [
        (
            aliyun::system(),
            "pk/dn",
            "/sys/pk/dn/rrpc/request/12345",
            "/sys/pk/dn/rrpc/response/12345",
        ),
        (
            aliyun::custom(),
            "pk/dn/user/get",
            "/ext/rrpc/12345/pk/dn/user/get",
            "/ext/rrpc/12345/pk/dn/user/get",
        ),
        (tencent::rrpc(), "pk/dn", "$rrpc/rxd/pk/dn/12345", "$rrpc/txd/pk/dn/12345"),
        (tencent::explorer(), "pk/dn", "$iotrrpc/down/pk/dn/12345", "$iotrrpc/up/pk/dn/12345"),
        (
            azure_direct_methods(),
            "reboot",
            "$iothub/methods/POST/reboot/?$rid=12345",
            "$iothub/methods/res/200/?$rid=12345",
        ),
        (
            huawei_commands(),
            "d1",
            "$oc/devices/d1/sys/commands/request_id=12345",
            "$oc/devices/d1/sys/commands/response/request_id=12345",
        ),
    ] {
        let message = request(&dialect, address, "12345");
        assert_eq!(message.topic, wire);
        let incoming = dialect.decode_request(message).unwrap();
        assert_eq!(incoming.request.topic(), address);
        assert_eq!(incoming.left, Some(Duration::from_secs(2)), "what a server counts down");
        let message =
            dialect.encode_response(&incoming.reply_to, Response::new("yes"), None).unwrap();
        assert_eq!(message.topic, answer);
        let [asked, answered] = keys(&dialect, address, "12345", answer);
        assert!(asked.is_some() && asked == answered, "{}", dialect.name());
        assert_eq!(dialect.decode_response(message).unwrap().payload(), "yes");
    }
}

#[test]
fn another_device_or_another_id_answers_nothing() {
    let system = aliyun::system();
    for answer in ["/sys/pk/other/rrpc/response/1", "/sys/pk/dn/rrpc/response/2", "/sys/pk/dn/1"] {
        let [asked, answered] = keys(&system, "pk/dn", "1", answer);
        assert_ne!(asked, answered);
    }
}

#[test]
fn a_status_in_the_topic_goes_both_ways() {
    let azure = azure_direct_methods();
    let incoming = azure.decode_request(request(&azure, "reboot", "7")).unwrap();
    let response = Response::error(Status::NOT_FOUND);
    let message = azure.encode_response(&incoming.reply_to, response, None).unwrap();
    assert_eq!(message.topic, "$iothub/methods/res/404/?$rid=7");
    assert_eq!(azure.decode_response(message).unwrap().status(), &Status::NOT_FOUND);
    for status in ["abc", "99", "65536", "-1"] {
        let topic = topic(&format!("$iothub/methods/res/{status}/?$rid=7"));
        assert!(azure.decode_response(Message::new(topic, "")).is_err(), "{status}");
    }
}

#[test]
fn the_answer_goes_to_the_topic_of_the_request_byte_for_byte() {
    let custom = aliyun::custom();
    for wire in ["/ext/rrpc/1/pk/dn/user/get", "/ext/rrpc/1//pk/dn/user/get"] {
        let incoming = custom.decode_request(Message::new(topic(wire), "")).unwrap();
        assert_eq!(incoming.request.topic(), "pk/dn/user/get");
        assert_eq!(incoming.reply_to.topic(), &topic(wire));
        assert_eq!(incoming.reply_to.qos(), Qos::AtMostOnce);
    }
}

#[test]
fn an_own_request_that_comes_back_is_not_the_answer() {
    let custom = aliyun::custom();
    let mut message = request(&custom, "pk/dn/user/get", "1");
    assert_eq!(custom.response_key(&message, &topic("unused")), None);
    message.properties.user.remove(OWN_REQUEST);
    assert!(custom.response_key(&message, &topic("unused")).is_some());
}

#[test]
fn subscriptions_are_as_narrow_as_the_route() {
    let custom = aliyun::custom();
    let filters = |dialect: &Template, route: &str| -> Vec<String> {
        let all = dialect.request_subscriptions(&filter(route));
        all.iter().map(|s| s.filter.to_string()).collect()
    };
    assert_eq!(
        filters(&custom, "pk/+/user/get"),
        ["/ext/rrpc/+/pk/+/user/get", "/ext/rrpc/+//pk/+/user/get"]
    );
    assert!(filters(&custom, "pk/dn").is_empty());
    assert_eq!(filters(&aliyun::system(), "pk/dn"), ["/sys/pk/dn/rrpc/request/+"]);
    let answers = |dialect: &Template, peers| {
        dialect.response_subscription(&topic("unused"), &filter(peers)).unwrap()
    };
    assert_eq!(answers(&tencent::rrpc(), "#").filter, "$rrpc/txd/+/+/+");
    assert!(!answers(&tencent::rrpc(), "#").no_local);
    assert_eq!(answers(&custom, "pk/#").filter, "/ext/rrpc/+/pk/+/#");
    assert!(answers(&custom, "pk/#").no_local);
}

#[test]
fn a_hub_learns_what_the_device_may_call_itself() {
    let names_in = |dialect: Template, wire: &str| dialect.addressee(&topic(wire)).unwrap().names;
    let names = names_in(aliyun::system(), "/sys/pk/dn/rrpc/request/1");
    assert_eq!(names, ["dn&pk", "pk&dn", "pk.dn", "pk/dn"]);
    assert_eq!(names_in(aliyun::custom(), "/ext/rrpc/1/pk/dn/user/get"), names);
    assert_eq!(names_in(tencent::rrpc(), "$rrpc/rxd/pk/dn/1"), ["pkdn", "pk/dn"]);
    assert_eq!(aliyun::system().addressee(&topic("/sys/pk/dn/rrpc/response/1")), None);
    assert_eq!(aliyun::custom().device(&topic("pk/dn/user/get")), "pk/dn");
}

#[test]
fn lines_must_fit_together() {
    let wrong = |address, request, response| {
        Template::new("wrong", Lines { address, request, response }).unwrap_err().to_string()
    };
    assert_eq!(wrong("{d}", "a/{d}", "b/{id}"), "a/{d} has no {id}");
    assert_eq!(wrong("{d}", "a/{id}", "b/{id}"), "a/{id} has no {d}");
    assert_eq!(wrong("{d}", "a/{d}/{id}", "b/{d}"), "b/{d} has no {id}");
    assert_eq!(wrong("{d}", "a/{d}/{e}/{id}", "b/{id}"), "a/{d}/{e}/{id}: nothing fills {e}");
    assert_eq!(wrong("{d}", "a/{d}/{status}/{id}", "b/{id}").split(':').count(), 2);
    assert_eq!(wrong("{id}", "a/{id}", "b/{id}"), "{id}: nothing fills {id}");
    assert!(wrong("{d}", "a/{d/{id}", "b/{id}").starts_with("a/{d/{id}: "));
}

#[test]
fn an_address_of_another_form_is_an_error_that_says_which_form() {
    let asked = Request::new("dn", "").unwrap();
    let error = aliyun::system().request_key(&asked, &Bytes::from_static(b"1")).unwrap_err();
    assert_eq!(error.to_string(), "aliyun-system: the topic is not like {product}/{device}");
}

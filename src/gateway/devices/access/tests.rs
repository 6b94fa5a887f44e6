use proptest::prelude::*;

use super::super::super::config::{AccessKey, Product};
use super::super::super::keys::Keys;
use super::*;
use crate::core::topic::{TopicFilter, TopicName};

const LAMP: Name<'_> = Name { product: "a1", device: "lamp" };
const AIR: Name<'_> = Name { product: "KL4J2TEST1", device: "air" };

fn may(dialect: Dialect, own: Name<'_>, topic: &str) -> (bool, bool) {
    let publish = TopicName::new(topic)
        .is_ok_and(|topic| of_device(dialect, own, "me", Access::Publish(&topic)));
    let subscribe = TopicFilter::new(topic)
        .is_ok_and(|filter| of_device(dialect, own, "me", Access::Subscribe(&filter)));
    (publish, subscribe)
}

#[track_caller]
fn allows(dialect: Dialect, own: Name<'_>, topics: &[&str]) {
    for topic in topics {
        let (publish, subscribe) = may(dialect, own, topic);
        assert!(subscribe, "{topic}");
        assert_eq!(publish, !topic.contains(['+', '#']), "{topic}");
    }
}

#[track_caller]
fn refuses(dialect: Dialect, own: Name<'_>, topics: &[&str]) {
    for topic in topics {
        assert!(TopicFilter::new(*topic).is_ok(), "{topic}");
        assert_eq!(may(dialect, own, topic), (false, false), "{topic}");
    }
}

#[test]
fn an_aliyun_device_reaches_its_own_topics() {
    allows(
        Dialect::Aliyun,
        LAMP,
        &[
            "/sys/a1/lamp/rrpc/request/+",
            "/sys/a1/lamp/rrpc/response/889455942124347392",
            "/sys/a1/lamp/thing/service/light",
            "/sys/a1/lamp/#",
            "/a1/lamp/user/get",
            "/a1/lamp/user/#",
            "/a1/lamp/+/get",
            "/ext/rrpc/+/a1/lamp/user/get",
            "/ext/rrpc/+//a1/lamp/user/get",
            "/ext/rrpc/1/a1/lamp/user/get",
            "/ext/rrpc/1//a1/lamp/user/get",
            "/ext/rrpc/+/a1/lamp/#",
            "/ext/rrpc/1/sys/a1/lamp/thing/service/light",
            "/ext/rrpc/1//sys/a1/lamp/thing/service/light",
            "/ext/rrpc/+/sys/a1/lamp/#",
            "/shadow/update/a1/lamp",
            "/shadow/get/a1/lamp",
            "/ota/device/inform/a1/lamp",
            "/ota/device/upgrade/a1/lamp",
            "/ota/device/progress/a1/lamp",
            "/ota/device/request/a1/lamp",
            "/ext/ntp/a1/lamp/request",
            "/ext/error/a1/lamp",
            "/ext/session/a1/lamp/combine/login_reply",
        ],
    );
}

#[test]
fn an_aliyun_device_reaches_nothing_else() {
    refuses(
        Dialect::Aliyun,
        LAMP,
        &[
            "#",
            "+",
            "/#",
            "/+/lamp/user/get",
            "/a1/+/user/get",
            "/a1/#",
            "/a1/lamp",
            "/a1/lamp2/user/get",
            "/a12/lamp/user/get",
            "a1/lamp/user/get",
            "/sys/#",
            "/sys/a1/#",
            "/sys/a1/+/rrpc/request/+",
            "/sys/+/lamp/rrpc/request/+",
            "/sys/a1/other/rrpc/request/+",
            "/sys/a1/lamp",
            "/ext/#",
            "/ext/rrpc/#",
            "/ext/rrpc/+/#",
            "/ext/rrpc/+/+/lamp/user/get",
            "/ext/rrpc/+/a1/+/user/get",
            "/ext/rrpc/+/a1/#",
            "/ext/rrpc/+//#",
            "/ext/rrpc/+///a1/lamp/user/get",
            "/ext/rrpc/+/a1/other/user/get",
            "/ext/rrpc/1/sys/a1/other/thing/service/light",
            "/ext/rrpc/a1/lamp",
            "/ext/rrpc/a1/lamp/user/get",
            "/ext/+/a1/lamp/user",
            "/ext/+/1/a1/lamp/user",
            "/shadow/+/a1/lamp",
            "/shadow/update/a1/other",
            "/shadow/other/a1/lamp",
            "/ota/device/inform/a1/other",
            "/ota/+/inform/a1/lamp",
            "/broadcast/a1/all",
            "$rrpc/rxd/a1/lamp/+",
            "$SYS/#",
            "devices/a1/lamp",
            "$share/group//sys/a1/lamp/#",
            "$share/group/clients/me/responses",
        ],
    );
}

/// Products of such names would reach the topics of all devices.
#[test]
fn the_name_of_a_product_opens_no_space_of_the_platform() {
    let named = |product, device| Name { product, device };
    refuses(
        Dialect::Aliyun,
        named("ext", "rrpc"),
        &["/ext/rrpc/+/a1/lamp/user/get", "/ext/rrpc/#"],
    );
    refuses(Dialect::Aliyun, named("sys", "a1"), &["/sys/a1/lamp/#", "/ext/rrpc/1/sys/a1/lamp/#"]);
    refuses(Dialect::Tencent, named("devices", "a1"), &["devices/a1/lamp"]);
    refuses(Dialect::Tencent, named("clients", "a1"), &["clients/a1/other"]);
    refuses(Dialect::Tencent, named("result", "a1"), &["$sys/operation/result/a1/lamp"]);
    refuses(Dialect::Tencent, named("get", "a1"), &["$shadow/operation/get/a1/#"]);
    assert!(!may(Dialect::Tencent, named("clients", "x"), "clients/x/responses/1").1);
}

#[test]
fn a_tencent_device_reaches_its_own_topics_and_nothing_else() {
    for dialect in [Dialect::Tencent, Dialect::TencentExplorer] {
        allows(
            dialect,
            AIR,
            &[
                "$rrpc/rxd/KL4J2TEST1/air/+",
                "$rrpc/txd/KL4J2TEST1/air/40675",
                "$iotrrpc/down/KL4J2TEST1/air/+",
                "$iotrrpc/up/KL4J2TEST1/air/52",
                "KL4J2TEST1/air/data",
                "KL4J2TEST1/air/#",
                "$sys/operation/KL4J2TEST1/air",
                "$sys/operation/result/KL4J2TEST1/air",
                "$sys/operation/get/KL4J2TEST1/air",
                "$shadow/operation/KL4J2TEST1/air",
                "$shadow/operation/result/KL4J2TEST1/air",
                "$ota/report/KL4J2TEST1/air",
                "$ota/update/KL4J2TEST1/air",
                "$thing/up/property/KL4J2TEST1/air",
                "$thing/down/action/KL4J2TEST1/air",
                "$gateway/operation/result/KL4J2TEST1/air",
                "$broadcast/rxd/KL4J2TEST1/air",
            ],
        );
        refuses(
            dialect,
            AIR,
            &[
                "#",
                "$rrpc/#",
                "$rrpc/+/KL4J2TEST1/air/+",
                "$rrpc/rxd/+/air/+",
                "$rrpc/rxd/KL4J2TEST1/+/+",
                "$rrpc/rxd/KL4J2TEST1/#",
                "$rrpc/rxd/KL4J2TEST1/air",
                "$rrpc/rxd/KL4J2TEST1/other/1",
                "$iotrrpc/down/KL4J2TEST1/other/+",
                "$sys/operation/+/air",
                "$sys/operation/+/KL4J2TEST1/air",
                "$sys/operation/result/KL4J2TEST1/other",
                "$sys/other/KL4J2TEST1/air",
                "$thing/+/property/KL4J2TEST1/air",
                "$thing/down/property/KL4J2TEST1/other",
                "$ota/update/KL4J2TEST1/+",
                "KL4J2TEST1/air",
                "KL4J2TEST1/#",
                "KL4J2TEST1/airConditioner/data",
                "/sys/KL4J2TEST1/air/rrpc/request/+",
                "devices/KL4J2TEST1/air",
                "$share/g/KL4J2TEST1/air/data",
            ],
        );
    }
}

#[test]
fn a_native_device_reaches_its_own_topics_and_nothing_else() {
    let own = ["devices/a1/lamp", "devices/a1/lamp/on", "devices/a1/lamp/#", "devices/a1/lamp/+/x"];
    allows(Dialect::Native, LAMP, &own);
    let others = [
        "#",
        "devices/#",
        "devices/+/lamp/on",
        "devices/a1/+",
        "devices/a1",
        "devices/a1/lamp2",
        "/devices/a1/lamp",
        "/sys/a1/lamp/rrpc/request/+",
        "a1/lamp/on",
        "$share/g/devices/a1/lamp",
    ];
    refuses(Dialect::Native, LAMP, &others);
}

#[test]
fn every_device_answers_who_asks_and_hears_only_its_own_answers() {
    for dialect in [Dialect::Aliyun, Dialect::Tencent, Dialect::Native] {
        assert_eq!(may(dialect, LAMP, "clients/other/responses"), (true, false));
        assert_eq!(may(dialect, LAMP, "clients/other/responses/1"), (true, false));
        assert_eq!(may(dialect, LAMP, "clients/me/responses/1"), (true, true));
        assert_eq!(may(dialect, LAMP, "clients/me/responses/#"), (false, true));
        for topic in ["clients/+/responses", "clients/#", "clients/me/#", "clients/me/responses2"] {
            assert_eq!(may(dialect, LAMP, topic), (false, false), "{topic}");
        }
    }
    let filter = TopicFilter::new("clients/a%2Fb/responses").unwrap();
    assert!(of_device(Dialect::Aliyun, LAMP, "a/b", Access::Subscribe(&filter)));
}

#[test]
fn a_server_asks_the_devices_that_its_key_may_call() {
    let product = |id: &str| Product {
        id: id.to_owned(),
        dialect: Dialect::Aliyun,
        timeout: None,
        one_in_flight: false,
        ext: false,
        devices: Vec::new(),
    };
    let products = Products::new(&["a1", "a2", "sys"].map(product));
    let key = |products: Option<&[&str]>| AccessKey {
        id: "key".to_owned(),
        secret: None,
        bearer: None,
        products: products.map(|all| all.iter().map(ToString::to_string).collect()),
    };
    let may = |key: &AccessKey, topic: &str| {
        let keys = Keys::new(std::slice::from_ref(key));
        let key = keys.find("key").unwrap();
        let filter = TopicFilter::new(topic).unwrap();
        let publish = TopicName::new(topic)
            .is_ok_and(|topic| of_key(key, &products, "me", Access::Publish(&topic)));
        (publish, of_key(key, &products, "me", Access::Subscribe(&filter)))
    };
    let (one, all) = (key(Some(&["a1", "sys", "gone"])), key(None));
    for (topic, of_one, of_all) in [
        ("devices/a1/lamp", (true, false), (true, false)),
        ("devices/a1/lamp/on", (true, false), (true, false)),
        ("devices/a2/lamp/on", (false, false), (true, false)),
        ("devices/gone/lamp/on", (false, false), (false, false)),
        ("devices/a1", (false, false), (false, false)),
        ("devices/+/lamp", (false, false), (false, false)),
        ("devices/a1/#", (false, false), (false, false)),
        ("clients/me/responses", (false, true), (false, true)),
        ("clients/me/responses/#", (false, true), (false, true)),
        ("clients/other/responses", (false, false), (false, false)),
        ("/a1/lamp/user/answers", (false, true), (false, true)),
        ("/a1/+/user/#", (false, true), (false, true)),
        ("/a2/lamp/user/answers", (false, false), (false, true)),
        ("/+/lamp/user/answers", (false, false), (false, false)),
        ("/a1/lamp/#", (false, false), (false, false)),
        ("/a1/lamp/+/answers", (false, false), (false, false)),
        ("/a1/lamp/user", (false, false), (false, false)),
        ("/sys/a1/user/x", (false, false), (false, false)),
        ("/sys/a1/lamp/rrpc/request/1", (false, false), (false, false)),
        ("#", (false, false), (false, false)),
    ] {
        assert_eq!((may(&one, topic), may(&all, topic)), (of_one, of_all), "{topic}");
    }
}

const DIALECTS: [Dialect; 4] =
    [Dialect::Aliyun, Dialect::Tencent, Dialect::TencentExplorer, Dialect::Native];

proptest! {
    /// Whatever a filter says: if a device may have it, it has the device in it, and never meets what
    /// another device may have, but on the response topics.
    #[test]
    fn what_two_devices_reach_is_never_the_same(
        levels in proptest::collection::vec(
            prop_oneof![
                Just(""), Just("+"), Just("#"), Just("sys"), Just("ext"), Just("rrpc"), Just("a1"),
                Just("lamp"), Just("other"), Just("user"), Just("shadow"), Just("get"), Just("ota"),
                Just("device"), Just("devices"), Just("$rrpc"), Just("rxd"), Just("$thing"),
                Just("up"), Just("$sys"), Just("operation"), Just("result"), Just("1"),
            ],
            1..8,
        ),
        others in proptest::collection::vec(
            prop_oneof![
                Just(""), Just("sys"), Just("ext"), Just("rrpc"), Just("a1"), Just("other"),
                Just("user"), Just("devices"), Just("$rrpc"), Just("rxd"), Just("1"),
            ],
            1..8,
        ),
    ) {
        const OTHER: Name<'_> = Name { product: "a1", device: "other" };
        let (filter, topic) = (levels.join("/"), others.join("/"));
        for dialect in DIALECTS {
            let own = may(dialect, LAMP, &filter).1;
            prop_assert!(!own || (filter.contains("a1/lamp") && !filter.starts_with("$share")));
            if own && may(dialect, OTHER, &topic).0 {
                let filter = TopicFilter::new(filter.as_str()).unwrap();
                prop_assert!(!filter.matches(topic.as_str()), "{filter} {topic}");
            }
        }
    }

    #[test]
    fn no_topic_makes_it_panic(topic in "[a$/+#é\0-\u{7F}]{0,40}", client_id in ".{0,20}") {
        for dialect in DIALECTS {
            if let Ok(name) = TopicName::new(topic.as_str()) {
                of_device(dialect, LAMP, &client_id, Access::Publish(&name));
            }
            if let Ok(filter) = TopicFilter::new(topic.as_str()) {
                of_device(dialect, LAMP, &client_id, Access::Subscribe(&filter));
            }
        }
    }
}

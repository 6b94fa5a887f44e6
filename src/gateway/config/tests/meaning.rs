//! What names, limits, keys and products have to be.

use super::*;

#[test]
fn names_must_be_possible() {
    let wrong = |line: usize, path: &str, others: &str, found: &str| {
        format!(
            "gateway.toml:{line}: {path}: expected 1 to 128 bytes without / + #{others} and control \
             characters, and not $ first, found {found}"
        )
    };
    for name in ["", "a/b", "+", "a#", "$a", "a\\u0000", "a\\n", &"x".repeat(129), "a:b"] {
        let text = format!("[[products]]\nid = \"{name}\"\ndialect = 'native'");
        let found = match name {
            "" => "nothing".to_owned(),
            name if name.len() > 64 => format!("\"{}\"…", "x".repeat(64)),
            name => format!("{:?}", name.replace("\\u0000", "\0").replace("\\n", "\n")),
        };
        assert_eq!(errors(&text), [wrong(2, "products[0].id", " :", &found)]);
    }
    let device = "devices = [\n{ name = 'a/b', secret = 's' },\n{ name = 'a:b', secret = 's' }]";
    assert_eq!(
        errors(&product("native", device)),
        [wrong(5, "products[0].devices[0].name", "", "\"a/b\"")]
    );
    let device = "devices = [{ name = 'a&b', secret = 's' }]";
    assert_eq!(
        errors(&product("aliyun", device)),
        [wrong(4, "products[0].devices[0].name", " & |", "\"a&b\"")]
    );
    let device = "devices = [{ name = 'a;b', secret = 'MDEyMw==' }]";
    assert_eq!(
        errors(&product("tencent", device)),
        [wrong(4, "products[0].devices[0].name", " ;", "\"a;b\"")]
    );
    assert_eq!(
        errors("[[keys]]\nid = 'a,b'\nbearer = 't'"),
        [wrong(2, "keys[0].id", " , ; = space", "\"a,b\"")]
    );
}

#[test]
fn what_must_differ_differs() {
    check(&[
        (
            "[[keys]]\nid = 'a'\nsecret = 's'\n[[keys]]\nid = 'a'\nsecret = 's'\n",
            &["5: keys[1].id: expected an id of its own, found that of keys[0]"],
        ),
        (
            "[[keys]]\nid = 'a'\nbearer = 't'\n[[keys]]\nid = 'b'\nbearer = 't'\n",
            &["6: keys[1].bearer: expected a token of its own, found that of keys[0]"],
        ),
        (
            &(product("native", "") + &product("aliyun", "")),
            &["6: products[1].id: expected an id of its own, found that of products[0]"],
        ),
        (
            &product(
                "native",
                "devices = [{ name = 'd', secret = 'a' },\n{ name = 'd', secret = 'b' }]",
            ),
            &[
                "5: products[0].devices[1].name: expected a name of its own, found \"d\" of devices[0]",
            ],
        ),
        (
            "http.listen = ['127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:9',\n'127.0.0.1:9']",
            &["2: http.listen[3]: expected each address once, found 127.0.0.1:9 again"],
        ),
    ]);
}

#[test]
fn a_device_of_tencents_belongs_to_one_product() {
    let products = |ids: &[(&str, &str)]| {
        ids.iter().fold(String::new(), |text, (id, dialect)| {
            text + &format!("[[products]]\nid = {id:?}\ndialect = {dialect:?}\n")
        })
    };
    let text = products(&[
        ("AB1", "tencent-explorer"),
        ("AB", "tencent"),
        ("ABC", "native"),
        ("AC", "tencent"),
        ("AB2", "tencent"),
    ]);
    let ambiguous = |line: usize, index: usize| {
        format!(
            "gateway.toml:{line}: products[{index}].id: expected an id that does not begin with that \
             of products[1]: Tencent's devices write product and device without a mark between"
        )
    };
    assert_eq!(errors(&text), [ambiguous(2, 0), ambiguous(14, 4)]);
    parse(&products(&[("AB", "tencent"), ("ABC", "aliyun"), ("B", "tencent")])).unwrap();
}

#[test]
fn keys_can_do_something() {
    check(&[
        ("[[keys]]\nid = 'a'", &["1: keys[0]: expected a secret or a bearer token, found neither"]),
        (
            "[[keys]]\nid = 'a'\nsecret = ''",
            &["3: keys[0].secret: expected a secret, found nothing"],
        ),
        (
            "[[keys]]\nid = 'a'\nbearer = ' hunter2'",
            &["3: keys[0].bearer: expected printable ASCII for a header, and no space at its ends"],
        ),
        (
            "[[keys]]\nid = 'a'\nbearer = 't'\nproducts = []",
            &["4: keys[0].products: expected at least one product; left out, they are all"],
        ),
        (
            "[[keys]]\nid = 'a'\nbearer = 't'\nproducts = [\n'p1'\n]",
            &["5: keys[0].products[0]: expected the id of a product, found \"p1\""],
        ),
    ]);
}

#[test]
fn products_are_as_their_dialects_allow() {
    check(&[
        (
            &product("aliyun", "timeout = '9s'"),
            &["4: products[0].timeout: expected 1s to 8s, found 9s"],
        ),
        (
            &product("aliyun", "timeout = '999ms'"),
            &["4: products[0].timeout: expected 1s to 8s, found 999ms"],
        ),
        (
            &product("tencent", "timeout = '0s'"),
            &["4: products[0].timeout: expected 1ms to 1day, found 0s"],
        ),
        (
            &product("native", "ext = true"),
            &[
                "4: products[0].ext: expected false: only Aliyun's devices have it, and these speak \"native\"",
            ],
        ),
        (
            &product("tencent", "devices = [{ name = 'd', secret = 'hunter2' }]"),
            &[
                "4: products[0].devices[0].secret: expected the device's PSK in base64, with its padding",
            ],
        ),
        (
            &product("native", "devices = [{ name = 'd', secret = '' }]"),
            &["4: products[0].devices[0].secret: expected a secret, found nothing"],
        ),
    ]);
    for dialect in Dialect::ALL {
        assert!(dialect.timeouts().contains(&dialect.default_timeout()), "{dialect:?}");
    }
}

#[test]
fn limits_are_limits() {
    check(&[
        (
            "[limits]\nin_flight = 0\nper_device = 0\nper_key = 1_000_001",
            &[
                "2: limits.in_flight: expected 1 to 1000000, found 0",
                "3: limits.per_device: expected 1 to 1000000, found 0",
                "4: limits.per_key: expected 1 to 1000000, found 1000001",
            ],
        ),
        (
            "[http]\nbody = 0\nconnections = 0\nreplay_window = '0s'\n[mqtt]\nconnections = 0",
            &[
                "2: http.body: expected 1 to 67108864, found 0",
                "3: http.connections: expected 1 to 1000000, found 0",
                "4: http.replay_window: expected 1s to 1day, found 0s",
                "6: mqtt.connections: expected 1 to 1000000, found 0",
            ],
        ),
        (
            "[mqtt.broker]\nurl = 'mqtt://h'\n[cluster]\nname = ''\nid = 'a/'\ndead_after = '11m'",
            &[
                "4: cluster.name: expected 1 to 128 bytes without / + # and control characters, and not $ first, found nothing",
                "5: cluster.id: expected 1 to 128 bytes without / + # and control characters, and not $ first, found \"a/\"",
                "6: cluster.dead_after: expected 100ms to 10m, found 11m",
            ],
        ),
        (
            "[mqtt.broker]\nurl = 'mqtt://h'\n[cluster]\nname = 'alive'\nid = 'alive'",
            &["5: cluster.id: expected another id than \"alive\", which is for all gateways"],
        ),
    ]);
}

#[test]
fn what_is_made_in_code_is_checked_too() {
    let mut config = Config::default();
    config.products.push(Product::new("a/b", Dialect::Native));
    config.keys.push(AccessKey::new("key").with_secret("s").with_product("none"));
    let errors = config.check().unwrap_err();
    let paths: Vec<_> = errors.iter().map(|error| (&*error.path, error.line)).collect();
    assert_eq!(paths, [("keys[0].products[0]", None), ("products[0].id", None)]);
    assert!(errors.to_string().starts_with("keys[0].products[0]: expected the id"));
}

#[test]
fn a_gateway_listens_somewhere() {
    let mut config = Config::default();
    config.http.listen.clear();
    config.mqtt.listen.clear();
    let expected = "http.listen: expected at least one address, found none\n\
                    mqtt.listen: expected at least one URL, found none";
    assert_eq!(config.check().unwrap_err().to_string(), expected);
    config.http = Http::default();
    config.mqtt.broker = Some(Broker::at("mqtt://h"));
    config.check().unwrap();
}

#[test]
fn response_topics_are_filters() {
    let topics = |text: &str| parse(&format!("[mqtt]\n{text}")).unwrap().mqtt.response_topics;
    assert_eq!(topics(""), [TopicFilter::new("clients/+/responses/#").unwrap()]);
    assert_eq!(topics("response_topics = 'a/+'"), [TopicFilter::new("a/+").unwrap()]);
    assert!(topics("response_topics = []").is_empty());
    let problem = "mqtt.response_topics[0]: expected a filter of topics, found";
    for wrong in ["a/#/b", "$share/g/a"] {
        let text = format!("[mqtt]\nresponse_topics = ['{wrong}']");
        assert_eq!(errors(&text), [format!("gateway.toml:2: {problem} {wrong:?}")]);
    }
}

#[test]
fn a_cluster_needs_a_broker_in_the_end() {
    let problem = "cluster: expected mqtt.broker, which several gateways share, found none";
    let made = Config { cluster: Some(Cluster::default()), ..Config::default() };
    assert_eq!(made.check().unwrap_err().to_string(), problem);
    let mut config = parse("\n[cluster]\nname = 'kitchens'").unwrap();
    let errors = config.check().unwrap_err().to_string();
    assert_eq!(errors, format!("gateway.toml:2: {problem}"));
    config.mqtt.broker = Some(Broker::at("mqtt://h"));
    config.check().unwrap();
}

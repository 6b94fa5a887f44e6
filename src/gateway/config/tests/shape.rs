//! What a file has to look like.

use proptest::prelude::*;

use super::*;

#[test]
fn everything_can_be_said() {
    let config = parse(
        "cluster = { name = 'all', id = 'one', dead_after = '1s 500ms' }\n\
         http = { listen = ['127.0.0.1:0', '[::1]:80'], body = 0x1000, replay_window = '1m', \
         connections = 7 }\n\
         mqtt.broker = { url = 'mqtts://broker', client_id = 'c', username = 'u', password = 'p' }\n\
         limits = { in_flight = 3, per_device = 2, per_key = 1 }\n\
         products = [{ id = 'p', dialect = 'aliyun', timeout = '8s', one_in_flight = true, ext = true }]",
    )
    .unwrap();
    let Config { http, mqtt, limits, cluster, products, .. } = config;
    assert_eq!((http.listen.len(), http.body, http.connections), (2, 4096, 7));
    assert_eq!(http.replay_window, Duration::from_mins(1));
    let broker = mqtt.broker.unwrap();
    assert_eq!((&*broker.url, broker.username.as_deref()), ("mqtts://broker", Some("u")));
    assert_eq!(broker.client_id.as_deref(), Some("c"));
    assert_eq!(broker.password.unwrap().expose_secret(), "p");
    assert!(mqtt.listen.is_empty());
    assert_eq!((limits.in_flight, limits.per_device, limits.per_key), (3, 2, 1));
    let cluster = cluster.unwrap();
    assert_eq!((&*cluster.name, cluster.id.as_deref()), ("all", Some("one")));
    assert_eq!(cluster.dead_after, Duration::from_millis(1500));
    assert!(products[0].one_in_flight && products[0].ext);
}

#[test]
fn a_wrong_shape_says_what_was_expected() {
    check(&[
        (
            "[htp]\n",
            &[
                "1: \"htp\": there is no such field, expected one of http, mqtt, limits, cluster, keys, products",
            ],
        ),
        (
            "[http]\nlisten = 1\nbody = 'x'\nconnections = -1",
            &[
                "2: http.listen: expected a string or an array of strings, found an integer",
                "3: http.body: expected a positive number, found a string",
                "4: http.connections: expected a positive number, found -1",
            ],
        ),
        (
            "[http]\nlisten = [\n  '127.0.0.1:80',\n  'localhost',\n  7,\n]",
            &[
                "4: http.listen[1]: expected an IP address and a port, such as \"127.0.0.1:8080\", found \"localhost\"",
                "5: http.listen[2]: expected a string, found an integer",
            ],
        ),
        ("http.listen = []", &["1: http.listen: expected at least one address, found none"]),
        ("http.listen = [1]", &["1: http.listen[0]: expected a string, found an integer"]),
        ("mqtt.listen = [1]", &["1: mqtt.listen[0]: expected a string, found an integer"]),
        ("mqtt.listen = []", &["1: mqtt.listen: expected at least one URL, found none"]),
        ("http = 7", &["1: http: expected a table, found an integer"]),
        ("keys = 7.5", &["1: keys: expected an array of tables, found a float"]),
        ("keys = [1979-05-27]", &["1: keys[0]: expected a table, found a date or time"]),
        (
            "[http]\nreplay_window = 5\n[cluster]\ndead_after = '5 parsecs'\n",
            &[
                "2: http.replay_window: expected a duration such as \"2s\" or \"1m 30s\", found an integer",
                "4: cluster.dead_after: expected a duration such as \"2s\" or \"1m 30s\", found \"5 parsecs\"",
            ],
        ),
        (
            "[[products]]\n\n[[products]]\nid = 'p'\ndialect = 'aliun'\none_in_flight = 'yes'",
            &[
                "1: products[0].id: expected a string, found nothing",
                "1: products[0].dialect: expected a string, found nothing",
                "5: products[1].dialect: expected one of \"aliyun\", \"tencent\", \"tencent-explorer\", \"native\", found \"aliun\"",
                "6: products[1].one_in_flight: expected true or false, found a string",
            ],
        ),
        (
            &product("native", "\n[[products.devices]]\nname = 'd'\nsecrets = 's'"),
            &[
                "5: products[0].devices[0].secret: expected a string, or secret_file or secret_env, found nothing",
                "7: products[0].devices[0].\"secrets\": there is no such field, expected one of name, secret, secret_file, secret_env, disabled",
            ],
        ),
    ]);
}

#[test]
fn a_text_that_is_no_toml_says_where() {
    check(&[
        ("[http]\n\nlisten = ", &["3: string values must be quoted, expected literal string"]),
        ("a = 1\na = 2\n", &["2: duplicate key"]),
        ("[[keys]\r\nid = 'a'", &["1: unclosed array table, expected `]`"]),
    ]);
}

#[test]
fn what_is_nested_deeply_is_refused() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a{}", ".a".repeat(100_000)),
    ] {
        assert!(parse(&text).is_err());
    }
    assert!(parse(&format!("a = {}", "{a=".repeat(100_000))).is_err());
}

#[test]
fn many_mistakes_are_not_all_shown() {
    let text = "[[keys]]\nid = 'a/b'\nbearer = 't'\n".repeat(100);
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.iter().count(), 298);
    assert_eq!(errors.to_string().lines().count(), 51);
    assert!(errors.to_string().ends_with("\nand 248 more"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let directory = Directory::new("missing");
    let path = directory.0.join("gateway.toml");
    let error = Config::load(&path).unwrap_err().to_string();
    let expected = "the file cannot be read: No such file or directory (os error 2)";
    assert_eq!(error, format!("{}: {expected}", path.display()));
    directory.write("gateway.toml", EXAMPLE);
    assert_eq!(Config::load(&path).unwrap().products.len(), 3);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_toml_makes_it_panic(text in r#"((\[\[?(http|mqtt|keys|products|mqtt.broker|a)\]?\]|(id|listen|url|devices|secret|timeout|tls|"") ?= ?("[a-z:/é]*"|[0-9]+|\[[0-9]?\]|\{id=1\}))\n){0,12}"#) {
        let _ = parse(&text);
    }

    #[test]
    fn no_change_to_the_example_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8, "[\\PC\n\"]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (place, gone, new) in changes {
            let begin = place.index(text.len());
            let end = (begin + gone).min(text.len());
            text.splice(begin..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = parse(&text) {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(errors.iter().all(|error| error.line.is_some_and(|line| line <= lines)), "{}", errors);
        }
    }
}

//! URLs and TLS files.

use super::url::listener;
use super::*;

#[test]
fn urls_are_urls() {
    let schemes =
        if cfg!(feature = "ws") { "mqtt, mqtts, ws, wss, unix" } else { "mqtt, mqtts, unix" };
    let scheme = format!("expected a URL of {schemes}, found one of http");
    let scheme = |place: &str| format!("{place}: {scheme}");
    check(&[
        ("mqtt.listen = 'http://h'", &[&scheme("1: mqtt.listen[0]")]),
        (
            "mqtt.listen = '127.0.0.1:1883'",
            &[
                "1: mqtt.listen[0]: expected a URL such as \"mqtt://127.0.0.1:1883\": relative URL without a base",
            ],
        ),
        ("mqtt.listen = 'mqtt://'", &["1: mqtt.listen[0]: expected a host in the URL, found none"]),
        ("mqtt.listen = 'mqtt://h/a'", &["1: mqtt.listen[0]: expected nothing behind the port"]),
        (
            "mqtt.listen = 'mqtt://h?a'",
            &["1: mqtt.listen[0]: expected neither ? nor # in the URL of a listener"],
        ),
        (
            "mqtt.listen = 'unix:a'",
            &["1: mqtt.listen[0]: expected the absolute path of a socket: unix:/path"],
        ),
        (
            "mqtt.broker.url = 'mqtt://anna:hunter2@h'",
            &[
                "1: mqtt.broker.url: expected no user name and password in the URL: they have fields of their own",
            ],
        ),
        (
            "mqtt.listen = 'mqtts://h'",
            &["1: mqtt.listen[0]: expected mqtt.tls with a certificate and its key, found nothing"],
        ),
        (
            "[mqtt]\nlisten = 'mqtt://h'\nbroker.url = 'mqtt://h'",
            &[
                "2: mqtt.listen: expected either this or mqtt.broker: beside a broker nothing listens for MQTT",
            ],
        ),
        (
            "[mqtt.broker]\nurl = 'mqtt://h'\npassword = 'hunter2'\nclient_id = ''",
            &[
                "3: mqtt.broker.password: expected a username beside it, found none",
                "4: mqtt.broker.client_id: expected a client identifier, found nothing",
            ],
        ),
        ("[mqtt.broker]", &["1: mqtt.broker.url: expected a string, found nothing"]),
    ]);
}

/// As the client itself finds it, which would be at the start only.
#[test]
fn a_brokers_url_is_one_that_a_client_takes() {
    let table = [
        ("http://h", "it must begin with mqtt://, mqtts://, ws://, wss:// or unix:/"),
        ("mqtt://", "the host is missing"),
        ("mqtt://h/path", "only a query may follow the host and the port"),
        ("mqtt://h?keep_alive=1#y", "only a query may follow the host and the port"),
        ("mqtt://h?keep_alive=x", "keep_alive must be a whole number from 0 to 65535"),
        ("mqtt://h?client_id=", "client_id must not be empty"),
        (
            "mqtt://h?ca=ca.pem",
            "mqtt:// is without TLS, for which there are settings: mqtts:// or wss:// has it",
        ),
        ("unix:a", "the absolute path of a socket is needed: unix:/path"),
        (
            "unix:/s?q",
            "there is no option \"q\"; there are client_id, keep_alive, clean_start, \
             session_expiry, connect_timeout, maximum_packet_size, receive_maximum and ca",
        ),
    ];
    for (url, why) in table {
        let expected = format!("1: mqtt.broker.url: expected the URL of a broker: {why}");
        check(&[(&format!("mqtt.broker.url = '{url}'"), &[&expected])]);
    }
    for url in ["mqtt://h/?keep_alive=5&client_id=c", "mqtts://h?ca=ca.pem", "unix:/s?client_id=c"]
    {
        parse(&format!("mqtt.broker.url = '{url}'")).expect(url);
    }
}

#[test]
fn what_is_a_url_becomes_a_listener() {
    for url in ["mqtt://127.0.0.1:0", "mqtt://[::1]", "mqtt://localhost/", "unix:/run/mqtt"] {
        let listener = listener(url, None).expect(url);
        assert!(!format!("{listener:?}").is_empty());
    }
    assert!(listener("mqtts://h", None).unwrap_err().contains("mqtt.tls"));
    let text = format!("{:?}", listener("mqtt://[::1]", None).unwrap());
    assert!(text.contains("[::1]:1883"), "{text}");
    let urls = ["mqtt://127.0.0.1:0", "mqtts://h"].map(str::to_owned);
    assert_eq!(listeners(&urls[..1], None).unwrap().len(), 1);
    let error = listeners(&urls, None).unwrap_err().to_string();
    assert!(error.starts_with("mqtt.listen[1]: expected mqtt.tls"), "{error}");
}

#[test]
fn user_name_and_password_are_taken_out_of_a_brokers_url() {
    let broker = Broker::at("mqtt://an%40na:p%3Aw@h:7?keep_alive=5");
    assert_eq!(
        (&*broker.url, broker.username.as_deref()),
        ("mqtt://h:7?keep_alive=5", Some("an@na"))
    );
    assert_eq!(broker.password.unwrap().expose_secret(), "p:w");
    assert_eq!(Broker::at("mqtt://h").url, "mqtt://h");
    for url in [
        "mqtt://anna:hunter2@h",
        "mqtt://anna:hunter2@:7",
        "mqtt:anna:hunter2@h",
        "anna:hunter2@h://",
    ] {
        let mut broker = Broker::at(url);
        assert!(!format!("{broker:?}").contains("hunter2"));
        broker.url = url.to_owned();
        assert!(!format!("{broker:?}").contains("hunter2"));
    }
}

#[test]
fn tls_files_are_read() {
    let directory = Directory::new("tls");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    directory.write("cert.pem", made.cert.pem());
    directory.write("key.pem", made.signing_key.serialize_pem());
    directory.write("none.pem", "hunter2");
    let files = "tls = { cert = 'cert.pem', key = 'key.pem' }";
    let config = directory
        .parse(&format!("[http]\n{files}\n[mqtt]\nlisten = 'mqtts://127.0.0.1'\n{files}"))
        .unwrap();
    let TlsFiles { cert, key } = config.http.tls.unwrap();
    assert_eq!((cert, key), (directory.0.join("cert.pem"), directory.0.join("key.pem")));

    let expected = "expected a certificate and its key in PEM";
    let no_certificate = "it holds no certificate: a PEM block CERTIFICATE is expected";
    let missing = "No such file or directory (os error 2)";
    let table = [
        (
            "[http]\ntls = { cert = 'none.pem', key = 'key.pem' }",
            format!("2: http.tls: {expected}: none.pem: {no_certificate}"),
        ),
        (
            "[http]\ntls = { cert = 'no.pem', key = 'key.pem' }",
            format!("2: http.tls: {expected}: no.pem: {missing}"),
        ),
        (
            "[http]\ntls = { cert = 'cert.pem' }",
            "2: http.tls.key: expected a string, found nothing".to_owned(),
        ),
        (
            &format!("[mqtt]\n{files}"),
            "2: mqtt.tls: expected a listener with mqtts or wss for it, found none".to_owned(),
        ),
        (
            &format!("[mqtt]\n{files}\nbroker.url = 'mqtt://h'"),
            "2: mqtt.tls: expected a listener for it, and beside a broker there is none".to_owned(),
        ),
        (
            "[mqtt.broker]\nurl = 'mqtts://h'\nca = 'none.pem'",
            "3: mqtt.broker.ca: expected a file with certificates in PEM, found none".to_owned(),
        ),
        (
            "[mqtt.broker]\nurl = 'mqtt://h'\nca = 'cert.pem'",
            "3: mqtt.broker.ca: expected a broker with mqtts or wss for it".to_owned(),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(directory.errors(text), [format!("gateway.toml:{expected}")], "{text}");
    }
}

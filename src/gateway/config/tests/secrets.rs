//! Secrets elsewhere than in the file, and never in an error.

use super::*;

#[test]
fn secrets_may_be_elsewhere() {
    let directory = Directory::new("secrets");
    directory.write("one", "first\n");
    directory.write("two", "second\r\n");
    let config = directory
        .parse(
            "[[keys]]\nid = 'a'\nsecret_file = 'one'\nbearer_file = 'two'\n\
             [[keys]]\nid = 'b'\nsecret_env = 'CARGO_PKG_NAME'",
        )
        .unwrap();
    let secret =
        |secret: &Option<SecretString>| secret.as_ref().unwrap().expose_secret().to_owned();
    assert_eq!(secret(&config.keys[0].secret), "first");
    assert_eq!(secret(&config.keys[0].bearer), "second");
    assert_eq!(secret(&config.keys[1].secret), "tower-mqtt");
}

#[test]
fn a_secret_that_cannot_be_had_says_why() {
    let directory = Directory::new("no-secrets");
    directory.write("empty", "\n");
    directory.write("long", "x".repeat(64 * 1024 + 1));
    let table = [
        (
            "secret_file = 'none'",
            "3: keys[0].secret_file: expected a file with the secret, which cannot be read: No such file or directory (os error 2)",
        ),
        (
            "secret_file = 'long'",
            "3: keys[0].secret_file: expected a file with the secret, which cannot be read: it has more than 65536 bytes",
        ),
        ("secret_file = 'empty'", "3: keys[0].secret: expected a secret, found nothing"),
        (
            "secret_env = 'HUNTER2'",
            "3: keys[0].secret_env: expected the name of an environment variable that is set",
        ),
        (
            "secret_env = ''",
            "3: keys[0].secret_env: expected the name of an environment variable that is set",
        ),
        (
            "secret_env = 'a=b'",
            "3: keys[0].secret_env: expected the name of an environment variable that is set",
        ),
        ("secret_env = 7", "3: keys[0].secret_env: expected a string, found an integer"),
        (
            "secret = 'a'\nsecret_file = 'b'",
            "3: keys[0].secret: expected only one of secret, secret_file and secret_env",
        ),
    ];
    for (line, expected) in table {
        let text = format!("[[keys]]\nid = 'a'\n{line}");
        assert_eq!(directory.errors(&text), [format!("gateway.toml:{expected}")], "{line}");
    }
}

/// Wherever a secret stands, and whatever else is wrong there.
#[test]
fn no_secret_is_in_an_error() {
    let lines = [
        "secret = \"hunter2",
        "secret = hunter2",
        "secret = 'hunter2' x",
        "secret = ['hunter2']",
        "secret = { hunter = 'hunter2' }",
        "secret = 'hunter2'\nsecret = 'hunter2'",
        "bearer = 'hunter2 '",
        "secrets = 'hunter2'",
        "secret_file = 'hunter2'",
        "secret_env = 'hunter2'",
        "secret 'hunter2'",
        "secret = 'hunter2'\nid = 7",
        "secret = \"\"\"hunter2",
        "secret = \"\\hunter2\"",
        "products = 7 # hunter2",
        "devices = [{ name = 'd', secret = 'hunter2' }]",
        "devices = ['hunter2']",
        "password = 'hunter2'",
        "url = 'mqtt://a:hunter2@h'",
        "url = 'mqtt://a:hunter2@'",
        "url = 'http://a:hunter2@h'",
        "url = 'a:hunter2@h'",
        "url = 'mqtt://a:hunter2@h:99999'",
        "url = 'mqtt://a:hunter2@h/x'",
    ];
    let tables =
        ["[[keys]]\nid = 'a'", "[mqtt.broker]", "[[products]]\nid = 'a'\ndialect = 'tencent'"];
    for line in lines {
        for table in tables {
            let errors = parse(&format!("{table}\n{line}\n")).expect_err(line);
            let text = format!("{errors} {errors:?}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let _ = parse(line).map_err(|errors| assert!(!errors.to_string().contains("hunter2")));
    }
}

//! A gateway's configuration: any text is read or refused, and no secret in it is ever shown.
//!
//! An input is the text. A `@` in the value of a secret stands for a word that must not be seen again.

use tower_mqtt::gateway::Config;

const WORD: &str = "hunter2hunter2";

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // A string of several lines may begin anywhere.
    if text.contains("\"\"\"") || text.contains("'''") || text.contains("/dev/") {
        return;
    }
    let text: String = text.split_inclusive('\n').map(with_secret).collect();
    match Config::parse(&text, "/nowhere/gateway.toml") {
        Ok(config) => {
            assert!(!format!("{config:?}").contains(WORD), "{config:?}");
            if config.cluster.is_none() {
                assert!(config.check().is_ok(), "{text}");
            }
        }
        Err(errors) => {
            let shown = format!("{errors} {errors:?}");
            assert!(!shown.contains(WORD), "{shown}");
            assert!(errors.iter().next().is_some(), "an error says something");
        }
    }
}

fn with_secret(line: &str) -> String {
    let value = ["secret", "bearer", "password"]
        .into_iter()
        .find_map(|key| line.trim_start().strip_prefix(key)?.trim_start().strip_prefix('='));
    line.replace('@', if value.is_some() { WORD } else { "" })
}

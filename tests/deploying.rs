//! What the page on deploying says is so, and the files beside it speak of nothing else.
#![cfg(feature = "gateway")]

#[path = "gateway/http.rs"]
#[allow(dead_code, reason = "other tests want more of it")]
mod http;
#[path = "support/soon.rs"]
mod soon;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tower_mqtt::gateway::{Config, Gateway};

use self::soon::soon;

const PAGE: &str = include_str!("../src/docs/deploying.md");
const ALERTS: &str = include_str!("../examples/deploy/alerts.yml");
const ALERTS_TEST: &str = include_str!("../examples/deploy/alerts_test.yml");
const DASHBOARD: &str = include_str!("../examples/deploy/grafana-dashboard.json");
const SERVICE: &str = include_str!("../examples/deploy/rrpc-gateway.service");
const DOCKERFILE: &str = include_str!("../examples/deploy/Dockerfile");

const PREFIX: &str = "rrpc_gateway_";

/// The cells of the page's tables, by rows.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" |").map(str::trim).collect())
}

/// Names and kinds of the numbers.
fn documented() -> BTreeMap<String, String> {
    let numbers = rows().filter(|row| row[0].starts_with(&format!("`{PREFIX}")));
    numbers.map(|row| (row[0].trim_matches('`').to_owned(), row[1].to_owned())).collect()
}

fn code_words(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn outcomes() -> BTreeSet<&'static str> {
    let table = PAGE.split("| outcome | what came of the call |").nth(1).expect("it is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| code_words(row.split(" | ").next().unwrap_or_default())).collect()
}

#[tokio::test]
async fn the_numbers_are_those_that_the_gateway_gives() {
    let config = "http.listen = \"127.0.0.1:0\"\nmqtt.listen = \"mqtt://127.0.0.1:0\"\n\
                  [[keys]]\nid = \"k\"\nbearer = \"token\"\n\
                  [[products]]\nid = \"p\"\ndialect = \"native\"\n";
    let config = Config::parse(config, "test.toml").expect("it is right");
    let gateway = soon(Gateway::builder(config).start()).await.expect("started");
    let at = gateway.http_addrs()[0];
    let key = [("Authorization", "Bearer token")];
    // So that there is a series of each.
    soon(http::send(at, "POST /v1/devices/p/d/call", &key, b"")).await;
    let numbers = soon(http::send(at, "GET /metrics", &key, b"")).await;
    let types = numbers.text().lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types = types.filter_map(|line| line.split_once(' '));
    let given: BTreeMap<_, _> = types.map(|(name, kind)| (name.into(), kind.into())).collect();
    assert_eq!(given, documented(), "{}", numbers.text());

    let labels = |name: &str| -> BTreeSet<String> {
        let sample = numbers.text().lines().find(|line| line.starts_with(&format!("{name}{{")));
        let labels = sample.and_then(|line| line.split(['{', '}']).nth(1)).unwrap_or_default();
        let names = labels.split(',').filter_map(|label| label.split('=').next());
        names.filter(|name| !["", "le"].contains(name)).map(str::to_owned).collect()
    };
    for row in rows().filter(|row| row[0].starts_with(&format!("`{PREFIX}"))) {
        let kind = if row[1] == "histogram" { "_bucket" } else { "" };
        let given = labels(&(row[0].trim_matches('`').to_owned() + kind));
        let documented = code_words(row[2]).into_iter().map(str::to_owned).collect();
        assert_eq!(given, documented, "{row:?}");
    }
    gateway.shutdown(std::time::Duration::ZERO).await;
}

/// Names in an expression, without what a histogram's series have at their end.
fn used(text: &str) -> BTreeSet<String> {
    let numbers = documented();
    let starts = text.match_indices(PREFIX).map(|(at, _)| &text[at..]);
    let names = starts.map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
        let is_histogram = |base: &&str| numbers.get(*base).is_some_and(|it| it == "histogram");
        base.filter(is_histogram).unwrap_or(name).to_owned()
    });
    names.collect()
}

/// The values of the label `outcome` in an expression.
fn used_outcomes(text: &str) -> BTreeSet<&str> {
    let values = text.split("outcome=").skip(1).filter_map(|rest| {
        // In JSON the quotes have a backslash.
        rest.trim_start_matches(['~', '\\', '"']).split(['"', '\\']).next()
    });
    values.flat_map(|values| values.split('|')).collect()
}

#[test]
fn alerts_and_dashboard_use_numbers_that_there_are() {
    let (numbers, outcomes) = (documented(), outcomes());
    for (file, text) in [("alerts", ALERTS), ("their test", ALERTS_TEST), ("dashboard", DASHBOARD)]
    {
        let names = used(text);
        assert!(names.len() > 5, "{file}: {names:?}");
        for name in names {
            assert!(numbers.contains_key(&name), "{file}: {name}");
        }
        let words = used_outcomes(text);
        assert!(words.len() > 5, "{file}: {words:?}");
        assert!(words.is_subset(&outcomes), "{file}: {words:?}");
    }
    // Nothing is measured that nobody can see.
    let shown = used(DASHBOARD);
    assert!(numbers.keys().all(|name| shown.contains(name)), "{shown:?}");
}

#[test]
fn alerts_are_those_of_the_page_and_each_has_a_test() {
    let named = |text: &'static str, key: &'static str| {
        let names = text.lines().filter_map(move |line| line.split_once(key));
        names.map(|(_, name)| name.trim_end_matches('}').trim()).collect::<BTreeSet<_>>()
    };
    let severity = |rule: &'static str| rule.split("severity: ").nth(1)?.split(' ').next();
    let rules = ALERTS.split("- alert: ").skip(1);
    let rules: BTreeMap<_, _> = rules
        .map(|rule| {
            for part in ["expr: ", "for: ", "summary: ", "description: "] {
                assert!(rule.contains(part), "{part}{rule}");
            }
            (rule.lines().next().expect("a name"), severity(rule).expect("a severity"))
        })
        .collect();
    let rows = rows().filter(|row| row[0].starts_with("`RrpcGateway"));
    let documented: BTreeMap<_, _> = rows.map(|row| (row[0].trim_matches('`'), row[1])).collect();
    assert_eq!(rules, documented);
    assert_eq!(named(ALERTS_TEST, "alertname: "), rules.keys().copied().collect());
}

#[test]
fn the_dashboard_has_the_shape_that_grafana_expects() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    for (field, is) in [("title", "RRPC gateway"), ("uid", "rrpc-gateway")] {
        assert_eq!(dashboard[field], is);
    }
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: BTreeSet<_> = variables.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["datasource", "instance", "product"]));

    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let is_number = |value: &Value| value.as_u64().expect("a number");
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(is_number(&panel["id"])), "{title}: its id is another's");
        assert!(["stat", "timeseries", "heatmap"].contains(&panel["type"].as_str().expect("text")));
        let at = |field: &str| is_number(&panel["gridPos"][field]);
        assert!(at("w") > 0 && at("x") + at("w") <= 24, "{title}: it is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title}: it lies on another");
            }
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        let letters: BTreeSet<_> = targets.iter().map(|it| it["refId"].as_str()).collect();
        assert!(!targets.is_empty() && letters.len() == targets.len(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expression = target["expr"].as_str().expect("an expression");
            assert!(!used(expression).is_empty(), "{title}: {expression}");
            let variables = expression.split('$').skip(1);
            for variable in variables {
                let end = variable.find(|c: char| !c.is_alphanumeric() && c != '_');
                let name = &variable[..end.unwrap_or(variable.len())];
                let known = names.contains(name) || name == "__rate_interval";
                assert!(known, "{title}: ${name}");
            }
        }
    }
    assert!(ids.len() > 10);
}

/// An event of the log: level and text, and the names of its fields.
type Events = BTreeMap<(String, String), BTreeSet<String>>;

/// Of the modules that are in the program.
fn events() -> Events {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = ["bin", "gateway", "hub", "link", "requester", "responder"];
    let mut places: Vec<PathBuf> = folders.iter().map(|folder| src.join(folder)).collect();
    places.push(src.join("tls/server.rs"));
    let mut events = Events::new();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(place).expect("a folder").map(|it| it.expect("one").path()));
            continue;
        }
        // A layer that may fail is somebody else's.
        let left_out = place.ends_with("tests.rs") || place.ends_with("responder/handle_error.rs");
        if left_out || place.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&place).expect("text");
        for level in ["error", "warn", "info"] {
            for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                let (event, fields) = event(call);
                events.entry((level.to_owned(), event)).or_default().extend(fields);
            }
        }
    }
    events
}

/// What follows the parenthesis of a macro: the last text is what happened.
fn event(call: &str) -> (String, BTreeSet<String>) {
    let mut depth = 1;
    let end = call.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    let call = &call[..end.expect("it ends")];
    let close = call.rfind('"').expect("a text");
    let open = call[..close].rfind('"').expect("a text");
    let (fields, text) = (&call[..open], &call[open + 1..close]);
    let fields = fields.split(',').filter_map(|field| {
        let name = field.split('=').next()?.trim().trim_start_matches(['%', '?']);
        (!name.is_empty()).then(|| name.to_owned())
    });
    (text.to_owned(), fields.collect())
}

#[test]
fn the_log_has_the_events_of_the_page() {
    let rows = rows().filter(|row| ["error", "warn", "info"].contains(&row[0]));
    let documented: Events = rows
        .map(|row| {
            let fields = code_words(row[2]).into_iter().map(str::to_owned).collect();
            ((row[0].to_owned(), row[1].to_owned()), fields)
        })
        .collect();
    let logged = events();
    assert!(logged.len() > 20, "{logged:?}");
    for (event, fields) in &logged {
        assert_eq!(Some(fields), documented.get(event), "{event:?}");
    }
    for event in documented.keys() {
        assert!(logged.contains_key(event), "{event:?} is not logged");
    }
}

/// The seconds that a file gives after these words.
fn seconds(text: &str, after: &str) -> u64 {
    let rest = text.split(after).nth(1).unwrap_or_else(|| panic!("there is no {after}"));
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().expect("a number")
}

#[test]
fn who_stops_a_gateway_waits_longer_than_it_lets_calls_end() {
    assert!(seconds(SERVICE, "TimeoutStopSec=") > seconds(SERVICE, "--grace "));
    // What `docker stop` waits.
    assert!(seconds(DOCKERFILE, "\"--grace\"") < 10);
    // As many as may be connected by default.
    let Config { http, mqtt, .. } = Config::default();
    let descriptors = http.connections + mqtt.connections;
    assert!(seconds(SERVICE, "LimitNOFILE=") > descriptors as u64);
}

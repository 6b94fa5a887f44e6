//! Which clauses the kit covers: `coverage.md` is written from the tables of its files.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use crate::clauses::Row;
use crate::declined::DECLINED;
use crate::{
    connecting, declined, flow, publishing, request_response, sessions, sharing, subscribing, wills,
};

const FILES: &[(&str, &[Row])] = &[
    ("request_response", request_response::ROWS),
    ("publishing", publishing::ROWS),
    ("subscribing", subscribing::ROWS),
    ("sharing", sharing::ROWS),
    ("flow", flow::ROWS),
    ("connecting", connecting::ROWS),
    ("sessions", sessions::ROWS),
    ("wills", wills::ROWS),
    ("declined", declined::ROWS),
];

/// The numbered clauses of the standard: of each section the first and the last.
const NUMBERED: &[(&str, u8, u8)] = &[
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6),
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2.0", 1, 1),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];

/// What only a client can keep to.
const OF_A_CLIENT: &[&str] = &[
    "MQTT-3.1.2-20",
    "MQTT-3.1.2-21",
    "MQTT-3.1.2-30",
    "MQTT-3.2.2-4",
    "MQTT-3.2.2-5",
    "MQTT-3.2.2-17",
    "MQTT-3.2.2-18",
    "MQTT-3.2.2-21",
    "MQTT-3.3.2-10",
    "MQTT-3.3.4-7",
    "MQTT-3.3.4-8",
    "MQTT-4.5.0-2",
    "MQTT-4.6.0-1",
    "MQTT-4.6.0-2",
    "MQTT-4.12.0-3",
    "MQTT-4.12.0-7",
    "MQTT-6.0.0-3",
];

/// What needs a hub of its own, in tests of the hub. A comment says at its place what it is for.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["MQTT-3.1.3-8", "MQTT-3.1.4-2"], "hub/connecting.rs"),
    (&["MQTT-3.1.2-29", "MQTT-3.4.2-3"], "hub/devices.rs"),
    (&["MQTT-6.0.0-1", "MQTT-6.0.0-2", "MQTT-6.0.0-4"], "hub_transports/web_socket.rs"),
];

fn numbered() -> BTreeSet<String> {
    let clauses = NUMBERED.iter().flat_map(|(section, first, last)| {
        (*first..=*last).map(move |number| format!("MQTT-{section}-{number}"))
    });
    clauses.collect()
}

/// A clause, or with `*` all of its section.
fn meant<'a>(all: &'a BTreeSet<String>, clause: &str) -> Vec<&'a String> {
    let found: Vec<_> = match clause.strip_suffix('*') {
        Some(section) => all.iter().filter(|one| one.starts_with(section)).collect(),
        None => all.get(clause).into_iter().collect(),
    };
    assert!(!found.is_empty(), "there is no clause {clause}");
    found
}

fn listing() -> String {
    let mut text = String::from(
        "# What the kit for MQTT 5 covers\n\nWritten by the test `coverage_is_what_is_written`. Clauses are \
         in our words.\n",
    );
    let all = numbered();
    let (mut tested, mut known) = (BTreeSet::new(), BTreeSet::new());
    for (file, rows) in FILES {
        writeln!(
            text,
            "\n## `{file}.rs`\n\n| clause | asks for | test | mosquitto, too |\n|---|---|---|---|"
        )
        .expect("a string");
        for row in *rows {
            for (clause, says) in row.clauses {
                if clause.starts_with("MQTT") {
                    tested.extend(meant(&all, clause));
                }
                let mosquitto = row.hub_only.map_or("yes".to_owned(), |why| format!("no: {why}"));
                writeln!(text, "| {clause} | {says} | `{}` | {mosquitto} |", row.test)
                    .expect("a string");
            }
        }
    }
    text.push_str("\n## Not there on purpose\n\n| clauses | what | how a client learns of it |\n|---|---|---|\n");
    for (clauses, what, how) in DECLINED {
        known.extend(clauses.iter().flat_map(|clause| meant(&all, clause)));
        writeln!(text, "| {} | {what} | {how} |", clauses.join(", ")).expect("a string");
    }
    text.push_str("\n## Tested elsewhere\n\n| clauses | in `tests/` |\n|---|---|\n");
    for (clauses, place) in ELSEWHERE {
        known.extend(clauses.iter().flat_map(|clause| meant(&all, clause)));
        writeln!(text, "| {} | `{place}` |", clauses.join(", ")).expect("a string");
    }
    known.extend(OF_A_CLIENT.iter().flat_map(|clause| meant(&all, clause)));
    writeln!(text, "\n## A client's part\n\n{}", OF_A_CLIENT.join(", ")).expect("a string");
    let rest: Vec<_> =
        all.iter().filter(|one| !tested.contains(one) && !known.contains(one)).collect();
    let names: Vec<_> = rest.iter().map(|one| one.as_str()).collect();
    writeln!(
        text,
        "\n## Not tested\n\n{}\n\nOf {} numbered clauses {} have a test here, {} are accounted for otherwise, and {} \
         have no test of their own.",
        names.join(", "),
        all.len(),
        tested.len(),
        known.difference(&tested).count(),
        rest.len(),
    )
    .expect("a string");
    text
}

#[test]
fn what_is_tested_elsewhere_is_named_there() {
    for (clauses, place) in ELSEWHERE {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(place);
        let text = std::fs::read_to_string(file).expect(place);
        for clause in *clauses {
            assert!(text.contains(&format!("[{clause}]")), "{place} does not name {clause}");
        }
    }
}

#[test]
fn coverage_is_what_is_written() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mqtt5/coverage.md");
    let listing = listing();
    if std::env::var_os("COVERAGE").is_some_and(|value| value == "overwrite") {
        std::fs::write(&file, &listing).expect("written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        listing == written,
        "write it again: COVERAGE=overwrite cargo test --test mqtt5 coverage"
    );
}

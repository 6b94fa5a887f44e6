//! The directions between modules: who may name whom. (See "What lives where" in `src/lib.rs`.)

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A module of the crate, and the others that it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("message", &["core", "error"]),
    ("error", &["core", "message", "tls"]),
    ("tls", &[]),
    ("dialect", &["core", "message", "error"]),
    ("scope", &[]),
    // A part of its own, that users' tests of anything in MQTT can use.
    ("test_util", &["core"]),
    ("id", &["core"]),
    ("layer", &["core", "message", "error", "id", "scope"]),
    ("link", &["core", "error", "tls"]),
    ("requester", &["core", "message", "error", "dialect", "id", "link", "scope"]),
    ("responder", &["core", "message", "error", "dialect", "layer", "link", "scope"]),
    ("bridge", &["core", "message", "error", "dialect", "layer", "link", "requester", "responder"]),
    (
        "hub",
        &["core", "message", "error", "dialect", "layer", "link", "responder", "bridge", "tls"],
    ),
    (
        "gateway",
        &[
            "core",
            "message",
            "error",
            "dialect",
            "layer",
            "link",
            "requester",
            "responder",
            "hub",
            "tls",
            "id",
            "scope",
        ],
    ),
];

/// What the core may use from outside: it has no clock, no random numbers, no tasks, no network.
const CORE_MAY_USE: [&str; 6] = ["std", "bytes", "thiserror", "super", "self", "crate"];

struct File {
    path: PathBuf,
    module: String,
    /// Without comments and tests.
    code: String,
}

fn files() -> Vec<File> {
    let mut files = Vec::new();
    let src = Path::new(ROOT).join("src");
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let inside = path.strip_prefix(&src).unwrap().to_path_buf();
                let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.trim_end_matches(".rs").to_owned();
                let code = code(&fs::read_to_string(&path).unwrap());
                files.push(File { path: inside, module, code });
            }
        }
    }
    files
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    ["", &lines.collect::<Vec<_>>().join("\n")].join("\n")
}

/// The words that follow `prefix` in the code.
fn named<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.split(prefix).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn modules_name_only_those_that_they_may() {
    let modules: BTreeSet<String> = files().into_iter().map(|file| file.module).collect();
    let mut wrong = Vec::new();
    for File { path, module, code } in files() {
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            assert!(module == "lib" || module == "bin", "{module}: say what it may name");
            continue;
        };
        for name in named(&code, "crate::").filter(|name| modules.contains(*name)) {
            if name != module && !allowed.contains(&name) {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
        // A group would hide names from this test.
        if code.contains("crate::{") {
            wrong.push(format!("{}: one `use` for each module", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_core_is_pure() {
    let mut seen = 0;
    for File { path, code, .. } in files().iter().filter(|file| file.module == "core") {
        seen += 1;
        for name in named(code, "\nuse ").chain(named(code, "\npub use ")) {
            let own = code.contains(&format!("mod {name};"));
            assert!(CORE_MAY_USE.contains(&name) || own, "{}: {name}", path.display());
        }
        for word in ["Instant::now", "SystemTime", "rand::", "tokio", "thread::", "std::net"] {
            assert!(!code.contains(word), "{}: {word}", path.display());
        }
    }
    assert!(seen > 5);
}

#[test]
fn ntex_is_named_only_where_the_network_is() {
    for File { path, code, .. } in files() {
        let outside = |(at, _): (usize, &str)| !code[..at].ends_with("::");
        let names = code.contains("ntex_") || code.match_indices("ntex::").any(outside);
        let network = path.starts_with("link/ntex") || path.starts_with("hub");
        assert!(network || !names, "{}", path.display());
    }
}

fn dependencies(arguments: &[&str]) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").expect("tests are run by cargo");
    let tree = ["tree", "--offline", "--edges", "normal", "--prefix", "none"];
    let output = Command::new(cargo).current_dir(ROOT).args(tree).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

#[test]
fn without_default_features_there_is_no_ntex_in_the_graph() {
    let is_ntex = |name: &String| name.starts_with("ntex");
    assert!(dependencies(&[]).iter().any(is_ntex), "by default there is");
    let lean = dependencies(&["--no-default-features", "--features", "json"]);
    assert!(lean.iter().any(|name| name == "tokio"));
    assert!(!lean.iter().any(is_ntex), "{lean:?}");
}

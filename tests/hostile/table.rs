//! The tables in the documentation that name tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Every test of the folder and those below, as `file::test`, with the folder that it is in.
fn tests(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let file = path.file_stem().expect("a name").to_string_lossy();
            let attributes = ["test]", "tokio::test]", "tokio::test("];
            for part in text.split("#[").filter(|p| attributes.iter().any(|a| p.starts_with(a))) {
                let name = part.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
                found.push((folder.to_owned(), format!("{file}::{}", name.expect("a function"))));
            }
        }
    }
}

#[test]
fn every_test_that_the_table_names_is_where_it_says() {
    let mut found = Vec::new();
    tests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut found);
    let page = include_str!("../../src/docs/threat_model.md");
    let (_, section) = page.split_once("# The hub under attack").expect("the section");
    let section = section.split("\n# ").next().expect("it has a text");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        for name in last.split(", ") {
            let (name, with_witness) = match name.strip_suffix(" (hub)") {
                Some(name) => (name.trim_matches('`'), false),
                None => (name.trim_matches('`'), true),
            };
            let is = |(folder, test): &(PathBuf, String)| {
                test == name && folder.ends_with("hostile") == with_witness
            };
            assert!(found.iter().any(is), "{name} of {row}");
        }
    }
}

/// Whether a file of this name, or a folder's `mod.rs`, has the function.
fn exists(folder: &Path, file: &str, function: &str) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return exists(&path, file, function);
        }
        let named = if path.ends_with("mod.rs") { path.parent() } else { Some(&*path) };
        named.and_then(Path::file_stem).is_some_and(|stem| stem == file)
            && fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("fn {function}(")))
    })
}

/// Whether a test of this name, as `file::function`, is in the folder `src` or `tests`.
fn is_there(name: &str) -> bool {
    let (file, function) = name.split_once("::").expect("file::function");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "tests"].iter().any(|folder| exists(&root.join(folder), file, function))
}

#[test]
fn every_bug_that_the_trials_have_found_has_its_test() {
    let page = include_str!("../../src/docs/trials.md");
    let (_, section) = page.split_once("# What it has found").expect("the section");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        for name in last.split(", ") {
            assert!(is_there(name.trim_matches('`')), "{name} of {row}");
        }
    }
}

#[test]
fn every_guarantee_of_the_readme_has_its_test() {
    let (_, section) = include_str!("../../README.md").split_once("## Guarantees").expect("there");
    let section = section.split("\n## ").next().expect("it has a text");
    let guarantees: Vec<_> = section.split("\n- **").skip(1).collect();
    assert!(guarantees.len() > 10, "{guarantees:?}");
    for guarantee in guarantees {
        let (_, name) = guarantee.rsplit_once("(`").expect(guarantee);
        assert!(is_there(name.split('`').next().expect("a name")), "{guarantee}");
    }
}

//! Each direct dependency has its reason in docs/dependencies.md, and nothing else stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(path).unwrap()
}

/// The keys of a table of a manifest.
fn keys(manifest: &str, tables: &[&str]) -> BTreeSet<String> {
    let mut inside = false;
    let mut keys = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            inside = tables.contains(&table.trim_end_matches(']'));
        } else if inside && line.starts_with(|c: char| c.is_ascii_lowercase()) {
            let end = line.find(['.', ' ', '=']).unwrap();
            keys.insert(line[..end].to_owned());
        }
    }
    keys
}

#[test]
fn each_direct_dependency_has_its_reason_in_one_table_and_nothing_else_has() {
    let ours = ["indexfile", "precompute", "slotd", "stores", "controller"];
    let mut known = keys(&read("Cargo.toml"), &["workspace.dependencies"]);
    for name in ours {
        assert!(known.remove(name), "{name}");
    }
    assert!(known.len() > 30, "{known:?}");
    let text = read("docs/dependencies.md");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let rows: Vec<String> = rows
        .filter(|name| *name != "crate")
        .map(ToOwned::to_owned)
        .collect();
    let told: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(told.len(), rows.len(), "one row each");
    let without: Vec<_> = known.difference(&told).collect();
    let gone: Vec<_> = told.difference(&known).collect();
    assert!(without.is_empty(), "no reason is given for {without:?}");
    assert!(gone.is_empty(), "{gone:?} are no dependencies");
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells = row
            .trim_matches(['|', ' '])
            .split(" | ")
            .filter(|c| !c.trim().is_empty());
        assert_eq!(cells.count(), 3, "{row}");
    }
}

#[test]
fn a_crate_has_no_dependency_that_the_workspace_does_not_know() {
    let known = keys(&read("Cargo.toml"), &["workspace.dependencies"]);
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    for name in [
        "indexfile",
        "stores",
        "precompute",
        "slotd",
        "controller",
        "packaging",
        "tests",
    ] {
        let of_crate = keys(&read(&format!("{name}/Cargo.toml")), &tables);
        let unknown: Vec<_> = of_crate.difference(&known).collect();
        assert!(
            !of_crate.is_empty() && unknown.is_empty(),
            "{name}: {unknown:?}"
        );
    }
}

/// docs/security.md names the test that shows each of its claims.
#[test]
fn every_test_that_the_page_about_security_names_is_there() {
    let text = read("docs/security.md");
    let tables = text.split("\n## Who can do what").nth(1).unwrap();
    let quoted = tables.split('`').skip(1).step_by(2);
    // A name of a test, not of an option or a program.
    let named: BTreeSet<&str> = quoted
        .filter(|word| word.matches('_').count() >= 3)
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let mut sources = String::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if path.is_dir() && name != "target" && !hidden {
                todo.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let there = |name: &&&str| sources.contains(&format!("fn {name}("));
    let missing: Vec<_> = named.iter().filter(|name| !there(name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

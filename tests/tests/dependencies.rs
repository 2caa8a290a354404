//! Each direct dependency has its reason in docs/dependencies.md, and nothing else stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

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

/// What cargo knows of all that is built, from what was fetched.
fn metadata() -> serde_json::Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--format-version", "1"]);
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let out = cargo.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The list of that name in a table of deny.toml.
fn denied(table: &str, list: &str) -> toml::Value {
    let all: toml::Table = read("deny.toml").parse().unwrap();
    all[table][list].clone()
}

/// Whether an SPDX expression can be met with these licenses: `A OR (B AND C)`, and `A/B` as it was
/// written once.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ");
    let spaced = spaced.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    met
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let word = words.next().unwrap();
    if word == "(" {
        let met = any(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return met;
    }
    let mut license = word.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        license = format!("{license} WITH {}", words.next().unwrap());
    }
    allowed.contains(&license)
}

/// What `cargo deny` looks at as well, where it is installed: licenses, sources and bans.
#[test]
fn what_is_built_is_of_licenses_and_sources_that_deny_toml_allows() {
    let strings = |value: &toml::Value| -> BTreeSet<String> {
        let each = value.as_array().unwrap().iter();
        each.map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let allowed = strings(&denied("licenses", "allow"));
    let banned = denied("bans", "deny");
    let banned: BTreeSet<&str> = banned
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["crate"].as_str().unwrap())
        .collect();
    assert!(
        allowed.len() >= 5 && banned.contains("openssl-sys"),
        "{banned:?}"
    );
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let license = package["license"].as_str().unwrap_or_default();
        assert!(
            !license.is_empty() && is_met(license, &allowed),
            "{name}: {license:?}"
        );
        assert!(!banned.contains(name), "{name} is banned");
        let source = package["source"].as_str();
        assert!(
            source.is_none_or(|source| source == CRATES_IO),
            "{name}: {source:?}"
        );
        for needed in package["dependencies"].as_array().unwrap() {
            let ours = source.is_none() && needed["path"].is_null();
            assert!(
                !ours || needed["req"] != "*",
                "{name}: any version of {}",
                needed["name"]
            );
        }
    }
    // The fuzz targets are built by those who run them.
    let fuzz = read("fuzz/Cargo.lock");
    let sources = fuzz
        .lines()
        .filter_map(|line| line.strip_prefix("source = "));
    let sources: BTreeSet<&str> = sources.map(|source| source.trim_matches('"')).collect();
    assert_eq!(sources, BTreeSet::from([CRATES_IO]));
}

#[test]
fn an_expression_of_licenses_is_met_by_what_is_allowed_alone() {
    let allowed = BTreeSet::from(["MIT", "ISC", "A WITH e"].map(ToOwned::to_owned));
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "(MIT OR X) AND ISC",
        "A WITH e OR A",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for not in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "A",
        "MIT AND (X OR Y)",
        "X OR Y AND MIT",
        "MIT WITH e",
    ] {
        assert!(!is_met(not, &allowed), "{not}");
    }
}

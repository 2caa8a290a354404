//! Our dump says what Cyrus's own mbexamine said of the same files.

use indexfile::{cli, exit::Exit};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Directories with a `cyrus.index` and the output of a genuine mbexamine.
fn samples() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut all = Vec::new();
    for server in ["cyrus-2.3.16", "cyrus-3.6.1"] {
        for entry in std::fs::read_dir(fixtures.join(server)).expect("fixtures") {
            let dir = entry.expect("entry").path();
            if dir.join("mbexamine.txt").exists() {
                all.push(dir);
            }
        }
    }
    all
}

/// The number that follows `label` in `text`, with anything that is no digit between them.
fn number(text: &str, label: &str) -> u64 {
    let after = text
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label}"))
        .1;
    let digits: String = after
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("digits")
}

/// The lines about one message as words: `UID:00000001` and `LASTUPD :1` become pairs.
fn words(lines: &[&str]) -> HashMap<String, String> {
    let text = lines
        .join(" ")
        .replace(" :", ":")
        .replace("USERFLAGS: ", "USERFLAGS:");
    let mut words: HashMap<String, String> = HashMap::new();
    let mut flags = Vec::new();
    for word in text.split_whitespace() {
        match word.split_once(':') {
            Some((key, value)) if !value.is_empty() => drop(words.insert(key.into(), value.into())),
            _ if words.contains_key("USERFLAGS") && word.len() == 8 => flags.push(word),
            _ => {}
        }
    }
    // Printed from the last word to the first.
    let first = words.get("USERFLAGS").cloned().unwrap_or_default();
    flags.insert(0, &first);
    flags.reverse();
    let joined = flags.concat().to_ascii_lowercase();
    words.insert("USERFLAGS".into(), joined);
    words
}

fn messages(text: &str) -> Vec<HashMap<String, String>> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| {
        line.len() > 12
            && line.as_bytes()[..6].iter().all(u8::is_ascii_digit)
            && line.contains("> UID:")
    };
    let starts = (0..lines.len()).filter(|&i| begins(lines[i]));
    starts
        .map(|i| {
            let end = (i + 1..lines.len())
                .find(|&k| !lines[k].trim_start().starts_with("> "))
                .unwrap_or(lines.len());
            words(&lines[i..end])
        })
        .collect()
}

#[test]
fn dump_agrees_with_mbexamine_field_by_field() {
    let samples = samples();
    assert_eq!(samples.len(), 13);
    for dir in samples {
        let text =
            String::from_utf8_lossy(&std::fs::read(dir.join("mbexamine.txt")).expect("read"))
                .into_owned();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let index = dir.join("cyrus.index").display().to_string();
        let exit = cli::run(["indexfile", "dump", "--json", &index], &mut out, &mut err);
        assert_eq!(exit, Exit::Ok, "{}", dir.display());
        let lines: Vec<Value> = out
            .split(|&b| b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).expect("JSON"))
            .collect();
        let header = &lines[0]["header"];
        let minor = header["minor_version"].as_u64().expect("number");
        for (label, key) in [
            ("Generation Number:", "generation_no"),
            ("Minor Version:", "minor_version"),
            ("Header Size:", "start_offset"),
            ("Record Size:", "record_size"),
            ("Number of Messages:", "exists"),
            ("Mailbox Size:", "quota_mailbox_used"),
            ("Last Append Date:", "last_appenddate"),
            ("UIDValidity:", "uidvalidity"),
            ("Last UID:", "last_uid"),
            ("Deleted:", "deleted"),
            ("Answered:", "answered"),
            ("Flagged:", "flagged"),
            ("Last POP3 Login:", "pop3_last_login"),
            ("Highest Mod Sequence:", "highestmodseq"),
        ] {
            // Before version 8 there is no such field, and mbexamine prints what Cyrus assumes.
            if key == "highestmodseq" && minor < 8 {
                assert!(header.get(key).is_none());
                continue;
            }
            assert_eq!(
                header[key],
                number(&text, label),
                "{}: {key}",
                dir.display()
            );
        }
        let options = header
            .get("options")
            .or(header.get("pop3_new_uidl"))
            .and_then(Value::as_u64)
            .expect("options");
        assert_eq!(options & 1 == 1, text.contains("POP3_NEW_UIDL"));
        let listed = messages(&text);
        assert_eq!(listed.len(), 34, "{}", dir.display());
        let records: Vec<&Value> = lines[1..].iter().map(|l| &l["record"]).collect();
        // Records marked expunged are not listed.
        let alive: Vec<_> = records
            .iter()
            .filter(|r| r["system_flags"].as_u64().unwrap_or(0) >> 31 == 0)
            .collect();
        assert_eq!(alive.len(), 34);
        for (theirs, ours) in listed.iter().zip(alive) {
            compare(&dir, minor, theirs, ours);
        }
    }
}

fn compare(dir: &Path, minor: u64, theirs: &HashMap<String, String>, ours: &Value) {
    let at = format!("{}, UID {}", dir.display(), theirs["UID"]);
    for (label, key) in [
        ("UID", "uid"),
        ("INT_DATE", "internaldate"),
        ("SENTDATE", "sentdate"),
        ("SIZE", "size"),
        ("HDRSIZE", "header_size"),
        ("LASTUPD", "last_updated"),
        ("CACHEVER", "cache_version"),
    ] {
        let value: u64 = theirs[label].parse().expect("a number");
        assert_eq!(ours[key], value, "{at}: {key}");
    }
    // Printed by some releases and for some versions only.
    for (label, key) in [
        ("MODSEQ", "modseq"),
        ("LINES", "content_lines"),
        ("SAVEDATE", "savedate"),
    ] {
        if let (Some(value), Some(ours)) = (theirs.get(label), ours.get(key)) {
            assert_eq!(ours.as_u64(), value.parse().ok(), "{at}: {key}");
        }
    }
    assert_eq!(ours.get("modseq").is_some(), minor >= 8);
    assert_eq!(
        ours["system_flags"].as_u64(),
        u64::from_str_radix(&theirs["SYSFLAGS"], 16).ok(),
        "{at}"
    );
    assert_eq!(ours["user_flags"], theirs["USERFLAGS"], "{at}");
    match minor {
        ..=6 => assert!(!theirs.contains_key("GUID") && ours.get("uuid").is_none()),
        7..=9 => assert_eq!(
            format!("{}{:016}", ours["uuid"].as_str().expect("uuid"), 0),
            theirs["GUID"],
            "{at}"
        ),
        10.. => assert_eq!(ours["guid"], theirs["GUID"], "{at}"),
    }
}

//! Importing the output of `sha1sum`: only what is still true, and only what is right.

mod common;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::Store;
use serde_json::Value;

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    since.as_secs()
}

/// A store, the real output of sha1sum over it, and a moment between its making and the hashing.
fn hashed() -> (Store, String, u64) {
    let store = Store::new();
    store.make("user.joe", &(1..=300).collect::<Vec<_>>(), &[301]);
    store.make("user.ann", &[1, 2, 3], &[]);
    std::thread::sleep(Duration::from_millis(1_100));
    let begun = now();
    let mut list = String::new();
    for name in ["user.joe", "user.ann"] {
        let mut sha1sum = Command::new("sha1sum");
        for entry in fs::read_dir(store.mailbox(name)).expect("list") {
            let path = entry.expect("entry").path();
            if path.to_string_lossy().ends_with('.') {
                sha1sum.arg(path);
            }
        }
        let output = sha1sum.output().expect("coreutils");
        list += &String::from_utf8(output.stdout).expect("text");
    }
    (store, list, begun)
}

fn import(store: &Store, list: &str, begun: u64, code: i32, more: &[&str]) -> Value {
    let path = store.spool().with_file_name("sums");
    fs::write(&path, list).expect("list");
    let mut command = Command::new(common::PRECOMPUTE);
    command
        .arg("import")
        .arg(&path)
        .args(["--json", "--as-of", &begun.to_string()]);
    command.arg("--imapd-conf").arg(store.conf()).args(more);
    let output = command.output().expect("run");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn what_sha1sum_found_makes_the_same_caches_as_a_run() {
    let (store, list, begun) = hashed();
    store.summary(0, &[]);
    let by_run = store.caches();
    store.forget();
    let summary = import(&store, &list, begun, 0, &["--check", "10"]);
    assert_eq!(
        (&summary["imported"], &summary["mailboxes"]),
        (&304.into(), &2.into()),
        "{summary}"
    );
    assert!(summary["checked"].as_u64() >= Some(31), "{summary}");
    assert_eq!(store.caches(), by_run);
    assert_eq!(store.summary(0, &[])["hashed"], 0);
    assert_eq!(import(&store, &list, begun, 0, &[])["cached"], 304);
}

#[test]
fn a_file_that_changed_since_the_hashing_is_left_to_run() {
    let (store, list, begun) = hashed();
    fs::write(store.mailbox("user.joe").join("7."), "changed").expect("write");
    // A ctime alone counts too: this may be new bytes under an old mtime.
    let mode = fs::metadata(store.mailbox("user.ann").join("2."))
        .expect("stat")
        .permissions();
    fs::set_permissions(store.mailbox("user.ann").join("2."), mode).expect("touch");
    let summary = import(&store, &list, begun, 0, &[]);
    assert_eq!(
        (&summary["imported"], &summary["changed"]),
        (&302.into(), &2.into()),
        "{summary}"
    );
    assert_eq!(store.believed_and_right(), 302);
    assert_eq!(store.summary(0, &[])["hashed"], 2);
    // A list that was begun before the mail came is of no use at all.
    store.forget();
    assert_eq!(import(&store, &list, begun - 1_000, 0, &[])["imported"], 0);
}

#[test]
fn a_time_at_which_the_hashing_cannot_have_begun_is_refused() {
    let store = Store::new();
    store.make("user.joe", &[1], &[]);
    let path = store.spool().with_file_name("sums");
    fs::write(&path, "").expect("list");
    let written = SystemTime::now() - Duration::from_secs(3_600);
    let file = fs::File::options().write(true).open(&path).expect("open");
    file.set_modified(written).expect("touch");
    let list = path.to_str().expect("text");
    let import = |list: &str, as_of: u64| {
        let mut command = Command::new(common::PRECOMPUTE);
        command.args(["import", list, "--as-of", &as_of.to_string()]);
        command.arg("--imapd-conf").arg(store.conf());
        let output = command.stdin(std::process::Stdio::null()).output();
        let output = output.expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = import(list, 4_000_000_000);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("in the future"), "{said}");
    let (code, said) = import("-", 4_000_000_000);
    assert_eq!(code, Some(64), "{said}");
    let (code, said) = import(list, now() - 60);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("last written before that"), "{said}");
    for (list, as_of) in [(list, now() - 3_700), ("-", now() - 60)] {
        let (code, said) = import(list, as_of);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_damaged_expunge_file_is_reported_and_the_rest_is_done() {
    let (store, list, begun) = hashed();
    let path = store.mailbox("user.joe").join("cyrus.expunge");
    fs::write(&path, "damaged").expect("write");
    let summary = import(&store, &list, begun, 65, &[]);
    assert_eq!(
        (&summary["imported"], &summary["errors"]),
        (&303.into(), &1.into()),
        "{summary}"
    );
    assert_eq!(summary["findings"][0]["code"], "expunge");
    let output = store.run("verify", &["--json"]);
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("user.joe: ") && said.contains("[expunge]"),
        "{said}"
    );
}

#[test]
fn a_wrong_line_refuses_its_mailbox() {
    let (store, list, begun) = hashed();
    let zero = "0".repeat(40);
    let ann = store.mailbox("user.ann").display().to_string();
    let spoil = |line: &str| {
        let wrong = line.contains(&ann) && line.ends_with("/1.");
        if wrong {
            format!("{zero}{}\n", &line[40..])
        } else {
            format!("{line}\n")
        }
    };
    let list: String = list.lines().map(spoil).collect();
    let summary = import(&store, &list, begun, 65, &["--check", "100"]);
    assert_eq!(
        (&summary["imported"], &summary["errors"]),
        (&301.into(), &1.into()),
        "{summary}"
    );
    assert_eq!(summary["findings"][0]["code"], "wrong-entry");
    assert!(!store.mailbox("user.ann").join("cyrus.sha1s").exists());
}

#[test]
fn lines_that_name_no_message_are_counted_and_a_strange_directory_is_said() {
    let (store, list, begun) = hashed();
    let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
    let more = format!(
        "{list}not a line\n{sha1}  {}/cyrus.index\n{sha1}  /elsewhere/1.\n",
        store.spool().display()
    );
    let summary = import(&store, &more, begun, 67, &[]);
    assert_eq!(
        (&summary["imported"], &summary["ignored"]),
        (&304.into(), &3.into()),
        "{summary}"
    );
}

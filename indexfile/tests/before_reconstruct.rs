//! `indexfile check --before-reconstruct`: what a genuine `reconstruct` destroyed or failed on is
//! found, and a mailbox that it took well has no finding.

use indexfile::exit::Exit;
use indexfile::{cli, flags};
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

/// A mailbox prepared for version 16, its 40 messages with it.
fn mailbox() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    let copy = |from: PathBuf, name: &str| std::fs::copy(from, dir.path().join(name));
    let old = fixture("cyrus-2.3.16/c-v10-after-reconstruct-k-G");
    copy(fixture("cyrus-3.6.1-cutover/v16.index"), "cyrus.index").expect("copy");
    copy(old.join("cyrus.cache"), "cyrus.cache").expect("copy");
    copy(old.join("cyrus.header"), "cyrus.header").expect("copy");
    for uid in 1..=40 {
        let name = format!("{uid}.");
        copy(fixture("cyrus-3.6.1/messages").join(&name), &name).expect("copy");
    }
    dir
}

/// The codes of what is found, with the exit code.
fn check(dir: &Path, more: &[&str]) -> (Exit, Vec<String>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let path = dir.to_str().expect("text");
    let args = [&["indexfile", "check", "--json", path], more].concat();
    let exit = cli::run(args, &mut out, &mut err);
    if out.is_empty() {
        return (exit, vec![String::from_utf8(err).expect("text")]);
    }
    let found: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let codes = found["counts"].as_array().expect("a list").iter();
    let mut codes: Vec<String> = codes
        .map(|count| {
            format!(
                "{} {}",
                count["code"].as_str().expect("text"),
                count["count"]
            )
        })
        .collect();
    codes.sort();
    (exit, codes)
}

/// What `--before-reconstruct` finds after `change`.
fn found(change: impl FnOnce(&Path)) -> Vec<String> {
    let dir = mailbox();
    change(dir.path());
    let (exit, codes) = check(dir.path(), &["--before-reconstruct"]);
    assert_eq!(exit == Exit::Ok, codes.is_empty(), "{codes:?}");
    assert!(exit == Exit::Ok || exit == Exit::Data, "{exit:?}");
    codes
}

/// Changes record `i`, from 0, of the index of version 16 and its checksum; the header's checksum
/// over the messages stays what it was.
fn patch(dir: &Path, i: usize, change: impl FnOnce(&mut [u8])) {
    let path = dir.join("cyrus.index");
    let mut bytes = std::fs::read(&path).expect("read");
    let record = &mut bytes[160 + i * 112..][..112];
    change(record);
    let crc = crc32fast::hash(&record[..108]);
    record[108..].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(path, bytes).expect("write");
}

#[test]
fn a_prepared_mailbox_with_all_its_messages_is_fit() {
    assert!(found(|_| {}).is_empty());
}

#[test]
fn a_leftover_expunge_file_is_an_error_with_or_without_the_option() {
    let old = fixture("cyrus-2.3.16/c-v10-after-reconstruct-k-G/cyrus.expunge");
    let leave = |dir: &Path| {
        std::fs::copy(&old, dir.join("cyrus.expunge")).expect("copy");
    };
    let dir = mailbox();
    leave(dir.path());
    for more in [&[][..], &["--before-reconstruct"]] {
        let (exit, codes) = check(dir.path(), more);
        assert_eq!(exit, Exit::Data);
        assert!(
            codes.contains(&"expunge-beside-12 1".to_owned()),
            "{codes:?}"
        );
    }
}

#[test]
fn an_unmounted_spool_and_a_single_missing_message_are_told_apart() {
    let without = |uids: std::ops::RangeInclusive<u32>| {
        found(|dir| {
            for uid in uids {
                std::fs::remove_file(dir.join(format!("{uid}."))).expect("remove");
            }
        })
    };
    assert_eq!(
        without(1..=40),
        ["message-missing 40", "reconstruct-unfit 1"]
    );
    // An expunged one.
    assert_eq!(without(5..=5), ["message-missing 1"]);
    let nowhere = tempfile::tempdir().expect("tempdir");
    let nowhere = nowhere.path().to_str().expect("text");
    let args = ["--before-reconstruct", "--messages", nowhere];
    let (exit, codes) = check(mailbox().path(), &args);
    assert_eq!(exit, Exit::Data);
    assert_eq!(codes, ["message-missing 40", "reconstruct-unfit 1"]);
}

#[test]
fn a_message_that_is_another_is_found_also_if_expunged() {
    for uid in [4, 5] {
        let codes = found(|dir| {
            let path = dir.join(format!("{uid}."));
            let mut bytes = std::fs::read(&path).expect("read");
            bytes[0] ^= 1;
            std::fs::write(path, bytes).expect("write");
        });
        assert_eq!(codes, ["message-guid 1"]);
    }
}

#[test]
fn old_style_guids_are_found_of_the_expunged_by_every_check() {
    let expunged = |record: &mut [u8]| record[72..80].fill(0);
    let dir = mailbox();
    // UID 5.
    patch(dir.path(), 4, expunged);
    let (exit, codes) = check(dir.path(), &[]);
    assert_eq!(exit, Exit::Data);
    assert_eq!(codes, ["old-style-expunged 1", "old-style-guids 1"]);
    // Of one whose file is gone, nothing can be unlinked.
    let gone = flags::EXPUNGED | flags::UNLINKED;
    patch(dir.path(), 4, |record| {
        record[32..36].copy_from_slice(&gone.to_be_bytes());
    });
    assert_eq!(check(dir.path(), &[]).1, ["old-style-guids 1"]);
    let live = found(|dir| patch(dir, 3, |record| record[60..80].fill(0)));
    assert_eq!(
        live,
        ["old-style-guids 1", "reconstruct-unfit 1", "sync-crc 1"]
    );
}

#[test]
fn a_mailbox_that_is_not_changed_over_is_unfit() {
    let dir = mailbox();
    let old = fixture("cyrus-2.3.16/c-v10-after-reconstruct-k-G");
    for name in ["cyrus.index", "cyrus.expunge"] {
        std::fs::copy(old.join(name), dir.path().join(name)).expect("copy");
    }
    assert_eq!(check(dir.path(), &[]).0, Exit::Ok);
    let (exit, codes) = check(dir.path(), &["--before-reconstruct"]);
    assert_eq!(
        (exit, codes),
        (Exit::Data, vec!["reconstruct-unfit 1".to_owned()])
    );
}

#[test]
fn where_nothing_was_looked_at_nothing_is_fit() {
    let empty = tempfile::tempdir().expect("tempdir");
    let (exit, text) = check(empty.path(), &["--before-reconstruct"]);
    assert_eq!(exit, Exit::Data);
    assert!(text[0].contains("no mailbox to look at"), "{text:?}");
    let file = mailbox();
    let (exit, _) = check(&file.path().join("cyrus.index"), &["--before-reconstruct"]);
    assert_eq!(exit, Exit::Usage);
}

#[test]
fn with_a_configuration_archived_messages_are_looked_for_where_they_lie() {
    let dir = mailbox();
    let root = dir.path();
    let archived = flags::ARCHIVED | flags::SEEN;
    // UID 2, which has no flag but \Seen.
    patch(root, 1, |record| {
        record[32..36].copy_from_slice(&archived.to_be_bytes());
    });
    for (of, names) in [("spool", 1..=40), ("cold", 2..=2)] {
        let to = root.join(of).join("user/joe");
        std::fs::create_dir_all(&to).expect("mkdir");
        for uid in names.filter(|&uid| of == "cold" || uid != 2) {
            std::fs::rename(root.join(format!("{uid}.")), to.join(format!("{uid}.")))
                .expect("rename");
        }
    }
    for name in ["cyrus.index", "cyrus.cache", "cyrus.header"] {
        std::fs::rename(root.join(name), root.join("spool/user/joe").join(name)).expect("rename");
    }
    let at = root.display();
    let conf = format!(
        "configdirectory: {at}\npartition-default: {at}/spool\n\
         archivepartition-default: {at}/cold\narchive_enabled: 1\n"
    );
    std::fs::write(root.join("imapd.conf"), conf).expect("write");
    let conf = root.join("imapd.conf").display().to_string();
    let run = |name: &str| {
        let args = ["--before-reconstruct", "--imapd-conf", &conf];
        check(Path::new(name), &args)
    };
    assert_eq!(
        run("user.joe"),
        (Exit::Ok, vec!["cache-archived 1".to_owned()])
    );
    std::fs::remove_file(root.join("cold/user/joe/2.")).expect("remove");
    let codes = ["cache-archived 1", "message-missing 1"].map(str::to_owned);
    assert_eq!(run("user.joe"), (Exit::Data, codes.to_vec()));
    assert_eq!(run("user.ann").0, Exit::NoMailbox);
}

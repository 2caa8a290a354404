//! What `precompute run` promises about the caches it writes, and about everything else.

#[path = "../common/mod.rs"]
mod common;
mod findings;
mod selection;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Store, content, stamp, walk};
use precompute::cache::{Cache, CacheWriter, Entry};
use precompute::hash::sha1_of;

fn store() -> Store {
    let store = Store::new();
    store.make("user.joe", &(1..=700).collect::<Vec<_>>(), &[]);
    store.make("user.joe.Old", &[3, 5, 9], &[8, 2, 11]);
    store.make("user.empty", &[], &[]);
    store.make("user.expunged", &[], &[4, 1]);
    store
}

fn cache(store: &Store, name: &str) -> Cache {
    Cache::open(&store.mailbox(name).join("cyrus.sha1s")).expect("a whole cache")
}

#[test]
fn every_message_of_index_and_expunge_file_is_in_the_cache() {
    let store = store();
    let summary = store.summary(0, &[]);
    for (key, value) in [
        ("mailboxes", 4),
        ("messages", 708),
        ("hashed", 708),
        ("errors", 0),
    ] {
        assert_eq!(summary[key], value, "{summary}");
    }
    for (name, uids) in [
        ("user.joe", (1..=700).collect::<Vec<u32>>()),
        ("user.joe.Old", vec![2, 3, 5, 8, 9, 11]),
        ("user.expunged", vec![1, 4]),
    ] {
        let cache = cache(&store, name);
        assert_eq!(
            cache.iter().map(|e| e.unwrap().uid).collect::<Vec<_>>(),
            uids
        );
        for entry in &cache {
            let entry = entry.unwrap();
            let path = store.mailbox(name).join(format!("{}.", entry.uid));
            let meta = fs::metadata(path).expect("message");
            assert!(entry.still_same(&stamp(&meta), meta.len()));
            assert_eq!(entry.guid.as_bytes(), &sha1_of(&content(name, entry.uid)));
        }
    }
    assert!(!store.mailbox("user.empty").join("cyrus.sha1s").exists());
}

#[test]
fn a_second_run_finds_all_in_the_cache_and_writes_nothing() {
    let store = store();
    store.summary(0, &[]);
    let inode = |path: &PathBuf| fs::metadata(path).expect("cache").ino();
    let before: BTreeMap<_, _> = store
        .caches()
        .keys()
        .map(|p| (p.clone(), inode(p)))
        .collect();
    let summary = store.summary(0, &[]);
    assert_eq!(
        (&summary["hashed"], &summary["cached"]),
        (&0.into(), &708.into())
    );
    let after: BTreeMap<_, _> = store
        .caches()
        .keys()
        .map(|p| (p.clone(), inode(p)))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_low_limit_on_open_files_makes_no_findings() {
    let store = Store::new();
    for i in 0..30 {
        store.make(&format!("user.u{i}"), &(1..=60).collect::<Vec<_>>(), &[]);
    }
    let output = Command::new("sh")
        .args([
            "-c",
            r#"ulimit -n 64; exec "$0" run --json --imapd-conf "$1""#,
        ])
        .arg(common::PRECOMPUTE)
        .arg(store.conf())
        .output()
        .expect("sh");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(store.believed_and_right(), 1_800);
}

#[test]
fn only_what_is_new_or_changed_is_hashed() {
    let store = store();
    store.summary(0, &[]);
    let old = store.mailbox("user.joe.Old");
    fs::write(old.join("5."), "other bytes").expect("write");
    fs::write(old.join("12."), content("user.joe.Old", 12)).expect("deliver");
    fs::remove_file(old.join("2.")).expect("expire");
    store.index("user.joe.Old", &[3, 5, 9, 12], &[8, 11]);
    let summary = store.summary(0, &["--look-at-all"]);
    assert_eq!(
        (&summary["hashed"], &summary["cached"]),
        (&2.into(), &706.into()),
        "{summary}"
    );
    let uids: Vec<u32> = cache(&store, "user.joe.Old")
        .iter()
        .map(|e| e.unwrap().uid)
        .collect();
    assert_eq!(uids, [3, 5, 8, 9, 11, 12]);
    assert_eq!(store.believed_and_right(), 708);
}

#[test]
fn names_tell_what_was_delivered_replaced_removed_or_has_another_size() {
    let store = store();
    let old = store.mailbox("user.joe.Old");
    fs::write(old.join("9."), "longer or shorter").expect("write");
    store.summary(0, &[]);
    let summary = store.summary(0, &[]);
    assert_eq!(
        (&summary["trusted"], &summary["cached"], &summary["hashed"]),
        (&707.into(), &708.into(), &0.into()),
        "the size of 9. is not its record's, so it is looked at: {summary}"
    );
    // Next to the old one, so that it has another inode number for certain.
    fs::write(old.join("new"), content("user.joe.Old", 5)).expect("write");
    fs::rename(old.join("new"), old.join("5.")).expect("replace");
    fs::write(old.join("12."), content("user.joe.Old", 12)).expect("deliver");
    fs::remove_file(old.join("2.")).expect("expire");
    store.index("user.joe.Old", &[3, 5, 9, 12], &[8, 11]);
    let summary = store.summary(0, &[]);
    assert_eq!(
        (&summary["trusted"], &summary["cached"], &summary["hashed"]),
        (&705.into(), &706.into(), &2.into()),
        "{summary}"
    );
    assert_eq!(store.believed_and_right(), 708);
}

#[test]
fn what_was_overwritten_in_place_is_never_believed_and_found_by_looking_at_all() {
    let store = store();
    store.summary(0, &[]);
    let path = store.mailbox("user.joe").join("7.");
    let mut bytes = fs::read(&path).expect("message");
    bytes[0] ^= 1;
    fs::write(&path, bytes).expect("write");
    assert_eq!(store.believed_and_right(), 707, "its stamp tells");
    let summary = store.summary(0, &[]);
    if summary["hashed"] == 0 {
        // It was not in the sample, as the option's help says.
        assert_eq!(summary["trusted"], 708, "{summary}");
        assert_eq!(store.believed_and_right(), 707, "its stamp tells");
        let summary = store.summary(0, &["--look-at-all"]);
        assert_eq!(
            (&summary["trusted"], &summary["hashed"]),
            (&0.into(), &1.into()),
            "{summary}"
        );
    }
    assert_eq!(store.believed_and_right(), 708);
}

#[test]
fn what_was_done_to_all_messages_of_a_mailbox_is_found_without_looking_at_all() {
    let store = store();
    store.summary(0, &[]);
    let dir = store.mailbox("user.joe");
    let messages = walk(&dir).into_iter();
    let messages: Vec<PathBuf> = messages
        .filter(|path| path.to_string_lossy().ends_with('.'))
        .collect();
    for path in &messages {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    let summary = store.summary(0, &[]);
    assert_eq!(summary["hashed"], messages.len(), "{summary}");
    assert_eq!(summary["trusted"], 708 - messages.len(), "{summary}");
    assert_eq!(store.believed_and_right(), 708);
}

#[test]
fn nothing_but_the_cache_is_changed_and_it_looks_like_the_index() {
    let store = store();
    for path in walk(&store.spool()) {
        if path.ends_with("cyrus.index") {
            fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("chmod");
        }
    }
    let look = || -> BTreeMap<PathBuf, (u64, i64, i64, i64, i64, u64)> {
        let files = walk(&store.spool()).into_iter();
        files
            .filter(|path| !path.ends_with("cyrus.sha1s"))
            .map(|path| {
                let m = fs::symlink_metadata(&path).expect("stat");
                let all = (
                    m.ino(),
                    m.mtime(),
                    m.mtime_nsec(),
                    m.ctime(),
                    m.ctime_nsec(),
                    m.len(),
                );
                (path, all)
            })
            .collect()
    };
    let before = look();
    store.summary(0, &[]);
    assert_eq!(before, look());
    for path in store.caches().into_keys() {
        let index = fs::metadata(path.with_file_name("cyrus.index")).expect("index");
        let cache = fs::metadata(&path).expect("cache");
        assert_eq!(
            (cache.uid(), cache.gid(), cache.mode()),
            (index.uid(), index.gid(), index.mode())
        );
    }
}

#[test]
fn a_file_with_many_names_is_read_once() {
    let store = store();
    for name in ["user.a", "user.b", "user.c"] {
        store.make(name, &[], &[]);
        for uid in 1..=300 {
            let from = store.mailbox("user.joe").join(format!("{uid}."));
            fs::hard_link(from, store.mailbox(name).join(format!("{uid}."))).expect("link");
        }
        store.index(name, &(1..=300).collect::<Vec<_>>(), &[]);
    }
    // The same file twice in one mailbox as well.
    fs::hard_link(
        store.mailbox("user.a").join("7."),
        store.mailbox("user.a").join("301."),
    )
    .expect("link");
    store.index("user.a", &(1..=301).collect::<Vec<_>>(), &[]);
    let summary = store.summary(0, &[]);
    assert_eq!(summary["messages"], 708 + 901);
    assert_eq!(
        (&summary["hashed"], &summary["linked"]),
        (&708.into(), &901.into()),
        "{summary}"
    );
    assert_eq!(store.believed_and_right(), 708 + 901);
}

#[test]
fn a_torn_damaged_or_foreign_cache_is_rebuilt() {
    let store = store();
    store.summary(0, &[]);
    let good = store.caches();
    let path = store.mailbox("user.joe").join("cyrus.sha1s");
    let whole = &good[&path];
    let mut flipped = whole.clone();
    flipped[5_000] ^= 1;
    let entries: Vec<Entry> = cache(&store, "user.joe")
        .iter()
        .map(Result::unwrap)
        .collect();
    let foreign = |uidvalidity, uniqueid: &str| {
        let mut writer = CacheWriter::new(Vec::new(), uidvalidity, uniqueid, 700).expect("begin");
        for entry in &entries {
            writer.push(entry).expect("push");
        }
        writer.finish().expect("finish")
    };
    let id = cache(&store, "user.joe").uniqueid().to_owned();
    let validity = cache(&store, "user.joe").uidvalidity();
    for bad in [
        Vec::new(),
        b"not a cache".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        flipped,
        foreign(validity + 1, &id),
        foreign(validity, "other"),
    ] {
        fs::write(&path, bad).expect("spoil");
        let summary = store.summary(0, &[]);
        assert_eq!(
            (&summary["hashed"], &summary["cached"]),
            (&700.into(), &8.into())
        );
        assert_eq!(store.caches(), good);
    }
}

#[test]
fn verify_tells_stale_from_wrong() {
    let store = store();
    store.summary(0, &[]);
    let verify = |code: i32| -> serde_json::Value {
        let output = store.run("verify", &["--json"]);
        assert_eq!(output.status.code(), Some(code));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    assert_eq!(verify(0)["right"], 708);
    fs::write(store.mailbox("user.joe.Old").join("5."), "changed").expect("write");
    fs::remove_file(store.mailbox("user.joe").join("1.")).expect("unlink");
    let summary = verify(0);
    assert_eq!(
        (&summary["right"], &summary["stale"]),
        (&706.into(), &2.into()),
        "{summary}"
    );
    // A cache whose checksums are right and whose SHA-1 is not.
    let path = store.mailbox("user.joe.Old").join("cyrus.sha1s");
    let old = Cache::open(&path).expect("whole");
    let count = u32::try_from(old.len()).expect("few");
    let mut writer =
        CacheWriter::new(Vec::new(), old.uidvalidity(), old.uniqueid(), count).expect("begin");
    for entry in &old {
        let mut entry = entry.unwrap();
        if entry.uid == 9 {
            entry.guid = indexfile::Guid::from_bytes([7; 20]);
        }
        writer.push(&entry).expect("push");
    }
    fs::write(&path, writer.finish().expect("finish")).expect("write");
    let summary = verify(65);
    assert_eq!(
        (&summary["right"], &summary["wrong"]),
        (&705.into(), &1.into()),
        "{summary}"
    );
}

#[test]
fn clean_removes_the_caches_and_nothing_else() {
    let store = store();
    let before = walk(&store.spool());
    store.summary(0, &[]);
    fs::write(store.mailbox("user.empty").join("cyrus.sha1s.tmp"), "stray").expect("stray");
    let clean = |more: &[&str]| -> u64 {
        let output = store.run("clean", &[&["--json"], more].concat());
        assert_eq!(output.status.code(), Some(0));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json["removed"].as_u64().expect("number")
    };
    assert_eq!(clean(&["--dry-run"]), 4);
    assert_eq!(store.caches().len(), 3);
    assert_eq!(clean(&[]), 4);
    assert_eq!(walk(&store.spool()), before);
    assert_eq!(clean(&[]), 0);
}

#[test]
fn show_prints_uid_size_and_sha1() {
    let store = store();
    store.summary(0, &[]);
    let path = store.mailbox("user.joe.Old").join("cyrus.sha1s");
    let show = |path: &Path| {
        let mut command = std::process::Command::new(common::PRECOMPUTE);
        command.arg("show").arg(path).output().expect("run")
    };
    let output = show(&path);
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    let bytes = content("user.joe.Old", 2);
    let sha1 = indexfile::Guid::from_bytes(sha1_of(&bytes));
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0], format!("2 {} {sha1}", bytes.len()));
    let index = store.mailbox("user.joe.Old").join("cyrus.index");
    assert_eq!(show(&index).status.code(), Some(65));
}

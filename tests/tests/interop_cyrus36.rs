//! A real Cyrus 3.6.1 reads the version 10 files: every message, with the right GUID and flags.
//!
//! Ignored in a plain run: they need the Debian packages cyrus-common and cyrus-imapd and
//! the right to become user cyrus. `.ci/run` installs the packages and requires these tests:
//! `cargo test -p tests --test interop_cyrus36 -- --ignored`.

use std::fs;

use stores::genuine::{copy_tree, fixtures, unpack_239};
use stores::judge::image::{Image, hex, long, sha1_of, word};
use stores::{Dirs, Host};
use tests::cyrus36::{Cyrus36, Message};
use tests::damage;
use tests::fleet::{Fleet, program};
use tests::process::run;

/// What mbexamine must print of each record of a version 10 index.
fn expected(dirs: &Dirs) -> Vec<Message> {
    let index = Image::parse(fs::read(dirs.meta.join("cyrus.index")).unwrap()).unwrap();
    assert_eq!(index.minor(), 10, "{}", dirs.meta.display());
    let of = |r: &[u8]| Message {
        uid: word(r, 0),
        internaldate: word(r, 4),
        size: word(r, 12),
        system_flags: word(r, 32),
        guid: hex(Image::guid(r)),
        modseq: long(r, 80),
        user_flags: [36, 40, 44, 48].map(|at| word(r, at)),
    };
    index.records().map(of).collect()
}

/// Compares what mbexamine lists of every mailbox with its index and its message files.
fn assert_all_read(host: &Host) -> usize {
    let cyrus = Cyrus36::serve_copy_of(host);
    let mut messages = 0;
    for (name, dirs) in host.mailboxes().unwrap() {
        let listed = cyrus.examine(&name);
        assert_eq!(listed, expected(&dirs), "{name}");
        for message in &listed {
            let bytes = fs::read(dirs.data.join(format!("{}.", message.uid))).unwrap();
            assert_eq!(
                message.guid,
                hex(&sha1_of(&bytes)),
                "{name} UID {}",
                message.uid
            );
        }
        messages += listed.len();
    }
    messages
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1 and its user"]
fn every_message_of_the_2_3_9_store_that_indexfile_converted_has_its_guid_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    for dirs in host.mailboxes().unwrap().values() {
        let (index, new) = (dirs.meta.join("cyrus.index"), dirs.meta.join("new"));
        let files = [index.to_str().unwrap(), new.to_str().unwrap()];
        let args = ["convert", files[0], files[1], "--to", "10", "--messages"];
        let data = dirs.data.to_str().unwrap();
        let _ = run(&program("indexfile"), args.iter().chain(&[data])).expect_code(0);
        fs::rename(new, index).unwrap();
    }
    assert_eq!(assert_all_read(&host), 376);
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1 and its user"]
fn every_message_of_master_and_replica_has_its_guid_and_flags_after_a_whole_run() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    assert_eq!(assert_all_read(&fleet.master), 376);
    assert_eq!(assert_all_read(&fleet.replica), 376);
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1 and its user"]
fn its_own_reconstruct_finds_no_guid_to_mend_in_our_files_but_does_in_padded_ones() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let name = "user.alice.big";
    let dirs = host.dirs(name);
    let (index, new) = (dirs.meta.join("cyrus.index"), dirs.meta.join("new"));
    let files = [index.to_str().unwrap(), new.to_str().unwrap()];
    let data = dirs.data.to_str().unwrap();
    let args = [
        "convert",
        files[0],
        files[1],
        "--to",
        "10",
        "--messages",
        data,
    ];
    let _ = run(&program("indexfile"), args).expect_code(0);
    let complaints = || {
        let cyrus = Cyrus36::serve_copy_of(&host);
        let said = cyrus.run("reconstruct", &["-n", "-G", &name.replace('.', "/")]);
        format!("{}{}", said.stdout, said.stderr)
            .matches("guid mismatch")
            .count()
    };
    damage::make_v10(&index);
    assert_eq!(complaints(), 300);
    fs::rename(new, index).unwrap();
    assert_eq!(complaints(), 0);
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1 and its user"]
fn the_files_of_a_genuine_2_3_16_are_read_as_they_are() {
    // The oracle itself: version 10 with SHA-1 GUIDs as 2.3.16 wrote it.
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("user/joe/Old");
    let mut linked = std::collections::BTreeMap::new();
    copy_tree(&fixtures().join("cyrus-3.6.1/messages"), &old, &mut linked).unwrap();
    let golden = fixtures().join("cyrus-2.3.16/c-v10-after-reconstruct-k-G");
    for name in ["cyrus.header", "cyrus.index", "cyrus.cache"] {
        fs::copy(golden.join(name), old.join(name)).unwrap();
    }
    let host = Host {
        root: dir.path().into(),
        conf: dir.path().join("unused"),
        data: dir.path().into(),
        meta: dir.path().into(),
        on_meta: Vec::new(),
        hashed: false,
    };
    let cyrus = Cyrus36::serve_copy_of(&host);
    let listed = cyrus.examine("user.joe.Old");
    assert_eq!(listed.len(), 34);
    assert_eq!(listed, expected(&host.dirs("user.joe.Old")));
    for message in listed {
        let bytes = fs::read(old.join(format!("{}.", message.uid))).unwrap();
        assert_eq!(message.guid, hex(&sha1_of(&bytes)), "UID {}", message.uid);
    }
}

//! A real Cyrus 3.6.1 reads the version 10 files: every message, with the right GUID and flags.
//!
//! Told apart from the plain tests: they need the Debian packages cyrus-common and cyrus-imapd and
//! the right to become user cyrus. `.ci/run` installs the packages and requires these tests:
//! `cargo test -p tests --test interop_cyrus36 -- --ignored`.

use std::fs;

use tests::cyrus36::{Cyrus36, Message};
use tests::store::{Dirs, Host, copy_tree, fixtures};
use tests::witness::{Image, hex, long, sha1_of, word};

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

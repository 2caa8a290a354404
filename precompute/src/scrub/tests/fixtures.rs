//! What genuine servers wrote is found sound, and damage in it is found.

use super::*;
use indexfile::mailbox::MetaFile;
use indexfile::{Decision, IndexFile, StreamCopy};
use std::convert::Infallible;

/// The mailbox of Cyrus 3.6.1 at one version, with a copy of its messages.
fn copy_of(minor: u32) -> (TempDir, Target) {
    let dir = tempfile::tempdir().expect("scratch");
    for entry in std::fs::read_dir(fixture("cyrus-3.6.1/messages")).expect("fixture") {
        let entry = entry.expect("fixture");
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    let meta = fixture(&format!("cyrus-3.6.1/v{minor}"));
    let mailbox = plain(dir.path(), Some(&meta), None);
    (dir, mailbox)
}

#[test]
fn all_versions_of_a_real_mailbox_are_sound_expunged_messages_included() {
    for minor in [10, 12, 13, 14, 15, 16, 17] {
        let (_dir, mailbox) = copy_of(minor);
        let (summary, findings) = scrub([mailbox]);
        assert_eq!(findings, [], "version {minor}");
        assert_eq!(
            (summary.messages, summary.compared, summary.old_style),
            (40, 40, 0),
            "version {minor}"
        );
    }
}

#[test]
fn versions_without_sha1s_are_compared_by_size_and_counted() {
    for minor in [6, 7, 8, 9] {
        let (_dir, mailbox) = copy_of(minor);
        let (summary, findings) = scrub([mailbox]);
        assert_eq!(findings, [], "version {minor}");
        assert_eq!(
            (summary.messages, summary.compared, summary.old_style),
            (40, 0, 40),
            "version {minor}"
        );
    }
}

#[test]
fn a_flipped_bit_in_any_message_of_any_version_is_found() {
    for minor in [10, 12, 13, 14, 15, 16, 17] {
        let (dir, mailbox) = copy_of(minor);
        // UID 5 is expunged, 40 is alive.
        for uid in [5, 40] {
            flip(&dir.path().join(format!("{uid}.")), 1234);
        }
        let (_, findings) = scrub([mailbox]);
        assert_eq!(
            codes(&findings),
            [("bit-rot", Some(5)), ("bit-rot", Some(40))],
            "version {minor}"
        );
        let index = findings[0].compared.index.clone().expect("a record");
        assert!(
            index.ends_with(format!("v{minor}/cyrus.index")),
            "{}",
            index.display()
        );
    }
}

fn all_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("read") {
        let path = entry.expect("read").path();
        if path.is_dir() {
            all_files(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// The store of Cyrus 2.3.9, with every index and expunge file made version 10 with SHA-1s.
fn upgraded_2_3_9() -> (TempDir, Vec<Target>) {
    let dir = tempfile::tempdir().expect("scratch");
    let host = stores::genuine::unpack_239(dir.path()).expect("tar");
    let (spool, meta) = (host.data, host.meta);
    let mut files = Vec::new();
    all_files(&meta, &mut files);
    let mut mailboxes = Vec::new();
    for path in files {
        let kind = match path.file_name().and_then(|name| name.to_str()) {
            Some("cyrus.index") => FileKind::Index,
            Some("cyrus.expunge") => FileKind::Expunge,
            _ => continue,
        };
        let meta_dir = path.parent().expect("a directory");
        let data = spool.join(meta_dir.strip_prefix(&meta).expect("below"));
        let old = IndexFile::open(&path, kind).expect("sound");
        let mut new = Vec::new();
        let result = StreamCopy::new(&old)
            .to_version(10)
            .write(&mut new, |record| {
                let message =
                    std::fs::read(data.join(format!("{}.", record.uid()))).expect("a message");
                Ok::<_, Infallible>(Decision::Alter(Guid::from_bytes(sha1_of(&message))))
            });
        result.expect("converts");
        drop(old);
        std::fs::write(&path, new).expect("write");
        if kind == FileKind::Index {
            mailboxes.push(plain(&data, Some(meta_dir), None));
        }
    }
    (dir, mailboxes)
}

#[test]
fn an_upgraded_store_of_2_3_9_is_sound_and_damage_in_it_is_found_in_index_and_expunge() {
    let (_dir, mailboxes) = upgraded_2_3_9();
    assert_eq!(mailboxes.len(), 18);
    let (summary, findings) = scrub(mailboxes.iter().cloned());
    assert_eq!(findings, []);
    assert_eq!(
        (summary.mailboxes, summary.messages, summary.compared),
        (18, 395, 395)
    );

    // A message that only cyrus.expunge knows.
    let mailbox = mailboxes
        .iter()
        .find(|m| m.data_path().ends_with("user/alice/expunged"))
        .expect("there");
    let expunge =
        IndexFile::open(&mailbox.dirs.file(MetaFile::Expunge), FileKind::Expunge).expect("sound");
    let uid = expunge.record(0).unwrap().expect("a record").uid();
    drop(expunge);
    flip(&mailbox.data_path().join(format!("{uid}.")), 77);
    let (_, findings) = scrub(mailboxes.iter().cloned());
    assert_eq!(codes(&findings), [("bit-rot", Some(uid))]);
    assert_eq!(
        findings[0].compared.index.as_ref(),
        Some(&mailbox.dirs.file(MetaFile::Expunge))
    );
}

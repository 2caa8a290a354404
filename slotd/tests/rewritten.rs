//! What recovery makes of files that a server has replaced since the crash: nothing is lost of what
//! only `.OLD` has, and nothing is taken for a rename of ours that was none.

mod common;

use std::path::{Path, PathBuf};

use common::died::{Died, die};
use common::{Store, recover};
use indexfile::{Decision, FileKind, IndexFile, Record, StreamCopy};
use slotd::host::{Host, Options};
use slotd::intent::Direction;
use slotd::intent::recovery::Settled;
use slotd::protocol::{Code, Upgrade};

const INDEX_ONLY: &str = "user.bob";
const BOTH: &str = "user.alice.expunged";

fn to(version: u32) -> Upgrade {
    Upgrade {
        version,
        ..Upgrade::default()
    }
}

/// The live files that there are.
fn live(store: &Store, mailbox: &str) -> Vec<PathBuf> {
    let paths = ["cyrus.index", "cyrus.expunge"].map(|name| store.meta(mailbox).join(name));
    let there: Vec<PathBuf> = paths.into_iter().filter(|path| path.exists()).collect();
    assert_eq!(there.len(), if mailbox == BOTH { 2 } else { 1 });
    there
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!("{}{suffix}", path.file_name().unwrap().display()))
}

/// As an `EXPUNGE` does: another file with what the live one holds.
fn rewrite(path: &Path) {
    std::fs::copy(path, with(path, ".copy")).unwrap();
    std::fs::rename(with(path, ".copy"), path).unwrap();
}

fn settled(host: &Host) -> Vec<Settled> {
    let report = recover(host);
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(host.log.open_intents().is_empty());
    report.settled.into_iter().map(|(_, how)| how).collect()
}

/// At version 10, and nothing is open; `.OLD` has version 9.
fn upgraded(store: &Store, host: &Host, mailbox: &str) {
    let commit = Direction::Commit;
    die(host, (mailbox, "default"), to(10), Died::Renamed, commit);
    assert_eq!(settled(host), [Settled::Complete]);
    assert_eq!(store.index(mailbox).minor_version(), 10);
}

#[test]
fn the_old_files_of_a_committed_change_stay_when_a_server_has_rewritten_the_new_ones() {
    for (mailbox, down) in [INDEX_ONLY, BOTH].map(|m| [(m, false), (m, true)]).concat() {
        let store = Store::cyrus_2_3_9();
        let host = store.host(Options::default());
        if down {
            upgraded(&store, &host, mailbox);
        }
        let before: Vec<Vec<u8>> = live(&store, mailbox)
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        let version = if down { 9 } else { 10 };
        let commit = Direction::Commit;
        die(
            &host,
            (mailbox, "default"),
            to(version),
            Died::Renamed,
            commit,
        );
        let live = live(&store, mailbox);
        for path in &live {
            rewrite(path);
        }
        settled(&host);
        for (path, before) in live.iter().zip(&before) {
            let what = format!("{mailbox}, down {down}: {}", path.display());
            let old = std::fs::read(with(path, ".OLD"));
            assert!(old.is_ok_and(|old| old == *before), "{what}");
            let prev = with(path, ".OLD.reguid-prev");
            assert_eq!(prev.exists(), down, "{what}");
        }
        assert_eq!(store.index(mailbox).minor_version(), version);
    }
}

#[test]
fn what_stepped_aside_for_a_rename_that_never_came_is_the_old_file_again() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    upgraded(&store, &host, INDEX_ONLY);
    let index = &live(&store, INDEX_ONLY)[0];
    let old = std::fs::read(with(index, ".OLD")).unwrap();
    let commit = Direction::Commit;
    die(&host, (INDEX_ONLY, "default"), to(9), Died::Staged, commit);
    std::fs::rename(with(index, ".OLD"), with(index, ".OLD.reguid-prev")).unwrap();
    rewrite(index);
    settled(&host);
    assert!(std::fs::read(with(index, ".OLD")).is_ok_and(|now| now == old));
    assert!(!with(index, ".OLD.reguid-prev").exists());
}

/// The file was put back, what had stepped aside was not yet, and there is nothing to make anew.
#[test]
fn what_stepped_aside_comes_back_when_a_server_has_rewritten_what_was_put_back() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    upgraded(&store, &host, INDEX_ONLY);
    let index = &live(&store, INDEX_ONLY)[0];
    let old = std::fs::read(with(index, ".OLD")).unwrap();
    let back = Direction::PutBack;
    die(&host, (INDEX_ONLY, "default"), to(9), Died::Renamed, back);
    std::fs::rename(with(index, ".OLD"), index).unwrap();
    rewrite(index);
    assert_eq!(settled(&host), [Settled::Restaged]);
    assert!(std::fs::read(with(index, ".OLD")).is_ok_and(|now| now == old));
    assert_eq!(store.index(INDEX_ONLY).minor_version(), 10);
}

#[test]
fn a_damaged_live_file_keeps_the_intent_open_and_its_old_file() {
    let ways = [Direction::Commit, Direction::PutBack];
    for (mailbox, direction) in [INDEX_ONLY, BOTH]
        .map(|m| ways.map(|way| (m, way)))
        .concat()
    {
        let store = Store::cyrus_2_3_9();
        let host = store.host(Options::default());
        die(
            &host,
            (mailbox, "default"),
            to(10),
            Died::Renamed,
            direction,
        );
        let index = &live(&store, mailbox)[0];
        let whole = std::fs::read(index).unwrap();
        std::fs::write(index, &whole[..whole.len() - 1]).unwrap();
        let before = store.meta_files();
        let report = recover(&host);
        assert_eq!(report.settled, []);
        let (_, refusal) = &report.failed[0];
        assert_eq!(refusal.code, Code::Damaged);
        assert!(refusal.text.contains(index.to_str().unwrap()), "{refusal}");
        assert_eq!(store.meta_files(), before);
        assert_eq!(host.log.open_intents().len(), 1);
        std::fs::write(index, &whole).unwrap();
        settled(&host);
    }
}

/// A Cyrus 2.3.16 that upgrades a mailbox itself: into the `.NEW` that a dead slotd left.
fn upgrade_into_staged(path: &Path, kind: FileKind) {
    let live = IndexFile::open(path, kind).unwrap();
    let mut bytes = Vec::new();
    let keep = |_: Record<'_>| Ok::<_, std::convert::Infallible>(Decision::Keep);
    let copy = StreamCopy::new(&live).to_version(10);
    copy.write(&mut bytes, keep).unwrap();
    // Truncates what is there and keeps the inode.
    std::fs::write(with(path, ".NEW"), bytes).unwrap();
    std::fs::rename(with(path, ".NEW"), path).unwrap();
}

#[test]
fn a_change_that_was_never_ordered_is_not_finished_because_cyrus_used_the_inode_of_a_staged_file() {
    for (mailbox, older) in [(INDEX_ONLY, false), (INDEX_ONLY, true), (BOTH, false)] {
        let store = Store::cyrus_2_3_9();
        let host = store.host(Options::default());
        let commit = Direction::Commit;
        if older {
            let index = store.meta(mailbox).join("cyrus.index");
            std::fs::copy(&index, with(&index, ".OLD")).unwrap();
        }
        die(&host, (mailbox, "default"), to(10), Died::Staged, commit);
        let kinds = [FileKind::Index, FileKind::Expunge];
        let live = live(&store, mailbox);
        for (path, kind) in live.iter().zip(kinds) {
            upgrade_into_staged(path, kind);
        }
        let before: Vec<_> = store.meta_files();
        let how = settled(&host);
        assert_eq!(how, [Settled::Closed], "{mailbox}, older {older}");
        assert_eq!(store.meta_files(), before, "{mailbox}, older {older}");
    }
}

//! The change-over to version 16 of one host: what is taken over, what is refused, the way back.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod refused;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use common::fenced::{MAILBOX, change, commit, fenced, fields, raise_fence, run, upgrade};
use common::{Store, append_with_null_guid, lock, named, recover};
use indexfile::cache_file::CacheFile;
use indexfile::cutover::{self, HeaderImage};
use indexfile::{FileKind, HeaderField, IndexFile, seen};
use slotd::failpoint;
use slotd::host::Options;
use slotd::protocol::{
    Clean, Cleaned, Code, Command, Complete, FileState, Prepare, Prepared, Verified, Verify, Write,
};
use slotd::session::Session;

/// The files that a server opens, and what they replaced.
const FILES: [&str; 2] = ["cyrus.index", "cyrus.expunge"];

/// What happens to the mailbox.
type Spoil = fn(&Store);

fn prepare(version: u32) -> Command {
    Command::Prepare(Prepare {
        of: named(MAILBOX),
        upgrade: upgrade(version),
        write: Write::Auto,
        epoch: None,
    })
}

fn prepared(session: &mut Session) -> Prepared {
    let replies = run(session, vec![prepare(16)]).unwrap();
    Prepared::from_fields(fields(&replies[0])).unwrap()
}

/// What lies under the live names.
fn live(store: &Store) -> BTreeMap<&'static str, Vec<u8>> {
    let read = |name| Some((name, std::fs::read(store.meta(MAILBOX).join(name)).ok()?));
    FILES.into_iter().filter_map(read).collect()
}

fn inodes(store: &Store) -> BTreeMap<&'static str, u64> {
    let read = |name| Some((name, store.meta(MAILBOX).join(name).metadata().ok()?.ino()));
    FILES.into_iter().filter_map(read).collect()
}

fn seen_path(store: &Store) -> PathBuf {
    let name = common::name(MAILBOX);
    store.conf.seen_path(&name, false).unwrap()
}

/// What a change-over makes of the mailbox as it is, by the library; `now` as in `like`.
fn expected(store: &Store, like: &IndexFile) -> Vec<u8> {
    let meta = store.meta(MAILBOX);
    let (index, expunge) = (store.index(MAILBOX), store.expunge(MAILBOX));
    let header = meta.join("cyrus.header");
    let header = HeaderImage::new(&std::fs::read(&header).unwrap(), &header).unwrap();
    let path = seen_path(store);
    let seen = path
        .exists()
        .then(|| seen::open(&path, &header.file().uniqueid).unwrap())
        .flatten();
    let now = like.header().get(HeaderField::LastRepackTime).unwrap();
    let mut out = std::io::Cursor::new(Vec::new());
    let sources = cutover::Sources {
        index: &index,
        expunge: expunge.as_ref(),
        header: &header,
        cache: &mut CacheFile::open(&meta.join("cyrus.cache")).unwrap(),
        seen: seen.as_ref(),
    };
    cutover::write(sources, 16, u32::try_from(now).unwrap(), &mut out).unwrap();
    out.into_inner()
}

/// Sets \Flagged on the first message, in place, as a 2.3 server does.
fn set_flag(store: &Store) {
    let path = store.meta(MAILBOX).join("cyrus.index");
    let index = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = 96 + 36;
    let mut flags = [0; 4];
    index.read_exact_at(&mut flags, at).unwrap();
    flags[3] ^= 2;
    index.write_all_at(&flags, at).unwrap();
}

fn see_all(store: &Store) {
    let header = store.meta(MAILBOX).join("cyrus.header");
    let header = HeaderImage::new(&std::fs::read(&header).unwrap(), &header).unwrap();
    let last = store.index(MAILBOX).header().last_uid();
    let path = seen_path(store);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let uniqueid = &header.file().uniqueid;
    let line = format!("{uniqueid}\t1 1200000000 {last} 1200000001 1:{last}\n");
    std::fs::write(&path, line).unwrap();
}

#[test]
fn what_was_prepared_is_used_while_nothing_has_changed_and_the_last_state_of_each_input_else() {
    let (store, _host, mut session) = fenced();
    let first = prepared(&mut session);
    assert!(first.prepared && !first.unchanged);
    assert!(prepared(&mut session).unchanged);
    let changes: [(&str, Spoil); 4] = [
        ("a flag", set_flag),
        ("what the owner has seen", see_all),
        ("the header", |store| {
            let path = store.meta(MAILBOX).join("cyrus.header");
            let mut text = std::fs::read(&path).unwrap();
            text.extend_from_slice(b"bob\tlr\t\n");
            std::fs::write(path, text).unwrap();
        }),
        ("a message's file", |store| {
            let uid = store.index(MAILBOX).record(0).unwrap().unwrap().uid();
            let path = store.spool(MAILBOX).join(format!("{uid}."));
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }),
    ];
    for (what, change) in changes {
        change(&store);
        assert!(!prepared(&mut session).unchanged, "{what}");
        assert!(prepared(&mut session).unchanged, "{what}");
    }
    let side = store.meta(MAILBOX).join("cyrus.cutover.index");
    let ino = side.metadata().unwrap().ino();
    let v10 = expected(&store, &IndexFile::open(&side, FileKind::Index).unwrap());
    let upgraded = change(&mut session, 16).unwrap();
    assert!(upgraded.prepared && upgraded.index == FileState::Staged);
    assert_eq!(upgraded.expunge, FileState::Removed);
    assert_eq!(inodes(&store), BTreeMap::from([("cyrus.index", ino)]));
    assert_eq!(live(&store)["cyrus.index"], v10);
    assert!(!side.exists());
}

#[test]
fn a_change_after_the_last_prepare_is_taken_over_too() {
    let (store, _host, mut session) = fenced();
    prepared(&mut session);
    see_all(&store);
    set_flag(&store);
    let before = copy(&store);
    let upgraded = change(&mut session, 16).unwrap();
    assert!(!upgraded.prepared);
    let index = store.index(MAILBOX);
    assert_eq!(live(&store)["cyrus.index"], expected(&before, &index));
    let records: Vec<_> = index.records().map(|r| r.unwrap().system_flags()).collect();
    assert!(records.iter().all(|flags| flags & 16 != 0), "all seen");
    assert!(
        records.iter().any(|flags| flags & (1 << 31) != 0),
        "expunged ones too"
    );
}

/// The store with the files of the mailbox as they are now.
fn copy(store: &Store) -> Store {
    let other = Store::small(&[MAILBOX]);
    for name in [
        "cyrus.index",
        "cyrus.expunge",
        "cyrus.header",
        "cyrus.cache",
    ] {
        let [from, to] = [store, &other].map(|s| s.meta(MAILBOX).join(name));
        std::fs::copy(from, to).unwrap();
    }
    let [from, to] = [store, &other].map(seen_path);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
    other
}

#[test]
fn the_way_back_gives_the_very_bytes_and_leads_there_again() {
    let (store, _host, mut session) = fenced();
    let before = live(&store);
    change(&mut session, 16).unwrap();
    let upgraded = change(&mut session, 10).unwrap();
    assert_eq!((upgraded.from, upgraded.to), (16, 10));
    assert_eq!(upgraded.expunge, FileState::Staged);
    assert_eq!(live(&store), before);
    change(&mut session, 17).unwrap();
    assert_eq!(store.index(MAILBOX).minor_version(), 17);
    change(&mut session, 10).unwrap();
    assert_eq!(live(&store), before);
}

#[test]
fn a_change_over_or_its_way_back_that_is_held_is_taken_back_to_the_same_files() {
    let (store, _host, mut session) = fenced();
    let roll = |session: &mut Session, to| {
        let commands = vec![
            Command::Lock(lock(MAILBOX)),
            Command::Upgrade(upgrade(to)),
            commit(true),
            Command::Rollback,
        ];
        run(session, commands).unwrap();
    };
    let (before, files) = (inodes(&store), live(&store));
    roll(&mut session, 16);
    assert_eq!((inodes(&store), live(&store)), (before, files.clone()));
    change(&mut session, 16).unwrap();
    let (over, new) = (inodes(&store), live(&store));
    roll(&mut session, 10);
    assert_eq!((inodes(&store), live(&store)), (over, new));
    change(&mut session, 10).unwrap();
    assert_eq!(live(&store), files);
}

#[test]
fn the_way_back_is_closed_once_a_server_has_written() {
    let (store, _host, mut session) = fenced();
    change(&mut session, 16).unwrap();
    let path = store.meta(MAILBOX).join("cyrus.index");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 60;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (code, text) = change(&mut session, 10).unwrap_err();
    // One with a wrong checksum is damaged, before anything else.
    assert!(
        matches!(code, Code::TooLate | Code::Damaged),
        "{code} {text}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::remove_file(store.meta(MAILBOX).join("cyrus.cutover")).unwrap();
    let (code, _) = change(&mut session, 10).unwrap_err();
    assert!(matches!(code, Code::Unsupported | Code::Damaged), "{code}");
}

#[test]
fn what_a_change_over_left_can_be_removed_while_a_later_server_runs_and_nothing_of_its_own_is() {
    let (store, _host, mut session) = fenced();
    change(&mut session, 16).unwrap();
    let meta = store.meta(MAILBOX);
    let msg = store.conf.config_directory().unwrap().join("msg/shutdown");
    std::fs::remove_file(msg).unwrap();
    // A later server repacks it just now.
    std::fs::write(meta.join("cyrus.index.NEW"), "half").unwrap();
    let of = named(MAILBOX);
    let dry_run = false;
    let replies = run(&mut session, vec![Command::Clean(Clean { of, dry_run })]).unwrap();
    let cleaned = Cleaned::from_fields(fields(&replies[0])).unwrap();
    for name in ["cyrus.index.OLD", "cyrus.expunge.OLD", "cyrus.cutover"] {
        assert!(cleaned.files.iter().any(|file| file == name), "{cleaned:?}");
        assert!(!meta.join(name).exists(), "{name}");
    }
    assert!(meta.join("cyrus.index.NEW").exists());
}

#[test]
fn verify_tells_of_every_checksum_of_an_index_that_is_changed_over() {
    let (store, _host, mut session) = fenced();
    see_all(&store);
    let verified = |session: &mut Session| {
        let of = named(MAILBOX);
        let replies = run(session, vec![Command::Verify(Verify { of, sample: None })]);
        Verified::from_fields(fields(&replies.unwrap()[0])).unwrap()
    };
    assert_eq!(verified(&mut session).sync_crc, None);
    change(&mut session, 16).unwrap();
    let good = verified(&mut session);
    assert!(good.is_good(), "{good:?}");
    let header = store.index(MAILBOX);
    let crc = header.header().get(HeaderField::SyncCrc).unwrap();
    assert_eq!(good.sync_crc.map(u64::from), Some(crc));
    let path = store.meta(MAILBOX).join("cyrus.cache");
    let mut cache = std::fs::read(&path).unwrap();
    let last = cache.len() - 8;
    cache[last] ^= 1;
    std::fs::write(&path, cache).unwrap();
    let bad = verified(&mut session);
    assert!(bad.findings.iter().any(|f| f.contains("cache")), "{bad:?}");
}

/// The change-over takes the name `.OLD`, and with it what the upgrade to version 10 left there.
#[test]
fn after_the_way_back_the_way_back_from_version_10_is_still_open() {
    let store = Store::small(&[MAILBOX]);
    let before = live(&store);
    let host = store.host(Options::default());
    let mut session = Session::new(Arc::clone(&host));
    change(&mut session, 10).unwrap();
    raise_fence(&store);
    for to in [16, 10, 17, 10] {
        change(&mut session, to).unwrap();
    }
    std::fs::remove_file(store.conf.config_directory().unwrap().join("msg/shutdown")).unwrap();
    let down = change(&mut session, 9).unwrap();
    assert_eq!((down.cut, live(&store)), (0, before));
}

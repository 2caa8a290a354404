//! The change-over to version 16 of one host: what is taken over, what is refused, the way back.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use common::{Store, append_with_null_guid, lock, named, recover};
use indexfile::cache_file::CacheFile;
use indexfile::cutover::{self, HeaderImage};
use indexfile::{FileKind, HeaderField, IndexFile, seen};
use slotd::failpoint;
use slotd::host::{Host, Options};
use slotd::protocol::{
    Clean, Cleaned, Code, Command, Commit, Complete, Completed, FileState, Prepare, Prepared,
    Reply, Upgrade, Upgraded, Verified, Verify, Write,
};
use slotd::session::Session;

const MAILBOX: &str = "user.alice.expunged";
/// The files that a server opens, and what they replaced.
const FILES: [&str; 2] = ["cyrus.index", "cyrus.expunge"];

/// What happens to the mailbox.
type Spoil = fn(&Store);

fn upgrade(version: u32) -> Upgrade {
    Upgrade {
        version,
        ..Upgrade::default()
    }
}

fn prepare(version: u32) -> Command {
    Command::Prepare(Prepare {
        of: named(MAILBOX),
        upgrade: upgrade(version),
        write: Write::Auto,
    })
}

fn commit(hold: bool) -> Command {
    let drop_old = false;
    Command::Commit(Commit { hold, drop_old })
}

/// A session on a store whose server is stopped and fenced, at version 10.
fn fenced() -> (Store, Arc<Host>, Session) {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    let mut session = Session::new(Arc::clone(&host));
    change(&mut session, 10).unwrap();
    raise_fence(&store);
    (store, host, session)
}

fn raise_fence(store: &Store) {
    let msg = store.conf.config_directory().unwrap().join("msg");
    std::fs::create_dir_all(&msg).unwrap();
    std::fs::write(msg.join("shutdown"), "change-over\n").unwrap();
}

/// All of them; the first that is not answered with OK ends it, and what is open is rolled back.
fn run(session: &mut Session, commands: Vec<Command>) -> Result<Vec<Reply>, (Code, String)> {
    let mut replies = Vec::new();
    for command in commands {
        match session.handle(command) {
            Reply::No { code, text } => {
                let _ = session.handle(Command::Rollback);
                return Err((code, text));
            }
            reply => replies.push(reply),
        }
    }
    Ok(replies)
}

fn fields(reply: &Reply) -> &slotd::protocol::Fields {
    match reply {
        Reply::Ok(fields) => fields,
        reply => panic!("{reply:?}"),
    }
}

fn change(session: &mut Session, to: u32) -> Result<Upgraded, (Code, String)> {
    let commands = vec![
        Command::Lock(lock(MAILBOX)),
        Command::Upgrade(upgrade(to)),
        commit(false),
    ];
    let replies = run(session, commands)?;
    Ok(Upgraded::from_fields(fields(&replies[1])).unwrap())
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
fn what_could_only_be_half_right_is_refused_and_nothing_is_touched() {
    let cases: [(Spoil, Code, &str); 4] = [
        (
            |store| {
                append_with_null_guid(store, MAILBOX);
            },
            Code::Unsupported,
            "upgrade the mailbox to version 10 first",
        ),
        (
            |store| {
                let path = first_expunged(store);
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[0] ^= 1;
                std::fs::write(path, bytes).unwrap();
            },
            Code::Damaged,
            "the SHA-1 of its message is",
        ),
        (
            |store| std::fs::remove_file(first_expunged(store)).unwrap(),
            Code::NoMessage,
            "",
        ),
        (
            |store| {
                let path = seen_path(store);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, b"\0\x01\x02 no database").unwrap();
            },
            Code::Damaged,
            "seen",
        ),
    ];
    for (spoil, code, why) in cases {
        let (store, _host, mut session) = fenced();
        spoil(&store);
        let before = (live(&store), inodes(&store));
        for commands in [
            vec![prepare(16)],
            vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(16))],
        ] {
            let (refused, text) = run(&mut session, commands).unwrap_err();
            assert!(refused == code && text.contains(why), "{refused}: {text}");
        }
        assert_eq!((live(&store), inodes(&store)), before);
    }
}

fn first_expunged(store: &Store) -> PathBuf {
    let expunge = store.expunge(MAILBOX).unwrap();
    let uid = expunge.record(0).unwrap().unwrap().uid();
    store.spool(MAILBOX).join(format!("{uid}."))
}

#[test]
fn a_mailbox_below_version_10_is_upgraded_first() {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    raise_fence(&store);
    let mut session = Session::new(host);
    let (code, text) = run(&mut session, vec![prepare(16)]).unwrap_err();
    assert!(
        code == Code::Unsupported && text.contains("10 first"),
        "{text}"
    );
}

/// By what it left the way back, and recovery after a crash, are proven.
#[test]
fn what_a_change_over_under_way_was_made_from_is_not_written_anew_by_another_connection() {
    let (store, host, mut session) = fenced();
    let mut other = Session::new(host);
    let stamp = store.meta(MAILBOX).join("cyrus.cutover");
    let commands = vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(16))];
    run(&mut session, commands).unwrap();
    let made = std::fs::read(&stamp).unwrap();
    see_all(&store);
    for step in [commit(true), Command::Rollback] {
        let (code, text) = run(&mut other, vec![prepare(17)]).unwrap_err();
        assert!(
            code == Code::Locked && text.contains("changes over"),
            "{text}"
        );
        assert_eq!(std::fs::read(&stamp).unwrap(), made);
        run(&mut session, vec![step]).unwrap();
    }
    assert!(!prepared(&mut other).unchanged, "after it, it may");
}

#[test]
fn nothing_is_changed_over_or_back_or_called_complete_without_the_fence() {
    let (store, _host, mut session) = fenced();
    let shutdown = store.conf.config_directory().unwrap().join("msg/shutdown");
    let lower = || std::fs::remove_file(&shutdown).unwrap();
    let complete = Command::Complete(Complete {
        version: 16,
        mailboxes: 1,
    });
    prepared(&mut session);
    // It falls when all is staged.
    let commands = vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(16))];
    run(&mut session, commands).unwrap();
    lower();
    let (code, text) = run(&mut session, vec![commit(false)]).unwrap_err();
    assert!(
        code == Code::Fenced && text.contains("msg/shutdown"),
        "{text}"
    );
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
    for (to, version) in [(16, 10), (10, 16)] {
        // Nothing is staged even.
        let commands = vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(to))];
        let (code, _) = run(&mut session, commands).unwrap_err();
        assert_eq!(code, Code::Fenced);
        let (code, _) = run(&mut session, vec![complete.clone()]).unwrap_err();
        assert_eq!(code, Code::Fenced);
        assert_eq!(store.index(MAILBOX).minor_version(), version);
        if version == 10 {
            raise_fence(&store);
            change(&mut session, 16).unwrap();
            lower();
        }
    }
    // What only looks needs none.
    assert!(prepared(&mut session).unchanged);
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

/// Either all of the old state or all of the new one. (An older `.OLD`, set aside, may stay until
/// the next transaction or `CLEAN`.)
fn check(store: &Store, old: &BTreeMap<&str, Vec<u8>>, what: &str) -> u32 {
    for entry in std::fs::read_dir(store.meta(MAILBOX)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stray = name.contains(".NEW") || name.ends_with("reguid");
        assert!(!stray, "{what}: {name} is left");
    }
    let version = store.index(MAILBOX).minor_version();
    if version == 10 {
        assert_eq!(live(store), *old, "{what}");
    } else {
        assert_eq!(version, 16, "{what}");
        assert!(store.expunge(MAILBOX).is_none(), "{what}");
        store.index(MAILBOX).verify().unwrap();
        assert_eq!(store.index(MAILBOX).num_records(), records(old), "{what}");
    }
    version
}

fn records(files: &BTreeMap<&str, Vec<u8>>) -> u32 {
    let count = |(name, bytes): (&&str, &Vec<u8>)| {
        let kind = FileKind::of_path(name.as_ref());
        let file = IndexFile::from_bytes(bytes.clone(), name.as_ref(), kind);
        file.unwrap().num_records()
    };
    files.iter().map(count).sum()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    Over,
    PreparedOver,
    OverHeldAndBack,
    Back,
    BackHeldAndOver,
}

#[test]
fn an_error_at_any_point_of_a_change_over_or_its_way_back_leaves_one_complete_set() {
    errors_everywhere(&[Course::OverHeldAndBack, Course::BackHeldAndOver], "eio");
}

/// `cargo test -p slotd --test cutover -- --ignored`
#[test]
#[ignore = "minutes"]
fn every_error_at_every_point_of_every_course() {
    use Course as C;
    let all = [
        C::Over,
        C::PreparedOver,
        C::OverHeldAndBack,
        C::Back,
        C::BackHeldAndOver,
    ];
    errors_everywhere(&all, "eio");
    errors_everywhere(&all, "enospc");
}

fn errors_everywhere(courses: &[Course], error: &str) {
    use Course as C;
    for &course in courses {
        let commands = || {
            let to = match course {
                C::Back | C::BackHeldAndOver => 10,
                _ => 16,
            };
            let held = matches!(course, C::OverHeldAndBack | C::BackHeldAndOver);
            let mut commands = vec![
                Command::Lock(lock(MAILBOX)),
                Command::Upgrade(upgrade(to)),
                commit(held),
            ];
            commands.extend(held.then_some(Command::Rollback));
            if course == C::PreparedOver {
                commands.insert(0, prepare(16));
            }
            commands
        };
        let begin = || {
            let (store, host, mut session) = fenced();
            let old = live(&store);
            if matches!(course, C::Back | C::BackHeldAndOver) {
                change(&mut session, 16).unwrap();
            }
            (store, host, session, old)
        };
        let (store, host, mut session, _) = begin();
        let (good, points) = failpoint::count("", || run(&mut session, commands()));
        good.unwrap();
        drop((session, host, store));
        assert!(points > 10, "{course:?}: {points}");
        for k in 1..=points {
            let what = format!("{course:?}, error at {k} of {points}");
            let (store, host, mut session, old) = begin();
            let done = failpoint::with(&format!("*={k}:{error}"), || run(&mut session, commands()));
            drop((session, host));
            let host = store.host(Options::default());
            let report = recover(&host);
            assert!(report.failed.is_empty(), "{what}: {:?}", report.failed);
            let version = check(&store, &old, &what);
            if done.is_ok() {
                let over = matches!(course, C::Over | C::PreparedOver | C::BackHeldAndOver);
                assert_eq!(version, if over { 16 } else { 10 }, "{what}");
            }
            // And it can be changed over, and back.
            let mut session = Session::new(Arc::clone(&host));
            change(&mut session, 16).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(check(&store, &old, &what), 16);
            change(&mut session, 10).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(check(&store, &old, &what), 10);
        }
    }
}

#[test]
fn a_store_is_complete_when_every_mailbox_is_changed_over_and_not_any_more_when_one_goes_back() {
    let (store, _host, mut session) = fenced();
    let complete = |mailboxes| {
        vec![Command::Complete(Complete {
            version: 16,
            mailboxes,
        })]
    };
    let path = store
        .conf
        .config_directory()
        .unwrap()
        .join("cutover-complete");
    let (code, text) = run(&mut session, complete(1)).unwrap_err();
    assert!(code == Code::State && text.contains("version 10"), "{text}");
    change(&mut session, 16).unwrap();
    let (code, text) = run(&mut session, complete(2)).unwrap_err();
    assert!(
        code == Code::State && text.contains("1 mailboxes"),
        "{text}"
    );
    assert!(!path.exists());
    let replies = run(&mut session, complete(1)).unwrap();
    let completed = Completed::from_fields(fields(&replies[0])).unwrap();
    assert_eq!(completed.file, path.to_str().unwrap());
    assert!(path.exists());
    change(&mut session, 10).unwrap();
    assert!(!path.exists());
    // An expunge file that a server would unlink the messages of.
    let expunge = live(&store)["cyrus.expunge"].clone();
    change(&mut session, 16).unwrap();
    std::fs::write(store.meta(MAILBOX).join("cyrus.expunge"), expunge).unwrap();
    let (code, text) = run(&mut session, complete(1)).unwrap_err();
    assert!(
        code == Code::State && text.contains("lies beside"),
        "{text}"
    );
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

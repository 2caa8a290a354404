//! Recovery after a crash at which nothing of what the dead process had not synced is known to be
//! on stable storage.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use indexfile::FileKind;
use slotd::commit;
use slotd::fs::Identity;
use slotd::host::{Host, Options};
use slotd::intent::{Direction, Intent, IntentFile, recovery};
use slotd::lock::{MailboxLocks, Patience};
use slotd::protocol::Upgrade;
use slotd::stage::{self, LiveFiles, Sources, new_name, old_name};

use super::common::{Store, named, recover};
use super::{MAILBOX, Watched, found, store_with_meta, version_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Died {
    Staged,
    HalfWay,
    Renamed,
}

/// A slotd that died in COMMIT, or on the way back from one that was held.
fn die(host: &Host, when: Died, direction: Direction) {
    let place = host.store.find(&named(MAILBOX)).unwrap();
    let never = AtomicBool::new(false);
    let patience = Patience {
        deadline: Instant::now() + Duration::from_secs(5),
        cancel: &never,
    };
    let mut locks = MailboxLocks::take(place, patience).unwrap();
    let live = LiveFiles::of(&locks).unwrap();
    let (want, sources) = (Upgrade::default(), Sources::default());
    let mut staged = stage::stage(&locks, &live, want, &sources, &never, &|| Ok(())).unwrap();
    staged.name(&locks).unwrap();
    let files = staged.files.iter().map(|f| IntentFile {
        kind: f.kind.into(),
        old: Identity::of(&locks.file(f.kind).unwrap().file).unwrap(),
        new: Identity::of(&f.made.file).unwrap(),
    });
    let intent = Intent {
        id: 0,
        mailbox: MAILBOX.to_owned(),
        partition: "default".to_owned(),
        from: 9,
        to: 10,
        direction,
        drop_old: false,
        uuids_old: false,
        rehash: false,
        run: 0,
        files: files.collect(),
    };
    host.log.begin(intent).unwrap();
    match when {
        Died::Staged => {}
        Died::HalfWay => {
            let (kind, dir) = (FileKind::Expunge, &locks.place.expunge);
            dir.link(kind.file_name(), old_name(kind)).unwrap();
            dir.rename(new_name(kind), kind.file_name()).unwrap();
        }
        Died::Renamed => commit::rename(&mut locks, &staged).unwrap(),
    }
}

#[track_caller]
fn heals(store: &Store, when: Died, direction: Direction, meddle: bool) -> recovery::Settled {
    die(&store.host(Options::default()), when, direction);
    if meddle {
        // Cyrus has replaced the index by another one since, so what is staged is of no use.
        let index = found(store, "cyrus.index");
        let copy = index.with_extension("copy");
        let mut bytes = std::fs::read(&index).unwrap();
        bytes[96 + 35] ^= 8;
        std::fs::write(&copy, bytes).unwrap();
        std::fs::rename(&copy, &index).unwrap();
    }
    let what = format!("{when:?}, {direction:?}, meddled {meddle}");
    let mut watched = Watched::of(store);
    let host = store.host(Options::default());
    let report = recover(&host);
    assert!(report.failed.is_empty(), "{what}: {:?}", report.failed);
    assert_eq!(report.settled.len(), 1, "{what}");
    watched.judge(&format!("{what}: recovery is done"));
    for name in ["cyrus.index", "cyrus.expunge"] {
        let dir = found(store, name).parent().unwrap().to_path_buf();
        watched.ledger.was_synced(&dir, &what);
    }
    watched.ledger.assert_kept();
    report.settled[0].1
}

#[test]
fn what_recovery_finds_or_does_is_durable_before_the_intent_is_ended() {
    use recovery::Settled as S;
    let (commit, back) = (Direction::Commit, Direction::PutBack);
    for files in ["header index cache expunge", "index", "expunge"] {
        for (when, direction, meddle, settled) in [
            (Died::Staged, commit, false, S::Aborted),
            (Died::HalfWay, commit, false, S::Finished),
            (Died::Renamed, commit, false, S::Complete),
            (Died::HalfWay, commit, true, S::Restaged),
            (Died::HalfWay, back, false, S::Undone),
            (Died::Renamed, back, false, S::Undone),
        ] {
            let store = store_with_meta(files);
            let found = heals(&store, when, direction, meddle);
            assert_eq!(found, settled, "{files}: {when:?} {direction:?} {meddle}");
            let versions =
                ["cyrus.index", "cyrus.expunge"].map(|n| version_of(&super::found(&store, n)));
            let want = if settled == S::Aborted || direction == back {
                9
            } else {
                10
            };
            assert_eq!(
                versions, [want; 2],
                "{files}: {when:?} {direction:?} {meddle}"
            );
        }
    }
}

//! Recovery after a crash at which nothing of what the dead process had not synced is known to be
//! on stable storage.

use slotd::host::Options;
use slotd::intent::{Direction, recovery};
use slotd::protocol::Upgrade;

use super::common::died::{Died, die};
use super::common::{Store, recover};
use super::{MAILBOX, Watched, found, store_with_meta, version_of};

#[track_caller]
fn heals(store: &Store, when: Died, direction: Direction, meddle: bool) -> recovery::Settled {
    let host = store.host(Options::default());
    let of = (MAILBOX, "default");
    die(&host, of, Upgrade::default(), when, direction);
    drop(host);
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

//! A slotd that died in `COMMIT`, or on the way back from one that was held.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use indexfile::FileKind;
use slotd::commit;
use slotd::fs::Identity;
use slotd::host::Host;
use slotd::intent::{Direction, Intent, IntentFile};
use slotd::lock::{MailboxLocks, Patience};
use slotd::protocol::{Rehash, Upgrade};
use slotd::stage::{self, LiveFiles, Sources, new_name, old_name};

use super::named;

/// When it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Died {
    /// When all was staged and named.
    Staged,
    /// After the first rename.
    HalfWay,
    /// After the last.
    Renamed,
}

/// It dies. What its intent says of the way and the partition is `direction` and `partition`.
pub fn die(
    host: &Host,
    (mailbox, partition): (&str, &str),
    upgrade: Upgrade,
    when: Died,
    direction: Direction,
) {
    let place = host.store.find(&named(mailbox)).unwrap();
    let never = AtomicBool::new(false);
    let patience = Patience {
        deadline: Instant::now() + Duration::from_secs(5),
        cancel: &never,
    };
    let mut locks = MailboxLocks::take(place, patience).unwrap();
    let live = LiveFiles::of(&locks).unwrap();
    let sources = Sources::default();
    let mut staged = stage::stage(&locks, &live, upgrade, &sources, &never, &|| Ok(())).unwrap();
    let files = staged.files.iter().map(|f| IntentFile {
        kind: f.kind.into(),
        old: Some(Identity::of(&locks.file(f.kind).unwrap().file).unwrap()),
        new: Some(Identity::of(&f.made.file).unwrap()),
    });
    let intent = Intent {
        id: 0,
        mailbox: mailbox.to_owned(),
        partition: partition.to_owned(),
        from: staged.report.from,
        to: staged.report.to,
        direction,
        drop_old: false,
        uuids_old: staged.uuids_old,
        rehash: staged.rehash == Some(Rehash::Fix),
        run: upgrade.run,
        files: files.collect(),
    };
    let mut begin = || Ok(host.log.begin(intent.clone()).map(drop)?);
    staged.give_names(&locks, Some(&mut begin)).unwrap();
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

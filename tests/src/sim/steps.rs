//! The lists of production, `slotd::fileops`, done on the disk in memory.

use slotd::fileops::{Change, FileOp, Names, Old, Role, Step};
use slotd::intent::Direction;

use super::disk::{Name, Which};
use super::image::Image;
use super::intent::{Intent, Known};
use super::op::{Op, Purpose};
use super::site::{Mutation, Session, Site};

/// After an intent is settled the locks are taken anew, because it changes which files are live.
pub(super) fn after_settling() -> [Op; 3] {
    [Op::EndIntent, Op::Unlock, Op::TakeLocks]
}

/// The ops that do a list.
pub(super) fn ops(purpose: Purpose, list: Vec<Step>) -> impl Iterator<Item = Op> {
    list.into_iter().map(move |step| Op::File(purpose, step))
}

/// What lies under the names of a file; `replaced` is what its `.OLD` is if it is this
/// transaction's.
pub(super) fn names<C: Image>(
    site: &Site<C>,
    (file, change): (Which, Change),
    replaced: Option<&Known>,
) -> Names {
    let [old, prev] = [Role::Old, Role::Prev].map(|role| Name::new(file, role));
    let found = site.disk.ino(old).map(|ino| (ino, site.disk.born(old)));
    let old = found.map(|found| {
        if replaced == Some(&found) {
            Old::Replaced
        } else {
            Old::Earlier
        }
    });
    let prev = site.disk.has(prev);
    let kind = file.into();
    Names {
        kind,
        change,
        old,
        prev,
    }
}

/// The same of every file that is about to change, first to be changed first.
pub(super) fn every_name<C: Image>(site: &Site<C>, session: &Session) -> Vec<Names> {
    let order = session.order.iter();
    order.map(|file| names(site, *file, None)).collect()
}

/// What the log is to say.
pub(super) fn intent<C: Image>(site: &Site<C>, direction: Direction) -> Option<Intent> {
    match direction {
        Direction::Commit => Some(Intent::of(&site.disk, Role::Unnamed)),
        Direction::PutBack => site.log.turned_back(),
    }
}

/// Does one operation; what it needs on stable storage has to be there.
pub(super) fn execute<C: Image>(site: &mut Site<C>, session: &Session, step: Step) {
    let name = |kind, role| Name::new(Which::from(kind), role);
    if site.mutation.is_none() {
        let needs = step.needs;
        assert!(
            !needs.intent || site.log.open().is_some(),
            "no intent for {}",
            step.op
        );
        let live = needs.live.map(|kind| name(kind, Role::Live));
        let durable = live.is_none_or(|live| site.disk.is_durable(live));
        assert!(durable, "{live:?} is not durable before {}", step.op);
        if let FileOp::Link(kind, from, _) | FileOp::Rename(kind, from, _) = step.op {
            let synced = site.disk.is_synced(name(kind, from)) || !needs.bytes;
            assert!(synced, "{from:?} is not synced before {}", step.op);
        }
    }
    match step.op {
        FileOp::Intent(direction) => {
            let late =
                site.mutation == Some(Mutation::IntentLate) && direction == Direction::Commit;
            if let Some(intent) = intent(site, direction).filter(|_| !late) {
                site.log.begin(intent);
            }
        }
        FileOp::Lock(..) => {}
        FileOp::SyncFile(_, Role::Unnamed) if site.mutation == Some(Mutation::StageWithoutSync) => {
        }
        FileOp::SyncFile(kind, role) => site.disk.sync_file(name(kind, role)),
        FileOp::Link(kind, Role::Unnamed, _) => site.disk.give_name(kind.into()),
        FileOp::Link(kind, from, to) => site.disk.link(name(kind, from), name(kind, to)),
        FileOp::Rename(kind, from, to) => site.disk.rename(name(kind, from), name(kind, to)),
        FileOp::Unlink(kind, role) => site.disk.unlink(name(kind, role)),
        FileOp::SyncDir(kind) => {
            let skip = if session.settling {
                Mutation::RecoveryWithoutSync
            } else {
                Mutation::CommitWithoutSync
            };
            if site.mutation != Some(skip) {
                site.disk.sync_dir(kind.into());
            }
        }
    }
}

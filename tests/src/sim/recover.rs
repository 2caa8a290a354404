//! Settling an open intent, at the start of slotd or at the next `LOCK`, as a list of steps.
//!
//! What is to be done is decided by [`slotd::intent::verdict`], the code that production runs.

use slotd::fs::Identity;
use slotd::intent::{At, Direction, Found, IntentFile, Kind, Verdict, verdict};

use super::disk::{Name, Role, Which};
use super::image::{Image, carries};
use super::intent::{Intent, Known};
use super::op::Op;
use super::site::{Mutation, Session, Site, Wanted};

/// The session number of the recovery at the start.
pub const STARTER: u8 = u8::MAX;

/// The steps that settle the open intent; none if there is none.
#[must_use]
pub fn settle<C: Image>(site: &Site<C>, session: &mut Session) -> Vec<Op> {
    let Some(intent) = site.log.open() else {
        return Vec::new();
    };
    let mut order = intent.order();
    session.order.clone_from(&order);
    let direction = if intent.back {
        Direction::PutBack
    } else {
        Direction::Commit
    };
    if intent.back {
        order.reverse();
    }
    let found: Vec<(Which, Found)> = order.iter().map(|f| (*f, find(site, intent, *f))).collect();
    let judged: Vec<Found> = found.iter().map(|(_, found)| *found).collect();
    let mut steps: Vec<Op> = order.iter().map(|f| Op::SyncDir(*f)).collect();
    match verdict(direction, &judged) {
        Verdict::Complete if intent.back => steps.extend([Op::Unstage, Op::RestoreOldNames]),
        Verdict::Complete => steps.extend([Op::Unstage, Op::KeepOld { drop_old: false }]),
        Verdict::Finish => {
            for (file, found) in found {
                if found.at == At::Old {
                    steps.extend([
                        Op::SyncStaged(file),
                        Op::LinkOldUnlessDone(file),
                        Op::RenameNew(file),
                    ]);
                }
                steps.push(Op::SyncDir(file));
            }
            steps.push(Op::KeepOld { drop_old: false });
        }
        Verdict::PutBack => {
            steps.push(Op::Unstage);
            for (file, found) in found {
                if found.at == At::New {
                    steps.push(Op::TakeBack(file));
                }
                steps.push(Op::SyncDir(file));
            }
            steps.push(Op::RestoreOldNames);
        }
        Verdict::Abort => steps.extend([Op::Unstage, Op::RestoreOldNames]),
        Verdict::Restage => {
            let version = if intent.back { intent.from } else { intent.to };
            session.wanted = Wanted {
                to: version,
                uuids_old: intent.back,
            };
            steps.extend([Op::Unstage, Op::WriteNew]);
        }
    }
    steps
}

/// A file as the log of production remembers it.
fn id((ino, born): Known) -> Identity {
    Identity {
        dev: 1,
        ino: ino.into(),
        born: born.map(u64::from),
    }
}

fn find<C: Image>(site: &Site<C>, intent: &Intent, file: Which) -> Found {
    let nothing = Found {
        at: At::Other,
        staged_carries: false,
        old_carries: false,
    };
    let Some(pair) = &intent.files[file as usize] else {
        return nothing;
    };
    let [live, new, old] = [Role::Live, Role::New, Role::Old].map(|role| Name::new(file, role));
    let known = IntentFile {
        kind: if file == Which::Index {
            Kind::Index
        } else {
            Kind::Expunge
        },
        old: id(pair.old),
        new: id(pair.new),
    };
    let version = site.disk.read(live).map_or(0, C::version);
    let known_as = |ino| id((ino, site.disk.born(live)));
    let seen = site
        .disk
        .ino(live)
        .map(|ino| (known_as(ino), u32::from(version)));
    let at = At::of(seen, &known, (intent.from.into(), intent.to.into()));
    let both = |one: Option<&C>, other: Option<&C>| {
        let blind = site.mutation == Some(Mutation::StaleNewAtRecovery);
        one.zip(other)
            .is_some_and(|(one, other)| blind || carries(one, other))
    };
    Found {
        at,
        staged_carries: at == At::Old
            && both(open(site, live, &pair.old), open(site, new, &pair.new)),
        old_carries: at == At::New && both(open(site, old, &pair.old), open(site, live, &pair.new)),
    }
}

/// The file under that name, if it is the one known and not garbage.
fn open<'a, C: Image>(site: &'a Site<C>, name: Name, known: &Known) -> Option<&'a C> {
    site.disk
        .read(name)
        .filter(|_| (site.disk.ino(name), site.disk.born(name)) == (Some(known.0), known.1))
}

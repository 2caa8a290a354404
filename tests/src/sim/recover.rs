//! Settling an open intent, at the start of slotd or at the next `LOCK`, as a list of steps.
//!
//! What is to be done is decided by [`slotd::intent::verdict`] and listed by
//! [`slotd::intent::settle`], the code that production runs.

use indexfile::FileKind;
use slotd::fileops::{Names, Old};
use slotd::fs::Identity;
use slotd::intent::{
    Direction, Found, IntentFile, Kind, Located, Location, Verdict, first_syncs,
    settle as settle_list, verdict, verdict_across,
};

use super::disk::{Name, Role, Which};
use super::image::{Image, carries};
use super::intent::{Intent, Known};
use super::op::{Op, Purpose};
use super::site::{Mutation, Session, Site, Wanted};
use super::steps::{names, ops};

/// The session number of the recovery at the start.
pub const STARTER: u8 = u8::MAX;

/// The steps that settle the open intent; none if there is none.
#[must_use]
pub fn settle<C: Image>(site: &Site<C>, session: &mut Session) -> Vec<Op> {
    let Some(intent) = site.log.open() else {
        return Vec::new();
    };
    let order = intent.order();
    session.order.clone_from(&order);
    let direction = if intent.back {
        Direction::PutBack
    } else {
        Direction::Commit
    };
    let names = order.iter().map(|change| {
        let pair = intent.files[change.0 as usize].as_ref();
        names(site, *change, pair.and_then(|pair| pair.old.as_ref()))
    });
    let names: Vec<Names> = names.collect();
    let found = order.iter().zip(&names).map(|((file, _), names)| {
        let kept = names.old == Some(Old::Replaced);
        find(site, intent, *file, kept)
    });
    let found: Vec<Found> = found.collect();
    let verdict = if intent.is_across() {
        verdict_across(direction, &found)
    } else {
        verdict(direction, &found)
    };
    let located = names.iter().zip(&found).map(|(names, found)| Located {
        names: *names,
        at: found.at,
    });
    let located: Vec<Located> = located.collect();
    let staged = |file: &Which| site.disk.has(Name::new(*file, Role::New));
    let strays: Vec<FileKind> = Which::ALL
        .into_iter()
        .filter(staged)
        .map(Into::into)
        .collect();
    let kinds: Vec<FileKind> = order.iter().map(|(file, _)| (*file).into()).collect();
    let mut list = first_syncs(direction, &kinds);
    list.extend(settle_list(verdict, direction, &located, &strays, false));
    let mut steps: Vec<Op> = ops(Purpose::Settle, list).collect();
    if verdict == Verdict::Restage {
        let version = if intent.back { intent.from } else { intent.to };
        session.wanted = Wanted {
            to: version,
            uuids_old: intent.back,
        };
        steps.push(Op::WriteNew);
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

fn find<C: Image>(site: &Site<C>, intent: &Intent, file: Which, kept: bool) -> Found {
    let nothing = Found {
        at: Location::Other,
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
        old: pair.old.map(id),
        new: pair.new.map(id),
    };
    let version = site.disk.read(live).map_or(0, C::version);
    let known_as = |ino| id((ino, site.disk.born(live)));
    let seen = site
        .disk
        .ino(live)
        .map(|ino| (known_as(ino), u32::from(version)));
    let at = Location::of(seen, kept, &known, (intent.from.into(), intent.to.into()));
    let blind = site.mutation == Some(Mutation::StaleNewAtRecovery);
    let both = |one: (Name, u8, Option<Known>), other: (Name, u8, Option<Known>)| {
        if intent.is_across() {
            // Byte for byte what was prepared, or what that was made from; or nothing is to be
            // there.
            return [one, other].into_iter().all(|(name, version, known)| {
                known.is_none_or(|known| {
                    let was = site.stamp.as_ref().and_then(|s| s.content(file, version));
                    let now = open(site, name, &known);
                    now.is_some() && (blind || now == was)
                })
            });
        }
        let [one, other] = [one, other].map(|(name, _, known)| open(site, name, &known?));
        one.zip(other)
            .is_some_and(|(one, other)| blind || carries(one, other))
    };
    let (from, to) = (intent.from, intent.to);
    Found {
        at,
        staged_carries: at == Location::Old && both((live, from, pair.old), (new, to, pair.new)),
        old_carries: at == Location::New && both((old, from, pair.old), (live, to, pair.new)),
    }
}

/// The file under that name, if it is the one known and not garbage.
fn open<'a, C: Image>(site: &'a Site<C>, name: Name, known: &Known) -> Option<&'a C> {
    site.disk
        .read(name)
        .filter(|_| (site.disk.ino(name), site.disk.born(name)) == (Some(known.0), known.1))
}

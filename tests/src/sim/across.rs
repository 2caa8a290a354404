//! What `UPGRADE` writes of a change-over to version 12 or later, and of the way back from there.

use slotd::fileops;
use slotd::transaction::Event;

use super::disk::{Name, Role, Which};
use super::image::Image;
use super::intent::is_over;
use super::op::{Op, Outcome, Purpose};
use super::site::{Fault, LIVE, Session, Site, Stamp};
use super::steps::ops;

/// Stages the new files, or refuses.
pub(super) fn write_new<C: Image>(site: &mut Site<C>, session: &mut Session) -> Outcome {
    if session.settling {
        // Half of it cannot be made anew: what is left is left, and its intent stays open.
        session.ops.clear();
        return Outcome::Then(vec![Op::Unlock, Op::LocksRefused]);
    }
    let [index, expunge] = LIVE.map(|name| site.disk.read(name).cloned());
    let version = index.as_ref().map_or(0, C::version);
    let to = session.wanted.to;
    if version == to && expunge.is_none() {
        return Outcome::Tell(Event::Staged { changed: false });
    }
    let files = match index {
        Some(index) if version == 10 && is_over(to) => {
            let made = index.merged(expunge.as_ref(), to);
            site.stamp = Some(Stamp {
                index,
                expunge,
                made: made.clone(),
            });
            Some(vec![(Which::Index, made)])
        }
        Some(index) if to == 10 && expunge.is_none() => way_back(site, &index),
        _ => None,
    };
    let Some(files) = files else {
        session.fault = Some(Fault::Damaged);
        return Outcome::Tell(Event::StageFailed);
    };
    let mut staged = Vec::new();
    for file in Which::ALL {
        site.disk.unlink(Name::new(file, Role::New));
    }
    for (file, content) in files {
        site.disk.create(Name::new(file, Role::Unnamed), content);
        staged.push((file.into(), Role::Unnamed));
    }
    let list = ops(Purpose::Stage, fileops::stage(&staged));
    Outcome::Then(list.chain([Op::Staged]).collect())
}

/// The files of before, while nobody has written to the index since, and `.OLD` is still what it
/// was made from.
fn way_back<C: Image>(site: &Site<C>, index: &C) -> Option<Vec<(Which, C)>> {
    let stamp = site.stamp.as_ref().filter(|stamp| stamp.made == *index)?;
    let mut files = Vec::new();
    for file in Which::ALL {
        if let Some(was) = stamp.content(file, 10) {
            let old = site.disk.read(Name::new(file, Role::Old));
            files.push((file, old.filter(|old| *old == was)?.clone()));
        }
    }
    Some(files)
}

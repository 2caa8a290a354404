//! What the longer steps consist of: lists of smaller ones, and changes of several names.

use super::disk::{Name, Role, Which};
use super::image::Image;
use super::op::Op;
use super::site::{Session, Site};

/// After an intent is settled the locks are taken anew, because it changes which files are live.
pub(super) fn after_settling() -> [Op; 3] {
    [Op::EndIntent, Op::Unlock, Op::TakeLocks]
}

pub(super) fn link_old<C: Image>(site: &mut Site<C>, file: Which) {
    let old = Name::new(file, Role::Old);
    site.disk.rename(old, Name::new(file, Role::Prev));
    site.disk.unlink(old);
    site.disk.link(Name::new(file, Role::Live), old);
}

pub(super) fn unlink_old<C: Image>(site: &mut Site<C>, file: Which) {
    let old = Name::new(file, Role::Old);
    site.disk.unlink(old);
    site.disk.rename(Name::new(file, Role::Prev), old);
}

pub(super) fn put_back<C: Image>(site: &mut Site<C>, file: Which) {
    let old = Name::new(file, Role::Old);
    site.disk.rename(old, Name::new(file, Role::Live));
    site.disk.rename(Name::new(file, Role::Prev), old);
}

/// Nothing is replaced, so `.OLD` must not name the live file, and what stepped aside comes back.
pub(super) fn restore_old_name<C: Image>(site: &mut Site<C>, file: Which) {
    let [live, old, prev] = [Role::Live, Role::Old, Role::Prev].map(|role| Name::new(file, role));
    if site.disk.ino(old) == site.disk.ino(live) {
        site.disk.unlink(old);
    }
    if site.disk.has(old) {
        site.disk.unlink(prev);
    } else {
        site.disk.rename(prev, old);
    }
}

pub(super) fn rename_steps(session: &Session) -> Vec<Op> {
    let order = &session.order;
    let link = order.iter().map(|f| Op::LinkOld(*f));
    let rename = order
        .iter()
        .flat_map(|f| [Op::RenameNew(*f), Op::SyncDir(*f)]);
    link.chain(rename).chain([Op::Renamed]).collect()
}

/// Back in the opposite order, whatever was done of it.
pub(super) fn undo_steps<C: Image>(site: &Site<C>, session: &Session) -> Vec<Op> {
    let disk = &site.disk;
    let order = &session.order;
    let linked =
        |f: &Which| disk.ino(Name::new(*f, Role::Old)) == disk.ino(Name::new(*f, Role::Live));
    let renamed = |f: &Which| !disk.has(Name::new(*f, Role::New));
    let back = order.iter().rev().filter(|f| renamed(f));
    let back = back.flat_map(|f| [Op::TakeBack(*f), Op::SyncDir(*f)]);
    let unlink = order
        .iter()
        .rev()
        .filter(|f| linked(f) || renamed(f))
        .map(|f| Op::UnlinkOld(*f));
    back.chain(unlink).chain([Op::RenameUndone]).collect()
}

pub(super) fn put_back_steps(session: &Session) -> Vec<Op> {
    let back = session.order.iter().rev();
    let back = back.flat_map(|f| [Op::PutBack(*f), Op::SyncDir(*f)]);
    [Op::WriteBackIntent]
        .into_iter()
        .chain(back)
        .chain([Op::PutBackDone])
        .collect()
}

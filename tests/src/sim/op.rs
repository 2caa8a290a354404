//! The steps of a transaction's actions, as fine as a crash can tell them apart.
//!
//! The order of the steps is that of docs/recovery.md, which `slotd` is traced against
//! elsewhere; here it is proven that this order is enough.

use slotd::transaction::{Action, Answer, Event};

use super::disk::{Name, Role, Which};
use super::image::Image;
use super::intent::Intent;
use super::recover;
use super::site::{Fault, LIVE, Mutation, Session, Site};
use super::steps::{
    after_settling, link_old, put_back, put_back_steps, rename_steps, restore_old_name, undo_steps,
    unlink_old,
};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Take all the locks, or none.
    TakeLocks,
    /// Write the new files.
    WriteNew,
    /// fsync of the new files.
    SyncNew,
    /// While recovering: fsync of a staged file that is to be used.
    SyncStaged(Which),
    /// Append the intent to the log and sync it; the files may not be synced yet.
    WriteIntent,
    /// The new files get their names.
    NameNew,
    /// Both are to be renamed.
    BeginRename,
    /// Set an older `.OLD` aside and link the live file to `.OLD`.
    LinkOld(Which),
    /// The same while recovering, when it may have been done before the crash.
    LinkOldUnlessDone(Which),
    /// While recovering: no `.OLD` that names the live file; what was set aside is back.
    RestoreOldNames,
    /// Rename the staged file over the live one.
    RenameNew(Which),
    /// fsync of the directory.
    SyncDir(Which),
    /// Both are renamed and synced.
    Renamed,
    /// While undoing a failed rename: `.OLD` back over the live name.
    TakeBack(Which),
    /// While undoing a failed rename: no `.OLD` any more, or the one that was set aside.
    UnlinkOld(Which),
    /// Whatever was renamed is back.
    RenameUndone,
    /// After `COMMIT hold`: everything is to be as before.
    BeginPutBack,
    /// The intent log has to know that the way is back.
    WriteBackIntent,
    /// `.OLD` back over the live name, and the one set aside back in its place.
    PutBack(Which),
    /// Both are back and synced.
    PutBackDone,
    /// Remove what is staged.
    Unstage,
    /// fsync of the directories in which something staged was removed.
    SyncUnstaged,
    /// The intent is settled.
    EndIntent,
    /// Settle the `.OLD` files.
    KeepOld {
        /// Remove them.
        drop_old: bool,
    },
    /// Unlock.
    Unlock,
    /// The locks could not be had because something is left that could not be settled.
    LocksRefused,
    /// Answer.
    Answer(Answer),
}

/// How an op fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failing {
    /// An error, and nothing happened.
    Clean,
    /// An error, and it happened all the same (or may have).
    Unknown,
    /// What it has to read is damaged.
    Damaged,
    /// Before any lock: the peer says otherwise of a message than this host's own bytes.
    Differs,
}

/// What comes of a step.
pub enum Outcome {
    /// On to the next.
    Done,
    /// These first.
    Then(Vec<Op>),
    /// The machine is told.
    Tell(Event),
    /// The machine's answer goes out.
    Answer(Answer),
}

impl Op {
    /// The first step of an action; the others follow from there.
    #[must_use]
    pub fn of(action: Action) -> Self {
        match action {
            Action::TakeLocks => Self::TakeLocks,
            Action::Stage => Self::WriteNew,
            Action::Rename => Self::BeginRename,
            Action::PutBack => Self::BeginPutBack,
            Action::Unstage => Self::Unstage,
            Action::EndIntent => Self::EndIntent,
            Action::KeepOld { drop_old } => Self::KeepOld { drop_old },
            Action::Unlock => Self::Unlock,
            Action::Answer(answer) => Self::Answer(answer),
        }
    }

    /// Does it.
    pub fn perform<C: Image>(self, site: &mut Site<C>, session: &mut Session) -> Outcome {
        let id = session.id;
        match self {
            Self::TakeLocks => {
                site.lock = Some(id);
                let mut steps = recover::settle(site, session);
                if steps.is_empty() && site.log.open().is_none() {
                    session.settling = false;
                    return Outcome::Tell(Event::Locks { taken: true });
                }
                session.settling = true;
                steps.extend(after_settling());
                Outcome::Then(steps)
            }
            Self::WriteNew => write_new(site, session),
            Self::SyncNew => {
                for file in Which::ALL {
                    if site.mutation != Some(Mutation::StageWithoutSync) {
                        site.disk.sync_file(Name::new(file, Role::Handle));
                    }
                }
                Outcome::Done
            }
            Self::WriteIntent => {
                let intent = Intent::of(&site.disk, Role::Handle);
                if site.mutation != Some(Mutation::IntentLate) {
                    site.log.begin(intent);
                }
                Outcome::Done
            }
            Self::NameNew => {
                for file in Which::ALL {
                    site.disk.give_name(file);
                }
                if session.settling {
                    return Outcome::Done;
                }
                Outcome::Tell(Event::Staged { changed: true })
            }
            Self::BeginRename => {
                session.order = Intent::of(&site.disk, Role::New).order();
                if site.mutation == Some(Mutation::IndexFirst) {
                    session.order.reverse();
                }
                if site.mutation == Some(Mutation::UnlockEarly) {
                    site.lock = None;
                }
                Outcome::Then(rename_steps(session))
            }
            Self::Renamed if session.settling => {
                Outcome::Then(vec![Self::KeepOld { drop_old: false }])
            }
            Self::Renamed => Outcome::Tell(Event::Renamed),
            Self::RenameUndone if session.settling => left(site, session),
            Self::RenameUndone if site.shut_down => {
                Outcome::Tell(Event::RenameFailed { undone: false })
            }
            Self::RenameUndone => Outcome::Tell(Event::RenameFailed { undone: true }),
            Self::BeginPutBack if site.mutation == Some(Mutation::ReleaseInsteadOfRollback) => {
                Outcome::Then(vec![Self::PutBackDone])
            }
            Self::BeginPutBack => Outcome::Then(put_back_steps(session)),
            Self::WriteBackIntent => {
                if let Some(intent) = site.log.turned_back() {
                    site.log.begin(intent);
                }
                Outcome::Done
            }
            Self::PutBackDone => Outcome::Tell(Event::PutBack { done: true }),
            Self::EndIntent => {
                site.log.end();
                Outcome::Done
            }
            Self::Unlock => {
                if site.lock == Some(id) {
                    site.lock = None;
                }
                Outcome::Done
            }
            Self::LocksRefused => Outcome::Tell(Event::Locks { taken: false }),
            Self::Answer(answer) => Outcome::Answer(answer),
            _ => self.on_disk(site, session),
        }
    }

    /// The ones that change nothing but the mailbox's directory.
    fn on_disk<C: Image>(self, site: &mut Site<C>, session: &Session) -> Outcome {
        match self {
            Self::LinkOldUnlessDone(file) => {
                let [live, old] = [Role::Live, Role::Old].map(|role| Name::new(file, role));
                if site.disk.ino(live) != site.disk.ino(old) {
                    link_old(site, file);
                }
            }
            Self::SyncStaged(file) => site.disk.sync_file(Name::new(file, Role::New)),
            Self::RestoreOldNames => {
                for file in session.order.clone() {
                    restore_old_name(site, file);
                }
            }
            Self::LinkOld(file) => {
                link_old(site, file);
            }
            Self::RenameNew(file) => {
                site.disk
                    .rename(Name::new(file, Role::New), Name::new(file, Role::Live));
            }
            Self::SyncDir(file) => {
                let skip = if session.settling {
                    Mutation::RecoveryWithoutSync
                } else {
                    Mutation::CommitWithoutSync
                };
                if site.mutation != Some(skip) {
                    site.disk.sync_dir(file);
                }
            }
            Self::TakeBack(file) => {
                site.disk
                    .rename(Name::new(file, Role::Old), Name::new(file, Role::Live));
            }
            Self::UnlinkOld(file) => {
                unlink_old(site, file);
            }
            Self::PutBack(file) => {
                put_back(site, file);
            }
            Self::Unstage => {
                site.disk.drop_handles();
                let named = Which::ALL.map(|file| site.disk.has(Name::new(file, Role::New)));
                for file in Which::ALL {
                    site.disk.unlink(Name::new(file, Role::New));
                }
                if named.contains(&true) && !session.settling {
                    return Outcome::Then(vec![Op::SyncUnstaged]);
                }
            }
            Self::SyncUnstaged => site.disk.sync_dirs(),
            Self::KeepOld { drop_old } => {
                for file in Which::ALL {
                    site.disk.unlink(Name::new(file, Role::Prev));
                    if drop_old {
                        site.disk.unlink(Name::new(file, Role::Old));
                    }
                }
            }
            _ => {}
        }
        Outcome::Done
    }

    /// Whether it changes the mailbox's directory.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(
            self,
            Self::WriteNew
                | Self::SyncNew
                | Self::NameNew
                | Self::SyncUnstaged
                | Self::SyncStaged(_)
                | Self::LinkOld(_)
                | Self::UnlinkOld(_)
                | Self::LinkOldUnlessDone(_)
                | Self::RestoreOldNames
                | Self::RenameNew(_)
                | Self::SyncDir(_)
                | Self::TakeBack(_)
                | Self::PutBack(_)
                | Self::Unstage
                | Self::KeepOld { .. }
        )
    }

    /// Whether it writes to the intent log.
    #[must_use]
    pub fn logs(self) -> bool {
        matches!(self, Self::WriteIntent | Self::WriteBackIntent)
    }

    /// The ways in which it can fail.
    #[must_use]
    pub fn failings(self) -> &'static [Failing] {
        match self {
            Self::TakeLocks
            | Self::SyncNew
            | Self::NameNew
            | Self::SyncUnstaged
            | Self::SyncStaged(_)
            | Self::RenameNew(_)
            | Self::SyncDir(_)
            | Self::LinkOld(_)
            | Self::UnlinkOld(_)
            | Self::LinkOldUnlessDone(_)
            | Self::RestoreOldNames
            | Self::TakeBack(_)
            | Self::PutBack(_) => &[Failing::Clean],
            Self::WriteNew => &[Failing::Clean, Failing::Damaged],
            Self::WriteIntent | Self::WriteBackIntent => &[Failing::Unknown],
            _ => &[],
        }
    }

    /// It fails.
    pub fn fail<C: Image>(
        self,
        site: &mut Site<C>,
        session: &mut Session,
        how: Failing,
    ) -> Outcome {
        session.fault = Some(match (self, how) {
            (_, Failing::Differs) => Fault::Differs,
            (Self::TakeLocks, _) => Fault::Locked,
            (_, Failing::Damaged) => Fault::Damaged,
            _ => Fault::Io,
        });
        if how == Failing::Damaged {
            site.damaged = true;
        }
        if matches!(self, Self::SyncDir(_) | Self::SyncUnstaged) {
            site.shut_down = true;
        }
        let putting_back =
            self == Self::WriteBackIntent || session.ops.contains(&Self::PutBackDone);
        match self {
            Self::TakeLocks => {
                if how == Failing::Differs && site.mutation == Some(Mutation::DiffersUnderLocks) {
                    site.lock = Some(session.id);
                }
                Outcome::Tell(Event::Locks { taken: false })
            }
            Self::WriteIntent => {
                if site.log.is_usable() {
                    let intent = Intent::of(&site.disk, Role::Handle);
                    site.log.begin_failed(intent);
                }
                session.ops.clear();
                Outcome::Tell(Event::StageFailed)
            }
            Self::WriteBackIntent => {
                if let Some(intent) = site.log.turned_back().filter(|_| site.log.is_usable()) {
                    site.log.begin_failed(intent);
                }
                session.ops.clear();
                Outcome::Tell(Event::PutBack { done: false })
            }
            // Nobody waits for these; what they leave is removed under the next lock, for which the intent stays open.
            Self::Unstage | Self::SyncUnstaged if !session.settling => {
                site.disk.drop_handles();
                session.ops.retain(|op| *op != Self::EndIntent);
                Outcome::Done
            }
            Self::KeepOld { .. } => Outcome::Done,
            Self::WriteNew | Self::SyncNew | Self::NameNew if session.settling => {
                left(site, session)
            }
            Self::WriteNew | Self::SyncNew => {
                session.ops.clear();
                Outcome::Tell(Event::StageFailed)
            }
            Self::NameNew => {
                // One of two may have it.
                site.disk.give_name(Which::Index);
                Outcome::Tell(Event::StageFailed)
            }
            Self::LinkOld(_) | Self::RenameNew(_) | Self::SyncDir(_)
                if session.ops.contains(&Self::Renamed) =>
            {
                session.ops.clear();
                Outcome::Then(undo_steps(site, session))
            }
            _ if putting_back => {
                session.ops.clear();
                Outcome::Tell(Event::PutBack { done: false })
            }
            Self::SyncStaged(file) => {
                site.disk.unlink(Name::new(file, Role::New));
                session.ops.clear();
                Outcome::Then(vec![Self::Unlock, Self::LocksRefused])
            }
            _ if session.settling => {
                // What is left is left for the next time: the intent stays open.
                session.ops.clear();
                Outcome::Then(vec![Self::Unlock, Self::LocksRefused])
            }
            _ => {
                session.ops.clear();
                Outcome::Tell(Event::RenameFailed { undone: false })
            }
        }
    }
}

/// New files could not be made while recovering: it stays as it is if Cyrus reads that rightly.
fn left<C: Image>(site: &mut Site<C>, session: &mut Session) -> Outcome {
    session.ops.clear();
    let [index, expunge] = LIVE.map(|name| site.disk.read(name).map(C::version));
    if index.is_some() && expunge.is_none_or(|expunge| Some(expunge) >= index) {
        let steps = [Op::Unstage].into_iter().chain(after_settling());
        return Outcome::Then(steps.collect());
    }
    Outcome::Then(vec![Op::Unlock, Op::LocksRefused])
}

/// Writes what `UPGRADE` makes of the live files, where it makes any difference.
fn write_new<C: Image>(site: &mut Site<C>, session: &mut Session) -> Outcome {
    if !site.log.is_usable() && !session.settling {
        // Nothing could be committed; and it could be taken for what an intent speaks of that may be on disk.
        session.fault = Some(Fault::Io);
        return Outcome::Tell(Event::StageFailed);
    }
    if site.damaged
        || LIVE
            .iter()
            .any(|n| site.disk.has(*n) && site.disk.read(*n).is_none())
    {
        session.fault = Some(Fault::Damaged);
        if session.settling {
            return left(site, session);
        }
        return Outcome::Tell(Event::StageFailed);
    }
    let mut staged = false;
    for file in Which::ALL {
        let (live, new) = (Name::new(file, Role::Live), Name::new(file, Role::New));
        site.disk.unlink(new);
        if let Some(content) = site.rewritten(file, session.wanted)
            && site.disk.read(live) != Some(&content)
        {
            site.disk.create(Name::new(file, Role::Handle), content);
            staged = true;
        }
    }
    if staged && session.settling {
        Outcome::Then(vec![Op::SyncNew, Op::NameNew, Op::BeginRename])
    } else if staged {
        // Both syncs are under way at once. That the intent is there and the files are not is the one new thing that a crash can
        // leave of it: a file without a name, synced or not, leaves nothing.
        Outcome::Then(vec![Op::WriteIntent, Op::SyncNew, Op::NameNew])
    } else if session.settling {
        // The crash may have come when all was done and what stepped aside was not yet gone.
        Outcome::Then(vec![Op::KeepOld { drop_old: false }])
    } else {
        Outcome::Tell(Event::Staged { changed: false })
    }
}

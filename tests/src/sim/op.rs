//! The steps of a transaction's actions, as fine as a crash can tell them apart.
//!
//! What is done to files, and in which order, are the lists of `slotd::fileops`, which slotd
//! executes; here it is proven that this order is enough.

use slotd::fileops::{self, Change, FileOp, Step};
use slotd::intent::Direction;
use slotd::transaction::{Action, Answer, Event};

use super::across;
use super::disk::{Name, Role, Which};
use super::image::Image;
use super::intent::{Intent, is_over};
use super::recover;
use super::site::{Fault, LIVE, Mutation, Session, Site};
use super::steps::{after_settling, every_name, execute, intent, names, ops};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Take all the locks, or none.
    TakeLocks,
    /// Write the new files.
    WriteNew,
    /// An operation of one of production's lists.
    File(Purpose, Step),
    /// The new files have their names.
    Staged,
    /// Both are to be renamed.
    BeginRename,
    /// Both are renamed and synced.
    Renamed,
    /// Whatever was renamed is back.
    RenameUndone,
    /// After `COMMIT hold`: everything is to be as before.
    BeginPutBack,
    /// Both are back and synced.
    PutBackDone,
    /// Remove what is staged.
    Unstage,
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

/// What a list of operations is for: that decides what comes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Make new files and their intent durable, and give the files their names.
    Stage,
    /// Put them in place.
    Commit,
    /// Take back what failed half-way.
    Undo,
    /// After `COMMIT hold`: everything as before.
    PutBack,
    /// Remove what is staged.
    Unstage,
    /// Settle the `.OLD` files.
    KeepOld,
    /// Settle an intent.
    Settle,
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
    /// The fence of a change-over does not stand.
    Unfenced,
}

/// What comes of a step.
pub enum Outcome {
    /// On to the next.
    Done,
    /// These first.
    Then(Vec<Op>),
    /// The machine gets the event.
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
            Self::File(purpose, step) => {
                execute(site, session, step);
                // Syncs are under way at once, and a file without a name leaves nothing, synced or
                // not: they are one step.
                while is_nameless_sync(self)
                    && let Some(Self::File(_, next)) = session.ops.front().copied()
                    && is_nameless_sync(Self::File(purpose, next))
                {
                    session.ops.pop_front();
                    execute(site, session, next);
                }
                if purpose == Purpose::Commit {
                    session.done.push(step.op);
                }
                Outcome::Done
            }
            Self::Staged => Outcome::Tell(Event::Staged { changed: true }),
            Self::BeginRename => {
                session.order = Intent::of(&site.disk, Role::New).order();
                if site.mutation == Some(Mutation::WrongOrder) {
                    session.order.reverse();
                }
                if site.mutation == Some(Mutation::UnlockEarly) {
                    site.lock = None;
                }
                session.done.clear();
                let list = fileops::commit(&every_name(site, session));
                Outcome::Then(ops(Purpose::Commit, list).chain([Self::Renamed]).collect())
            }
            Self::Renamed => {
                session.done.clear();
                if session.settling {
                    Outcome::Then(vec![Self::KeepOld { drop_old: false }])
                } else {
                    Outcome::Tell(Event::Renamed)
                }
            }
            Self::RenameUndone if session.settling => left(site, session),
            Self::RenameUndone if site.shut_down => {
                Outcome::Tell(Event::RenameFailed { undone: false })
            }
            Self::RenameUndone => Outcome::Tell(Event::RenameFailed { undone: true }),
            Self::BeginPutBack if site.mutation == Some(Mutation::ReleaseInsteadOfRollback) => {
                Outcome::Then(vec![Self::PutBackDone])
            }
            Self::BeginPutBack => {
                let list = fileops::put_back(&every_name(site, session));
                let back = ops(Purpose::PutBack, list);
                Outcome::Then(back.chain([Self::PutBackDone]).collect())
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
            Self::Unstage => unstage(site),
            Self::KeepOld { drop_old } => keep_old(site, session, drop_old),
        }
    }

    /// Whether it changes the mailbox's directory.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::WriteNew => true,
            Self::File(_, step) => !matches!(step.op, FileOp::Lock(..) | FileOp::Intent(_)),
            _ => false,
        }
    }

    /// Whether it writes to the intent log.
    #[must_use]
    pub fn logs(self) -> bool {
        matches!(self, Self::File(_, step) if matches!(step.op, FileOp::Intent(_)))
    }

    /// The ways in which it can fail.
    #[must_use]
    pub fn failings(self) -> &'static [Failing] {
        match self {
            // What cannot be unlinked stays, with its intent, until the next lock or until slotd
            // comes back to it; the model has no such second attempt of its own.
            Self::File(_, step) if matches!(step.op, FileOp::Unlink(_, Role::New)) => &[],
            Self::File(_, step) if step.best_effort => &[],
            Self::File(..) if self.logs() => &[Failing::Unknown],
            Self::TakeLocks | Self::File(..) => &[Failing::Clean],
            Self::WriteNew => &[Failing::Clean, Failing::Damaged],
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
            (_, Failing::Unfenced) => Fault::Unfenced,
            (Self::TakeLocks, _) => Fault::Locked,
            (_, Failing::Damaged) => Fault::Damaged,
            _ => Fault::Io,
        });
        if how == Failing::Damaged {
            site.damaged = true;
        }
        if how == Failing::Unfenced {
            session.ops.clear();
            return Outcome::Tell(match self {
                Self::WriteNew => Event::StageFailed,
                _ => Event::RenameFailed { undone: true },
            });
        }
        if matches!(self, Self::File(_, step) if matches!(step.op, FileOp::SyncDir(_))) {
            site.shut_down = true;
        }
        let putting_back = session.ops.contains(&Self::PutBackDone);
        match self {
            Self::TakeLocks => {
                if how == Failing::Differs && site.mutation == Some(Mutation::DiffersUnderLocks) {
                    site.lock = Some(session.id);
                }
                Outcome::Tell(Event::Locks { taken: false })
            }
            Self::File(_, step) if let FileOp::Intent(direction) = step.op => {
                if let Some(intent) = intent(site, direction).filter(|_| site.log.is_usable()) {
                    site.log.begin_failed(intent);
                }
                session.ops.clear();
                Outcome::Tell(match direction {
                    Direction::Commit => Event::StageFailed,
                    Direction::PutBack => Event::PutBack { done: false },
                })
            }
            // Nobody waits for these; what they leave is removed under the next lock, for which the
            // intent stays open.
            Self::File(Purpose::Unstage, step) if !session.settling => {
                let of_it =
                    |op: FileOp| matches!(op, FileOp::SyncDir(_)) && op.kind() == step.op.kind();
                let pointless = |op: &Op| matches!(op, Op::File(_, s) if of_it(s.op));
                session
                    .ops
                    .retain(|op| *op != Self::EndIntent && !pointless(op));
                Outcome::Done
            }
            Self::File(_, step) if step.best_effort => Outcome::Done,
            Self::WriteNew | Self::File(Purpose::Stage, _) if session.settling => {
                left(site, session)
            }
            Self::WriteNew | Self::File(Purpose::Stage, _) => {
                session.ops.clear();
                Outcome::Tell(Event::StageFailed)
            }
            Self::File(Purpose::Commit, _) => {
                session.ops.clear();
                let list = fileops::undo(&std::mem::take(&mut session.done));
                Outcome::Then(
                    ops(Purpose::Undo, list)
                        .chain([Self::RenameUndone])
                        .collect(),
                )
            }
            _ if putting_back => {
                session.ops.clear();
                Outcome::Tell(Event::PutBack { done: false })
            }
            Self::File(
                _,
                Step {
                    op: FileOp::SyncFile(kind, role),
                    ..
                },
            ) => {
                site.disk.unlink(Name::new(kind.into(), role));
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

/// Whether it syncs a file that has no name yet.
fn is_nameless_sync(op: Op) -> bool {
    matches!(op, Op::File(_, step) if matches!(step.op, FileOp::SyncFile(_, Role::Unnamed)))
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

fn unstage<C: Image>(site: &mut Site<C>) -> Outcome {
    site.disk.drop_handles();
    let staged = |file: &Which| site.disk.has(Name::new(*file, Role::New));
    let staged = Which::ALL.into_iter().filter(staged).map(Into::into);
    let list = fileops::unstage(staged);
    Outcome::Then(ops(Purpose::Unstage, list).collect())
}

fn keep_old<C: Image>(site: &Site<C>, session: &Session, drop_old: bool) -> Outcome {
    let change = |file: Which| {
        let mut order = session.order.iter().copied();
        let change = order.find(|(other, _)| *other == file);
        change.or(session.settling.then_some((file, Change::Replace)))
    };
    let files = Which::ALL.into_iter().filter_map(change);
    let files: Vec<_> = files.map(|change| names(site, change, None)).collect();
    let list = fileops::keep_old(&files, drop_old);
    Outcome::Then(ops(Purpose::KeepOld, list).collect())
}

/// Writes what `UPGRADE` makes of the live files, where it makes any difference.
fn write_new<C: Image>(site: &mut Site<C>, session: &mut Session) -> Outcome {
    if !site.log.is_usable() && !session.settling {
        // Nothing could be committed; and it could be taken for what an intent speaks of that may
        // be on disk.
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
    let live = site.disk.read(LIVE[0]).map_or(0, C::version);
    if is_over(live.max(session.wanted.to)) {
        return across::write_new(site, session);
    }
    let mut staged = Vec::new();
    for file in Which::ALL {
        let (live, new) = (Name::new(file, Role::Live), Name::new(file, Role::New));
        site.disk.unlink(new);
        if let Some(content) = site.rewritten(file, session.wanted)
            && site.disk.read(live) != Some(&content)
        {
            site.disk.create(Name::new(file, Role::Unnamed), content);
            staged.push((file.into(), Role::Unnamed));
        }
    }
    if !staged.is_empty() && session.settling {
        let list = ops(Purpose::Stage, fileops::stage_again(&staged));
        Outcome::Then(list.chain([Op::BeginRename]).collect())
    } else if !staged.is_empty() {
        // Both syncs are under way at once. That the intent is there and the files are not is the
        // one new thing that a crash can leave of it: a file without a name, synced or not, leaves
        // nothing.
        let list = ops(Purpose::Stage, fileops::stage(&staged));
        Outcome::Then(list.chain([Op::Staged]).collect())
    } else if session.settling {
        // The crash may have come when all was done and what stepped aside was not yet gone.
        Outcome::Then(vec![Op::KeepOld { drop_old: false }])
    } else {
        Outcome::Tell(Event::Staged { changed: false })
    }
}

//! The life of one locked mailbox on one host, as a state machine without I/O.
//!
//! [`Transaction::step`] takes an [`Event`] (a command, the end of an action, a closed connection,
//! an expired timer) and gives the [`Action`]s to do, in order. It knows no file, no clock and no
//! socket. The session drives it in production; the model checker and the simulation drive the very
//! same code.
//!
//! What it promises, whatever the order of events:
//! * locks that were taken are given back exactly once, and nothing is staged or renamed without
//!   them;
//! * nothing has a name, and so nothing is renamed, before the intent is durable; what was staged
//!   is renamed or removed;
//! * after a rename that stood, `ROLLBACK` answers [`Answer::TooLate`], unless the locks were held
//!   since;
//! * what `UPGRADE` refused is not committed: there is nothing to commit, and an `OK` would be
//!   taken for done;
//! * a closed connection or an expired timer ends the transaction: before `COMMIT` by rolling back,
//!   after `COMMIT hold` by releasing, because the coordinator's decision was durable before the
//!   first `COMMIT`.
//!
//! A crash loses the whole value; what it leaves on disk is the business of `docs/recovery.md`.

/// Where the transaction is. The states that end in `ing` wait for the end of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No mailbox is locked.
    Idle,
    /// [`Action::TakeLocks`] is under way.
    Locking,
    /// Locked, nothing staged.
    Locked,
    /// Locked, and the `UPGRADE` asked for last failed: nothing is staged, and nothing can be
    /// committed.
    Refused,
    /// [`Action::Stage`] is under way.
    Staging,
    /// Staged, or found to be as it should be already (`changed` false).
    Staged {
        /// There is something to rename.
        changed: bool,
    },
    /// [`Action::Rename`] is under way.
    Renaming(Ending),
    /// Committed, and the locks are kept.
    Held {
        /// Something was renamed.
        changed: bool,
        /// `.OLD` files shall not stay.
        drop_old: bool,
    },
    /// [`Action::PutBack`] is under way.
    Undoing,
}

/// How a `COMMIT` shall end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ending {
    /// Keep the locks.
    pub hold: bool,
    /// Do not keep `.OLD` files.
    pub drop_old: bool,
}

/// How the last transaction on this connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// There was none.
    Nothing,
    /// As before; nothing is locked.
    RolledBack,
    /// As [`Outcome::RolledBack`], by the server itself, because it took too long.
    Expired,
    /// Renamed and unlocked.
    Committed,
    /// A rename failed half-way and could not be undone. The intent stays open for recovery.
    Unsettled,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `LOCK`
    Lock,
    /// `UPGRADE`
    Upgrade,
    /// `COMMIT`
    Commit(Ending),
    /// `RELEASE`
    Release {
        /// Do not keep `.OLD` files.
        drop_old: bool,
    },
    /// `ROLLBACK`
    Rollback,
    /// `CONFIRM`: is what was locked, staged or held still so? Changes nothing.
    Confirm,
    /// The connection is closed.
    Disconnect,
    /// The transaction's time is over.
    Expire,
    /// [`Action::TakeLocks`] ended: all of them are held, or none.
    Locks {
        /// Held.
        taken: bool,
    },
    /// [`Action::Stage`] ended well.
    Staged {
        /// There is something to rename.
        changed: bool,
    },
    /// [`Action::Stage`] failed or was cut short.
    StageFailed,
    /// [`Action::Rename`] ended well: both files are renamed, on stable storage.
    Renamed,
    /// [`Action::Rename`] failed.
    RenameFailed {
        /// Whatever was renamed is back, and the staged files can go.
        undone: bool,
    },
    /// [`Action::PutBack`] ended.
    PutBack {
        /// The old files are live again, on stable storage.
        done: bool,
    },
}

/// What to do next. Only the first four can fail and answer with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Lock header, index and expunge, in that order; answer with [`Event::Locks`].
    TakeLocks,
    /// Write and sync the new files, make the intent durable, give them their names; answer with
    /// [`Event::Staged`] or [`Event::StageFailed`].
    Stage,
    /// Link `.OLD`, rename the staged files, sync; answer with [`Event::Renamed`] or
    /// [`Event::RenameFailed`].
    Rename,
    /// Rename `.OLD` back, sync; answer with [`Event::PutBack`].
    PutBack,
    /// Remove the staged files, if there are any, on stable storage.
    Unstage,
    /// Note in the intent log that the intent, if there is one, is settled. Need not be durable.
    EndIntent,
    /// Settle the `.OLD` files.
    KeepOld {
        /// Remove them; else the new ones stay and older ones go.
        drop_old: bool,
    },
    /// Unlock expunge, index and header, in that order.
    Unlock,
    /// Answer the command.
    Answer(Answer),
}

/// The kind of answer; its words are the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done.
    Ok,
    /// It was done before: nothing to do.
    Already,
    /// The action that ended last failed; its error says how.
    Failed,
    /// The command does not fit [`Transaction::state`].
    State,
    /// The transaction was rolled back because its time was over.
    Expired,
    /// It is committed.
    TooLate,
}

/// The transaction of one connection: at most one mailbox at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    state: State,
    outcome: Outcome,
    /// Why the running action's end shall also be the transaction's end.
    interrupted: Option<Interruption>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Interruption {
    Disconnected,
    Expired,
}

impl Default for Transaction {
    fn default() -> Transaction {
        Transaction::new()
    }
}

impl Transaction {
    /// Nothing locked, nothing done yet.
    #[must_use]
    pub fn new() -> Transaction {
        Transaction {
            state: State::Idle,
            outcome: Outcome::Nothing,
            interrupted: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How the last one ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the locks are held, or may be.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Idle
    }

    /// Whether the end of an action is awaited.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(
            self.state,
            State::Locking | State::Staging | State::Renaming(_) | State::Undoing
        )
    }

    /// Takes one event and gives what to do, in order. An event that cannot happen in this state
    /// (the end of an action that does not run) gives nothing.
    #[must_use]
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Lock
            | Event::Upgrade
            | Event::Commit(_)
            | Event::Release { .. }
            | Event::Rollback
            | Event::Confirm => self.command(event),
            Event::Disconnect => self.cut(Interruption::Disconnected),
            Event::Expire => self.cut(Interruption::Expired),
            _ => self.ended(event),
        }
    }

    fn command(&mut self, command: Event) -> Vec<Action> {
        match (self.state, command) {
            (State::Idle, Event::Lock) => {
                self.outcome = Outcome::Nothing;
                self.to(State::Locking, vec![Action::TakeLocks])
            }
            (State::Locked | State::Refused, Event::Upgrade) => {
                self.to(State::Staging, vec![Action::Stage])
            }
            (State::Staged { changed: true }, Event::Commit(ending)) => {
                self.to(State::Renaming(ending), vec![Action::Rename])
            }
            (State::Locked | State::Staged { .. }, Event::Commit(Ending { hold, drop_old })) => {
                if hold {
                    let changed = false;
                    let held = State::Held { changed, drop_old };
                    self.to(held, vec![Action::Answer(Answer::Ok)])
                } else {
                    self.release(false, drop_old, Some(Answer::Ok))
                }
            }
            (State::Held { .. }, Event::Commit(_)) => vec![Action::Answer(Answer::Already)],
            (State::Held { changed, drop_old }, Event::Release { drop_old: now }) => {
                self.release(changed, drop_old || now, Some(Answer::Ok))
            }
            (
                State::Locked | State::Refused | State::Held { changed: false, .. },
                Event::Rollback,
            ) => self.end(Outcome::RolledBack, vec![], Some(Answer::Ok)),
            (State::Staged { .. }, Event::Rollback) => {
                self.end(Outcome::RolledBack, unstage(), Some(Answer::Ok))
            }
            (State::Held { changed: true, .. }, Event::Rollback) => {
                self.to(State::Undoing, vec![Action::PutBack])
            }
            (
                State::Locked | State::Refused | State::Staged { .. } | State::Held { .. },
                Event::Confirm,
            ) => vec![Action::Answer(Answer::Ok)],
            _ => vec![Action::Answer(self.misfit(command))],
        }
    }

    /// The answer to a command that has nothing to act upon.
    fn misfit(&self, command: Event) -> Answer {
        if self.state != State::Idle {
            return Answer::State;
        }
        match (self.outcome, command) {
            (Outcome::Committed, Event::Commit(_) | Event::Release { .. })
            | (Outcome::RolledBack | Outcome::Expired, Event::Rollback) => Answer::Already,
            (Outcome::Committed, Event::Rollback) => Answer::TooLate,
            (Outcome::Expired, _) => Answer::Expired,
            _ => Answer::State,
        }
    }

    fn ended(&mut self, event: Event) -> Vec<Action> {
        match (self.state, event) {
            (State::Locking, Event::Locks { taken: false }) => {
                self.state = State::Idle;
                self.outcome = Outcome::RolledBack;
                self.interrupted = None;
                vec![Action::Answer(Answer::Failed)]
            }
            (State::Locking, Event::Locks { taken: true }) => match self.interrupted {
                Some(why) => self.abort(why, vec![]),
                None => self.to(State::Locked, vec![Action::Answer(Answer::Ok)]),
            },
            (State::Staging, Event::Staged { changed }) => match self.interrupted {
                Some(why) => self.abort(why, unstage()),
                None => self.to(State::Staged { changed }, vec![Action::Answer(Answer::Ok)]),
            },
            (State::Staging, Event::StageFailed) => {
                let mut actions = unstage();
                if let Some(why) = self.interrupted {
                    return self.abort(why, actions);
                }
                actions.push(Action::Answer(Answer::Failed));
                self.to(State::Refused, actions)
            }
            // The coordinator has decided: a closed connection changes nothing here.
            (State::Renaming(Ending { hold, drop_old }), Event::Renamed) => {
                if hold && self.interrupted.is_none() {
                    self.to(
                        State::Held {
                            changed: true,
                            drop_old,
                        },
                        vec![Action::Answer(Answer::Ok)],
                    )
                } else {
                    self.release(true, drop_old, Some(Answer::Ok))
                }
            }
            (State::Renaming(_), Event::RenameFailed { undone: true }) => {
                self.end(Outcome::RolledBack, unstage(), Some(Answer::Failed))
            }
            (State::Renaming(_), Event::RenameFailed { undone: false })
            | (State::Undoing, Event::PutBack { done: false }) => {
                self.end(Outcome::Unsettled, vec![], Some(Answer::Failed))
            }
            (State::Undoing, Event::PutBack { done: true }) => self.end(
                Outcome::RolledBack,
                vec![Action::EndIntent],
                Some(Answer::Ok),
            ),
            _ => vec![],
        }
    }

    /// The connection or the time is over.
    fn cut(&mut self, why: Interruption) -> Vec<Action> {
        match self.state {
            State::Idle => vec![],
            State::Locked | State::Refused => self.end(why.outcome(), vec![], None),
            State::Staged { .. } => self.end(why.outcome(), unstage(), None),
            State::Held { changed, drop_old } => self.release(changed, drop_old, None),
            State::Locking | State::Staging | State::Renaming(_) | State::Undoing => {
                // A closed connection outranks a timer: nobody waits for an answer.
                if self.interrupted != Some(Interruption::Disconnected) {
                    self.interrupted = Some(why);
                }
                vec![]
            }
        }
    }

    fn to(&mut self, state: State, actions: Vec<Action>) -> Vec<Action> {
        self.state = state;
        actions
    }

    fn abort(&mut self, why: Interruption, actions: Vec<Action>) -> Vec<Action> {
        self.end(why.outcome(), actions, Some(Answer::Expired))
    }

    fn release(&mut self, changed: bool, drop_old: bool, answer: Option<Answer>) -> Vec<Action> {
        let settle = if changed {
            vec![Action::KeepOld { drop_old }, Action::EndIntent]
        } else if drop_old {
            // A crash after the rename left them.
            vec![Action::KeepOld { drop_old }]
        } else {
            vec![]
        };
        self.end(Outcome::Committed, settle, answer)
    }

    fn end(
        &mut self,
        outcome: Outcome,
        mut actions: Vec<Action>,
        answer: Option<Answer>,
    ) -> Vec<Action> {
        self.state = State::Idle;
        self.outcome = outcome;
        self.interrupted = None;
        actions.push(Action::Unlock);
        actions.extend(answer.map(Action::Answer));
        actions
    }
}

/// Nothing staged and no intent of it.
fn unstage() -> Vec<Action> {
    vec![Action::Unstage, Action::EndIntent]
}

impl Interruption {
    fn outcome(self) -> Outcome {
        match self {
            Interruption::Disconnected => Outcome::RolledBack,
            Interruption::Expired => Outcome::Expired,
        }
    }
}

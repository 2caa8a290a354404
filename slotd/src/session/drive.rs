//! The state machine's actions, done for real.

use std::collections::VecDeque;
use std::time::Duration;

use super::{CancelReason, Session};
use crate::audit;
use crate::intent::recovery::Attempt;
use crate::locked::{LockedMailbox, READ_IN_LOCK};
use crate::protocol::{Code, Fields, Reply, Upgraded};
use crate::queries::fetch_sha1s;
use crate::refusal::Refusal;
use crate::stage::Prepared;
use crate::transaction::{Action, Answer, Event, State};

impl Session {
    /// Gives an event to the state machine and does what it says until it says no more.
    pub(super) fn drive(&mut self, event: Event) -> Reply {
        let mut reply = None;
        let mut actions: VecDeque<Action> = self.transaction.step(event).into();
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.act(action, &mut reply) {
                // What cut the work short comes before the work's own end.
                let cut = self.control.why().map(|why| match why {
                    CancelReason::Disconnected | CancelReason::Fenced => Event::Disconnect,
                    CancelReason::Expired => {
                        self.expired_by = "--max-stage";
                        Event::Expire
                    }
                });
                for event in cut.into_iter().chain([event]) {
                    actions.extend(self.transaction.step(event));
                }
            }
        }
        reply.unwrap_or_else(|| Reply::Ok(Fields::new()))
    }

    fn act(&mut self, action: Action, reply: &mut Option<Reply>) -> Option<Event> {
        match action {
            Action::TakeLocks => {
                let prepared_before = self.background.prepared.is_some();
                let result = self.take_locks();
                if result.is_err() && !prepared_before {
                    // What LOCK did ahead was for itself; it keeps directories open.
                    self.background.prepared = None;
                }
                let taken = self.note(result).is_some();
                return Some(Event::Locks { taken });
            }
            Action::Stage => {
                let result = self.stage();
                return Some(match self.note(result) {
                    Some(changed) => Event::Staged { changed },
                    None => Event::StageFailed,
                });
            }
            Action::Rename => return Some(self.rename()),
            Action::PutBack => {
                let result = match &mut self.mailbox {
                    Some(mailbox) => mailbox.put_back(),
                    None => Err(not_locked()),
                };
                let done = self.note(result).is_some();
                if done {
                    self.good = None;
                }
                return Some(Event::PutBack { done });
            }
            Action::Unlock => {
                if let Some(mailbox) = self.mailbox.take() {
                    let name = mailbox.place().mailbox.clone();
                    self.committed = mailbox.unlock();
                    self.host.activity.ended(self.transaction.outcome());
                    let (held, timings) = &self.committed;
                    self.given_back = Some(*held);
                    audit::unlocked(self.about(Some(name.as_str())), *held, timings);
                }
                // Files that were prepared can wait for the next LOCK; what is known of messages is
                // soon found again.
                let prepared = self.background.prepared.take();
                self.background.prepared = prepared.filter(Prepared::has_files);
                self.clear_scratch();
            }
            Action::Answer(answer) => *reply = Some(self.answer(answer)),
            Action::Unstage | Action::EndIntent | Action::KeepOld { .. } => {
                if let Some(mailbox) = &mut self.mailbox {
                    match action {
                        Action::Unstage => mailbox.unstage(),
                        Action::KeepOld { drop_old } => mailbox.keep_old(drop_old),
                        _ => mailbox.end_intent(),
                    }
                }
            }
        }
        None
    }

    /// Keeps an error for the answer.
    fn note<T>(&mut self, result: Result<T, Refusal>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(refusal) => {
                tracing::info!(code = %refusal.code, "{refusal}");
                self.refusal = Some(refusal);
                self.good = None;
                None
            }
        }
    }

    fn answer(&mut self, answer: Answer) -> Reply {
        let refusal = self.refusal.take();
        match answer {
            Answer::Ok => {
                let (committed, timings) = &self.committed;
                let committed = || committed.to_fields().with("hold", timings);
                Reply::Ok(self.good.take().unwrap_or_else(committed))
            }
            Answer::Already => Reply::Ok(self.committed.0.to_fields().with("already", 1)),
            Answer::Failed => {
                refusal.map_or_else(|| Reply::no(Code::Io, "failed"), |r| r.to_reply())
            }
            Answer::State => Reply::no(Code::State, self.state_text()),
            Answer::Expired => {
                let limit = self.expired_by;
                let text = format!("rolled back: the transaction took too long ({limit})");
                Reply::no(Code::Expired, text)
            }
            Answer::TooLate => Reply::no(Code::TooLate, "it is committed and unlocked"),
        }
    }

    fn state_text(&self) -> &'static str {
        match self.transaction.state() {
            State::Idle => "no mailbox is locked",
            State::Locked => "a mailbox is locked, nothing is staged",
            State::Refused => "a mailbox is locked, and its UPGRADE was refused; ROLLBACK",
            State::Staged { .. } => "a mailbox is locked and staged",
            State::Held { .. } => "the mailbox is committed and held; RELEASE or ROLLBACK",
            _ => "busy",
        }
    }

    fn take_locks(&mut self) -> Result<(), Refusal> {
        let lock = self.lock.take();
        let lock = lock.ok_or_else(|| Refusal::new(Code::State, "nothing to lock"))?;
        let place = self.host.store.find(&lock.of)?;
        // Before the clock of the locks: these take their own time.
        self.background.before_locks(&lock, &place)?;
        let prepared = self.background.prepared.as_ref();
        let fetched = match prepared {
            None if !lock.now => fetch_sha1s(&self.host, &place),
            _ => None,
        };
        let options = &self.host.options;
        let wait = lock
            .wait
            .unwrap_or(options.default_wait)
            .min(options.max_wait);
        let read = if lock.now {
            Duration::ZERO
        } else {
            READ_IN_LOCK
        };
        let attempt = Attempt {
            wait,
            read: Some(read),
            cancel: &self.control.cancel,
        };
        let of = (&lock.of, &place);
        let (mailbox, facts) = LockedMailbox::lock(&self.host, of, attempt, fetched, prepared)?;
        let max_lock = self.host.options.max_lock.as_millis();
        self.good = Some(facts.to_fields().with("max_lock_ms", max_lock));
        self.committed = (mailbox.committed(), String::new());
        self.mailbox = Some(mailbox);
        Ok(())
    }

    /// Whether there is something to rename.
    fn stage(&mut self) -> Result<bool, Refusal> {
        let mailbox = self.mailbox.as_mut().ok_or_else(not_locked)?;
        let (upgrade, prepared) = (self.upgrade, self.background.prepared.take());
        let (place, cancel) = (mailbox.place().clone(), &self.control.cancel);
        let changed = self.background.scratch.noting(&place, |note| {
            mailbox.stage(upgrade, prepared, cancel, note)
        })?;
        self.good = mailbox.staged().map(Upgraded::to_fields);
        Ok(changed)
    }

    fn rename(&mut self) -> Event {
        let Some(mailbox) = &mut self.mailbox else {
            self.refusal = Some(not_locked());
            return Event::RenameFailed { undone: true };
        };
        match mailbox.rename() {
            Ok(()) => {
                self.committed = (mailbox.committed(), mailbox.timings());
                self.good = None;
                Event::Renamed
            }
            Err(failed) => {
                tracing::error!(undone = failed.undone, "commit: {}", failed.refusal);
                self.refusal = Some(failed.refusal);
                Event::RenameFailed {
                    undone: failed.undone,
                }
            }
        }
    }
}

fn not_locked() -> Refusal {
    Refusal::new(Code::State, "no mailbox is staged")
}

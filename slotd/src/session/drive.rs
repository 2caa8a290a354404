//! The state machine's actions, done for real.

use std::collections::VecDeque;
use std::time::Duration;

use indexfile::FileKind;

use super::ahead::READ_IN_LOCK;
use super::facts::facts;
use super::intend::let_go;
use super::not_locked;
use super::{Cut, Open, Session};
use crate::commit;
use crate::intent::recovery::{self, Attempt};
use crate::protocol::{Code, Committed, Fields, Reply};
use crate::refusal::Refusal;
use crate::stage::{self, Budget, Incarnation, LiveFiles, Note, Prepared, Sources, sources};
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
                    Cut::Disconnected => Event::Disconnect,
                    Cut::Expired => Event::Expire,
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
                let prepared_before = self.prepared.is_some();
                let result = self.take_locks();
                if result.is_err() && !prepared_before {
                    // What LOCK did ahead was for itself; it keeps directories open.
                    self.prepared = None;
                }
                Some(Event::Locks {
                    taken: self.note(result).is_some(),
                })
            }
            Action::Stage => {
                let result = self.stage().and_then(|changed| self.intend(changed));
                Some(match self.note(result) {
                    Some(changed) => Event::Staged { changed },
                    None => Event::StageFailed,
                })
            }
            Action::Rename => Some(self.rename()),
            Action::PutBack => {
                let result = self.put_back();
                Some(Event::PutBack {
                    done: self.note(result).is_some(),
                })
            }
            Action::Unstage => {
                self.unstage();
                None
            }
            Action::EndIntent => {
                if let Some(id) = self.open.as_mut().and_then(|o| o.intent.take()) {
                    self.host.log.end(id);
                }
                None
            }
            Action::KeepOld { drop_old } => {
                if let Some(open) = &mut self.open
                    && let Some(stage) = &mut open.stage
                {
                    let kinds: Vec<FileKind> = stage.files.iter().map(|f| f.kind).collect();
                    stage.gone = commit::keep_old(&open.locks, kinds, drop_old);
                }
                None
            }
            Action::Unlock => {
                if let Some(mut open) = self.open.take() {
                    let early = Session::abandon_early(&self.host, &mut open);
                    // Files that were prepared can wait for the next LOCK; what is known of
                    // messages is soon found again.
                    self.prepared = self.prepared.take().filter(Prepared::has_files);
                    let waited = open.locks.waited();
                    // The stage has duplicates of the new files' handles: it goes after the locks.
                    let stage = open.stage;
                    let (held, laps) = open.locks.unlock();
                    tracing::debug!(?held, %laps, "unlocked");
                    self.committed = Committed { held, waited };
                    self.laps = laps;
                    let_go(early);
                    discard(stage);
                }
                self.clear_scratch();
                None
            }
            Action::Answer(answer) => {
                *reply = Some(self.answer(answer));
                None
            }
        }
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
                let committed = || Reply::Ok(self.committed.to_fields().with("hold", &self.laps));
                self.good.take().unwrap_or_else(committed)
            }
            Answer::Already => Reply::Ok(self.committed.to_fields().with("already", 1)),
            Answer::Failed => {
                refusal.map_or_else(|| Reply::no(Code::Io, "failed"), |r| r.to_reply())
            }
            Answer::State => Reply::no(Code::State, self.state_text()),
            Answer::Expired => Reply::no(
                Code::Expired,
                "rolled back: the transaction took too long (--max-lock)",
            ),
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
        let lock = self
            .lock
            .take()
            .ok_or_else(|| Refusal::new(Code::State, "nothing to lock"))?;
        // Before the clock of the locks: these take their own time.
        self.before_locks(&lock)?;
        let fetched = match &self.prepared {
            None if !lock.now => self.fetch_sha1s(&lock.of),
            _ => None,
        };
        let options = &self.host.options;
        let wait = lock
            .wait
            .unwrap_or(options.default_wait)
            .min(options.max_wait);
        // A half-done commit is settled before anybody sees the mailbox.
        let attempt = Attempt {
            wait,
            read: Some(if lock.now {
                Duration::ZERO
            } else {
                READ_IN_LOCK
            }),
            cancel: &self.control.cancel,
        };
        let find = || self.host.store.find(&lock.of).map(Some);
        let settling = recovery::lock_settled(&self.host, find, attempt)?;
        let waited = settling.waited;
        let locks = settling.locks.ok_or_else(not_locked)?;
        let uniqueid = sources::uniqueid_of(&locks.place)?;
        let facts = facts(&locks, &uniqueid)?;
        let expected =
            fetched.and_then(|cache| sources::take_fetched(cache, &uniqueid, facts.uidvalidity));
        let max_lock = self.host.options.max_lock.as_millis();
        let fields = facts.to_fields().with("max_lock_ms", max_lock);
        self.good = Some(Reply::Ok(fields));
        locks.mark("look");
        self.committed = Committed {
            held: Duration::ZERO,
            waited,
        };
        let of = Incarnation {
            uniqueid,
            uidvalidity: facts.uidvalidity,
        };
        self.open = Some(Open {
            locks,
            of,
            expected,
            stage: None,
            intent: None,
            early: None,
            renamed: false,
        });
        self.intend_early(facts.index);
        Ok(())
    }

    fn stage(&mut self) -> Result<bool, Refusal> {
        let place = self.open.as_ref().map(|o| o.locks.place.clone());
        let place = place.ok_or_else(not_locked)?;
        self.noting(&place, Session::stage_noting)
    }

    fn stage_noting(&mut self, note: Note<'_>) -> Result<bool, Refusal> {
        let open = self.open.as_mut().ok_or_else(not_locked)?;
        open.locks.mark("client");
        self.host.store.check_mounts(&open.locks.place)?;
        self.host.store.check_directories(&open.locks.place)?;
        let live = LiveFiles::unverified(&open.locks)?;
        let cancel = &self.control.cancel;
        // Used or not, it is of no use after this.
        let prepared = self
            .prepared
            .take()
            .filter(|p| p.fits(&open.locks.place, self.upgrade, &open.of));
        let mut stage = if let Some(prepared) = prepared {
            prepared.stage(&open.locks, &live, self.upgrade, cancel, note)?
        } else {
            live.verify()?;
            open.locks.mark("read");
            let of = &open.of;
            let local = sources::open_local(&open.locks.place, &of.uniqueid, of.uidvalidity);
            let budget = Budget::new();
            let sources = Sources {
                local: local.as_ref(),
                expected: open.expected.as_ref(),
                ..Sources::default()
            }
            .within(&budget);
            let locks = &open.locks;
            stage::stage(locks, &live, self.upgrade, &sources, cancel, note)?
        };
        stage.keep_seen(live);
        open.locks.mark("stage");
        let changed = !stage.files.is_empty();
        self.good = Some(Reply::Ok(stage.report.to_fields()));
        open.stage = Some(stage);
        Ok(changed)
    }

    fn rename(&mut self) -> Event {
        let result = match self.open.as_mut() {
            Some(Open {
                locks,
                stage: Some(stage),
                ..
            }) => {
                locks.mark("client");
                match self.host.store.check_mounts(&locks.place) {
                    Ok(()) => commit::rename(locks, stage),
                    Err(refusal) => Err(commit::RenameFailed {
                        refusal,
                        undone: true,
                    }),
                }
            }
            _ => Err(commit::RenameFailed {
                refusal: not_locked(),
                undone: true,
            }),
        };
        match result {
            Ok(()) => {
                if let Some(open) = &mut self.open {
                    open.renamed = true;
                    self.laps = open.locks.laps();
                    self.committed = Committed {
                        held: open.locks.held(),
                        waited: open.locks.waited(),
                    };
                }
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

    fn put_back(&mut self) -> Result<(), Refusal> {
        self.intend_back()?;
        match &self.open {
            Some(Open {
                locks,
                stage: Some(stage),
                ..
            }) => commit::put_back(locks, stage)?,
            _ => return Err(not_locked()),
        }
        self.good = None;
        Ok(())
    }
}

/// Lets go of a stage, which may be large, on another thread: no answer waits for it.
fn discard(stage: Option<stage::Stage>) {
    const LARGE: u32 = 10_000;
    let large = stage.as_ref().is_some_and(|s| s.report.messages >= LARGE);
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if large => {
            runtime.spawn_blocking(move || drop(stage));
        }
        _ => drop(stage),
    }
}

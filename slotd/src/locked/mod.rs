//! A locked mailbox: its locks, what is staged for it, and the intent that tells recovery of it.
//!
//! [`LockedMailbox`] is the only way by which a command changes the files of a mailbox; code
//! without one can only look. It is made once the locks are held and what a crash had left is
//! settled. The order of its calls is the state machine's ([`crate::transaction`]). Dropping it
//! gives the locks back; a crash leaves what the intent log tells recovery of (docs/recovery.md).

mod clean;
mod facts;
mod write_intent;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use indexfile::FileKind;
use indexfile::sha1s::Cache;

pub use clean::clean;
use write_intent::WriteIntent;

use crate::commit::{self, RenameFailed};
use crate::fileops::{CROSSING, Change, Guard};
use crate::host::Host;
use crate::intent::recovery::{self, Attempt};
use crate::intent::{Direction, Intent};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, Committed, MailboxFacts, Named, Upgrade, Upgraded};
use crate::refusal::Refusal;
use crate::stage::cutover::{self, Reservation, is_over, is_target};
use crate::stage::{
    self, Budget, Expected, Incarnation, Listing, LiveFiles, Note, Prepared, Sources, Stage,
    sources,
};
use crate::store::Place;

/// A mailbox that is locked.
#[derive(Debug)]
pub struct LockedMailbox {
    host: Arc<Host>,
    locks: MailboxLocks,
    waited: Duration,
    of: Incarnation,
    expected: Option<Expected>,
    upgrade: Upgrade,
    stage: Option<Stage>,
    /// The intent that is open.
    intent: Option<u64>,
    /// The intent of the files of `PREPARE`, before it is known that these will be staged.
    prepared_intent: Option<WriteIntent>,
    /// It is in a change-over, which no `PREPARE` may disturb.
    reservation: Option<Reservation>,
}

/// How long messages are read in `LOCK` and `CLEAN` before the locks are taken. `PREPARE` has no
/// such limit.
pub const READ_IN_LOCK: Duration = Duration::from_secs(15);

/// Locks a mailbox that was found at `place`; what a crash left of it is settled before anybody
/// sees it. Gives how long other holders of the locks were waited for.
fn lock_settled(
    host: &Host,
    named: &Named,
    place: &Place,
    attempt: Attempt<'_>,
) -> Result<(MailboxLocks, Duration), Refusal> {
    // The name was resolved before the work that needs no locks, which takes its time: a mailbox
    // that was renamed since would be locked by its old directories.
    let find = || host.store.refresh(place, named).map(Some);
    let settling = recovery::lock_settled(host, find, attempt)?;
    let gone = || host.store.why_not_there(&place.mailbox, &place.partition);
    Ok((settling.locks.ok_or_else(gone)?, settling.waited))
}

impl LockedMailbox {
    /// Locks the mailbox `named`, which was found at `place`, and says what it is like. `fetched`
    /// is what a peer has of its messages. If the files of `prepared` fit, their intent is begun.
    ///
    /// # Errors
    /// As of [`recovery::lock_settled`].
    pub fn lock(
        host: &Arc<Host>,
        (named, place): (&Named, &Place),
        attempt: Attempt<'_>,
        fetched: Option<Cache>,
        prepared: Option<&Prepared>,
    ) -> Result<(LockedMailbox, MailboxFacts), Refusal> {
        let (locks, waited) = lock_settled(host, named, place, attempt)?;
        let uniqueid = locks.header_file()?.uniqueid.clone();
        let facts = facts::facts(&locks, &uniqueid)?;
        let of = Incarnation {
            uniqueid,
            uidvalidity: facts.uidvalidity,
        };
        let mut mailbox = LockedMailbox {
            host: Arc::clone(host),
            expected: fetched.and_then(|cache| sources::take_fetched(cache, &of)),
            locks,
            waited,
            of,
            upgrade: Upgrade::default(),
            stage: None,
            intent: None,
            prepared_intent: None,
            reservation: None,
        };
        mailbox.locks.mark("look");
        mailbox.prepared_intent =
            prepared.and_then(|prepared| mailbox.begin_prepared_intent(prepared, facts.index));
        Ok((mailbox, facts))
    }

    /// Begins the intent of what was prepared, if it is for this mailbox. What fails here fails
    /// again at `UPGRADE`, which tells.
    fn begin_prepared_intent(&self, prepared: &Prepared, from: u32) -> Option<WriteIntent> {
        let want = prepared.wants();
        if !prepared.has_files() || !prepared.fits(&self.locks.place, want, &self.of) {
            return None;
        }
        let intent = write_intent::of_prepared(&self.locks, prepared, from).ok()?;
        WriteIntent::begin(&self.host, intent).ok()
    }

    /// Its place.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.locks.place
    }

    /// Stages what `upgrade` asks for, from `prepared` if that fits; used or not, it is of no use
    /// after this. Tells whether anything is to be renamed. If so, the staged files and the intent
    /// that tells recovery of them are on stable storage then, and only then do the files get their
    /// names: so whatever a crash leaves is found.
    ///
    /// # Errors
    /// The mailbox is refused. [`LockedMailbox::unstage`] and [`LockedMailbox::end_intent`] are to
    /// follow.
    pub fn stage(
        &mut self,
        upgrade: Upgrade,
        prepared: Option<Prepared>,
        cancel: &AtomicBool,
        note: Note<'_>,
    ) -> Result<bool, Refusal> {
        self.upgrade = upgrade;
        self.locks.mark("client");
        let place = &self.locks.place;
        self.host.store.check_mounts_lately(place)?;
        self.host.store.check_directories(place)?;
        let live = LiveFiles::unverified(&self.locks)?;
        let prepared = prepared.filter(|p| p.fits(place, upgrade, &self.of));
        let mut stage = if is_target(upgrade.version) || is_over(live.index.minor_version()) {
            if self.reservation.is_none() {
                self.reservation = Some(self.host.reservations.take(place)?);
            }
            self.stage_across(&live, upgrade, cancel, note)?
        } else if let Some(prepared) = prepared {
            prepared.stage(&self.locks, &live, upgrade, cancel, note)?
        } else {
            live.verify()?;
            self.locks.mark("read");
            let (local, budget) = (sources::open_local(place, &self.of), Budget::new());
            let sources = self.sources(local.as_ref(), &budget);
            stage::stage(&self.locks, &live, upgrade, &sources, cancel, note)?
        };
        stage.keep_live(live);
        self.locks.mark("stage");
        let stage = self.stage.insert(stage);
        let changed = !stage.files.is_empty();
        if changed {
            let intent =
                write_intent::of_stage(&self.locks, stage, Direction::Commit, upgrade.run)?;
            let write_intent = match self.prepared_intent.take() {
                Some(prepared_intent) if prepared_intent.is(&intent) => prepared_intent,
                other => {
                    if let Some(other) = other {
                        self.host.log.end(other.id());
                    }
                    WriteIntent::begin(&self.host, intent)?
                }
            };
            // Ended, should anything fail from here on.
            self.intent = Some(write_intent.id());
            let mut write_intent = Some(write_intent);
            let mut intent = || write_intent.take().map_or(Ok(()), WriteIntent::wait);
            stage.give_names(&self.locks, Some(&mut intent))?;
        }
        Ok(changed)
    }

    /// What is known of the messages, and how much more may be read under the locks.
    fn sources<'a>(&'a self, local: Option<&'a Cache>, budget: &'a Budget) -> Sources<'a> {
        let known = Sources {
            local,
            expected: self.expected.as_ref(),
            ..Sources::default()
        };
        known.within(budget)
    }

    /// Stages a change to version 12 or later, or the way back. No server may run: the order in
    /// which these files are renamed is only right then.
    fn stage_across(
        &self,
        live: &LiveFiles,
        upgrade: Upgrade,
        cancel: &AtomicBool,
        note: Note<'_>,
    ) -> Result<Stage, Refusal> {
        let (host, locks) = (&*self.host, &self.locks);
        // What a later server made is refused for itself, fence or no fence.
        let back = !is_target(upgrade.version);
        let back = back.then(|| cutover::way_back(&locks.place, live, upgrade.version));
        let back = back.transpose()?;
        cross(host)?;
        live.verify()?;
        if let Some(stamp) = back {
            return cutover::undo((locks, live), &stamp, upgrade, note);
        }
        let (local, budget) = (sources::open_local(&locks.place, &self.of), Budget::new());
        let sources = self.sources(local.as_ref(), &budget);
        cutover::stage((locks, live), &host.store, upgrade, &sources, cancel, note)
    }

    /// Renames the staged files over the live ones, once the mounts were looked at again.
    ///
    /// # Errors
    /// As of [`commit::rename`].
    pub fn rename(&mut self) -> Result<(), RenameFailed> {
        let before = |refusal| RenameFailed {
            refusal,
            undone: true,
        };
        let Some(stage) = &self.stage else {
            return Err(before(not_staged()));
        };
        self.locks.mark("client");
        let place = &self.locks.place;
        self.host.store.check_mounts(place).map_err(before)?;
        if is_over(stage.report.from.max(stage.report.to)) {
            cross(&self.host).map_err(before)?;
        }
        commit::rename(&mut self.locks, stage)
    }

    /// Puts the very same old files back, after it is durable that the way is back.
    ///
    /// # Errors
    /// As of [`commit::put_back`]. The intent then stays open.
    pub fn put_back(&mut self) -> Result<(), Refusal> {
        let stage = self.stage.as_ref().ok_or_else(not_staged)?;
        commit::put_back(&self.locks, stage, |direction| {
            let intent = Intent {
                id: self.intent.unwrap_or(0),
                ..write_intent::of_stage(&self.locks, stage, direction, self.upgrade.run)?
            };
            self.host.log.begin(intent)?;
            Ok(())
        })
    }

    /// Removes the staged files. If that fails, or is not known to be durable, the intent stays
    /// open for the next `LOCK`.
    pub fn unstage(&mut self) {
        if let Some(stage) = self.stage.take()
            && stage.remove(&self.locks).is_err()
        {
            self.intent = None;
        }
    }

    /// Notes that the intent, if one is open, is settled.
    pub fn end_intent(&mut self) {
        if let Some(id) = self.intent.take() {
            self.host.log.end(id);
        }
    }

    /// Settles the `.OLD` files after a rename, of this transaction or, where `UPGRADE` found
    /// nothing to change, of one before it. Without an `UPGRADE` nobody knows what the mailbox is:
    /// they stay.
    pub fn keep_old(&mut self, drop_old: bool) {
        if let Some(stage) = &mut self.stage {
            let mut changes: Vec<_> = stage.changes().collect();
            if changes.is_empty() {
                changes = [FileKind::Expunge, FileKind::Index]
                    .map(|kind| (kind, Change::Replace))
                    .to_vec();
            }
            stage.unlinked = commit::keep_old(&self.locks, changes, drop_old);
            if is_over(stage.report.to) {
                cutover::forget_side(&self.locks.place);
            }
        }
    }

    /// How long the locks have been held, and how long they were waited for.
    #[must_use]
    pub fn committed(&self) -> Committed {
        Committed {
            held: self.locks.held(),
            waited: self.waited,
        }
    }

    /// What was done while they were held, `name:microseconds,...`
    #[must_use]
    pub fn timings(&self) -> String {
        self.locks.timings()
    }

    /// What is staged.
    #[must_use]
    pub fn staged(&self) -> Option<&Upgraded> {
        self.stage.as_ref().map(|stage| &stage.report)
    }

    /// All records as they are after the upgrade; `None` if nothing is staged.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn listing(&self) -> Option<Result<&Listing, Refusal>> {
        let stage = self.stage.as_ref()?;
        Some(stage.listing(&self.locks))
    }

    /// Unlocks expunge, index and header, in that order, and tells how long they were held, and
    /// what for.
    #[must_use]
    pub fn unlock(mut self) -> (Committed, String) {
        // An intent that came to nothing is settled under the locks, and waited for after them.
        let prepared_intent = self.prepared_intent.take();
        if let Some(prepared_intent) = &prepared_intent {
            self.host.log.end(prepared_intent.id());
        }
        let mailbox = self.locks.place.mailbox.as_str();
        if self.host.log.is_open(mailbox) {
            // What was neither finished nor undone is tried again in the background.
            self.host.unsettled.add(mailbox.to_owned());
        }
        let waited = self.locks.waited();
        self.locks.mark("client");
        // The stage has duplicates of the new files' handles: it goes after the locks.
        let (held, timings) = self.locks.unlock();
        tracing::debug!(?held, %timings, "unlocked");
        if let Some(prepared_intent) = prepared_intent {
            // A log that has failed says so again to the next command that needs it.
            let _ = prepared_intent.wait();
        }
        discard(self.stage);
        (Committed { held, waited }, timings)
    }
}

/// Sees to what a mailbox that crosses version 12 needs of the whole store.
fn cross(host: &Host) -> Result<(), Refusal> {
    for guard in CROSSING {
        match guard {
            Guard::Fence => host.served.check_fence()?,
            Guard::Revoke => drop(host.complete.remove()?),
        }
    }
    Ok(())
}

fn not_staged() -> Refusal {
    Refusal::new(Code::State, "no mailbox is staged")
}

/// Lets go of a stage, which may be large, on another thread: no answer waits for it.
fn discard(stage: Option<Stage>) {
    const LARGE: u32 = 10_000;
    let large = stage.as_ref().is_some_and(|s| s.report.messages >= LARGE);
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if large => {
            runtime.spawn_blocking(move || drop(stage));
        }
        _ => drop(stage),
    }
}

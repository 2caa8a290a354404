//! The work that is done before the locks, and apart from the state machine: all of `PREPARE`, and
//! what `LOCK` does first.
//!
//! Nothing here changes the mailbox. What fails is given up, and `UPGRADE` does the work under the
//! locks, as far as it may; only what a peer says otherwise of a message is reported at once. A
//! crash leaves what [`crate::stage::prepare`] leaves.

use std::sync::Arc;
use std::time::Instant;

use indexfile::{FileKind, IoContext as _};
use precompute::nice;

use crate::control::Control;
use crate::host::Host;
use crate::locked::READ_IN_LOCK;
use crate::protocol::{self, Code, Upgrade, Write};
use crate::queries::fetch_sha1s;
use crate::refusal::Refusal;
use crate::scratch::ScratchNotes;
use crate::stage::cutover::{self, is_target};
use crate::stage::{self, LiveFiles, LiveStats, PrepareOptions, Prepared};
use crate::store::Place;

/// Bytes of a cyrus.index of [`stage::WORTH_WRITING`] messages.
const LARGE: i64 = stage::WORTH_WRITING as i64 * 80;

/// What a connection has prepared.
#[derive(Debug)]
pub(super) struct Background {
    host: Arc<Host>,
    control: Arc<Control>,
    pub(super) prepared: Option<Prepared>,
    /// Also of what is staged.
    pub(super) scratch: ScratchNotes,
}

impl Background {
    pub(super) fn new(host: &Arc<Host>, control: &Arc<Control>) -> Background {
        Background {
            host: Arc::clone(host),
            control: Arc::clone(control),
            prepared: None,
            scratch: ScratchNotes::new(Arc::clone(host)),
        }
    }

    /// `PREPARE`. `locked`: a mailbox is, whose scratch files are not to be forgotten.
    pub(super) fn prepare(
        &mut self,
        prepare: &protocol::Prepare,
        locked: bool,
    ) -> Result<protocol::Prepared, Refusal> {
        let place = self.host.store.find(&prepare.of)?;
        self.host.served.admit(&place)?;
        if is_target(prepare.upgrade.version) {
            return self.prepare_across(&place, prepare.upgrade.version);
        }
        let again = |p: &Prepared| p.is_of(&place, prepare.upgrade);
        if self.prepared.as_ref().is_some_and(again) {
            self.catch_up(&place, locked)?;
            if let Some(prepared) = &self.prepared {
                return Ok(prepared.report());
            }
        }
        let how = PrepareOptions {
            want: prepare.upgrade,
            write: prepare.write,
            stop: None,
        };
        self.prepare_anew(&place, how, locked)
    }

    /// For a change-over: what is made lies beside the mailbox, and outlives the connection.
    fn prepare_across(&mut self, place: &Place, to: u32) -> Result<protocol::Prepared, Refusal> {
        let _reservation = self.host.reservations.take(place)?;
        // By then: what a transaction left open has ended its reservation.
        if !self.host.log.open_of(place.mailbox.as_str()).is_empty() {
            let text = format!(
                "mailbox {} has a rename that a crash cut short: LOCK settles it",
                place.mailbox
            );
            return Err(Refusal::new(Code::Locked, text));
        }
        cutover::prepare(&self.host.store, place, to, &self.control.cancel)
    }

    fn prepare_anew(
        &mut self,
        place: &Place,
        how: PrepareOptions,
        locked: bool,
    ) -> Result<protocol::Prepared, Refusal> {
        // What was prepared before is given up first: one mailbox a connection.
        self.prepared = None;
        if !locked {
            self.scratch.clear();
        }
        let fetched = fetch_sha1s(&self.host, place);
        let (store, cancel) = (&self.host.store, &self.control.cancel);
        let scratch = &mut self.scratch;
        let prepared = aside(place, || {
            scratch.noting(place, |note| {
                stage::prepare(store, place, fetched, how, cancel, note)
            })
        })?;
        Ok(self.prepared.insert(prepared).report())
    }

    /// What `LOCK` does before anybody waits for it: brings what was prepared up to date; or, if
    /// nothing was, reads the messages that have no SHA-1 yet, and looks at all the others.
    pub(super) fn before_locks(
        &mut self,
        lock: &protocol::Lock,
        place: &Place,
    ) -> Result<(), Refusal> {
        if lock.now {
            return Ok(());
        }
        if self.prepared.is_some() {
            return self.catch_up(place, false);
        }
        if !lock.ahead {
            return Ok(());
        }
        let how = PrepareOptions {
            want: Upgrade::default(),
            write: Write::Never,
            stop: Some(Instant::now() + READ_IN_LOCK),
        };
        let done = self.prepare_anew(place, how, false);
        unless_hosts_differ(done.map(drop))
    }

    /// Brings what was prepared up to date, before anybody waits for it. If that fails it is given
    /// up.
    fn catch_up(&mut self, place: &Place, locked: bool) -> Result<(), Refusal> {
        let Some(prepared) = self.prepared.take() else {
            return Ok(());
        };
        let caught_up = self.caught_up(prepared, place, locked);
        unless_hosts_differ(caught_up.map(|prepared| self.prepared = prepared))
    }

    fn caught_up(
        &mut self,
        mut prepared: Prepared,
        place: &Place,
        locked: bool,
    ) -> Result<Option<Prepared>, Refusal> {
        let want = prepared.wants();
        if !prepared.is_of(place, want) {
            return Ok(Some(prepared));
        }
        let write = if prepared.has_files() {
            Write::Always
        } else {
            Write::Never
        };
        aside(place, || prepared.look_at_messages(place))?;
        let stats = LiveStats::of(place)?;
        if prepared.is_current(&stats) {
            return Ok(Some(prepared));
        }
        let (store, cancel) = (&self.host.store, &self.control.cancel);
        let caught_up = aside(place, || {
            let live = LiveFiles::without_locks(store, place)?;
            prepared.catch_up(&live, stats, cancel)
        });
        match caught_up {
            Ok(Some(prepared)) => return Ok(Some(prepared)),
            Err(refusal) if refusal.code == Code::Differs => return Err(refusal),
            _ => {}
        }
        let how = PrepareOptions {
            want,
            write,
            stop: None,
        };
        self.prepare_anew(place, how, locked)?;
        Ok(self.prepared.take())
    }
}

/// Does what takes its time in a large mailbox at low priority: users and those who hold locks go
/// first. A small one is done sooner than handed to a thread.
fn aside<T: Send>(
    place: &Place,
    work: impl FnOnce() -> Result<T, Refusal> + Send,
) -> Result<T, Refusal> {
    let stat = place.index.stat(FileKind::Index.file_name())?;
    if stat.is_none_or(|stat| stat.st_size < LARGE) {
        return work();
    }
    nice::lower(work).io_context("prepare aside", place.path())?
}

/// What could not be done before the locks is done under them, or refused there; that two hosts
/// differ is reported before any lock.
fn unless_hosts_differ(done: Result<(), Refusal>) -> Result<(), Refusal> {
    match done {
        Err(refusal) if refusal.code == Code::Differs => Err(refusal),
        Err(refusal) => {
            tracing::info!("what was to be done before the locks is given up: {refusal}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

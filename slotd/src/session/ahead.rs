//! The work that is done before the locks, and apart from the state machine: all of `PREPARE`, and
//! what `LOCK` does first.
//!
//! Nothing here changes the mailbox. What fails is given up, and `UPGRADE` does the work under the
//! locks, as far as it may; only what a peer says otherwise of a message is reported at once. A
//! crash leaves what [`crate::stage::prepare`] leaves.

use std::time::{Duration, Instant};

use super::Session;
use crate::protocol::{self, Code, Named, Reply, Upgrade, Write};
use crate::refusal::Refusal;
use crate::stage::{self, Caches, How, Incarnation, LiveFiles, Looks, Prepared, sources};

/// How long `LOCK` reads messages before it takes the locks. `PREPARE` has no such limit.
pub(super) const READ_IN_LOCK: Duration = Duration::from_secs(15);

impl Session {
    /// `PREPARE`: without locks, and apart from the state machine.
    pub(super) fn prepare(&mut self, prepare: &protocol::Prepare) -> Result<Reply, Refusal> {
        let place = self.host.store.find(&prepare.of)?;
        self.host.served.admit(&place)?;
        let again = |p: &Prepared| p.is_of(&place, prepare.upgrade);
        if self.prepared.as_ref().is_some_and(again) {
            self.catch_up(&prepare.of)?;
            if let Some(prepared) = &self.prepared {
                return Ok(Reply::Ok(prepared.report().to_fields()));
            }
        }
        let how = How {
            want: prepare.upgrade,
            write: prepare.write,
            stop: None,
        };
        self.prepare_anew(&prepare.of, how)
    }

    fn prepare_anew(&mut self, of: &Named, how: How) -> Result<Reply, Refusal> {
        // What was prepared before is given up first: one mailbox a connection.
        self.prepared = None;
        self.clear_scratch();
        let fetched = self.fetch_sha1s(of);
        let place = self.host.store.find(of)?;
        let looks = Looks::of(&place)?;
        let (index, expunge) = super::open_unlocked(&self.host.store, &place)?;
        let live = LiveFiles { index, expunge };
        let uniqueid = sources::uniqueid_of(&place)?;
        let uidvalidity = live.index.header().uidvalidity();
        let local = sources::open_local(&place, &uniqueid, uidvalidity);
        let expected =
            fetched.and_then(|cache| sources::take_fetched(cache, &uniqueid, uidvalidity));
        let of = Incarnation {
            uniqueid,
            uidvalidity,
        };
        let caches = Caches { local, expected };
        let prepared = self.noting(&place, |session, note| {
            let cancel = &session.control.cancel;
            stage::prepare(&place, &live, of, caches, how, cancel, note)
        })?;
        let reply = Reply::Ok(prepared.report().to_fields());
        self.prepared = Some(prepared.seen(looks));
        Ok(reply)
    }

    /// What `LOCK` does before anybody waits for it: brings what was prepared up to date; or, if
    /// nothing was, reads the messages that have no SHA-1 yet, and looks at all the others.
    pub(super) fn before_locks(&mut self, lock: &protocol::Lock) -> Result<(), Refusal> {
        if lock.now {
            return Ok(());
        }
        if self.prepared.is_some() {
            return self.catch_up(&lock.of);
        }
        if !lock.ahead {
            return Ok(());
        }
        let how = How {
            want: Upgrade::default(),
            write: Write::Never,
            stop: Some(Instant::now() + READ_IN_LOCK),
        };
        let done = self.prepare_anew(&lock.of, how);
        given_up(done.map(drop))
    }

    /// Brings what was prepared up to date, before anybody waits for it. If that fails it is given
    /// up.
    fn catch_up(&mut self, of: &Named) -> Result<(), Refusal> {
        let Some(prepared) = self.prepared.take() else {
            return Ok(());
        };
        let caught_up = self.caught_up(prepared, of);
        given_up(caught_up.map(|prepared| self.prepared = prepared))
    }

    fn caught_up(
        &mut self,
        mut prepared: Prepared,
        of: &Named,
    ) -> Result<Option<Prepared>, Refusal> {
        let place = self.host.store.find(of)?;
        let want = prepared.wants();
        if !prepared.is_of(&place, want) {
            return Ok(Some(prepared));
        }
        let write = if prepared.has_files() {
            Write::Always
        } else {
            Write::Never
        };
        prepared.look_at_messages(&place)?;
        let looks = Looks::of(&place)?;
        if prepared.is_current(&looks) {
            return Ok(Some(prepared));
        }
        let (index, expunge) = super::open_unlocked(&self.host.store, &place)?;
        let live = LiveFiles { index, expunge };
        match prepared.catch_up(&live, looks, &self.control.cancel) {
            Ok(Some(prepared)) => return Ok(Some(prepared)),
            Err(refusal) if refusal.code == Code::Differs => return Err(refusal),
            _ => {}
        }
        drop(live);
        self.prepare_anew(
            of,
            How {
                want,
                write,
                stop: None,
            },
        )?;
        Ok(self.prepared.take())
    }
}

/// What could not be done ahead is done under the locks, or refused there; that two hosts differ is
/// told before any lock.
fn given_up(done: Result<(), Refusal>) -> Result<(), Refusal> {
    match done {
        Err(refusal) if refusal.code == Code::Differs => Err(refusal),
        Err(refusal) => {
            tracing::info!("what was to be done before the locks is given up: {refusal}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

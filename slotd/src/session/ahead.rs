//! `PREPARE`: the work that is done before the locks, and apart from the state machine.
//!
//! Nothing here changes the mailbox. What fails is given up, and `UPGRADE` does the work under the locks. A crash leaves
//! what [`crate::stage::prepare`] leaves.

use super::Session;
use crate::protocol::{self, Named, Reply, Upgrade};
use crate::refusal::Refusal;
use crate::stage::{self, Caches, Incarnation, LiveFiles, Looks, Prepared, sources};

impl Session {
    /// `PREPARE`: without locks, and apart from the state machine.
    pub(super) fn prepare(&mut self, prepare: &protocol::Prepare) -> Result<Reply, Refusal> {
        let place = self.host.store.find(&prepare.of)?;
        self.host.served.admit(&place)?;
        let again = |p: &Prepared| p.is_of(&place, prepare.upgrade);
        if self.prepared.as_ref().is_some_and(again) {
            self.catch_up(&prepare.of);
            if let Some(prepared) = &self.prepared {
                return Ok(Reply::Ok(prepared.report().to_fields()));
            }
        }
        self.prepare_anew(&prepare.of, prepare.upgrade)
    }

    fn prepare_anew(&mut self, of: &Named, upgrade: Upgrade) -> Result<Reply, Refusal> {
        // What was prepared before is given up first: one mailbox a connection.
        self.prepared = None;
        self.clear_scratch();
        let fetched = self.fetch_sha1s(of);
        let place = self.host.store.find(of)?;
        let looks = Looks::of(&place)?;
        let (index, expunge) = super::inquire::open_unlocked(&self.host.store, &place)?;
        let live = LiveFiles { index, expunge };
        let uniqueid = sources::uniqueid_of(&place)?;
        let uidvalidity = live.index.header().uidvalidity();
        let local = sources::open_local(&place, &uniqueid, uidvalidity);
        let fetched =
            fetched.and_then(|bytes| sources::take_fetched(bytes, &place, &uniqueid, uidvalidity));
        let of = Incarnation {
            uniqueid,
            uidvalidity,
        };
        let caches = Caches { local, fetched };
        let prepared = self.noting(&place, |session, note| {
            let cancel = &session.control.cancel;
            stage::prepare(&place, &live, upgrade, of, caches, cancel, note)
        })?;
        let reply = Reply::Ok(prepared.report().to_fields());
        self.prepared = Some(prepared.seen(looks));
        Ok(reply)
    }

    /// Brings what was prepared up to date, before anybody waits for it. If that fails it is given up.
    pub(super) fn catch_up(&mut self, of: &Named) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        match self.caught_up(prepared, of) {
            Ok(prepared) => self.prepared = prepared,
            Err(refusal) => tracing::info!("what was prepared is given up: {refusal}"),
        }
    }

    fn caught_up(&mut self, prepared: Prepared, of: &Named) -> Result<Option<Prepared>, Refusal> {
        let place = self.host.store.find(of)?;
        let looks = Looks::of(&place)?;
        let want = prepared.wants();
        if !prepared.is_of(&place, want) || prepared.is_current(&looks) {
            return Ok(Some(prepared));
        }
        let (index, expunge) = super::inquire::open_unlocked(&self.host.store, &place)?;
        let live = LiveFiles { index, expunge };
        let caught_up = prepared.catch_up(&live, looks, &self.control.cancel);
        if let Ok(Some(prepared)) = caught_up {
            return Ok(Some(prepared));
        }
        drop(live);
        self.prepare_anew(of, want)?;
        Ok(self.prepared.take())
    }
}

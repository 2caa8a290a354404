//! Where a connection may have scratch files under names, as the intent log knows it: noted before
//! the first is made, so that recovery removes what a crash leaves.

use std::cell::Cell;
use std::sync::Arc;

use crate::host::Host;
use crate::intent::Scratch;
use crate::refusal::Refusal;
use crate::stage::Note;
use crate::store::Place;

/// The mailboxes that were noted.
#[derive(Debug)]
pub struct ScratchNotes {
    host: Arc<Host>,
    noted: Vec<Scratch>,
}

impl ScratchNotes {
    /// None yet.
    #[must_use]
    pub fn new(host: Arc<Host>) -> ScratchNotes {
        ScratchNotes {
            host,
            noted: Vec::new(),
        }
    }

    /// Does work that may have to make scratch files under names in a mailbox: it calls what it is
    /// given before the first.
    ///
    /// # Errors
    /// Of the work; or of the log, also where nothing will be noted: with a log that has failed
    /// nothing can be committed, and what is staged could be taken for what an intent speaks of
    /// that did get to the disk.
    pub fn noting<T>(
        &mut self,
        place: &Place,
        work: impl FnOnce(Note<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let log = &self.host.log;
        log.usable_now()?;
        let scratch = Scratch {
            mailbox: place.mailbox.to_string(),
            partition: place.partition.clone(),
        };
        let known = self.noted.contains(&scratch);
        let noted = Cell::new(false);
        let result = work(&|| {
            if !known && !noted.get() {
                log.touch(&scratch)?;
                noted.set(true);
            }
            Ok(())
        });
        if noted.get() {
            self.noted.push(scratch);
        }
        result
    }

    /// There are none any more.
    pub fn clear(&mut self) {
        for scratch in self.noted.drain(..) {
            self.host.log.clear(&scratch);
        }
    }
}

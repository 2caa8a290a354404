//! What the hosts of one simulation share, and what must hold of it at every instant.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controller::journal::memory::MemoryJournal;
use indexfile::mailbox::MailboxName;
use slotd::fileops::{CROSSING, Guard};
use slotd::protocol::{Code, Reply};

use super::disk::Disk;
use super::epochs::Epochs;
use super::image::Image;
use super::intent::is_over;
use super::mail::Mail;
use super::operator::Operator;
use super::several::Several;
use super::site::{LIVE, Site};

/// Everything that outlives processes: what lies on disks, the journal, the dice, the findings.
pub struct Shared {
    /// By mailbox and side.
    pub sites: Vec<[Site<Mail>; 2]>,
    /// The controller's journal.
    pub journal: Arc<MemoryJournal>,
    /// Every choice of the simulation comes from here.
    pub dice: fastrand::Rng,
    /// How likely an op is to fail, in thousandths.
    pub fault_rate: u32,
    /// What went wrong; the first counts.
    pub broken: Option<String>,
    /// What happened, for the reader of a failing seed.
    pub story: Vec<String>,
    /// Commands served.
    pub served: u64,
    /// Hosts were given their peer's SHA-1s.
    pub peer_hashes: bool,
    /// How often a host said that its peer says otherwise of a message.
    pub differ_seen: u64,
    /// By side: the fence stands.
    pub fence: [bool; 2],
    /// By side: whether the store is called complete.
    pub complete: [Mark; 2],
    /// What the operator does next.
    pub operator: Operator,
    /// Which coordinators the hosts let in.
    pub epochs: Epochs,
    /// Of several controllers, if there are.
    pub several: Several,
}

/// The file that says that a store is complete. It is made and removed as one step, on stable
/// storage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    /// It is there.
    pub there: bool,
    /// How often it was removed, there or not.
    pub removals: u64,
}

impl Mark {
    /// Removes it; tells whether it was there.
    pub fn remove(&mut self) -> bool {
        self.removals += 1;
        std::mem::take(&mut self.there)
    }
}

/// Shared between the hosts of one simulation.
pub type World = Arc<Mutex<Shared>>;

/// The lock on everything.
pub fn locked(world: &World) -> MutexGuard<'_, Shared> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Notes what happened.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        self.story
            .push(format!("{:>7.3} {}", now.as_secs_f64(), what()));
    }

    /// Notes that a promise is broken.
    pub fn violate(&mut self, what: &str) {
        self.tell(|| format!("VIOLATED: {what}"));
        self.broken.get_or_insert_with(|| what.to_owned());
    }

    pub(super) fn chance(&mut self, thousandths: u32) -> bool {
        self.dice.u32(0..1000) < thousandths
    }

    /// The version of every index, by mailbox and side; 0 if it is lost.
    #[must_use]
    pub fn versions(&self) -> Vec<[u8; 2]> {
        let of = |site: &Site<Mail>| site.disk.read(LIVE[0]).map_or(0, Mail::version);
        let sites = self.sites.iter();
        sites.map(|[one, other]| [of(one), of(other)]).collect()
    }

    /// The number of a mailbox.
    #[must_use]
    pub fn find(&self, mailbox: &MailboxName) -> Option<usize> {
        (0..self.sites.len()).find(|m| name_of(*m) == *mailbox)
    }

    /// Sees to what a mailbox that crosses version 12 needs of the whole store, as slotd does.
    pub fn guard(&mut self, side: usize) -> bool {
        CROSSING.into_iter().all(|guard| match guard {
            Guard::Fence => self.fence[side],
            Guard::Revoke => {
                self.complete[side].remove();
                true
            }
        })
    }

    /// What `COMPLETE` looks at.
    ///
    /// # Errors
    /// Its answer, where something stands against it.
    pub fn is_complete(&self, side: usize, mailboxes: u32) -> Result<(), Reply> {
        let no = |code, text: &str| Err(Reply::no(code, text));
        if !self.fence[side] {
            return no(Code::Unfenced, "the fence does not stand");
        }
        for site in self.sites.iter().map(|pair| &pair[side]) {
            if site.log.open().is_some() {
                return no(Code::State, "a rename is not settled");
            }
            let version = site.disk.read(LIVE[0]).map(Mail::version);
            if !version.is_some_and(is_over) {
                return no(Code::State, "a mailbox is not changed over");
            }
            if site.disk.has(LIVE[1]) {
                return no(Code::State, "a cyrus.expunge lies beside");
            }
        }
        if mailboxes as usize != self.sites.len() {
            return no(Code::State, "there are more mailboxes, or fewer");
        }
        Ok(())
    }

    /// What must hold of a mailbox at every instant, and after a power cut at this one, however it
    /// falls.
    pub fn check(&mut self, m: usize, side: usize) {
        let site = &self.sites[m][side];
        let holds = |disk: &Disk<Mail>| (site.is_kept(disk), site.is_in_order(disk));
        let mut found = holds(&site.disk);
        for cut in site.disk.cuts() {
            let (kept, order) = holds(&cut);
            found = (found.0 && kept, found.1 && order);
        }
        match found {
            (false, _) => self.violate("something that an owner wrote is lost"),
            (_, false) => self.violate("index and expunge file are out of order"),
            _ => {}
        }
        if self.complete[side].there {
            self.check_complete(m, side);
        }
    }

    /// A store that is called complete has no mailbox whose messages a later server would destroy,
    /// nor will a power cut bring one back.
    fn check_complete(&mut self, m: usize, side: usize) {
        let site = &self.sites[m][side];
        let is_new = |disk: &Disk<Mail>| {
            let index = disk.read(LIVE[0]).map(Mail::version);
            index.is_some_and(is_over) && !disk.has(LIVE[1])
        };
        if !is_new(&site.disk) || !site.disk.cuts().all(|cut| is_new(&cut)) {
            self.violate(
                "a store is called complete, and one of its mailboxes is not changed over",
            );
        }
    }
}

/// The name of a mailbox by its number.
#[must_use]
pub fn name_of(m: usize) -> MailboxName {
    MailboxName::parse(&format!("user.u{m}")).unwrap_or_else(|_| unreachable!("a plain name"))
}

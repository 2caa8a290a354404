//! The queue of one pass: pages through what is pending, each mailbox once.
//!
//! Memory is flat: a page of the journal, and at most [`ASIDE_MAX`] mailboxes that were met and
//! could not begin. Nothing is kept: what is in here is pending in the journal.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use indexfile::mailbox::MailboxName;

use crate::journal::{Filter, Job, Journal, JournalError, MailboxId, PAGE, Row, RunId, State};

/// How many mailboxes are set aside at most while their partition is busy.
const ASIDE_MAX: usize = 10_000;

/// A mailbox in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) job: Job,
    /// How often it was under way when its host went away.
    pub(super) tries: u32,
}

/// What can be done about a mailbox now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Can {
    Begin,
    /// Its partition is busy.
    Later,
    /// Not in this pass: its partition is away.
    Skip,
}

/// What the queue has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Begin(Ticket),
    /// Something, but it cannot begin now.
    Later,
    Nothing,
}

/// Where a pass takes its mailboxes from.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// Everything that is pending.
    All,
    /// These, as far as they are pending.
    Names(VecDeque<MailboxName>),
}

/// The queue of one pass. A mailbox that an earlier run left in doubt is passed over: a new
/// transaction would start from two hosts that may differ, and its "rolled back" would hide that.
/// Only recovery ends it.
pub(super) struct Queue {
    journal: Arc<dyn Journal>,
    run: RunId,
    in_doubt: HashSet<MailboxName>,
    scope: Scope,
    after: MailboxId,
    page: VecDeque<Job>,
    aside: BTreeMap<Option<String>, VecDeque<Ticket>>,
    set_aside: usize,
    read_all: bool,
}

impl Queue {
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        run: RunId,
        in_doubt: HashSet<MailboxName>,
        scope: Scope,
    ) -> Self {
        Self {
            journal,
            run,
            in_doubt,
            scope,
            after: MailboxId(0),
            page: VecDeque::new(),
            aside: BTreeMap::new(),
            set_aside: 0,
            read_all: false,
        }
    }

    /// Puts a mailbox back that has to begin again in this pass.
    pub(super) fn back(&mut self, ticket: Ticket) {
        self.set_aside += 1;
        let key = ticket.job.partition.clone();
        self.aside.entry(key).or_default().push_front(ticket);
    }

    /// Whether everything was handed out; `false` also while that is not known.
    pub(super) fn is_empty(&self) -> bool {
        self.read_all && self.page.is_empty() && self.set_aside == 0
    }

    /// The next mailbox that can begin.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn next(&mut self, can: impl Fn(&Job) -> Can) -> Result<Next, JournalError> {
        if let Some(ticket) = self.set_free(&can) {
            return Ok(Next::Begin(ticket));
        }
        while self.set_aside < ASIDE_MAX {
            let Some(job) = self.page.pop_front() else {
                if self.read_all || !self.read()? {
                    break;
                }
                continue;
            };
            let ticket = Ticket { job, tries: 0 };
            match can(&ticket.job) {
                Can::Begin => return Ok(Next::Begin(ticket)),
                Can::Skip => {}
                Can::Later => {
                    self.set_aside += 1;
                    let key = ticket.job.partition.clone();
                    self.aside.entry(key).or_default().push_back(ticket);
                }
            }
        }
        Ok(if self.is_empty() {
            Next::Nothing
        } else {
            Next::Later
        })
    }

    fn set_free(&mut self, can: &impl Fn(&Job) -> Can) -> Option<Ticket> {
        for tickets in self.aside.values_mut() {
            while let Some(ticket) = tickets.front() {
                let can = can(&ticket.job);
                if can == Can::Later {
                    break;
                }
                self.set_aside -= 1;
                let ticket = tickets.pop_front();
                if can == Can::Begin {
                    return ticket;
                }
            }
        }
        None
    }

    /// Reads on; `false` if that was all.
    fn read(&mut self) -> Result<bool, JournalError> {
        let page = match &mut self.scope {
            Scope::All => {
                let filter = Filter::In(State::Pending);
                self.journal.page(self.run, filter, self.after, PAGE)?
            }
            Scope::Names(names) => {
                let mut page = Vec::new();
                while let Some(name) = names.pop_front() {
                    let rows = self.journal.find_all(self.run, &name)?;
                    let pending = |row: &Row| row.state == State::Pending;
                    page.extend(rows.into_iter().filter(pending));
                    if page.len() >= PAGE as usize {
                        break;
                    }
                }
                page
            }
        };
        let Some(last) = page.last() else {
            self.read_all = true;
            return Ok(false);
        };
        self.after = last.id;
        let jobs = page.into_iter().map(Job::from);
        let settled = jobs.filter(|job| !self.in_doubt.contains(&job.name));
        self.page.extend(settled);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryJournal;
    use crate::journal::{Candidate, RunSpec, Verb};

    /// Mailboxes a, b, c ... on these partitions.
    fn queue(partitions: &[&str]) -> Queue {
        let journal = MemoryJournal::new();
        let spec = RunSpec {
            verb: Verb::Upgrade,
            to: 10,
            undoes: None,
            master: String::new(),
            replica: None,
            master_id: String::new(),
            replica_id: String::new(),
            selection: "all".to_owned(),
            words: String::new(),
            pairs: String::new(),
        };
        let run = journal.begin_run(&spec, 0).unwrap();
        let listed: Vec<Candidate> = ('a'..)
            .zip(partitions)
            .map(|(letter, partition)| Candidate {
                name: MailboxName::parse(&format!("user.{letter}")).unwrap(),
                partition: Some((*partition).to_owned()),
                named: false,
                back: [None; 2],
                uniqueids: [None, None],
            })
            .collect();
        journal.add(run, &listed).unwrap();
        Queue::new(Arc::new(journal), run, HashSet::new(), Scope::All)
    }

    fn drain(queue: &mut Queue, can: impl Fn(&Job) -> Can) -> Vec<String> {
        let mut names = Vec::new();
        while let Next::Begin(ticket) = queue.next(&can).unwrap() {
            names.push(ticket.job.name.to_string());
        }
        names
    }

    fn on(partition: &'static str, otherwise: Can) -> impl Fn(&Job) -> Can {
        move |job| {
            if job.partition.as_deref() == Some(partition) {
                otherwise
            } else {
                Can::Begin
            }
        }
    }

    #[test]
    fn a_busy_partition_does_not_hold_up_the_others_and_nothing_is_lost() {
        let mut queue = queue(&["p1", "p1", "p2", "p1", "p2"]);
        assert_eq!(
            drain(&mut queue, on("p1", Can::Later)),
            ["user.c", "user.e"]
        );
        assert!(!queue.is_empty());
        assert_eq!(queue.next(on("p1", Can::Later)).unwrap(), Next::Later);
        let rest = drain(&mut queue, |_| Can::Begin);
        assert_eq!(rest, ["user.a", "user.b", "user.d"]);
        assert!(queue.is_empty());
        assert_eq!(queue.next(|_| Can::Begin).unwrap(), Next::Nothing);
    }

    #[test]
    fn a_partition_that_is_away_is_passed_over_also_by_what_was_set_aside() {
        let mut queue = queue(&["p1", "p2", "p1", "p2"]);
        assert_eq!(queue.next(|_| Can::Later).unwrap(), Next::Later);
        assert_eq!(drain(&mut queue, on("p1", Can::Skip)), ["user.b", "user.d"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_comes_back_is_next() {
        let mut queue = queue(&["p1", "p1"]);
        let Next::Begin(ticket) = queue.next(|_| Can::Begin).unwrap() else {
            panic!("there are two");
        };
        queue.back(ticket);
        assert_eq!(drain(&mut queue, |_| Can::Begin), ["user.a", "user.b"]);
    }
}

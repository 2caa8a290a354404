//! The controller's journal: what is asked of it, what is durable, what a dying controller loses.

use controller::two_phase::{Entry, Event, Open};

use super::Config;
use super::attempt::{End, Row};
use super::world::World;
use crate::sim::site::Mutation;

impl World {
    pub(super) fn ask_journal(&mut self, config: &Config, m: usize, entry: Entry) {
        if self.acts {
            self.with_runner(m, |r| r.record = Some(entry));
            return;
        }
        let decides = matches!(entry, Entry::Decided { .. });
        let early = decides && config.mutation == Some(Mutation::DecideLate);
        if early {
            self.rows[m].notes.push(entry);
            self.tell(config, m, Event::Recorded);
        } else {
            self.with_runner(m, |r| r.record = Some(entry));
        }
    }

    /// The journal is synced for that mailbox's sake, which gets the answer.
    pub(super) fn sync_journal(&mut self, config: &Config, m: usize) {
        let Some(entry) = self.take_record(m) else {
            return;
        };
        self.record(m, entry);
        self.tell(config, m, Event::Recorded);
        if config.mutation == Some(Mutation::WakeWholeBatch) {
            for other in (0..self.rows.len()).filter(|other| *other != m) {
                if let Some(entry) = self.take_record(other) {
                    self.rows[other].notes.push(entry);
                    self.tell(config, other, Event::Recorded);
                }
            }
        }
    }

    /// Makes an entry, and every note before it, durable.
    pub fn record(&mut self, m: usize, entry: Entry) {
        let row = &mut self.rows[m];
        for entry in std::mem::take(&mut row.notes).into_iter().chain([entry]) {
            match (entry, &mut row.decided) {
                (Entry::Decided { before }, decided) => {
                    *decided = Some(Open {
                        reversing: false,
                        before,
                        forward: [false; 2],
                    });
                }
                (Entry::Assumed, decided) => {
                    *decided = Some(Open {
                        reversing: false,
                        before: [None; 2],
                        forward: [false; 2],
                    });
                }
                (Entry::Forward(side), Some(open)) => open.forward[side.index()] = true,
                (Entry::Reversing, Some(open)) => open.reversing = true,
                _ => {}
            }
        }
    }

    pub(super) fn take_record(&mut self, m: usize) -> Option<Entry> {
        self.controller
            .as_mut()
            .and_then(|runners| runners[m].record.take())
    }

    /// What the dying controller did not sync is there, or is not.
    pub(super) fn flush_or_lose(&mut self, kept: bool) {
        for m in 0..self.rows.len() {
            let record = self.take_record(m);
            let row = &mut self.rows[m];
            if !kept {
                row.notes.clear();
                if row.closed.take() == Some(End::RolledBack) && row.decided.is_none() {
                    // Never decided and never noted as over: it has never been.
                    *row = Row::new(row.lost);
                }
                continue;
            }
            let entries: Vec<Entry> = std::mem::take(&mut row.notes);
            for entry in entries.into_iter().chain(record) {
                self.record(m, entry);
            }
        }
    }
}

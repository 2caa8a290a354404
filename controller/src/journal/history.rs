//! What the runs of a journal amount to for one mailbox: a rollback takes away what it undid, and
//! itself with it.

use super::model::Row;
use super::runs::{RunId, Verb};

/// A run that changed a mailbox, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changing {
    /// The run.
    pub run: RunId,
    /// What it did.
    pub verb: Verb,
    /// The run that it undid, if it is a rollback; a rollback without one undid all that there
    /// were.
    pub undoes: Option<RunId>,
    /// Each side's index version before; `None` where it changed nothing.
    pub before: [Option<u8>; 2],
}

/// Of these runs, in ascending order, the ones whose changes stand.
#[must_use]
pub fn standing(runs: &[Changing]) -> Vec<Changing> {
    let mut stand: Vec<Changing> = Vec::new();
    // What each rollback took away: undoing the rollback brings it back.
    let mut taken: Vec<(RunId, Vec<Changing>)> = Vec::new();
    for run in runs {
        match (run.verb, run.undoes) {
            // A mailbox is brought back to what it was before it was changed over, whichever run
            // did that.
            (Verb::Undo, _) => stand.retain(|s| s.verb != Verb::Cutover),
            (Verb::Rollback, None) => taken.push((run.run, std::mem::take(&mut stand))),
            (Verb::Rollback, Some(undone)) => {
                if let Some(at) = stand.iter().position(|s| s.run == undone) {
                    taken.push((run.run, vec![stand.remove(at)]));
                } else if let Some(at) = taken.iter().position(|(by, _)| *by == undone) {
                    stand.extend(taken.remove(at).1);
                    stand.sort_by_key(|s| s.run);
                } else {
                    // Of a run that had not changed it, or was undone already.
                    stand.push(*run);
                }
            }
            _ => stand.push(*run),
        }
    }
    stand
}

/// A mailbox that a run changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The mailbox, as that run has it.
    pub row: Row,
    /// What that run did.
    pub change: Changing,
    /// The other runs that changed it, or are about to, in ascending order.
    pub others: Vec<Changing>,
    /// The runs that changed, or are about to, another mailbox that had its name then: the unique
    /// id is another one. In ascending order.
    pub namesakes: Vec<Changing>,
}

impl Changed {
    /// Of all runs that changed it those whose changes stand, in ascending order.
    #[must_use]
    pub fn standing(&self) -> Vec<Changing> {
        let mut all = vec![self.change];
        all.extend(&self.others);
        all.sort_by_key(|c| c.run);
        standing(&all)
    }

    /// The last run that changed another mailbox of this name since, if that stands, or is taken
    /// back by this run.
    #[must_use]
    pub fn succeeded(&self, taken_back_by: Option<RunId>) -> Option<RunId> {
        let later = |other: &&Changing| other.run > self.change.run && !other.verb.takes_back();
        let last = self.namesakes.iter().rfind(later)?.run;
        let is_taken_back = self.namesakes.iter().any(|n| Some(n.run) == taken_back_by);
        let stands = standing(&self.namesakes)
            .iter()
            .any(|s| s.run > self.change.run);
        (stands || is_taken_back).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: i64, verb: Verb, undoes: Option<i64>) -> Changing {
        Changing {
            run: RunId(n),
            verb,
            undoes: undoes.map(RunId),
            before: [None; 2],
        }
    }

    fn stand(runs: &[Changing]) -> Vec<i64> {
        standing(runs).iter().map(|s| s.run.0).collect()
    }

    #[test]
    fn a_run_and_its_rollback_amount_to_nothing_and_undoing_the_rollback_brings_it_back() {
        let up = |n| run(n, Verb::Upgrade, None);
        let back = |n, undoes| run(n, Verb::Rollback, Some(undoes));
        let all = |n| run(n, Verb::Rollback, None);
        assert_eq!(stand(&[up(1), up(2)]), [1, 2]);
        assert_eq!(stand(&[up(1), up(2), back(3, 2)]), [1]);
        assert_eq!(stand(&[up(1), up(2), back(3, 2), back(4, 1)]), [0; 0]);
        assert_eq!(stand(&[up(1), up(2), back(3, 1)]), [2]);
        assert_eq!(stand(&[up(1), up(2), back(3, 2), back(4, 3)]), [1, 2]);
        assert_eq!(stand(&[up(1), up(2), all(3)]), [0; 0]);
        assert_eq!(stand(&[up(1), up(2), all(3), up(4)]), [4]);
        assert_eq!(stand(&[up(1), up(2), all(3), back(4, 3)]), [1, 2]);
        let over = |n| run(n, Verb::Cutover, None);
        let undo = |n| run(n, Verb::Undo, None);
        assert_eq!(stand(&[up(1), over(2)]), [1, 2]);
        assert_eq!(stand(&[up(1), over(2), undo(3)]), [1]);
        assert_eq!(stand(&[up(1), over(2), undo(3), over(4)]), [1, 4]);
        assert_eq!(stand(&[up(1), over(2), undo(3), back(4, 1)]), [0; 0]);
        // Of a run that had not changed it.
        assert_eq!(stand(&[up(2), back(3, 1)]), [2, 3]);
    }
}

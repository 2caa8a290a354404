//! Which coordinator works on the store: one at a time.
//!
//! A coordinator is known by the id of its journal (`REGISTER journal=ID` on each of its
//! connections), and is here for as long as one of them is open. Another journal is refused by name
//! meanwhile. A person who types commands has no journal: such a connection counts from its `LOCK`
//! or `PREPARE` until it holds nothing any more.
//!
//! A coordinator that says `LEAVE` has nothing open here. One whose connections just close may
//! have: the decisions are in its journal alone. Its id stays in the state directory
//! (`coordinators`, a line each) until it comes back and says `LEAVE`, and `REGISTER` names it
//! to every other one. A crash leaves the old file or the new one.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use indexfile::IoError;
use indexfile::dir::{OpenError, limit, read_named};
use parking_lot::Mutex;

use crate::fs::rewrite;
use crate::protocol::Code;
use crate::refusal::Refusal;

const FILE_NAME: &str = "coordinators";

/// The coordinators of one store.
#[derive(Debug)]
pub struct Coordinators {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The journal at work, and its connections.
    present: Option<(String, usize)>,
    /// Connections without a journal that hold something.
    unnamed: usize,
    /// Journals that worked here and did not say that they have nothing open; as in the file.
    left: BTreeSet<String>,
}

impl Coordinators {
    /// Reads what earlier ones left.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(state_dir: &Path) -> Result<Coordinators, IoError> {
        let file = state_dir.join(FILE_NAME);
        let text = match read_named(&file, limit::STATE) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(OpenError::Missing { .. }) => String::new(),
            Err(error) => return Err(error.into()),
        };
        let left = text.lines().filter(|l| !l.is_empty()).map(str::to_owned);
        let state = State {
            left: left.collect(),
            ..State::default()
        };
        Ok(Coordinators {
            file,
            state: Mutex::new(state),
        })
    }

    /// A connection of this journal's coordinator; gives the others that left something behind, if
    /// any.
    ///
    /// # Errors
    /// [`Code::Busy`] while another one is here, or the state directory cannot be written.
    pub fn register(&self, journal: &str) -> Result<Option<String>, Refusal> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        match &mut state.present {
            Some((other, _)) if other != journal => return Err(busy(other)),
            Some((_, connections)) => *connections += 1,
            None if state.unnamed > 0 => {
                return Err(Refusal::new(
                    Code::Busy,
                    "somebody who gave no journal has a mailbox locked or prepared on this store",
                ));
            }
            None => {
                if state.left.insert(journal.to_owned())
                    && let Err(error) = self.keep(&state.left)
                {
                    state.left.remove(journal);
                    return Err(error.into());
                }
                state.present = Some((journal.to_owned(), 1));
            }
        }
        let others: Vec<&str> = state.left.iter().map(String::as_str).collect();
        let others: Vec<&str> = others.into_iter().filter(|l| *l != journal).collect();
        Ok((!others.is_empty()).then(|| others.join(",")))
    }

    /// One of its connections is closed.
    pub fn disconnected(&self, journal: &str) {
        let mut state = self.state.lock();
        if let Some((present, connections)) = &mut state.present
            && present == journal
        {
            *connections = connections.saturating_sub(1);
            if *connections == 0 {
                state.present = None;
            }
        }
    }

    /// It has nothing open on this store.
    ///
    /// # Errors
    /// The state directory cannot be written; then it counts as before.
    pub fn leave(&self, journal: &str) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if state.left.remove(journal)
            && let Err(error) = self.keep(&state.left)
        {
            state.left.insert(journal.to_owned());
            return Err(error.into());
        }
        Ok(())
    }

    /// A connection without a journal is about to hold something.
    ///
    /// # Errors
    /// [`Code::Busy`] while a coordinator is here.
    pub fn enter(&self) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if let Some((other, _)) = &state.present {
            return Err(busy(other));
        }
        state.unnamed += 1;
        Ok(())
    }

    /// It holds nothing any more.
    pub fn exit(&self) {
        let mut state = self.state.lock();
        state.unnamed = state.unnamed.saturating_sub(1);
    }

    fn keep(&self, left: &BTreeSet<String>) -> Result<(), IoError> {
        let write = |file: &mut std::fs::File| {
            left.iter()
                .try_for_each(|journal| writeln!(file, "{journal}"))
        };
        rewrite(&self.file, write).map(drop)
    }
}

fn busy(other: &str) -> Refusal {
    Refusal::new(
        Code::Busy,
        format!(
            "the coordinator with journal {other} is at work on this store; another one can begin \
             when its connections \
             are closed"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_journal_at_a_time_and_the_other_by_name() {
        let tmp = tempfile::tempdir().unwrap();
        let all = Coordinators::open(tmp.path()).unwrap();
        assert_eq!(all.register("aa"), Ok(None));
        assert_eq!(all.register("aa"), Ok(None));
        let refused = all.register("bb").unwrap_err();
        assert_eq!(refused.code, Code::Busy);
        assert!(refused.text.contains("journal aa"), "{refused}");
        assert_eq!(all.enter().unwrap_err().code, Code::Busy);
        all.disconnected("aa");
        assert_eq!(all.register("bb").unwrap_err().code, Code::Busy);
        all.disconnected("aa");
        // It went without a word: perhaps it has decided something.
        assert_eq!(all.register("bb"), Ok(Some("aa".to_owned())));
        all.leave("bb").unwrap();
        all.disconnected("bb");
        let again = Coordinators::open(tmp.path()).unwrap();
        assert_eq!(again.register("cc"), Ok(Some("aa".to_owned())));
        again.leave("cc").unwrap();
        again.disconnected("cc");
        again.register("aa").unwrap();
        again.leave("aa").unwrap();
        again.disconnected("aa");
        assert_eq!(again.register("cc"), Ok(None));
    }

    #[test]
    fn a_person_without_a_journal_works_while_nobody_else_does() {
        let tmp = tempfile::tempdir().unwrap();
        let all = Coordinators::open(tmp.path()).unwrap();
        all.enter().unwrap();
        all.enter().unwrap();
        all.exit();
        assert_eq!(all.register("aa").unwrap_err().code, Code::Busy);
        all.exit();
        assert_eq!(all.register("aa"), Ok(None));
    }
}

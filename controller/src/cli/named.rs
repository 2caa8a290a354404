//! Which pair of a fleet has which of the mailboxes that were named: each pair's master is asked
//! for all that it has, once.
//!
//! A name that no pair has, and one that two pairs have, refuse the start: nothing is guessed.

use std::io::BufWriter;
use std::sync::Arc;

use indexfile::exit::Exit;
use tempfile::NamedTempFile;

use super::pairs::Pair;
use super::{Fail, signals};
use crate::hosts::Connect;
use crate::survey::{Assignment, Source, assign as assign_names};

/// Names shown of those that no pair has, or that several have.
const SHOWN: usize = 10;

/// What each pair works on.
pub(super) struct Assigned {
    /// Those with a mailbox of the list.
    pub(super) pairs: Vec<Pair>,
    pub(super) sources: Vec<Vec<Source>>,
    /// The files that the sources read; they go when this is dropped.
    pub(super) lists: Vec<NamedTempFile>,
}

/// Finds them.
///
/// # Errors
/// A pair does not answer, or a name is on none or on several.
pub(super) async fn assign(pairs: &[Pair], sources: Vec<Source>) -> Result<Assigned, Fail> {
    let stop = signals::stop();
    let connect = |pair: &Pair| Arc::clone(&pair.slotds) as Arc<dyn Connect>;
    let connects: Vec<_> = pairs.iter().map(|p| (p.name.clone(), connect(p))).collect();
    let assignment = assign_names(sources, &connects, &stop).await?;
    check(&assignment)?;
    let mut assigned = Assigned {
        pairs: Vec::new(),
        sources: Vec::new(),
        lists: Vec::new(),
    };
    for (at, pair) in pairs.iter().enumerate() {
        let list = NamedTempFile::new()?;
        if assignment.write(at, &mut BufWriter::new(list.as_file()))? > 0 {
            let source = Source::File(list.path().to_owned());
            assigned.sources.push(pair.sources(&[source]));
            assigned.pairs.push(pair.clone());
            assigned.lists.push(list);
        }
    }
    Ok(assigned)
}

fn check(assignment: &Assignment) -> Result<(), Fail> {
    let unknown = assignment.unknown(SHOWN)?;
    if unknown.count > 0 {
        let text = format!(
            "no pair has {}: {}",
            mailboxes(unknown.count),
            unknown.text()
        );
        return Err(Fail::new(Exit::NoMailbox, text));
    }
    let several = assignment.on_several(SHOWN)?;
    if several.count > 0 {
        let text = format!(
            "{} on several pairs, and only a person can say which is the mail: {}; choose by \
             --pairs",
            if several.count == 1 {
                "1 mailbox is".to_owned()
            } else {
                format!("{} mailboxes are", several.count)
            },
            several.text()
        );
        return Err(Fail::new(Exit::Data, text));
    }
    Ok(())
}

fn mailboxes(count: u64) -> String {
    match count {
        1 => "1 of the mailboxes".to_owned(),
        n => format!("{n} of the mailboxes"),
    }
}

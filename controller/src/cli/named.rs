//! Which pair of a fleet has which of the mailboxes that were named: each pair's master is asked
//! for all that it has, once.
//!
//! A name that no pair has, and one that two pairs have, refuse the start: nothing is guessed.

use std::io::BufWriter;

use indexfile::exit::Exit;
use tempfile::NamedTempFile;

use super::pairs::Pair;
use super::{Fail, signals};
use crate::survey::{Assignment, Source, assign as assign_names, naming, resolve};

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
    let connects = pairs.iter().map(|pair| (pair.name.clone(), pair.connect()));
    let connects: Vec<_> = connects.collect();
    let sources = internal(pairs, sources).await?;
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
            assigned.sources.push(pair.sources(&[source]).await?);
            assigned.pairs.push(pair.clone());
            assigned.lists.push(list);
        }
    }
    Ok(assigned)
}

/// Names as administrators write them mean the same on all pairs, or are refused.
async fn internal(pairs: &[Pair], sources: Vec<Source>) -> Result<Vec<Source>, Fail> {
    let Some(first) = pairs.first() else {
        return Ok(sources);
    };
    let internal = resolve(sources.clone(), &first.connect()).await?;
    if internal == sources {
        return Ok(sources);
    }
    let known = naming(&first.connect()).await?;
    for pair in pairs {
        if naming(&pair.connect()).await? != known {
            let text = format!(
                "the servers of {} and {} have other settings for names (unixhierarchysep, \
                 virtdomains): give internal names, or one of them by --pairs",
                first.name, pair.name
            );
            return Err(Fail::new(Exit::Config, text));
        }
    }
    Ok(internal)
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

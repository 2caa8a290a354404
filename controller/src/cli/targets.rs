//! What each pair works on: all that its master has, or what of a list or of a Murder it has.
//!
//! Of names that were given to a fleet, each pair's master is asked for all that it has, once. A
//! name that no pair has, and one that two pairs have, refuse the start: nothing is guessed.

use std::io::BufWriter;

use indexfile::exit::Exit;
use tempfile::NamedTempFile;

use super::args::Mailboxes;
use super::pairs::{Hosts, Pair};
use super::{Fail, text};
use crate::error::RunError;
use crate::fleet::{MurderList, Named, compare};
use crate::observer::Observer;
use crate::stop::StopSignal;
use crate::survey::{Assignment, Source, assign as assign_names, naming, resolve};

/// Names shown of those that no pair has, or that several have.
const SHOWN: usize = 10;

/// What each pair works on.
pub(super) struct Targets {
    /// Those with something to do.
    pub(super) pairs: Vec<Pair>,
    /// Of each of them.
    sources: Vec<Option<Vec<Source>>>,
    /// As they were asked for, where no pair is asked beforehand which of them it has.
    asked: Vec<Source>,
    /// The Murder that they are of, if they are.
    pub(super) murder: Option<MurderList>,
    /// Mailboxes of it about which a person has to decide.
    pub(super) refused: u64,
    /// The files that sources read; they go when this is dropped.
    lists: Vec<NamedTempFile>,
}

impl Targets {
    /// Finds out what was asked for.
    ///
    /// # Errors
    /// A pair or a mupdate server does not answer, or a name is on no pair or on several.
    pub(super) async fn of(
        hosts: &Hosts,
        mailboxes: &Mailboxes,
        quiet: bool,
        stop: &StopSignal,
    ) -> Result<Self, Fail> {
        let (pairs, others) = hosts.pairs_and_others()?;
        let asked = mailboxes.sources()?;
        if let Some(list) = mailboxes.murder.list(others)? {
            let keep = |source| mailboxes.keep(source);
            return of_a_murder(list, &pairs, &Lines { quiet }, stop, keep).await;
        }
        if pairs.iter().any(Pair::is_named) && mailboxes.are_named() {
            return named(&pairs, asked, stop).await;
        }
        Ok(Self {
            sources: pairs.iter().map(|_| None).collect(),
            pairs,
            asked,
            murder: None,
            refused: 0,
            lists: Vec::new(),
        })
    }

    /// Those of these pairs for which a list was written.
    async fn of_lists(
        pairs: &[Pair],
        lists: Vec<(NamedTempFile, u64)>,
        keep: impl Fn(Source) -> Source,
    ) -> Result<Self, Fail> {
        let mut targets = Self {
            pairs: Vec::new(),
            sources: Vec::new(),
            asked: Vec::new(),
            murder: None,
            refused: 0,
            lists: Vec::new(),
        };
        for (pair, (list, count)) in pairs.iter().zip(lists) {
            if count > 0 {
                let source = keep(Source::File(list.path().to_owned()));
                targets.sources.push(Some(pair.sources(&[source]).await?));
                targets.pairs.push(pair.clone());
                targets.lists.push(list);
            }
        }
        Ok(targets)
    }

    /// What a pair works on, by its place. Names as administrators write them are looked up now.
    ///
    /// # Errors
    /// Its master does not say how they are written, or a name is none.
    pub(super) async fn sources(&self, at: usize) -> Result<Vec<Source>, RunError> {
        match &self.sources[at] {
            Some(sources) => Ok(sources.clone()),
            None => self.pairs[at].sources(&self.asked).await,
        }
    }
}

/// What of a Murder each pair works on, once it is sure that a run may begin.
async fn of_a_murder(
    list: MurderList,
    pairs: &[Pair],
    observer: &Lines,
    stop: &StopSignal,
    keep: impl Fn(Source) -> Source,
) -> Result<Targets, Fail> {
    let named: Vec<Named> = pairs.iter().map(Pair::named).collect();
    let compared = compare(&list, &named, observer, stop).await?;
    for line in compared.lines() {
        observer.say(&line);
    }
    compared.check()?;
    let files = pairs.iter().map(|_| NamedTempFile::new());
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let servers = pairs.iter().map(|pair| pair.servername.clone());
    let outs = files.iter().map(|file| BufWriter::new(file.as_file()));
    let mut outs: Vec<_> = servers.zip(outs).collect();
    let counts = compared.write(&mut outs)?;
    drop(outs);
    let lists = files.into_iter().zip(counts).collect();
    let mut targets = Targets::of_lists(pairs, lists, keep).await?;
    if targets.pairs.is_empty() {
        let text = "nothing to do: of the Murder's list no pair has a mailbox";
        return Err(Fail::new(Exit::Data, text));
    }
    targets.refused = compared.refused();
    targets.murder = Some(list);
    Ok(targets)
}

/// What a person is to know of the list; not with `--quiet`.
pub(super) struct Lines {
    pub(super) quiet: bool,
}

impl Observer for Lines {
    fn say(&self, line: &str) {
        if !self.quiet {
            text::note(line);
        }
    }

    fn warn(&self, line: &str) {
        text::note(line);
    }
}

/// Which pair of a fleet has which of the mailboxes that were named.
async fn named(pairs: &[Pair], asked: Vec<Source>, stop: &StopSignal) -> Result<Targets, Fail> {
    let connects = pairs.iter().map(|pair| (pair.name.clone(), pair.connect()));
    let connects: Vec<_> = connects.collect();
    let asked = internal(pairs, asked).await?;
    let assignment = assign_names(asked, &connects, stop).await?;
    check(&assignment)?;
    let mut lists = Vec::with_capacity(pairs.len());
    for at in 0..pairs.len() {
        let list = NamedTempFile::new()?;
        let count = assignment.write(at, &mut BufWriter::new(list.as_file()))?;
        lists.push((list, count));
    }
    // What is meant was looked at when the list was read.
    Targets::of_lists(pairs, lists, |source| source).await
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

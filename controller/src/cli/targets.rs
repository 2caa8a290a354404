//! What each pair works on: all that its master has, or what of a list or of a Murder it has.
//!
//! Of names that were given to a fleet, each pair's master is asked for all that it has, once. A
//! name that no pair has, and one that two pairs have, refuse the start: nothing is guessed.

use std::io::BufWriter;

use indexfile::exit::Exit;
use tempfile::NamedTempFile;

use super::Fail;
use super::args::Mailboxes;
use super::of_murder::{Lines, OfMurder};
use super::pairs::{Hosts, Pair};
use crate::error::RunError;
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
    pub(super) murder: Option<OfMurder>,
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
            let murder = OfMurder::of(list, mailboxes, &pairs, &Lines { quiet }, stop).await?;
            return Ok(Self {
                sources: Vec::new(),
                pairs,
                asked: Vec::new(),
                murder: Some(murder),
                lists: Vec::new(),
            });
        }
        if pairs.iter().any(Pair::is_named) && mailboxes.are_named() {
            return named(&pairs, mailboxes, quiet, stop).await;
        }
        Ok(Self {
            sources: pairs.iter().map(|_| None).collect(),
            pairs,
            asked,
            murder: None,
            lists: Vec::new(),
        })
    }

    /// Those of these pairs for which a list was written.
    async fn of_lists(
        pairs: &[Pair],
        mailboxes: &Mailboxes,
        lists: Vec<(NamedTempFile, u64)>,
    ) -> Result<Self, Fail> {
        let mut targets = Self {
            pairs: Vec::new(),
            sources: Vec::new(),
            asked: Vec::new(),
            murder: None,
            lists: Vec::new(),
        };
        for (pair, (list, count)) in pairs.iter().zip(lists) {
            if count > 0 {
                let source = mailboxes.keep(Source::File(list.path().to_owned()));
                targets.sources.push(Some(pair.sources(&[source]).await?));
                targets.pairs.push(pair.clone());
                targets.lists.push(list);
            }
        }
        if targets.pairs.is_empty() {
            let text = "nothing to do: every mailbox of the list is on a partition that leave-out \
                        names";
            return Err(Fail::new(Exit::Data, text));
        }
        Ok(targets)
    }

    /// What a pair works on, by its place. Names as administrators write them are looked up now,
    /// and of a Murder a pair is compared that was away before.
    ///
    /// # Errors
    /// Its master does not answer, does not say how names are written, or a name is none.
    pub(super) async fn sources(
        &self,
        at: usize,
        observer: &dyn Observer,
        stop: &StopSignal,
    ) -> Result<Vec<Source>, RunError> {
        let pair = &self.pairs[at];
        if let Some(murder) = &self.murder {
            return murder.sources(at, pair, observer, stop).await;
        }
        match &self.sources[at] {
            Some(sources) => Ok(sources.clone()),
            None => pair.sources(&self.asked).await,
        }
    }

    /// Says what the comparison with a Murder's list came to, if there was one.
    ///
    /// # Errors
    /// Nothing may be begun.
    pub(super) fn check(&self, observer: &dyn Observer) -> Result<(), Fail> {
        let Some(murder) = &self.murder else {
            return Ok(());
        };
        for line in murder.compared.lines() {
            observer.say(&line);
        }
        murder.check()
    }

    /// Whether a pair may have nothing of it.
    pub(super) fn may_be_empty(&self) -> bool {
        self.murder.is_some()
    }
}

/// Which pair of a fleet has which of the mailboxes that were named.
async fn named(
    pairs: &[Pair],
    mailboxes: &Mailboxes,
    quiet: bool,
    stop: &StopSignal,
) -> Result<Targets, Fail> {
    let connects = pairs.iter().map(|pair| (pair.name.clone(), pair.connect()));
    let connects: Vec<_> = connects.collect();
    for pair in pairs {
        let checked = pair.check_left_out().await;
        checked.map_err(|error| error.of_pair(&pair.name))?;
    }
    let asked = internal(pairs, mailboxes.all_sources()?).await?;
    let assignment = assign_names(asked, &connects, stop).await?;
    check(&assignment)?;
    let mut lists = Vec::with_capacity(pairs.len());
    for (at, pair) in pairs.iter().enumerate() {
        let list = NamedTempFile::new()?;
        let mut out = BufWriter::new(list.as_file());
        let written = assignment.write(at, &pair.leave_out, SHOWN, &mut out)?;
        drop(out);
        if written.left_out.count > 0 {
            let text = pair.line(&format!(
                "{} on partitions that leave-out of the fleet file names: {}",
                are(written.left_out.count),
                written.left_out.text()
            ));
            if mailboxes.have_names() {
                return Err(Fail::new(Exit::Config, text));
            }
            Lines { quiet }.say(&text);
        }
        lists.push((list, written.count));
    }
    Targets::of_lists(pairs, mailboxes, lists).await
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
        let on = assignment.partition().map(|p| format!(" on partition {p}"));
        let on = on.unwrap_or_default();
        let text = format!(
            "no pair has {}{on}: {}",
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
            are(several.count),
            several.text()
        );
        return Err(Fail::new(Exit::Data, text));
    }
    Ok(())
}

fn are(count: u64) -> String {
    match count {
        1 => "1 mailbox is".to_owned(),
        n => format!("{n} mailboxes are"),
    }
}

fn mailboxes(count: u64) -> String {
    match count {
        1 => "1 of the mailboxes".to_owned(),
        n => format!("{n} of the mailboxes"),
    }
}

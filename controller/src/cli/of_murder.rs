//! What of a Murder each pair works on. A pair whose slotd is away gets its part once it is back.

use std::io::BufWriter;

use indexfile::exit::Exit;
use tempfile::NamedTempFile;
use tokio::sync::Mutex;

use super::args::Mailboxes;
use super::pairs::Pair;
use super::{Fail, text};
use crate::error::RunError;
use crate::fleet::{Compared, MurderList, Named, compare};
use crate::observer::Observer;
use crate::stop::StopSignal;
use crate::survey::Source;

/// The Murder, and each pair's part of it.
pub(super) struct OfMurder {
    /// Where its list comes from.
    pub(super) list: MurderList,
    /// The comparison.
    pub(super) compared: Compared,
    /// What of it was asked for.
    mailboxes: Mailboxes,
    /// A file each, which goes when this is dropped; `None` while its comparison is outstanding.
    parts: Vec<Mutex<Option<NamedTempFile>>>,
    /// How many mailboxes the parts have that are known.
    pub(super) count: u64,
    /// How many were left out when they were written.
    refused: u64,
}

impl OfMurder {
    /// Compares the list with what the slotds find.
    ///
    /// # Errors
    /// A list cannot be read to its end.
    pub(super) async fn of(
        list: MurderList,
        mailboxes: &Mailboxes,
        pairs: &[Pair],
        observer: &Lines,
        stop: &StopSignal,
    ) -> Result<Self, Fail> {
        let named: Vec<Named> = pairs.iter().map(Pair::named).collect();
        let compared = compare(&list, &named, observer, stop).await?;
        let files = pairs.iter().map(|_| NamedTempFile::new());
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let servers = pairs.iter().map(|pair| pair.servername.clone());
        let outs = files.iter().map(|file| BufWriter::new(file.as_file()));
        let mut outs: Vec<_> = servers.zip(outs).collect();
        let counts = compared.write(&mut outs)?;
        drop(outs);
        let parts = pairs.iter().zip(files).map(|(pair, file)| {
            let is_known = compared.outstanding(&pair.servername).is_none();
            Mutex::new(is_known.then_some(file))
        });
        Ok(Self {
            parts: parts.collect(),
            refused: compared.refused(),
            list,
            compared,
            mailboxes: mailboxes.clone(),
            count: counts.into_iter().sum(),
        })
    }

    /// A pair's part, by its place. If its comparison is outstanding, that is made up for now.
    ///
    /// # Errors
    /// Its slotd is still away, or its list cannot be compared.
    pub(super) async fn sources(
        &self,
        at: usize,
        pair: &Pair,
        observer: &dyn Observer,
        stop: &StopSignal,
    ) -> Result<Vec<Source>, RunError> {
        let mut part = self.parts[at].lock().await;
        let file = match part.as_mut() {
            Some(file) => file,
            None => part.insert(self.late(pair, observer, stop).await?),
        };
        let listed = Source::Listed(file.path().to_owned());
        pair.sources(&[self.mailboxes.keep(listed)]).await
    }

    async fn late(
        &self,
        pair: &Pair,
        observer: &dyn Observer,
        stop: &StopSignal,
    ) -> Result<NamedTempFile, RunError> {
        self.compared.catch_up(&pair.named(), stop).await?;
        let spool = |error: std::io::Error| RunError::Spool(error.to_string());
        let file = NamedTempFile::new().map_err(spool)?;
        let out = BufWriter::new(file.as_file());
        let mut outs = [(pair.servername.clone(), out)];
        let count = self.compared.write(&mut outs)?[0];
        drop(outs);
        observer.say(&format!(
            "it is compared with the Murder's list now, which leaves it {count} mailbox(es)"
        ));
        Ok(file)
    }

    /// Whether a run may begin.
    ///
    /// # Errors
    /// It may not, or has nothing to do.
    pub(super) fn check(&self) -> Result<(), Fail> {
        self.compared.check()?;
        if self.count == 0 && self.compared.all_outstanding().is_empty() {
            let text = "nothing to do: of the Murder's list no pair has a mailbox";
            return Err(Fail::new(Exit::Data, text));
        }
        Ok(())
    }

    /// Says how many mailboxes were left out about which a person has to decide; whether there are
    /// any.
    pub(super) fn tell_refused(&self) -> bool {
        // With the list of a pair that was away less may be in doubt; it was left out all the same.
        let refused = self.compared.refused().max(self.refused);
        if refused > 0 {
            text::note(&format!(
                "{refused} mailbox(es) of the Murder are left out, and a person has to decide \
                 about them: docs/murder.md"
            ));
        }
        refused > 0
    }
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

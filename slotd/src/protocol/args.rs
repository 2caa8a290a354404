//! The words of a command line, taken out one by one until none is left.

use indexfile::mailbox::MailboxName;

use super::compared::DigestRange;
use super::drained::DrainRequest;
use super::escape::{escape, unescape};
use super::pass::{PassLimits, Precompute};
use super::requests::{
    CommandError, Complete, ListRange, Named, Rehash, Repair, Upgrade, UuidSource, Write,
};

pub(super) fn bad<T>(text: impl Into<String>) -> Result<T, CommandError> {
    Err(CommandError::Bad(text.into()))
}

/// The words after the first: positional ones in order, then `key=value`.
pub(super) struct Args<'a> {
    pub(super) word: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Args<'a> {
    pub(super) fn new(line: &'a str) -> Args<'a> {
        let mut words = line.split(' ').filter(|w| !w.is_empty());
        Args {
            word: words.next().unwrap_or(""),
            rest: words.collect(),
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The first word that is left is a mailbox, whatever it looks like.
    pub(super) fn mailbox(&mut self) -> Result<MailboxName, CommandError> {
        if self.rest.is_empty() {
            return bad(format!(
                "{} needs a mailbox name",
                self.word.to_ascii_uppercase()
            ));
        }
        mailbox(self.rest.remove(0))
    }

    pub(super) fn named(&mut self) -> Result<Named, CommandError> {
        Ok(Named {
            mailbox: self.mailbox()?,
            partition: self.text("partition")?,
        })
    }

    pub(super) fn precompute(&mut self) -> Result<Precompute, CommandError> {
        if self.flag("stop") {
            return Ok(Precompute::Stop);
        }
        if !self.flag("start") {
            return Ok(Precompute::Ask);
        }
        let limits = PassLimits {
            jobs: self.number("jobs")?,
            max_rate: self.number("max_rate")?,
            all_messages: self.switch("all_messages")?,
        };
        if limits.jobs.is_some_and(|jobs| !(1..=1024).contains(&jobs)) {
            return bad("jobs= is a number from 1 to 1024");
        }
        if limits.max_rate == Some(0) {
            return bad("max_rate= is a number of bytes a second");
        }
        Ok(Precompute::Start(limits))
    }

    pub(super) fn upgrade(&mut self) -> Result<Upgrade, CommandError> {
        let mut upgrade = Upgrade::default();
        if let Some(first) = self.rest.first().filter(|w| !w.contains('=')) {
            let Ok(version) = first.parse() else {
                return bad(format!("{} is no index version", escape(first.as_bytes())));
            };
            upgrade.version = version;
            self.rest.remove(0);
        }
        upgrade.uuids = match self.text("uuids")?.as_deref() {
            None => UuidSource::Auto,
            Some("old") => UuidSource::Old,
            Some("cut") => UuidSource::Cut,
            Some(_) => return bad("uuids= is old or cut"),
        };
        upgrade.repair = match self.text("repair")?.as_deref() {
            None => None,
            Some("expunge") => Some(Repair::Expunge),
            Some(_) => return bad("repair= is expunge"),
        };
        upgrade.run = self.number("run")?.unwrap_or(0);
        upgrade.by_content = match self.text("compare")?.as_deref() {
            None => false,
            Some("content") => true,
            Some(_) => return bad("compare= is content"),
        };
        upgrade.rehash = match self.text("rehash")? {
            None => None,
            Some(word) => match Rehash::from_word(&word) {
                None => return bad("rehash= is report or fix"),
                Some(_) if upgrade.version < 10 || upgrade.uuids != UuidSource::Auto => {
                    return bad("rehash= goes with version 10, without uuids=");
                }
                rehash => rehash,
            },
        };
        Ok(upgrade)
    }

    pub(super) fn complete(&mut self) -> Result<Complete, CommandError> {
        let version = self.rest.first().and_then(|word| word.parse().ok());
        let Some(version) = version else {
            return bad("COMPLETE needs an index version");
        };
        self.rest.remove(0);
        let Some(mailboxes) = self.number("mailboxes")? else {
            return bad("COMPLETE needs mailboxes=");
        };
        Ok(Complete {
            version,
            mailboxes,
            dry_run: self.switch("dry_run")?,
        })
    }

    pub(super) fn drain(&mut self) -> Result<DrainRequest, CommandError> {
        let by = self.needed("by")?;
        let announce = self.text("announce")?;
        let shutdown = self.text("shutdown")?;
        for (key, text) in [
            ("by", Some(&by)),
            ("announce", announce.as_ref()),
            ("shutdown", shutdown.as_ref()),
        ] {
            let plain = |text: &String| {
                text.len() <= DrainRequest::MAX
                    && text.bytes().all(|b| matches!(b, b' '..=b'~'))
                    && text.trim() == text
            };
            if !text.is_none_or(plain) {
                let most = DrainRequest::MAX;
                return bad(format!(
                    "{key}= is one line of at most {most} printable ASCII characters"
                ));
            }
        }
        Ok(DrainRequest {
            by,
            announce,
            shutdown,
        })
    }

    pub(super) fn digest_range(&mut self) -> Result<DigestRange, CommandError> {
        let all = DigestRange::default();
        let range = DigestRange {
            from: self.number("from")?.unwrap_or(all.from),
            to: self.number("to")?.unwrap_or(all.to),
            parts: self.number("parts")?.unwrap_or(all.parts),
        };
        if !(1..=DigestRange::MAX_PARTS).contains(&range.parts) || range.from > range.to {
            return bad(format!(
                "parts= is 1 to {}, and from= not above to=",
                DigestRange::MAX_PARTS
            ));
        }
        Ok(range)
    }

    pub(super) fn list_range(&mut self) -> Result<ListRange, CommandError> {
        let after = match self.take("after") {
            Some(word) if !word.is_empty() => Some(mailbox(word)?),
            _ => None,
        };
        let partition = self.text("partition")?;
        let after = match (after, partition) {
            (Some(mailbox), partition) => Some(Named { mailbox, partition }),
            (None, None) => None,
            (None, Some(_)) => return bad("partition= goes with after="),
        };
        Ok(ListRange {
            after,
            only: self.text("only")?,
            max: self.number("max")?,
        })
    }

    /// Takes `key=...` out and gives its value as it came.
    fn take(&mut self, key: &str) -> Option<&'a str> {
        let is_key = |w: &&str| {
            w.split_once('=')
                .is_some_and(|(k, _)| k.eq_ignore_ascii_case(key))
        };
        let at = self.rest.iter().position(is_key)?;
        self.rest.remove(at).split_once('=').map(|(_, value)| value)
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, CommandError> {
        let Some(word) = self.take(key) else {
            return Ok(None);
        };
        let bytes = unescape(word).map_err(|e| CommandError::Bad(format!("{key}=: {e}")))?;
        match String::from_utf8(bytes) {
            Ok(text) if !text.is_empty() && !text.contains(|c: char| c.is_control()) => {
                Ok(Some(text))
            }
            _ => bad(format!("{key}= is empty or not plain text")),
        }
    }

    /// The value of a key that must be there.
    pub(super) fn needed(&mut self, key: &str) -> Result<String, CommandError> {
        match self.text(key)? {
            Some(text) => Ok(text),
            None => bad(format!("{} needs {key}=", self.word.to_ascii_uppercase())),
        }
    }

    pub(super) fn number<T: std::str::FromStr>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, CommandError> {
        let Some(word) = self.take(key) else {
            return Ok(None);
        };
        match word.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => bad(format!("{key}= is no number in range")),
        }
    }

    /// `epoch=`, which counts from 1.
    pub(super) fn epoch(&mut self) -> Result<Option<u64>, CommandError> {
        match self.number("epoch")? {
            Some(0) => bad("epoch= is a number above 0"),
            epoch => Ok(epoch),
        }
    }

    pub(super) fn switch(&mut self, key: &str) -> Result<bool, CommandError> {
        match self.take(key) {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => bad(format!("{key}= is 0 or 1")),
        }
    }

    /// Whether `key=0` is there; without it, what the key stands for is on.
    pub(super) fn off(&mut self, key: &str) -> Result<bool, CommandError> {
        match self.take(key) {
            None | Some("1") => Ok(false),
            Some("0") => Ok(true),
            Some(_) => bad(format!("{key}= is 0 or 1")),
        }
    }

    pub(super) fn write(&mut self) -> Result<Write, CommandError> {
        match self.take("write") {
            None | Some("always") => Ok(Write::Always),
            Some("auto") => Ok(Write::Auto),
            Some("never") => Ok(Write::Never),
            Some(_) => bad("write= is always, auto or never"),
        }
    }

    pub(super) fn flag(&mut self, word: &str) -> bool {
        let at = self.rest.iter().position(|w| w.eq_ignore_ascii_case(word));
        at.map(|at| self.rest.remove(at)).is_some()
    }

    /// Whatever is left was not understood.
    pub(super) fn finish(self) -> Result<(), CommandError> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => bad(format!(
                "{} does not take {}",
                self.word.to_ascii_uppercase(),
                escape(word.as_bytes())
            )),
        }
    }
}

fn mailbox(word: &str) -> Result<MailboxName, CommandError> {
    let bytes = unescape(word)
        .map_err(|e| CommandError::Mailbox(format!("{}: {e}", escape(word.as_bytes()))))?;
    MailboxName::from_bytes(&bytes).map_err(|e| CommandError::Mailbox(e.to_string()))
}

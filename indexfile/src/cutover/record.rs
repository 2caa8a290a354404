//! One record of version 10 as one of version 12 to 19.

use super::error::CutoverError;
use super::header::Counts;
use super::{Report, Sources};
use crate::cache_file::{CacheFile, offset_of};
use crate::date;
use crate::kind::FileKind;
use crate::layout::{Layout, RecordField as R, RecordSlots};
use crate::mailbox::HeaderFile;
use crate::reader::IndexFile;
use crate::record::{Record, flags};
use crate::seen::SeenRecord;
use crate::stream_copy::{GuidOut, RecordPlan};
use crate::sync_crc::Message;

/// The flags that 2.3 keeps in a record.
const FLAGS_OF_2_3: u32 = flags::ANSWERED | flags::FLAGGED | flags::DELETED | flags::DRAFT;
/// Bytes of an envelope in which its date is looked for.
const DATE: u32 = 1024;

/// Converts records and counts them.
#[derive(Debug)]
pub(super) struct RecordWriter<'a> {
    index: &'a IndexFile,
    expunge: Option<&'a IndexFile>,
    header: &'a HeaderFile,
    seen: Option<&'a SeenRecord>,
    plan: RecordPlan,
    slots: RecordSlots,
    report: Report,
}

impl<'a> RecordWriter<'a> {
    pub(super) fn new(sources: &Sources<'a>, to: &Layout) -> Self {
        let index = sources.index;
        Self {
            index,
            expunge: sources.expunge,
            header: &sources.header.file,
            seen: sources.seen,
            plan: RecordPlan::new(index.minor_version(), index.record_slots(), to),
            slots: to.record,
            report: Report::default(),
        }
    }

    pub(super) const fn report(&self) -> Report {
        self.report
    }

    /// Writes `record` into `out`, which is one record of the target long.
    pub(super) fn convert(
        &mut self,
        record: &Record<'_>,
        from: FileKind,
        cache: &mut CacheFile,
        out: &mut [u8],
    ) -> Result<(), CutoverError> {
        self.refuse(record, from)?;
        let uid = record.uid();
        let offset = offset_of(record, self.index.minor_version());
        let Some(cached) = cache.record(offset)? else {
            let path = cache.path().to_path_buf();
            return Err(CutoverError::Cache { path, uid, offset });
        };
        let internaldate = record.get(R::Internaldate).unwrap_or(0);
        let date = date::parse(date_of(cache.envelope(offset, DATE)?));
        let message = Message {
            uid,
            modseq: record.modseq().unwrap_or(0).max(1),
            last_updated: record.get(R::LastUpdated).unwrap_or(0),
            internaldate,
            system_flags: self.system_flags(record, from),
            guid: record.guid().padded(),
        };
        let cache_crc = cache.crc(cached)?;

        out.fill(0);
        self.plan.convert(record, GuidOut::Keep, out);
        let mut put = |field: R, value: u64| {
            // Each has the width of the source's field, or 32 bits.
            let _ = self
                .slots
                .get(field)
                .and_then(|slot| slot.write(out, value));
        };
        put(R::Gmtime, date.map_or(internaldate, u64::from));
        put(R::SystemFlags, message.system_flags.into());
        put(R::ContentLines, 0);
        // From 3.2 on the upper half of the word belongs to the offset.
        put(
            R::CacheVersion,
            record.get(R::CacheVersion).unwrap_or(0) & 0xffff,
        );
        put(R::Modseq, message.modseq);
        put(R::CacheCrc, cache_crc.into());
        if let Some(slot) = self.slots.get(R::RecordCrc) {
            let crc = crc32fast::hash(&out[..slot.offset.into()]);
            let _ = slot.write(out, crc.into());
        }

        let crc = message.crc(record.user_flag_numbers(), self.header);
        let path = || self.index.path().to_path_buf();
        let counted = self.report.counts.add(&message, record.size(), crc);
        counted.ok_or_else(|| CutoverError::TooMany { path: path() })?;
        self.report.zero_modseqs += u32::from(record.modseq() == Some(0));
        self.report.without_date += u32::from(date.is_none());
        Ok(())
    }

    fn refuse(&self, record: &Record<'_>, from: FileKind) -> Result<(), CutoverError> {
        let file = match from {
            FileKind::Index => self.index,
            FileKind::Expunge => self.expunge.unwrap_or(self.index),
        };
        let (uid, path) = (record.uid(), || file.path().to_path_buf());
        let last_uid = self.index.header().last_uid();
        if uid > last_uid {
            return Err(CutoverError::LastUid {
                path: path(),
                uid,
                last_uid,
            });
        }
        if record.guid().is_old_style() {
            return Err(CutoverError::OldStyleGuid { path: path(), uid });
        }
        let system_flags = record.system_flags();
        if system_flags & !FLAGS_OF_2_3 != 0 {
            return Err(CutoverError::NewerServer {
                path: path(),
                uid,
                system_flags,
            });
        }
        Ok(())
    }

    fn system_flags(&self, record: &Record<'_>, from: FileKind) -> u32 {
        let mut bits = record.system_flags() & FLAGS_OF_2_3;
        if self.seen.is_some_and(|seen| seen.contains(record.uid())) {
            bits |= flags::SEEN;
        }
        if from == FileKind::Expunge {
            bits |= flags::EXPUNGED;
        }
        bits
    }
}

impl Counts {
    /// Counts one record as it was written; `None` if there are too many.
    fn add(&mut self, message: &Message, size: u64, sync_crc: u32) -> Option<()> {
        let bits = message.system_flags;
        let one_if = |bit: u32| u32::from(bits & bit != 0);
        self.num_records = self.num_records.checked_add(1)?;
        self.highestmodseq = self.highestmodseq.max(message.modseq);
        if bits & flags::EXPUNGED != 0 {
            let last = u32::try_from(message.last_updated).unwrap_or(u32::MAX);
            self.first_expunged = match self.expunged {
                0 => last,
                _ => self.first_expunged.min(last),
            };
            self.expunged += 1;
            self.quota_expunged_used = self.quota_expunged_used.saturating_add(size);
            return Some(());
        }
        self.exists += 1;
        self.answered += one_if(flags::ANSWERED);
        self.flagged += one_if(flags::FLAGGED);
        self.deleted += one_if(flags::DELETED);
        self.unseen += 1 - one_if(flags::SEEN);
        self.quota_mailbox_used = self.quota_mailbox_used.saturating_add(size);
        if bits & flags::DELETED != 0 {
            self.quota_deleted_used = self.quota_deleted_used.saturating_add(size);
        }
        self.sync_crc ^= sync_crc;
        Some(())
    }
}

/// The date in an envelope, which begins with it: `("Mon, 17 Sep ..." "subject" ...`, or a literal,
/// or NIL.
fn date_of(envelope: &[u8]) -> &[u8] {
    let Some(rest) = envelope.strip_prefix(b"(") else {
        return &[];
    };
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        return quoted.split(|&c| c == b'"').next().unwrap_or_default();
    }
    let literal = rest.strip_prefix(b"{").and_then(|rest| {
        let end = rest.iter().position(|&c| c == b'\n')?;
        let (head, text) = (rest.get(..end)?, rest.get(end + 1..)?);
        let digits = head.iter().take_while(|c| c.is_ascii_digit()).count();
        let len = std::str::from_utf8(head.get(..digits)?)
            .ok()?
            .parse()
            .ok()?;
        text.get(..len)
    });
    literal.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::date_of;

    #[test]
    fn a_date_is_quoted_or_a_literal_or_not_there() {
        for (envelope, date) in [
            ("(\"17 Sep 2007\" \"Subject\" NIL)", "17 Sep 2007"),
            ("({11}\r\n17 Sep 2007 \"Subject\" NIL)", "17 Sep 2007"),
            ("({11+}\r\n17 Sep 2007", "17 Sep 2007"),
            ("({12}\r\n17 Sep 2007", ""),
            ("({}\r\n17 Sep 2007", ""),
            ("(NIL \"Subject\" NIL)", ""),
            ("(\"17 Sep 20", "17 Sep 20"),
            ("", ""),
        ] {
            assert_eq!(date_of(envelope.as_bytes()), date.as_bytes(), "{envelope}");
        }
    }
}

//! One index or expunge file by itself: records, checksums, counters.

use super::findings::Findings;
use crate::finding::Code;
use crate::kind::FileKind;
use crate::layout::{self, HeaderField as H};
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::flags;

/// What the records of a file add up to.
#[derive(Default)]
struct Sums {
    exists: u64,
    deleted: u64,
    answered: u64,
    flagged: u64,
    unseen: u64,
    quota: u64,
    largest_uid: u32,
    largest_modseq: u64,
    zero_modseqs: u64,
    expunged: u64,
    old_style: u64,
    old_style_expunged: u64,
}

impl Sums {
    fn add(&mut self, bits: u32, size: u64) {
        self.exists += 1;
        self.deleted += u64::from(bits & flags::DELETED != 0);
        self.answered += u64::from(bits & flags::ANSWERED != 0);
        self.flagged += u64::from(bits & flags::FLAGGED != 0);
        self.unseen += u64::from(bits & flags::SEEN == 0);
        self.quota = self.quota.saturating_add(size);
    }
}

/// Checks a file whose header could be read (see [`IndexFile::from_file_unverified`]).
pub fn check_index(index: &IndexFile, findings: &mut Findings) {
    findings.count_file();
    let path = index.path();
    let minor = index.minor_version();
    if let Some((stored, computed)) = index.header_crc().filter(|(s, c)| s != c) {
        let detail = format!("header_crc is {stored:08x}, the header's bytes give {computed:08x}");
        findings.push(Code::HeaderCrc, path, None, detail);
    }
    let header = index.header();
    let usual = layout::of(minor).map(|l| (l.header_size, l.record_size));
    if usual != Some((header.start_offset(), header.record_size())) {
        let detail = format!(
            "version {minor} with a header of {} and records of {} bytes",
            header.start_offset(),
            header.record_size()
        );
        findings.push(Code::OddSizes, path, None, detail);
    }
    if index.trailing_bytes() > 0 {
        let detail = format!("{} bytes after the last record", index.trailing_bytes());
        findings.push(Code::TrailingBytes, path, None, detail);
    }
    let (alive, all) = match sum(index, findings) {
        Ok(sums) => sums,
        // Of a part of the records nothing can be said.
        Err(error) => return findings.read_error(&error),
    };
    notes(index, &all, findings);
    counters(index, &alive, &all, findings);
}

/// Looks at each record; returns the sums of those not expunged and of all.
fn sum(index: &IndexFile, findings: &mut Findings) -> Result<(Sums, Sums), ReadError> {
    let path = index.path();
    let (mut alive, mut all) = (Sums::default(), Sums::default());
    let mut previous = 0;
    for (i, record) in (1_u64..).zip(index.records()) {
        let record = record?;
        let uid = record.uid();
        if uid == 0 {
            findings.push(Code::ZeroUid, path, None, format!("record {i} has UID 0"));
        } else if index.kind() == FileKind::Index && uid <= previous {
            findings.push(
                Code::UidOrder,
                path,
                Some(uid),
                format!("record {i} has UID {uid} after {previous}"),
            );
        }
        previous = previous.max(uid);
        if let Some((stored, computed)) = record.crc().filter(|(s, c)| s != c) {
            let detail =
                format!("record {i}: record_crc is {stored:08x}, its bytes give {computed:08x}");
            findings.push(Code::RecordCrc, path, Some(uid), detail);
        }
        let (bits, size) = (record.system_flags(), record.size());
        all.add(bits, size);
        if bits & flags::EXPUNGED == 0 {
            alive.add(bits, size);
        } else {
            all.expunged += 1;
            let unlinked = bits & flags::UNLINKED != 0;
            let old_style = !unlinked && record.guid().is_old_style();
            all.old_style_expunged += u64::from(old_style);
        }
        all.largest_uid = all.largest_uid.max(uid);
        all.largest_modseq = all.largest_modseq.max(record.modseq().unwrap_or(0));
        all.zero_modseqs += u64::from(record.modseq() == Some(0));
        all.old_style += u64::from(record.guid().is_old_style());
    }
    Ok((alive, all))
}

/// What is no damage.
fn notes(index: &IndexFile, all: &Sums, findings: &mut Findings) {
    let path = index.path();
    if all.zero_modseqs > 0 {
        findings.push(
            Code::ZeroModseq,
            path,
            None,
            format!("{} records with modseq 0", all.zero_modseqs),
        );
    }
    if all.old_style > 0 {
        let detail = format!(
            "{} of {} records have no whole SHA-1",
            all.old_style, all.exists
        );
        findings.push(Code::OldStyleGuids, path, None, detail);
    }
    if all.old_style_expunged > 0 && index.minor_version() >= 12 {
        let detail = format!(
            "{} expunged messages have no whole SHA-1",
            all.old_style_expunged
        );
        findings.push(Code::OldStyleExpunged, path, None, detail);
    }
    if all.expunged > 0 && index.minor_version() <= 10 {
        let detail = format!("{} records are marked expunged", all.expunged);
        findings.push(Code::ExpungedInside, path, None, detail);
    }
}

fn counters(index: &IndexFile, alive: &Sums, all: &Sums, findings: &mut Findings) {
    let (path, header) = (index.path(), index.header());
    let old = index.minor_version() <= 10;
    let mut compare = |code, field: H, alive: u64, all: u64| {
        let Some(stored) = header.get(field) else {
            return;
        };
        // Expunged records inside an old file are counted by some servers and not by others.
        if stored != alive && !(old && stored == all) {
            findings.push(
                code,
                path,
                None,
                format!("{} is {stored}, the records give {alive}", field.name()),
            );
        }
    };
    if !old {
        compare(Code::ExistsCount, H::Exists, alive.exists, all.exists);
        compare(Code::UnseenCount, H::Unseen, alive.unseen, all.unseen);
    }
    compare(Code::DeletedCount, H::Deleted, alive.deleted, all.deleted);
    compare(
        Code::AnsweredCount,
        H::Answered,
        alive.answered,
        all.answered,
    );
    compare(Code::FlaggedCount, H::Flagged, alive.flagged, all.flagged);
    compare(Code::QuotaSum, H::QuotaMailboxUsed, alive.quota, all.quota);
    if index.kind() == FileKind::Expunge {
        // Its last_uid and highestmodseq are those of the index on the day it was made.
        return;
    }
    if header.last_uid() < all.largest_uid {
        let detail = format!(
            "last_uid is {}, the largest UID is {}",
            header.last_uid(),
            all.largest_uid
        );
        findings.push(Code::LastUid, path, Some(all.largest_uid), detail);
    }
    if let Some(highest) = header
        .highestmodseq()
        .filter(|&h| h < all.largest_modseq.max(1))
    {
        let detail = format!(
            "highestmodseq is {highest}, the largest modseq is {}",
            all.largest_modseq
        );
        findings.push(Code::Highestmodseq, path, None, detail);
    }
}

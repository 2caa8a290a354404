//! Whether a mailbox is fit for Cyrus's own `reconstruct`, with `-V` or without.
//!
//! Of a mailbox that is not it takes messages for expunged and unlinks them, or fails, and says so
//! in neither case by its exit status. Seen on genuine 3.6.1 and 3.10.2.

use super::findings::Findings;
use super::messages::Seen;
use crate::finding::Code;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::flags;

/// Looks at what other checks let pass. `seen` is what there was of the message files.
pub(super) fn check_before_reconstruct(index: &IndexFile, seen: Seen, findings: &mut Findings) {
    let mut unfit = |detail: String| {
        findings.push(Code::ReconstructUnfit, index.path(), None, detail);
    };
    let minor = index.minor_version();
    if minor < 12 {
        unfit(format!(
            "version {minor}: a server of 2.5 and later unlinks the messages in cyrus.expunge, and \
             `reconstruct -V` to 12 and later fails where anything was seen; take `indexfile \
             convert --to 16`"
        ));
        return;
    }
    if seen.messages > 0 && seen.missing == seen.messages {
        unfit(format!(
            "none of {} message files is there: if their disk is not mounted, `reconstruct -V` \
             says Converted and marks all of them expunged",
            seen.messages
        ));
    }
    match old_style(index) {
        Ok(0) => {}
        Ok(count) => unfit(format!(
            "{count} messages have no whole SHA-1: `reconstruct -V` fails, `-G` asks for new UIDs"
        )),
        Err(error) => findings.read_error(&error),
    }
}

/// Messages not expunged whose GUID is no SHA-1; of the expunged there is a finding of its own.
fn old_style(index: &IndexFile) -> Result<u32, ReadError> {
    let mut count = 0;
    for record in index.records() {
        let record = record?;
        let live = record.system_flags() & flags::EXPUNGED == 0;
        count += u32::from(live && record.guid().is_old_style());
    }
    Ok(count)
}

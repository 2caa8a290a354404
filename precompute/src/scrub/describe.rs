//! The finding that a suspect turned out to be, in words.

use indexfile::finding::{Code, Compared, Finding};
use indexfile::mailbox::MetaFile;
use indexfile::{FileKind, Guid};

use super::observation::Observation;
use super::row::Row;
use crate::store::{Place, Target};

/// The finding about what was seen last.
pub(super) fn describe(mailbox: &Target, seen: &Observation) -> Finding {
    let row_place = || seen.row.map_or(Place::Data, |row| row.place());
    let dir = mailbox
        .location(seen.unlisted.unwrap_or_else(row_place))
        .path();
    let record = seen.row.filter(|_| seen.unlisted.is_none());
    let index = |row: Row| match row.kind {
        FileKind::Index => mailbox.dirs.file(MetaFile::Index),
        FileKind::Expunge => mailbox.dirs.file(MetaFile::Expunge),
    };
    let (code, path) = (
        seen.code.unwrap_or(Code::Unstable),
        dir.join(format!("{}.", seen.uid)),
    );
    Finding {
        compared: Box::new(Compared {
            uid: Some(seen.uid),
            index: record.map(index),
            record_guid: record.and_then(|row| row.guid),
            file_guid: seen.guid,
            record_size: record.map(|row| row.size),
            file_size: seen.file.map(|(size, _)| size),
        }),
        ..Finding::new(&mailbox.mailbox, code, path, &text(code, seen))
    }
}

fn text(code: Code, seen: &Observation) -> String {
    if let Some(text) = &seen.text {
        return text.clone();
    }
    let guid = |guid: Option<Guid>| guid.map_or_else(|| "unknown".to_owned(), |g| g.to_string());
    let record_guid = seen.row.and_then(|row| row.guid);
    let size = seen.file.map_or(0, |(size, _)| size);
    match code {
        Code::BitRot => format!(
            "its SHA-1 is {}, its record says {} ({size} bytes, as the record says)",
            guid(seen.guid),
            guid(record_guid)
        ),
        Code::Size => {
            let right = seen.guid.is_some() && seen.guid == record_guid;
            let same = if right {
                ", though the SHA-1 is right"
            } else {
                ""
            };
            let in_record = seen.row.map_or(0, |row| row.size);
            format!("it has {size} bytes, its record says {in_record}{same}")
        }
        Code::Missing => "no such message file".to_owned(),
        Code::Unlisted => format!("no record lists this file of {size} bytes"),
        Code::Duplicate => {
            "a second copy: its record says the message is in the other partition".to_owned()
        }
        Code::Unstable => format!(
            "it reads differently each time, last with SHA-1 {}",
            guid(seen.guid)
        ),
        code => code.to_string(),
    }
}

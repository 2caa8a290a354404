//! The finding that a suspect turned out to be, in words.

use indexfile::mailbox::MetaFile;
use indexfile::{FileKind, Guid};

use super::look::{Problem, Seen, Suspect};
use super::row::Row;
use crate::store::{Place, Target};
use indexfile::finding::{Code, Compared, Finding};

/// The finding that a suspect turned out to be.
pub(super) fn describe(mailbox: &Target, suspect: &Suspect) -> Finding {
    let Seen { row, problem, .. } = &suspect.seen;
    let place = suspect
        .stray
        .unwrap_or_else(|| row.map_or(Place::Data, |row| row.place()));
    let path = mailbox
        .location(place)
        .path()
        .join(format!("{}.", suspect.uid));
    let record = row.filter(|_| suspect.stray.is_none());
    let index = |row: Row| match row.kind {
        FileKind::Index => mailbox.dirs.file(MetaFile::Index),
        FileKind::Expunge => mailbox.dirs.file(MetaFile::Expunge),
    };
    Finding {
        compared: Box::new(Compared {
            uid: Some(suspect.uid),
            index: record.map(index),
            record_guid: record.and_then(|row| row.guid),
            file_guid: problem.file_guid,
            record_size: record.map(|row| row.size),
            file_size: problem.file_size,
        }),
        ..Finding::new(&mailbox.mailbox, problem.code, path, &text(problem, *row))
    }
}

fn text(problem: &Problem, row: Option<Row>) -> String {
    if let Some(text) = &problem.text {
        return text.clone();
    }
    let guid = |guid: Option<Guid>| guid.map_or_else(|| "unknown".to_owned(), |g| g.to_string());
    let in_record = row.map_or(0, |row| row.size);
    let record_guid = row.and_then(|row| row.guid);
    let size = problem.file_size.unwrap_or(0);
    match problem.code {
        Code::BitRot => format!(
            "its SHA-1 is {}, its record says {} ({size} bytes, as the record says)",
            guid(problem.file_guid),
            guid(record_guid)
        ),
        Code::Size => {
            let same = match (problem.file_guid, record_guid) {
                (Some(file), Some(record)) if file == record => ", though the SHA-1 is right",
                _ => "",
            };
            format!("it has {size} bytes, its record says {in_record}{same}")
        }
        Code::Missing => "no such message file".to_owned(),
        Code::Unlisted => format!("no record lists this file of {size} bytes"),
        Code::Duplicate => {
            "a second copy: its record says the message is in the other partition".to_owned()
        }
        Code::Unstable => format!(
            "it reads differently each time, last with SHA-1 {}",
            guid(problem.file_guid)
        ),
        code => code.to_string(),
    }
}

//! A suspect that turned out to be damage, in words.

use indexfile::FileKind;

use super::finding::{Code, Finding};
use super::look::{Problem, Seen, Suspect};
use super::mailbox::Mailbox;
use super::row::{Place, Row};

/// The finding that a suspect turned out to be.
pub(super) fn finding(mailbox: &Mailbox, suspect: &Suspect) -> Finding {
    let Seen { row, problem, .. } = &suspect.seen;
    let place = suspect
        .stray
        .unwrap_or_else(|| row.map_or(Place::Data, |row| row.place()));
    let path = mailbox.dir(place).join(format!("{}.", suspect.uid));
    let index = row
        .filter(|_| suspect.stray.is_none())
        .map(|row| match row.kind {
            FileKind::Index => mailbox.index.clone(),
            FileKind::Expunge => mailbox.expunge.clone(),
        });
    let mut finding = Finding::new(problem.code, &mailbox.name, path, text(problem, *row));
    finding.uid = Some(suspect.uid);
    if suspect.stray.is_none() {
        finding.record_guid = row.and_then(|row| row.guid);
        finding.record_size = row.map(|row| row.size);
    }
    finding.index = index;
    finding.file_guid = problem.file_guid;
    finding.file_size = problem.file_size;
    finding
}

fn text(problem: &Problem, row: Option<Row>) -> String {
    if let Some(text) = &problem.text {
        return text.clone();
    }
    let guid = |guid: Option<indexfile::Guid>| {
        guid.map_or_else(|| "unknown".to_owned(), |g| g.to_string())
    };
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

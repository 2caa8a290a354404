//! What IMAP has to say of a store of Cyrus 2.3, worked out before anything is done to it.
//!
//! Nothing of the code under test is used: the judge's parser reads index and expunge file, the
//! messages are the files themselves, and seen databases are read by Cyrus's own `cyr_dbtool`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::imap::{Mailbox, Message};
use super::user;
use crate::process::Guard;
use stores::judge::image::{Image, hex, long, sha1_of, word};
use stores::{Dirs, Host};

/// Bits of `system_flags` in 2.3; `\Seen` lies elsewhere.
const SYSTEM: [(u32, &str); 4] = [
    (1, "\\Answered"),
    (2, "\\Flagged"),
    (4, "\\Deleted"),
    (8, "\\Draft"),
];

/// Messages that a user has seen, by unique id of the mailbox.
pub type Seen = BTreeMap<String, SeenIn>;

/// What a seen database says of one mailbox.
#[derive(Clone, Debug, Default)]
pub struct SeenIn {
    last_uid: u32,
    sequence: String,
}

/// Reads a seen database, or a copy of it: `cyr_dbtool` may write to what it opens.
///
/// # Panics
/// If `cyr_dbtool` cannot read it.
#[must_use]
pub fn seen_by(database: &Path) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.seen");
    fs::copy(database, &copy).unwrap();
    let conf = dir.path().join("imapd.conf");
    let text = format!("configdirectory: {}\n", dir.path().display());
    fs::write(&conf, text + "partition-default: /nowhere\n").unwrap();
    user::give_to_cyrus(dir.path());
    let mut command = user::as_cyrus(&user::tool("cyr_dbtool"));
    command
        .arg("-C")
        .arg(&conf)
        .arg(&copy)
        .args(["skiplist", "show"]);
    let said = Guard::spawn(&mut command).finish().expect_code(0);
    let records = said.stdout.lines().map(|line| {
        let (uniqueid, value) = line.split_once('\t').unwrap();
        // version, last read, last UID, last change, UIDs
        let words: Vec<&str> = value.split(' ').collect();
        let seen = SeenIn {
            last_uid: words[2].parse().unwrap(),
            sequence: words.get(4).copied().unwrap_or_default().to_owned(),
        };
        (uniqueid.to_owned(), seen)
    });
    records.collect()
}

impl SeenIn {
    fn has(&self, uid: u32) -> bool {
        self.sequence.split(',').filter(|s| !s.is_empty()).any(|s| {
            let (from, to) = s.split_once(':').unwrap_or((s, s));
            (from.parse().unwrap()..=to.parse().unwrap()).contains(&uid)
        })
    }
}

/// A line of cyrus.header, from 0. The fourth is quota root and unique id, the fifth the keywords.
fn header_line(dirs: &Dirs, n: usize) -> String {
    let header = fs::read(dirs.file("cyrus.header")).unwrap();
    let line = header.split(|b| *b == b'\n').nth(n).unwrap();
    String::from_utf8_lossy(line).into_owned()
}

/// The unique id in cyrus.header.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn unique_id(dirs: &Dirs) -> String {
    let line = header_line(dirs, 3);
    line.split('\t').nth(1).unwrap().to_owned()
}

/// A mailbox as the user whose seen database `seen` is must find it.
///
/// # Panics
/// If a file cannot be read.
#[must_use]
pub fn mailbox(dirs: &Dirs, seen: &Seen) -> Mailbox {
    let index = read(dirs, "cyrus.index").expect("no cyrus.index");
    let seen = seen.get(&unique_id(dirs)).cloned().unwrap_or_default();
    let keywords = header_line(dirs, 4);
    let keywords: Vec<&str> = keywords.split_whitespace().collect();
    let message = |record: &[u8]| {
        let uid = Image::uid(record);
        let bytes = fs::read(dirs.data.join(format!("{uid}."))).unwrap();
        Message {
            uid,
            flags: flags(record, &keywords, &seen),
            internaldate: internaldate(word(record, 4)),
            // 2.3 counts from 0 where CONDSTORE was never asked for, later servers from 1.
            modseq: Image::lasting(record).1.max(1),
            size: bytes.len(),
            sha1: hex(&sha1_of(&bytes)),
        }
    };
    Mailbox {
        uidvalidity: word(index.header(), 44),
        uidnext: word(index.header(), 28) + 1,
        highestmodseq: long(index.header(), 68).max(1),
        messages: index.records().map(message).collect(),
    }
}

/// SHA-1 of each expunged message of a mailbox, by UID.
///
/// # Panics
/// If a file cannot be read.
#[must_use]
pub fn expunged(dirs: &Dirs) -> BTreeMap<u32, String> {
    let file = read(dirs, "cyrus.expunge");
    let uids = file.iter().flat_map(Image::records).map(Image::uid);
    let sha1 = |uid| {
        hex(&sha1_of(
            &fs::read(dirs.data.join(format!("{uid}."))).unwrap(),
        ))
    };
    uids.map(|uid| (uid, sha1(uid))).collect()
}

/// Every message file of a store, by path below the partition, and its SHA-1.
///
/// # Panics
/// If a file cannot be read.
#[must_use]
pub fn message_files(host: &Host) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut todo = vec![host.data.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let number = name.strip_suffix('.').map(str::parse::<u32>);
            if path.is_dir() {
                todo.push(path);
            } else if matches!(number, Some(Ok(_))) {
                let below = path.strip_prefix(&host.data).unwrap().display().to_string();
                files.insert(below, hex(&sha1_of(&fs::read(&path).unwrap())));
            }
        }
    }
    files
}

/// The users who may read each mailbox, by the text dump of mailboxes.db; users are `known`.
///
/// # Panics
/// If a line is not understood.
#[must_use]
pub fn readers(list: &Path, known: &[&str]) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(list).unwrap();
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split('\t').collect();
        let rights = words[2..].chunks_exact(2);
        let who = rights
            .filter(|pair| pair[1].contains('r'))
            .map(|pair| pair[0]);
        let who: Vec<&str> = who.collect();
        let may = known
            .iter()
            .filter(|user| who.iter().any(|w| w == *user || *w == "anyone"));
        (
            words[0].to_owned(),
            may.map(|&user| user.to_owned()).collect(),
        )
    });
    lines.collect()
}

fn read(dirs: &Dirs, name: &str) -> Option<Image> {
    let bytes = fs::read(dirs.file(name)).ok()?;
    Some(Image::parse(bytes).unwrap_or_else(|e| panic!("{}: {e}", dirs.file(name).display())))
}

fn flags(record: &[u8], keywords: &[&str], seen: &SeenIn) -> BTreeSet<String> {
    let uid = Image::uid(record);
    let system = SYSTEM.iter().filter(|(bit, _)| word(record, 32) & bit != 0);
    let mut flags: BTreeSet<String> = system.map(|(_, name)| (*name).to_owned()).collect();
    let kept = (0..128).filter(|n| word(record, 36 + n / 32 * 4) >> (n % 32) & 1 == 1);
    flags.extend(kept.map(|n| keywords[n].to_owned()));
    if seen.has(uid) {
        flags.insert("\\Seen".to_owned());
    }
    if uid > seen.last_uid {
        flags.insert("\\Recent".to_owned());
    }
    flags
}

/// Seconds since 1970 as IMAP writes them, in UTC: `" 4-Nov-2007 01:57:00 +0000"`.
fn internaldate(seconds: u32) -> String {
    const MONTHS: [(&str, u32); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    // No year between 1970 and 2106 but 2100 breaks the rule of four.
    let leap = |year: u32| u32::from(year.is_multiple_of(4) && year != 2100);
    let mut year = 1970;
    while day >= 365 + leap(year) {
        day -= 365 + leap(year);
        year += 1;
    }
    let mut month = "Dec";
    for (name, days) in MONTHS {
        let days = days + u32::from(name == "Feb") * leap(year);
        if day < days {
            month = name;
            break;
        }
        day -= days;
    }
    let [hour, minute, second] = [second / 3600, second / 60 % 60, second % 60];
    let day = day + 1;
    format!("{day:2}-{month}-{year} {hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::internaldate;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(internaldate(0), " 1-Jan-1970 00:00:00 +0000");
        assert_eq!(
            internaldate(1_194_134_400 + 84),
            " 4-Nov-2007 00:01:24 +0000"
        );
        assert_eq!(internaldate(951_782_400), "29-Feb-2000 00:00:00 +0000");
        assert_eq!(internaldate(1_798_675_200), "31-Dec-2026 00:00:00 +0000");
    }
}

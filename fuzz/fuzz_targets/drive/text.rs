//! What the targets `header`, `sha1s`, `imapd_conf` and `list` do with their bytes: files that say
//! where mailboxes are and what is in them. `cargo test` replays their corpora through the same
//! code (`indexfile/tests/fuzz_corpus.rs`).

#![allow(dead_code)] // each target drives one of these

use indexfile::cutover::HeaderImage;
use indexfile::mailbox::list::{Item, ListError, Reader};
use indexfile::mailbox::{HeaderFile, ImapdConf, MailboxName};
use indexfile::sha1s::Cache;
use sha1::{Digest as _, Sha1};
use std::io::BufReader;
use std::path::{Component, Path};

/// The file.
pub fn header(data: &[u8]) {
    let path = Path::new("cyrus.header");
    match HeaderFile::parse(data) {
        Ok(header) => {
            assert!(header.user_flags.len() <= 128);
            for text in header.user_flags.iter().flatten() {
                // A byte that is no text is shown by three.
                assert!(text.len() <= 3 * data.len());
            }
        }
        Err(error) => one_line(&error.to_string()),
    }
    if let Err(error) = HeaderImage::new(data, path) {
        one_line(&error.to_string());
    }
}

/// First byte: whether the checksums are set right, so that what lies behind them is reached. The
/// rest is the file. What can be read by position is what is read from the first to the last.
pub fn sha1s(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    let mut file = rest.to_vec();
    if mode & 1 == 1 {
        let _ = seal_sha1s(&mut file);
    }
    match Cache::from_bytes(file, Path::new("cyrus.sha1s")) {
        Ok(cache) => {
            assert_eq!(cache.iter().count(), cache.len());
            assert!(
                cache
                    .iter()
                    .map(Result::unwrap)
                    .all(|entry| cache.get(entry.uid) == Some(entry))
            );
        }
        Err(error) => one_line(&error.to_string()),
    }
}

/// Computes the checksums of header, blocks and the whole, as far as there are any.
fn seal_sha1s(file: &mut [u8]) -> Option<()> {
    let word = |file: &[u8], at: usize| Some(u32::from_be_bytes(*file.get(at..)?.first_chunk()?));
    put_crc32(file, 0, 104)?;
    let (mut left, block) = (word(file, 28)? as usize, word(file, 32)? as usize);
    let mut at = 108;
    while left > 0 && block > 0 {
        let records = left.min(block);
        let end = records.checked_mul(56)?.checked_add(at)?;
        put_crc32(file, at, end)?;
        (at, left) = (end + 4, left - records);
    }
    let digest = Sha1::digest(file.get(..at)?);
    file.get_mut(at..at + 20)?.copy_from_slice(&digest);
    Some(())
}

/// Puts the checksum of what lies before it there.
fn put_crc32(file: &mut [u8], from: usize, at: usize) -> Option<()> {
    let crc = crc32fast::hash(file.get(from..at)?);
    let place = file.get_mut(at..at + 4)?;
    place.copy_from_slice(&crc.to_be_bytes());
    Some(())
}

/// The file. Whatever it says, a mailbox has its directory beneath a root that it names, and a user
/// the seen database beneath the `configdirectory`.
pub fn imapd_conf(data: &[u8]) {
    let Ok(conf) = ImapdConf::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    let naming = conf.naming();
    for text in ["user.joe.Drafts", "user/joe/Drafts@example.com", "shared"] {
        let Ok(name) = MailboxName::from_admin(text, &naming) else {
            continue;
        };
        for partition in conf.partitions() {
            let Ok(dirs) = conf.dirs(&name, &partition.name) else {
                continue;
            };
            beneath(&dirs.data().sub);
            assert!(dirs.data().root.is_absolute(), "{dirs:?}");
        }
        for shared in [false, true] {
            if let Some(path) = conf.seen_path(&name, shared) {
                let root = conf.config_directory().expect("it lies there");
                beneath(path.strip_prefix(root).expect("it lies there"));
            }
        }
    }
}

fn beneath(sub: &Path) {
    let mut parts = sub.components();
    assert!(
        parts.all(|c| matches!(c, Component::Normal(_))),
        "{}",
        sub.display()
    );
}

/// First byte: into how long pieces the rest, a list, comes. Each line is a mailbox, is skipped, or
/// is bad; however the list comes, it says the same.
pub fn list(data: &[u8]) {
    let Some((&piece, rest)) = data.split_first() else {
        return;
    };
    let whole = read(rest, rest.len());
    assert_eq!(whole, read(rest, usize::from(piece)));
    let (items, error) = whole;
    let lines = rest.split(|&b| b == b'\n').count();
    assert!(items.len() <= lines, "{} of {lines}", items.len());
    for item in &items {
        match item {
            Item::Mailbox { name, .. } => {
                assert_eq!(MailboxName::parse(name.as_str()).as_ref(), Ok(name));
            }
            Item::Bad { line, what } => {
                assert!((1..=lines as u64).contains(line));
                one_line(what);
            }
            Item::ByUniqueId { .. } | Item::Skipped(_) => {}
        }
    }
    if let Some(error) = error {
        one_line(&error);
    }
}

fn read(list: &[u8], piece: usize) -> (Vec<Item>, Option<String>) {
    let mut items = Vec::new();
    for entry in Reader::new(BufReader::with_capacity(piece.max(1), list)) {
        match entry {
            Ok(item) => items.push(item),
            Err(error @ (ListError::Line { .. } | ListError::Io { .. })) => {
                return (items, Some(error.to_string()));
            }
            Err(error) => panic!("{error}"),
        }
    }
    (items, None)
}

/// What a person is shown makes no second line, and moves no cursor.
fn one_line(text: &str) {
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}

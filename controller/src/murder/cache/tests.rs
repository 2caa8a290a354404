//! A kept list comes back as it was, or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn entries() -> Vec<Entry> {
    let mailbox = |name: &[u8], location: &[u8]| Entry::Mailbox {
        name: name.to_vec(),
        location: location.to_vec(),
        acl: Vec::new(),
    };
    vec![
        mailbox(b"user.joe.With space &AOk-", b"be1.test!a b"),
        mailbox(b"user.caf\xe9\n\0%", b"lone"),
        mailbox(b"", b""),
        mailbox(&[b'\xff'; MAX_STRING], &[b'\xff'; MAX_STRING]),
        Entry::Reserve {
            name: b"user.bob".to_vec(),
            location: b"be2.test!p2".to_vec(),
        },
    ]
}

fn origin() -> Origin {
    Origin {
        source: "mupdate://mupdate.test:3905 (mupdate.test, Cyrus IMAP 3.6.1 (master))".to_owned(),
        time: "2026-11-27T15:00:00Z".parse().unwrap(),
    }
}

fn write(path: &Path, entries: &[Entry]) {
    let mut writer = CacheWriter::create(path, &origin()).unwrap();
    for entry in entries {
        writer.add(entry).unwrap();
    }
    writer.finish().unwrap();
}

fn read(path: &Path) -> Result<Vec<Entry>, CacheError> {
    let mut reader = CacheReader::open(path)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        entries.push(entry);
    }
    assert!(reader.next()?.is_none());
    Ok(entries)
}

#[test]
fn it_comes_back_with_where_it_is_from_and_how_old_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list");
    write(&path, &entries());
    assert_eq!(read(&path).unwrap(), entries());
    let reader = CacheReader::open(&path).unwrap();
    assert_eq!(*reader.origin(), origin());
    let now = "2026-11-29T18:00:00Z".parse().unwrap();
    let sentence = reader.origin().sentence(now);
    assert!(
        sentence.starts_with("the list of mailboxes is a kept one, 2d03h old: mupdate://mupdate"),
        "{sentence}"
    );
    let before = "2020-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(reader.origin().age(before), Duration::ZERO);
    // Nobody else needs to read which mailboxes there are.
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    write(&path, &[]);
    assert_eq!(read(&path).unwrap(), []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_list_that_did_not_come_to_its_end_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list");
    write(&path, &entries());
    let mut writer = CacheWriter::create(&path, &origin()).unwrap();
    writer.add(&entries()[0]).unwrap();
    drop(writer);
    assert_eq!(read(&path).unwrap(), entries());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list");
    write(&path, &entries()[..2]);
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.exit(), Exit::Data, "{end}: {error}");
        assert!(
            error.to_string().contains("/list is no whole list"),
            "{error}"
        );
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.exit(), Exit::Data, "{at}: {error}");
    }
    for more in [&b"x"[..], b"\n", b"end 2 x\n"] {
        fs::write(&path, [&whole, more].concat()).unwrap();
        assert!(read(&path).is_err());
    }
    let long = format!(
        "{FORMAT}\nsource x\ntime 2026-11-27T15:00:00Z\n{}\n",
        "x".repeat(30_000)
    );
    fs::write(&path, long).unwrap();
    assert!(
        read(&path)
            .unwrap_err()
            .to_string()
            .ends_with("line 4: the line has no end")
    );
}

#[test]
fn what_is_not_there_or_cannot_be_written_is_named() {
    let error = CacheReader::open(Path::new("/nonexistent/list")).unwrap_err();
    assert_eq!(error.exit(), Exit::Data);
    assert!(error.to_string().contains("/nonexistent/list"), "{error}");
    let error = CacheWriter::create(Path::new("/nonexistent/list"), &origin()).unwrap_err();
    assert_eq!(error.exit(), Exit::Io);
    assert!(error.to_string().contains("/nonexistent/list"), "{error}");
}

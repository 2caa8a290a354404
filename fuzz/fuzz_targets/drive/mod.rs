//! What each fuzz target does with its bytes. `cargo test` replays the corpus through the same code
//! (`indexfile/tests/fuzz_corpus.rs`).

#![allow(dead_code)] // each target drives one of these

use indexfile::cache_file::CacheFile;
use indexfile::check::{
    Findings, Severity, check_cache_bytes, check_index, check_pair, repair_expunge,
};
use indexfile::cutover::{self, CutoverError, HeaderImage, Sources};
use indexfile::mailbox::{ImapdConf, MailboxName, name_of_dir};
use indexfile::{Decision, FileKind, IndexFile, RecordField, StreamCopy, flags, seen};
use std::convert::Infallible;
use std::path::Path;

const PATH: &str = "cyrus.index";

fn kind(byte: u8) -> FileKind {
    if byte & 1 == 0 {
        FileKind::Index
    } else {
        FileKind::Expunge
    }
}

/// First byte: which reader. The rest is the file.
pub fn reader(data: &[u8]) {
    let Some((&which, rest)) = data.split_first() else {
        return;
    };
    match which & 7 {
        4 => name(rest),
        _ => index(rest, kind(which)),
    }
}

fn index(bytes: &[u8], kind: FileKind) {
    if let Ok(file) = IndexFile::from_bytes_unverified(bytes.to_vec(), Path::new(PATH), kind) {
        let header = file.header();
        let fields: u64 = header.fields().fold(0, |n, (_, v)| n ^ v);
        std::hint::black_box((
            fields,
            header.exists(),
            header.last_uid(),
            header.highestmodseq(),
        ));
        assert_eq!(file.records().len(), file.num_records() as usize);
        for record in file.records().map(Result::unwrap) {
            let numbers = RecordField::ALL
                .iter()
                .filter_map(|&f| record.get(f))
                .fold(0, |n, v| n ^ v);
            std::hint::black_box((numbers, record.guid(), record.user_flag_numbers().count()));
        }
        if file.verify().is_ok() {
            for record in file.records().map(Result::unwrap) {
                let found = file.find_uid(record.uid()).unwrap().map(|r| r.uid());
                assert_eq!(found, Some(record.uid()));
            }
        }
    }
}

fn name(bytes: &[u8]) {
    let Ok(name) = MailboxName::from_bytes(bytes) else {
        return;
    };
    assert_eq!(
        MailboxName::from_uri_escaped(&name.uri_escaped()).as_ref(),
        Ok(&name)
    );
    for conf in [
        "partition-p: /p",
        "partition-p: /p\nhashimapspool: on\nvirtdomains: on",
        "partition-p: /p\nhashimapspool: on\nfulldirhash: on\nvirtdomains: userid",
    ] {
        let conf = ImapdConf::parse(conf).expect("sound");
        let Ok(dirs) = conf.dirs(&name, "p") else {
            continue;
        };
        let sub = &dirs.data().sub;
        assert!(
            sub.components()
                .all(|c| matches!(c, std::path::Component::Normal(_))),
            "{}",
            sub.display()
        );
        // With domains on, a mailbox called domain.x may share its directory with one of a domain.
        let back = name_of_dir(&conf, "p", sub).expect("a directory leads back to a name");
        assert!(
            back == name || name.components().next() == Some("domain"),
            "{back} {name}"
        );
    }
}

/// First byte: target version; second: kind and whether losses are allowed. The rest is the file.
pub fn convert(data: &[u8]) {
    let [to, mode, rest @ ..] = data else { return };
    let to = 6 + u32::from(to % 5);
    let kind = kind(*mode);
    let lossy = mode & 2 != 0;
    let Ok(source) = IndexFile::from_bytes(rest.to_vec(), Path::new(PATH), kind) else {
        return;
    };
    let keep = |_: indexfile::Record<'_>| Ok::<_, Infallible>(Decision::Keep);
    let copy = StreamCopy::new(&source).to_version(to).lossy(lossy);
    let mut out = Vec::new();
    let Ok(report) = copy.write(&mut out, keep) else {
        assert!(out.is_empty());
        return;
    };
    assert_eq!(copy.output_len(), Some(out.len() as u64));
    let written = IndexFile::from_bytes(out.clone(), Path::new(PATH), kind)
        .expect("what is written is sound");
    assert_eq!(written.minor_version(), to);
    assert_eq!(written.records().len(), source.records().len());
    for (old, new) in source
        .records()
        .map(Result::unwrap)
        .zip(written.records().map(Result::unwrap))
    {
        assert_eq!(old.bytes()[..52], new.bytes()[..52]);
        assert!(
            old.modseq().is_none()
                || new.modseq().is_none()
                || old.modseq().max(Some(1)) == new.modseq().max(Some(1))
        );
    }
    // Once written, going up to 10 and back loses nothing but what an upgrade is meant to change.
    if report.zero_modseqs == 0
        && written
            .records()
            .map(Result::unwrap)
            .all(|r| r.modseq() != Some(0))
    {
        let mut ten = Vec::new();
        StreamCopy::new(&written)
            .to_version(10)
            .write(&mut ten, keep)
            .expect("upgrade");
        let ten = IndexFile::from_bytes(ten, Path::new(PATH), kind).expect("sound");
        let mut back = Vec::new();
        let lossless = StreamCopy::new(&ten).to_version(to).write(&mut back, keep);
        if lossless.is_ok() && spares_are_zero(&written) {
            assert!(back == out, "up and down is the identity");
        }
    }
}

/// Spare bytes that only some versions have cannot survive a detour.
fn spares_are_zero(file: &IndexFile) -> bool {
    let end = file
        .header()
        .slots()
        .present()
        .last()
        .map_or(0, |(_, s)| s.end());
    let options = file
        .header()
        .get(indexfile::HeaderField::Options)
        .unwrap_or(0);
    file.header().bytes()[end..].iter().all(|&b| b == 0)
        && (file.minor_version() >= 8 || options <= 1)
}

/// Two lengths of 16 bits, then an index, an expunge file and a cache.
pub fn check(data: &[u8]) {
    let [a, b, c, d, rest @ ..] = data else {
        return;
    };
    let (first, second) = (
        usize::from(u16::from_be_bytes([*a, *b])),
        usize::from(u16::from_be_bytes([*c, *d])),
    );
    let (index, rest) = rest.split_at(first.min(rest.len()));
    let (expunge, cache) = rest.split_at(second.min(rest.len()));
    let open = |bytes: &[u8], kind: FileKind| {
        IndexFile::from_bytes_unverified(bytes.to_vec(), Path::new(kind.file_name()), kind).ok()
    };
    let mut findings = Findings::new();
    let index = open(index, FileKind::Index);
    let expunge = open(expunge, FileKind::Expunge);
    let all: Vec<&IndexFile> = index.iter().chain(&expunge).collect();
    for index in &all {
        check_index(index, &mut findings);
    }
    check_cache_bytes(cache, Path::new("cyrus.cache"), &all, &mut findings);
    if let (Some(index), Some(expunge)) = (&index, &expunge) {
        check_pair(index, expunge, &mut findings);
        let mut out = Vec::new();
        if index.verify().is_ok()
            && expunge.verify().is_ok()
            && repair_expunge(index, expunge, &mut out).is_ok()
        {
            let repaired = open(&out, FileKind::Expunge).expect("what is repaired can be read");
            assert!(repaired.verify().is_ok() && repaired.minor_version() == index.minor_version());
            assert_eq!(repaired.records().len(), expunge.records().len());
        }
    }
    assert!(findings.list().len() <= 20 * 12 * 4);
}

/// The mailbox whose record is looked for.
const UNIQUEID: &str = "6t1vo4vdbkrdyc31bte53jwh";

/// First byte: whether the checksums of a twoskip file are set right, so that what lies behind them
/// is reached. The rest is the file.
pub fn seen(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    let mut file = rest.to_vec();
    if mode & 1 == 1 {
        let _ = seal_twoskip(&mut file);
    }
    if let Ok(Some(record)) = seen::from_bytes(&file, Path::new("joe.seen"), UNIQUEID) {
        let uids = [0, 1, record.last_uid, u32::MAX];
        std::hint::black_box(uids.map(|uid| record.contains(uid)));
    }
}

/// Computes the checksums of header and records, one record after the other, as far as there are
/// any.
fn seal_twoskip(file: &mut [u8]) -> Option<()> {
    fn put(file: &mut [u8], at: usize, crc: u32) -> Option<()> {
        file.get_mut(at..at + 4)?
            .copy_from_slice(&crc.to_be_bytes());
        Some(())
    }
    let crc = crc32fast::hash(file.get(..60)?);
    put(file, 60, crc)?;
    let mut at = 64;
    loop {
        let head = file.get(at..at + 8)?;
        let key = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let pointers = at + 8 + 8 * (1 + usize::from(head[1]));
        let crc = crc32fast::hash(file.get(at..pointers)?);
        put(file, pointers, crc)?;
        let end = pointers + 8 + key.checked_add(value)?.checked_next_multiple_of(8)?;
        let crc = crc32fast::hash(file.get(pointers + 8..end)?);
        put(file, pointers + 4, crc)?;
        at = end;
    }
}

/// First byte: target version; three lengths of 16 bits; then an index, an expunge file, a cache
/// and the owner's seen record.
pub fn cutover(data: &[u8]) {
    const HEADER: &[u8] = include_bytes!("../../../fixtures/cyrus-2.3.16/a-v9-before/cyrus.header");
    let Some(([to, lengths @ ..], mut rest)) = data.split_first_chunk::<7>() else {
        return;
    };
    let to = 12 + u32::from(to % 8);
    let mut parts = lengths.chunks_exact(2).map(|len| {
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        let (part, more) = rest.split_at(len.min(rest.len()));
        rest = more;
        part
    });
    let [index, expunge, cache] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let open = |bytes: &[u8], kind: FileKind| {
        IndexFile::from_bytes(bytes.to_vec(), Path::new(kind.file_name()), kind).ok()
    };
    let Some(index) = open(index, FileKind::Index) else {
        return;
    };
    let expunge = open(expunge, FileKind::Expunge);
    let header = HeaderImage::new(HEADER, Path::new("cyrus.header")).expect("sound");
    let line = [UNIQUEID.as_bytes(), b"\t", rest, b"\n"].concat();
    let seen = seen::from_bytes(&line, Path::new("joe.seen"), UNIQUEID).unwrap_or_default();
    let sources = Sources {
        index: &index,
        expunge: expunge.as_ref(),
        header: &header,
        cache: &mut CacheFile::from_bytes(cache, Path::new("cyrus.cache")),
        seen: seen.as_ref(),
    };
    let mut out = std::io::Cursor::new(Vec::new());
    let report = match cutover::write(sources, to, 1, &mut out) {
        Ok(report) => report,
        Err(error) => return assert!(!matches!(error, CutoverError::Write(_)), "{error}"),
    };
    let written = IndexFile::from_bytes(out.into_inner(), Path::new(PATH), FileKind::Index)
        .expect("what is written is sound");
    assert_eq!(written.minor_version(), to);
    assert_eq!(written.num_records(), report.counts.num_records);
    let mut findings = Findings::new();
    check_index(&written, &mut findings);
    check_cache_bytes(cache, Path::new("cyrus.cache"), &[&written], &mut findings);
    assert!(findings.worst() < Some(Severity::Warning), "{findings:?}");
    let records = |file: &IndexFile| file.records().map(Result::unwrap).count() as u64;
    let before = records(&index) + expunge.as_ref().map_or(0, records);
    assert_eq!(records(&written) + u64::from(report.superseded), before);
    for new in written.records().map(Result::unwrap) {
        let uid = new.uid();
        let live = index.find_uid(uid).unwrap();
        assert_eq!(live.is_none(), new.system_flags() & flags::EXPUNGED != 0);
        assert_eq!(
            seen.as_ref().is_some_and(|seen| seen.contains(uid)),
            new.system_flags() & flags::SEEN != 0
        );
        if let Some(old) = live {
            assert!(old.guid() == new.guid() && old.user_flags() == new.user_flags());
            assert_eq!(old.system_flags() & 15, new.system_flags() & 15);
        }
    }
}

//! Whatever mailbox of version 10 is written as version 12 to 19, `check` has nothing to say of the
//! result, and the reader gives every record back.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::cache_file::CacheFile;
use indexfile::check::{Findings, Options, Severity, check_path};
use indexfile::cutover::{self, HeaderImage, Report, Sources};
use indexfile::layout::CUTOVER;
use indexfile::seen::{self, SeenRecord};
use indexfile::{FileKind, Guid, HeaderField as H, IndexFile, RecordField as R, flags};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

const UNIQUEID: &str = "6t1vo4vdbkrdyc31bte53jwh";

/// A message as a mailbox of version 10 has it, with what is not in its record.
#[derive(Clone, Debug)]
struct Message {
    record: BuildRecord,
    expunged: bool,
    seen: bool,
    /// An envelope with this date, if any; and some length of the other items.
    date: Option<u32>,
    items: u8,
}

prop_compose! {
    fn message()(
        words in any::<[u32; 6]>(),
        guid in any::<[u8; 20]>(),
        flags in 0..16_u32,
        user_flags in 0..8_u8,
        modseq in 0..1_000_u64,
        rest in (any::<bool>(), any::<bool>(), proptest::option::of(0..86_400_u32), 0..9_u8),
    ) -> Message {
        let mut guid = guid;
        guid[19] |= 1;
        let mut bits = [0; 16];
        bits[3] = user_flags;
        let record = BuildRecord {
            internaldate: words[0],
            sentdate: words[1],
            size: words[2],
            header_size: words[3],
            last_updated: words[4],
            content_lines: words[5],
            system_flags: flags,
            user_flags: bits,
            guid: indexfile::RecordGuid::Guid(Guid::from_bytes(guid)),
            modseq,
            ..BuildRecord::default()
        };
        let (expunged, seen, date, items) = rest;
        Message { record, expunged, seen, date, items }
    }
}

prop_compose! {
    /// Messages by UID, in an order for the expunge file, and the options of the mailbox.
    fn mailbox()(
        messages in proptest::collection::btree_map(1..200_u32, message(), 0..40),
        rotate in 0..40_usize,
        options in 0..16_u64,
    ) -> (BTreeMap<u32, Message>, usize, u64) {
        (messages, rotate, options)
    }
}

/// A cache record of ten items, the first an envelope.
fn cache_record(message: &Message) -> Vec<u8> {
    let envelope = match message.date {
        Some(s) => format!(
            "(\"Mon, 17 Sep 2007 {:02}:{:02}:{:02} +0000\" NIL)",
            s / 3600,
            s / 60 % 60,
            s % 60
        ),
        None => "(NIL \"No date\")".to_owned(),
    };
    let mut items = vec![envelope.into_bytes()];
    items.resize(10, vec![b'x'; message.items.into()]);
    let mut out = Vec::new();
    for item in items {
        out.extend(u32::try_from(item.len()).expect("short").to_be_bytes());
        out.extend(item);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// What every `cyrus.header` begins with.
fn magic() -> &'static [u8] {
    const REAL: &[u8] = include_bytes!("../../fixtures/cyrus-2.3.16/a-v9-before/cyrus.header");
    &REAL[..115]
}

/// The files of a mailbox, in memory.
struct Files {
    index: IndexFile,
    expunge: IndexFile,
    cache: Vec<u8>,
    header: Vec<u8>,
    seen: Option<SeenRecord>,
}

impl Files {
    fn new(messages: &BTreeMap<u32, Message>, rotate: usize, options: u64) -> Self {
        let mut cache = 3_u32.to_be_bytes().to_vec();
        let (mut live, mut expunged) = (Vec::new(), Vec::new());
        let mut uids = String::new();
        for (&uid, message) in messages {
            let cache_offset = u32::try_from(cache.len()).expect("small");
            cache.extend(cache_record(message));
            let file = if message.expunged {
                &mut expunged
            } else {
                &mut live
            };
            file.push(BuildRecord {
                uid,
                cache_offset,
                ..message.record
            });
            if message.seen {
                let _ = write!(uids, "{uid},");
            }
        }
        if !expunged.is_empty() {
            let by = rotate % expunged.len();
            expunged.rotate_left(by);
        }
        let file = |kind: FileKind, records| {
            let bytes = IndexBuilder::new(10, kind)
                .records(records)
                .generation_no(3)
                .last_uid(200)
                .set(H::Options, options)
                .set(H::Highestmodseq, 500)
                .to_bytes();
            IndexFile::from_bytes(bytes.expect("fits"), Path::new(kind.file_name()), kind)
        };
        let seen = format!("{UNIQUEID}\t1 7 150 {} {uids}\n", 1_190_000_000);
        let header = format!("user.joe\t{UNIQUEID}\n$A $B $C \njoe\tlrs\t\n");
        Self {
            index: file(FileKind::Index, live).expect("sound"),
            expunge: file(FileKind::Expunge, expunged).expect("sound"),
            cache,
            header: [magic(), header.as_bytes()].concat(),
            seen: seen::from_bytes(seen.as_bytes(), Path::new("joe.seen"), UNIQUEID)
                .expect("sound"),
        }
    }

    fn write(&self, to: u32) -> (Report, Vec<u8>) {
        let header = HeaderImage::new(&self.header, Path::new("cyrus.header"));
        let mut out = Cursor::new(Vec::new());
        let sources = Sources {
            index: &self.index,
            expunge: Some(&self.expunge),
            header: &header.expect("sound"),
            cache: &mut CacheFile::from_bytes(&self.cache, Path::new("cyrus.cache")),
            seen: self.seen.as_ref(),
        };
        let report = cutover::write(sources, to, 1_795_700_000, &mut out).expect("sound");
        (report, out.into_inner())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_accepted_by_check_and_read_back_record_by_record(
        (messages, rotate, options) in mailbox()
    ) {
        let files = Files::new(&messages, rotate, options);
        for to in CUTOVER {
            let (report, written) = files.write(to);
            let dir = tempfile::tempdir().expect("tempdir");
            let put = |name, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes);
            put("cyrus.index", &written).expect("write");
            put("cyrus.cache", &files.cache).expect("write");
            put("cyrus.header", &files.header).expect("write");
            let mut findings = Findings::new();
            check_path(dir.path(), &Options::default(), &mut findings).expect("readable");
            prop_assert!(findings.worst() < Some(Severity::Warning), "{to}: {findings:?}");

            let new = IndexFile::from_bytes(written, Path::new("new"), FileKind::Index)
                .expect("sound");
            prop_assert_eq!(new.minor_version(), to);
            prop_assert_eq!(new.num_records() as usize, messages.len());
            let live = messages.values().filter(|m| !m.expunged);
            prop_assert_eq!(new.header().exists() as usize, live.clone().count());
            prop_assert_eq!(report.counts.exists, new.header().exists());
            prop_assert_eq!(new.header().get(H::Options), Some(options & 0b1101));
            let first = messages.values().filter(|m| m.expunged).map(|m| m.record.last_updated);
            prop_assert_eq!(
                new.header().get(H::FirstExpunged),
                Some(first.min().unwrap_or(0).into())
            );
            prop_assert!(new.header().highestmodseq() >= Some(500));
            if let Some(unseen) = new.header().get(H::Unseen) {
                prop_assert_eq!(unseen, live.filter(|m| !m.seen).count() as u64);
            }
            for (record, (&uid, message)) in new.records().zip(&messages) {
                let record = record.expect("in memory");
                let old = &message.record;
                let mut bits = old.system_flags;
                bits |= if message.seen { flags::SEEN } else { 0 };
                bits |= if message.expunged { flags::EXPUNGED } else { 0 };
                prop_assert_eq!(record.uid(), uid);
                prop_assert_eq!(record.system_flags(), bits);
                prop_assert_eq!(record.user_flags(), old.user_flags);
                prop_assert_eq!(record.guid(), old.guid);
                prop_assert_eq!(record.modseq(), Some(old.modseq.max(1)));
                prop_assert_eq!(record.size(), u64::from(old.size));
                let gmtime = message.date.map_or(old.internaldate, |s| 1_189_987_200 + s);
                for (field, value) in [
                    (R::Internaldate, old.internaldate),
                    (R::Sentdate, old.sentdate),
                    (R::HeaderSize, old.header_size),
                    (R::LastUpdated, old.last_updated),
                    (R::CacheVersion, old.cache_version),
                    (R::Gmtime, gmtime),
                ] {
                    prop_assert_eq!(record.get(field), Some(value.into()), "{:?}", field);
                }
                for field in [R::ContentLines, R::Savedate, R::Cid, R::Createdmodseq] {
                    prop_assert!(record.get(field).is_none_or(|value| value == 0), "{:?}", field);
                }
            }
        }
    }
}

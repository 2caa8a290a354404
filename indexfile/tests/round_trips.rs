//! From one version to another and back: the identity, for every pair that can hold the data.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::layout;
use indexfile::{
    Decision, FileKind, Guid, HeaderField, IndexFile, Record, RecordGuid, StreamCopy, Uuid,
};
use proptest::prelude::*;
use std::convert::Infallible;
use std::path::Path;

prop_compose! {
    fn a_record()(
        numbers in any::<[u32; 9]>(),
        user_flags in any::<[u8; 16]>(),
        guid in prop_oneof![
            Just(RecordGuid::Absent),
            any::<[u8; 12]>().prop_map(|b| RecordGuid::Uuid(Uuid::from_bytes(b))),
            any::<[u8; 20]>().prop_map(|b| RecordGuid::Guid(Guid::from_bytes(b))),
        ],
        modseq in prop_oneof![Just(1), 0..5_u64, any::<u64>()],
    ) -> BuildRecord {
        let [internaldate, sentdate, size, header_size, cache_offset, ..] = numbers;
        let [.., last_updated, system_flags, content_lines, cache_version] = numbers;
        BuildRecord {
            uid: 0, internaldate, sentdate, size, header_size, cache_offset, last_updated,
            system_flags, user_flags, content_lines, cache_version, guid, modseq,
        }
    }
}

prop_compose! {
    /// A file of any version from 2 to 10, and which of the two kinds it is.
    fn a_file()(
        version in 2..=10_u32,
        expunge in any::<bool>(),
        records in prop::collection::vec((a_record(), 1..50_u32), 0..12),
        words in any::<[u32; 8]>(),
        options in 0..16_u64,
        highestmodseq in prop_oneof![Just(1), any::<u64>()],
    ) -> (Vec<u8>, FileKind) {
        let kind = if expunge { FileKind::Expunge } else { FileKind::Index };
        let mut uid = 0;
        let mut records: Vec<BuildRecord> = records
            .into_iter()
            .map(|(record, gap)| {
                uid += gap;
                BuildRecord { uid, ..record }
            })
            .collect();
        if expunge {
            records.reverse();
        }
        let mut builder = IndexBuilder::new(version, kind).records(records);
        let fields = [
            (HeaderField::GenerationNo, u64::from(words[0])),
            (HeaderField::LastAppenddate, u64::from(words[1])),
            (HeaderField::LastUid, u64::from(words[2])),
            (HeaderField::Pop3LastLogin, u64::from(words[3])),
            (HeaderField::Uidvalidity, u64::from(words[4])),
            (HeaderField::Deleted, u64::from(words[5])),
            (HeaderField::LeakedCache, u64::from(words[6])),
            (HeaderField::QuotaMailboxUsed, u64::from(words[7]) << if version < 6 { 0 } else { 7 }),
            (HeaderField::Options, if version < 8 { options & 1 } else { options }),
            (HeaderField::Highestmodseq, highestmodseq),
        ];
        for (field, value) in fields {
            if layout::of(version).is_some_and(|l| l.header.get(field).is_some()) {
                builder = builder.set(field, value);
            }
        }
        (builder.to_bytes().expect("fits"), kind)
    }
}

fn open(bytes: Vec<u8>, kind: FileKind) -> IndexFile {
    IndexFile::from_bytes(bytes, Path::new("cyrus.index"), kind).expect("sound")
}

fn convert(
    file: &IndexFile,
    to: u32,
    lossy: bool,
    decide: impl Fn(Record<'_>) -> Decision,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let copy = StreamCopy::new(file).to_version(to).lossy(lossy);
    copy.write(&mut out, |r| Ok::<_, Infallible>(decide(r)))
        .ok()
        .map(|_| out)
}

fn keep(_: Record<'_>) -> Decision {
    Decision::Keep
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn there_and_back_is_the_identity_for_every_pair_that_can_hold_the_data(
        (bytes, kind) in a_file(),
        first in 6..=10_u32,
        second in 6..=10_u32,
    ) {
        // Into a version that is written, losing nothing; from then on it must come back whole.
        let Some(a) = convert(&open(bytes, kind), first, false, keep) else { return Ok(()) };
        let file = open(a.clone(), kind);
        let Some(b) = convert(&file, second, false, keep) else { return Ok(()) };
        let any = |is: fn(Record<'_>) -> bool| file.records().map(Result::unwrap).any(is);
        let cut = first == 10 && second < 10 && any(|r| !r.guid().is_old_style());
        // On the way up to 10 a modseq of 0 becomes 1, whether that is the way there or the way
        // back.
        let zeros = (first == 10) != (second == 10) && any(|r| r.modseq() == Some(0));
        let back = convert(&open(b, kind), first, false, keep).expect("nothing new to lose");
        if !cut && !zeros {
            prop_assert_eq!(back, a);
        }
    }

    #[test]
    fn up_and_down_again_with_the_old_file_gives_its_bytes_back(
        (bytes, kind) in a_file(),
        sha1 in any::<[u8; 20]>(),
    ) {
        let old = open(bytes.clone(), kind);
        let version = old.minor_version();
        // Versions 2 to 5 are not written; 10 is where this leads.
        prop_assume!((6..10).contains(&version));
        let alter = |_: Record<'_>| Decision::Alter(Guid::from_bytes(sha1));
        let new = open(convert(&old, 10, false, alter).expect("up"), kind);
        for (a, b) in old.records().map(Result::unwrap).zip(new.records().map(Result::unwrap)) {
            prop_assert_eq!(b.guid(), RecordGuid::Guid(Guid::from_bytes(sha1)));
            prop_assert_eq!(&a.bytes()[..52], &b.bytes()[..52]);
        }
        let down = convert(&new, version, true, |r| {
            let before = old.find_uid(r.uid()).unwrap().expect("the same messages");
            Decision::Restore {
                uuid: before.guid().truncated(),
                zero_modseq: before.modseq() == Some(0),
            }
        });
        prop_assert_eq!(down.expect("down"), bytes);
    }

    #[test]
    fn upgrades_step_by_step_and_at_once_are_the_same((bytes, kind) in a_file()) {
        let file = open(bytes, kind);
        let at_once = convert(&file, 10, false, keep).expect("up");
        for between in file.minor_version().max(6)..10 {
            let step = open(convert(&file, between, false, keep).expect("up"), kind);
            let stepwise = convert(&step, 10, false, keep).expect("up");
            prop_assert_eq!(&stepwise, &at_once, "by way of {}", between);
        }
    }

    #[test]
    fn what_is_built_is_read_back((bytes, kind) in a_file()) {
        let file = open(bytes.clone(), kind);
        prop_assert_eq!(file.to_bytes().unwrap(), bytes);
        for record in file.records().map(Result::unwrap) {
            let found = file.find_uid(record.uid()).unwrap().map(|r| r.bytes().to_vec());
            prop_assert_eq!(found, Some(record.bytes().to_vec()));
        }
    }
}

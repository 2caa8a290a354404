use super::*;
use crate::kind::FileKind;
use crate::seen;
use std::io::Cursor;

/// `last_repack_time` of the files that were made by another program.
const NOW: u32 = 1_795_700_000;

fn fixtures(name: &str) -> std::path::PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    fixtures.join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixtures(name)).expect("fixture")
}

/// Everything that a mailbox of version 10 consists of.
struct Mailbox {
    index: IndexFile,
    expunge: IndexFile,
    header: HeaderImage,
    cache: CacheFile,
    seen: Option<SeenRecord>,
}

impl Mailbox {
    fn real() -> Self {
        Self::with(|_| {})
    }

    /// With changes to the bytes of index and expunge file.
    fn with(change: impl Fn(&mut [Vec<u8>; 2])) -> Self {
        let file = |name| format!("cyrus-2.3.16/c-v10-after-reconstruct-k-G/{name}");
        let mut bytes = ["cyrus.index", "cyrus.expunge"].map(|name| read(&file(name)));
        change(&mut bytes);
        let [index, expunge] = bytes;
        let open = |bytes, kind: FileKind| {
            IndexFile::from_bytes_unverified(bytes, Path::new(kind.file_name()), kind)
                .expect("sound")
        };
        let header = HeaderImage::new(&read(&file("cyrus.header")), Path::new("cyrus.header"));
        let header = header.expect("sound");
        let joe = seen::open(
            &fixtures("cyrus-3.6.1-cutover/joe.seen"),
            &header.file().uniqueid,
        );
        Self {
            index: open(index, FileKind::Index),
            expunge: open(expunge, FileKind::Expunge),
            header,
            cache: CacheFile::from_bytes(&read(&file("cyrus.cache")), Path::new("cyrus.cache")),
            seen: joe.expect("sound"),
        }
    }

    fn write(&mut self, to: u32) -> Result<(Report, Vec<u8>), CutoverError> {
        let sources = Sources {
            index: &self.index,
            expunge: Some(&self.expunge),
            header: &self.header,
            cache: &mut self.cache,
            seen: self.seen.as_ref(),
        };
        let mut out = Cursor::new(Vec::new());
        write(sources, to, NOW, &mut out).map(|report| (report, out.into_inner()))
    }
}

#[test]
fn each_version_is_byte_for_byte_what_another_program_wrote_and_genuine_servers_took() {
    for to in [12, 14, 16, 17, 19] {
        let (report, written) = Mailbox::real().write(to).expect("sound");
        let golden = read(&format!("cyrus-3.6.1-cutover/v{to}.index"));
        assert!(written == golden, "version {to}");
        assert_eq!((report.counts.exists, report.counts.expunged), (34, 6));
        assert_eq!((report.without_date, report.superseded), (1, 0));
    }
}

const HEADER: usize = 96;
const RECORD: usize = 88;

/// The bytes of record `i`, from 0, of a file of version 10.
fn record(file: &mut [u8], i: usize) -> &mut [u8] {
    &mut file[HEADER + i * RECORD..][..RECORD]
}

fn set(bytes: &mut [u8], offset: usize, word: u32) {
    bytes[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
}

fn refusal(change: impl Fn(&mut [Vec<u8>; 2])) -> String {
    let refused = Mailbox::with(change).write(16).expect_err("refused");
    assert_eq!(refused.exit(), crate::exit::Exit::Data);
    refused.to_string()
}

#[test]
fn an_expunge_file_in_no_order_gives_the_same_index() {
    let (_, expected) = Mailbox::real().write(16).expect("sound");
    let mut shuffled = Mailbox::with(|[_, expunge]| {
        let (a, b) = (record(expunge, 0).to_vec(), record(expunge, 4).to_vec());
        record(expunge, 0).copy_from_slice(&b);
        record(expunge, 4).copy_from_slice(&a);
    });
    assert!(shuffled.write(16).expect("sound").1 == expected);
}

#[test]
fn a_uid_of_both_files_is_the_live_one_and_of_two_expunges_the_later_counts() {
    let mut mailbox = Mailbox::with(|[_, expunge]| {
        // UID 5 becomes 6, which is alive; UIDs 12 and 14 are one message.
        set(record(expunge, 0), 0, 6);
        set(record(expunge, 1), 0, 14);
        set(record(expunge, 1), 28, 1);
    });
    let (report, written) = mailbox.write(16).expect("sound");
    assert_eq!(
        (
            report.superseded,
            report.counts.exists,
            report.counts.expunged
        ),
        (2, 34, 4)
    );
    let written = IndexFile::from_bytes(written, Path::new("new"), FileKind::Index);
    let written = written.expect("sound");
    let of = |uid| written.find_uid(uid).expect("in memory").expect("there");
    assert_eq!(of(6).system_flags() & crate::flags::EXPUNGED, 0);
    assert!(of(14).get(crate::RecordField::LastUpdated) > Some(1));
    assert!(written.find_uid(5).expect("in memory").is_none());
}

#[test]
fn an_old_style_guid_is_refused_also_of_an_expunged_message() {
    let padded = |bytes: &mut [u8]| bytes[72..80].fill(0);
    let text = refusal(|[index, _]| padded(record(index, 3)));
    assert!(
        text.contains("cyrus.index: the GUID of UID 4 is no SHA-1"),
        "{text}"
    );
    let text = refusal(|[_, expunge]| padded(record(expunge, 5)));
    assert!(
        text.contains("cyrus.expunge: the GUID of UID 36 is no SHA-1"),
        "{text}"
    );
}

#[test]
fn what_is_not_sound_or_not_of_version_10_is_refused() {
    let text = refusal(|[index, _]| set(record(index, 0), 32, 1 << 31));
    assert!(text.contains("a newer server"), "{text}");
    let text = refusal(|[_, expunge]| set(record(expunge, 5), 0, 41));
    assert!(text.contains("UID 41 is above last_uid 40"), "{text}");
    let text = refusal(|[index, _]| set(index, 0, 7));
    assert!(text.contains("it has generation 2, the index 7"), "{text}");
    let text = refusal(|[index, _]| set(record(index, 0), 24, 25_000));
    assert!(text.contains("no whole cache record at 25000"), "{text}");
    let text = refusal(|files| {
        files[1] = read("cyrus-2.3.16/a-v9-before/cyrus.expunge");
    });
    assert!(text.contains("cyrus.expunge: it has version 9"), "{text}");
    for to in [10, 11, 20, 21] {
        let refused = Mailbox::real().write(to).expect_err("no target");
        assert_eq!(refused.exit(), crate::exit::Exit::Usage);
    }
}

#[test]
fn a_modseq_of_0_becomes_1_and_bits_that_mean_something_else_later_are_dropped() {
    let (report, written) = Mailbox::with(|[index, _]| {
        record(index, 0)[80..88].fill(0);
        set(index, 60, u32::MAX);
        set(record(index, 0), 56, 0x0003_0002);
    })
    .write(17)
    .expect("sound");
    let written = IndexFile::from_bytes(written, Path::new("new"), FileKind::Index);
    let written = written.expect("sound");
    assert_eq!(report.zero_modseqs, 1);
    assert_eq!(
        written.record(0).expect("read").expect("there").modseq(),
        Some(1)
    );
    let version = written
        .record(0)
        .expect("read")
        .expect("there")
        .get(crate::RecordField::CacheVersion);
    assert_eq!(version, Some(2));
    let options = written.header().get(layout::HeaderField::Options);
    assert_eq!(options, Some(0b1101));
}

#[test]
fn without_a_seen_record_nothing_is_seen_and_nothing_recent() {
    let mut mailbox = Mailbox::real();
    mailbox.seen = None;
    let (report, written) = mailbox.write(14).expect("sound");
    assert_eq!(report.counts.unseen, 34);
    let written = IndexFile::from_bytes(written, Path::new("new"), FileKind::Index);
    let header = written.expect("sound").header().clone();
    for field in [
        layout::HeaderField::Recentuid,
        layout::HeaderField::Recenttime,
    ] {
        assert_eq!(header.get(field), Some(0));
    }
}

#[test]
fn a_writer_that_fails_leaves_no_header() {
    struct Full(Cursor<Vec<u8>>);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.position() > 100 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0.write(&bytes[..bytes.len().min(1000)])
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Full {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let mut mailbox = Mailbox::real();
    let mut out = Full(Cursor::new(Vec::new()));
    let sources = Sources {
        index: &mailbox.index,
        expunge: Some(&mailbox.expunge),
        header: &mailbox.header,
        cache: &mut mailbox.cache,
        seen: None,
    };
    let error = write(sources, 16, NOW, &mut out).expect_err("full");
    assert!(matches!(error, CutoverError::Write(_)));
    let written = out.0.into_inner();
    assert!(written.len() == 1000 && written[..160].iter().all(|&b| b == 0));
}

//! Memory does not grow with the file, whatever is done with it.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{Decision, FileKind, Guid, IndexFile, RecordGuid, StreamCopy, cli};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// In KiB.
const MIB: u64 = 1024;

/// What is measured is of the whole process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A field of /proc/self/status in KiB.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = text
        .lines()
        .find(|l| l.starts_with(field))
        .expect("the field");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

/// Writes a file of `n` records in steps, so that making it takes no memory either.
fn big(path: &Path, n: u32) {
    big_of(9, path, n, |uid| uid);
}

/// The same of any version, with other UIDs than 1, 2, 3.
fn big_of(minor: u32, path: &Path, n: u32, uid: impl Fn(u32) -> u32) {
    use std::io::Write;
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).expect("create"));
    let header = IndexBuilder::new(minor, FileKind::Index)
        .set(indexfile::HeaderField::Exists, u64::from(n))
        .last_uid(u32::MAX);
    out.write_all(&header.to_bytes().expect("fits"))
        .expect("write");
    for first in (1..=n).step_by(5000) {
        let records = (first..(first + 5000).min(n + 1)).map(|i| BuildRecord {
            uid: uid(i),
            guid: RecordGuid::Guid(Guid::from_bytes([1; 20])),
            ..BuildRecord::default()
        });
        let some = IndexBuilder::new(minor, FileKind::Expunge).records(records);
        out.write_all(&some.to_bytes().expect("fits")[96..])
            .expect("write");
    }
    out.flush().expect("write");
}

#[test]
fn a_large_file_is_converted_in_16_mib() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("cyrus.index");
    // 40 MB in, 44 MB out.
    big(&path, 500_000);
    let before = (status("RssAnon"), status("RssFile"));
    let index = IndexFile::open(&path, FileKind::Index).expect("sound");
    let (mut anonymous, mut mapped, mut seen) = (0, 0, 0_u32);
    let mut out = std::fs::File::create(dir.path().join("out")).expect("create");
    let copy = StreamCopy::new(&index).to_version(10);
    let report = copy.write(&mut out, |_| {
        seen += 1;
        if seen.is_multiple_of(5000) {
            anonymous = anonymous.max(status("RssAnon"));
            mapped = mapped.max(status("RssFile"));
        }
        Ok::<_, Infallible>(Decision::Alter(Guid::from_bytes([1; 20])))
    });
    assert_eq!(report.expect("convert").altered, 500_000);
    assert!(
        anonymous < before.0 + 16 * MIB,
        "{anonymous} KiB anonymous, {} before",
        before.0
    );
    assert!(
        mapped < before.1 + 16 * MIB,
        "{mapped} KiB mapped, {} before",
        before.1
    );
}

#[test]
fn two_expunge_files_in_no_order_are_compared_in_8_bytes_a_record_each() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("tempdir");
    let peak = |n: u32| {
        let path = dir.path().join(format!("cyrus.expunge-{n}"));
        big_of(9, &path, n, |uid| n + 1 - uid);
        let path = path.to_str().expect("text");
        peak_of(&["diff", "--kind", "expunge", path, path])
    };
    let (few, many) = (28_000, 280_000);
    let (small, large) = (peak(few), peak(many));
    let margin = 2 * u64::from(many - few) * 8 / 1024 + 2 * MIB;
    assert!(
        large < small + margin,
        "{small} KiB for {few} records, {large} for {many}"
    );
}

/// The peak of a change-over to version 16 of `n` live and `n` expunged messages, the latter in no
/// order, of which every fourth was seen.
fn peak_of_a_cutover(dir: &Path, n: u32) -> u64 {
    use std::io::Write;
    let at = |name: &str| dir.join(format!("{name}-{n}"));
    big_of(10, &at("index"), n, |i| 2 * i - 1);
    big_of(10, &at("expunge"), n, |i| 2 * (n + 1 - i));
    std::fs::write(at("cache"), [0; 44]).expect("write");
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cyrus-2.3.16/a-v9-before");
    std::fs::copy(real.join("cyrus.header"), at("header")).expect("copy");
    let seen = std::fs::File::create(at("seen")).expect("create");
    let mut seen = std::io::BufWriter::new(seen);
    write!(seen, "6t1vo4vdbkrdyc31bte53jwh\t1 1 {n} 1 1").expect("write");
    for i in 1..n / 2 {
        write!(seen, ",{}", 4 * i).expect("write");
    }
    writeln!(seen).expect("write");
    drop(seen);
    let text = |name: &str| at(name).to_str().expect("text").to_owned();
    let [index, expunge, cache, header, seen, out] =
        ["index", "expunge", "cache", "header", "seen", "out"].map(text);
    let sources = [
        &index, &out, "--header", &header, "--cache", &cache, "--seen", &seen,
    ];
    let how = [
        "convert",
        "--to",
        "16",
        "--kind",
        "index",
        "-q",
        "--expunge",
        &expunge,
    ];
    let peak = peak_of(&[&how[..], &sources[..]].concat());
    let written = IndexFile::open(&at("out"), FileKind::Index).expect("sound");
    assert_eq!(
        (written.num_records(), written.header().exists()),
        (2 * n, n)
    );
    peak
}

#[test]
fn a_change_over_takes_8_bytes_for_each_expunged_message_and_for_each_gap_in_what_was_seen() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("tempdir");
    let (few, many) = (10_000, 100_000);
    let (small, large) = (
        peak_of_a_cutover(dir.path(), few),
        peak_of_a_cutover(dir.path(), many),
    );
    // A gap for every second expunged message. While the seen record is parsed its text is there
    // too, 8 bytes for each number.
    let each = 8 + 8;
    let margin = u64::from(many - few) * each / 1024 + 2 * MIB;
    assert!(
        large < small + margin,
        "{small} KiB for {few} records, {large} for {many}"
    );
}

/// The largest resident size, in KiB, that a command comes to.
fn peak_of(args: &[&str]) -> u64 {
    // Forgets the largest size so far.
    std::fs::write("/proc/self/clear_refs", "5").expect("/proc");
    let args = ["indexfile"].iter().chain(args);
    let exit = cli::run(args, &mut std::io::sink(), &mut std::io::sink());
    assert!([0, 65].contains(&exit.code()), "{exit:?}");
    status("VmHWM")
}

#[test]
fn no_command_takes_more_memory_for_a_file_ten_times_as_large() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    // 0.8 and 8 MB; an expunge file of the same records, and a cache that each record points into.
    for (name, n) in [("small", 10_000), ("large", 100_000)] {
        std::fs::create_dir(at(name)).expect("mkdir");
        big(&at(name).join("cyrus.index"), n);
        big(&at(name).join("cyrus.expunge"), n);
        std::fs::write(at(name).join("cyrus.cache"), vec![0; n as usize * 80]).expect("write");
    }
    let text = |name: &str, file: &str| at(name).join(file).to_str().expect("text").to_owned();
    let peaks = |name: &str| {
        let [dir, index, expunge, out] =
            ["", "cyrus.index", "cyrus.expunge", "out"].map(|file| text(name, file));
        let commands: [&[&str]; 7] = [
            &["dump", &index],
            &["dump", "--json", &expunge],
            &["check", &index],
            &["check", &dir],
            &["diff", &index, &index],
            &["diff", "--kind", "expunge", &expunge, &expunge],
            &["convert", "--to", "10", "--keep-guids", "-q", &index, &out],
        ];
        commands.map(|args| (args[0].to_owned(), peak_of(args)))
    };
    let (small, large) = (peaks("small"), peaks("large"));
    for ((command, small), (_, large)) in small.into_iter().zip(large) {
        assert!(
            large < small + 2 * MIB,
            "{command}: {small} KiB for 10,000 records, {large} for 100,000"
        );
    }
}

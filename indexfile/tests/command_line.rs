//! The command line: exit codes, one clear sentence on failure, and no OUT unless it is whole.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::exit::Exit;
use indexfile::sha1s::{Entry, Stamp, encode};
use indexfile::{FileKind, Guid, IndexFile, RecordGuid, Uuid, cli};
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

fn run(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = cli::run([&["indexfile"], args].concat(), &mut out, &mut err);
    (
        exit,
        String::from_utf8(out).expect("text"),
        String::from_utf8(err).expect("text"),
    )
}

/// Runs what must fail; checks the exit code and that one sentence says why.
fn fails(args: &[&str], exit: Exit, says: &str) {
    let (got, out, err) = run(args);
    assert_eq!(got, exit, "{args:?}: {err}");
    assert_eq!(out, "", "{args:?}");
    assert!(
        err.starts_with("indexfile: ") && err.contains(says) && err.lines().count() == 1,
        "{args:?}: {err}"
    );
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("tempdir"))
    }
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.path().join(name), bytes).expect("write");
        self.path(name)
    }
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.0.path())
            .expect("list")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn two(minor: u32) -> Vec<u8> {
    let record = |uid, size| BuildRecord {
        uid,
        size,
        guid: RecordGuid::Uuid(Uuid::from_bytes([uid.to_le_bytes()[0]; 12])),
        ..BuildRecord::default()
    };
    let builder = IndexBuilder::new(minor, FileKind::Index).uidvalidity(77);
    builder
        .record(record(1, 3))
        .record(record(2, 5))
        .to_bytes()
        .expect("sound")
}

#[test]
fn bad_input_has_the_right_exit_code_and_one_sentence() {
    let dir = Dir::new();
    let out = dir.path("out");
    let nine = two(9);
    let cases: [(&str, Vec<u8>, &str); 6] = [
        (
            "text",
            b"From: joe@example.org\r\nSubject: no index\r\n\r\n".to_vec(),
            "not a Cyrus index",
        ),
        (
            "unknown",
            [&nine[..8], &[0, 0, 0, 99], &nine[12..]].concat(),
            "unknown index version 99",
        ),
        (
            "eleven",
            [&nine[..8], &[0, 0, 0, 11], &nine[12..]].concat(),
            "never released",
        ),
        (
            "short",
            nine[..nine.len() - 1].to_vec(),
            "truncated: 2 records need 256 bytes, the file has 255",
        ),
        ("empty.expunge", Vec::new(), "empty (zero bytes)"),
        (
            "hybrid",
            [&nine[..16], &[0, 0, 0, 88], &nine[20..]].concat(),
            "records of 88 bytes",
        ),
    ];
    for (name, bytes, says) in cases {
        let path = dir.write(name, bytes);
        fails(
            &["convert", &path, &out, "--to", "10", "--keep-guids"],
            Exit::Data,
            says,
        );
        fails(&["dump", &path], Exit::Data, says);
    }
    fails(&["dump", &dir.path("none")], Exit::Io, "No such file");
    fails(
        &["convert", &dir.path("none"), &out, "--to", "10"],
        Exit::Io,
        "No such file",
    );
    assert!(!Path::new(&out).exists());
    for args in [
        &["convert"][..],
        &["dump"],
        &["frobnicate"],
        &["convert", "a", "b", "--to", "ten"],
        &[],
    ] {
        assert_eq!(run(args).0, Exit::Usage, "{args:?}");
    }
    assert_eq!(run(&["--help"]).0, Exit::Ok);
}

#[test]
fn without_a_guid_for_every_message_there_is_no_out() {
    let dir = Dir::new();
    let index = dir.write("cyrus.index", two(9));
    let spool = tempfile::tempdir().expect("tempdir");
    let (out, messages) = (dir.path("out"), spool.path().display().to_string());
    let to10 = ["convert", &index, &out, "--to", "10"];
    fails(&to10, Exit::Data, "UID 1 has an old-style GUID");
    fails(
        &[&to10[..], &["--messages", &dir.path("none")]].concat(),
        Exit::Io,
        "No such file",
    );
    let with_messages = [&to10[..], &["--messages", &messages]].concat();
    fails(&with_messages, Exit::Data, "1. is missing");
    std::fs::write(spool.path().join("1."), "abc").expect("write");
    std::fs::write(spool.path().join("2."), "abcdef").expect("write");
    fails(&with_messages, Exit::Data, "has 6 bytes, the record says 5");
    assert_eq!(dir.names(), ["cyrus.index"]);
    std::fs::write(spool.path().join("2."), "abcde").expect("write");
    let (exit, _, err) = run(&with_messages);
    assert_eq!(exit, Exit::Ok, "{err}");
    assert!(
        err.contains("2 GUIDs altered (0 from the cache, 2 from message files)"),
        "{err}"
    );
    let new = IndexFile::open(Path::new(&out), FileKind::Index).expect("sound");
    let guid = new
        .find_uid(1)
        .unwrap()
        .map(|r| r.guid().padded().to_string());
    assert_eq!(
        guid.as_deref(),
        Some("a9993e364706816aba3e25717850c26c9cd0d89d")
    );
    fails(&with_messages, Exit::Io, "exists");
    assert_eq!(dir.names(), ["cyrus.index", "out"]);
}

#[test]
fn the_cache_is_used_only_for_its_own_mailbox_and_unchanged_files() {
    let dir = Dir::new();
    let index = dir.write("cyrus.index", two(9));
    let entry = |uid: u32, size| Entry {
        uid,
        size,
        stamp: Stamp::default(),
        guid: Guid::from_bytes([0xee; 20]),
    };
    let all = [entry(1, 3), entry(2, 5)];
    let good = dir.write("good", encode(77, "id", &all).expect("sound"));
    let foreign = dir.write("foreign", encode(78, "id", &all).expect("sound"));
    let stale = dir.write(
        "stale",
        encode(77, "id", &[entry(1, 3), entry(2, 6)]).expect("sound"),
    );
    let damaged = dir.write("damaged", &encode(77, "id", &all).expect("sound")[..200]);
    let convert = |sha1s: &str, out: &str, more: &[&str]| {
        let args = [
            "convert",
            &index,
            &dir.path(out),
            "--to",
            "10",
            "--json",
            "--sha1s",
            sha1s,
        ];
        run(&[&args[..], more].concat())
    };
    for (sha1s, says) in [
        (&foreign, "of another mailbox"),
        (&damaged, "damaged"),
        (&stale, "UID 2"),
        (&index, "not a cyrus.sha1s"),
    ] {
        let (exit, _, err) = convert(sha1s, "bad", &[]);
        assert!(exit == Exit::Data && err.contains(says), "{sha1s}: {err}");
    }
    let (exit, out, err) = convert(&good, "new", &[]);
    assert_eq!(exit, Exit::Ok, "{err}");
    let summary: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&summary["cached"], &summary["hashed"], &summary["records"]),
        (&2.into(), &0.into(), &2.into())
    );
    // With the message files at hand a stamp that does not fit means that the file is read.
    let spool = Dir::new();
    spool.write("1.", "abc");
    spool.write("2.", "abcde");
    let (exit, out, err) = convert(
        &good,
        "read",
        &["--messages", &spool.0.path().display().to_string()],
    );
    assert_eq!(exit, Exit::Ok, "{err}");
    let summary: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&summary["cached"], &summary["hashed"]),
        (&0.into(), &2.into())
    );
}

#[test]
fn messages_give_the_guids_that_a_real_reconstruct_gave() {
    let dir = Dir::new();
    let messages = fixture("cyrus-3.6.1/messages").display().to_string();
    for file in ["cyrus.index", "cyrus.expunge"] {
        let input = fixture("cyrus-2.3.16/a-v9-before")
            .join(file)
            .display()
            .to_string();
        let out = dir.path(file);
        let (exit, _, err) = run(&[
            "convert",
            &input,
            &out,
            "--to",
            "10",
            "--messages",
            &messages,
        ]);
        assert_eq!(exit, Exit::Ok, "{err}");
        let kind = FileKind::of_path(Path::new(file));
        let ours = IndexFile::open(Path::new(&out), kind).expect("sound");
        let golden = fixture("cyrus-2.3.16/c-v10-after-reconstruct-k-G").join(file);
        let golden = IndexFile::open(&golden, kind).expect("sound");
        for record in ours.records().map(Result::unwrap) {
            assert_eq!(
                Some(record.guid()),
                golden.find_uid(record.uid()).unwrap().map(|r| r.guid())
            );
        }
        // And back again: with the old file at hand, its very bytes.
        let back = dir.path(&format!("{file}.back"));
        let (exit, _, err) = run(&["convert", &out, &back, "--to", "9", "--uuids-from", &input]);
        assert_eq!(exit, Exit::Ok, "{err}");
        assert_eq!(
            std::fs::read(&back).expect("written"),
            std::fs::read(&input).expect("fixture")
        );
    }
}

#[test]
fn later_versions_have_no_way_down_and_are_made_from_a_whole_mailbox() {
    let dir = Dir::new();
    let out = dir.path("out");
    let seventeen = fixture("cyrus-3.6.1/v17/cyrus.index").display().to_string();
    for says in ["cyrus.index.OLD and cyrus.expunge.OLD", "reconstruct -V 10"] {
        fails(
            &["convert", &seventeen, &out, "--to", "10"],
            Exit::Data,
            says,
        );
    }
    fails(
        &["convert", &seventeen, &out, "--to", "20"],
        Exit::Data,
        "--before-reconstruct",
    );
    let ten = fixture("cyrus-3.6.1/v10/cyrus.index").display().to_string();
    fails(
        &["convert", &ten, &out, "--to", "17"],
        Exit::Usage,
        "--header and --cache",
    );
    fails(
        &["convert", &ten, &out, "--to", "11"],
        Exit::Usage,
        "only 6 to 10",
    );
    fails(&["convert", &ten, &out, "--to", "7"], Exit::Data, "--lossy");
    assert!(dir.names().is_empty());
}

#[test]
fn sources_of_guids_that_a_version_has_no_use_for_are_not_ignored_in_silence() {
    let dir = Dir::new();
    let ten = fixture("cyrus-3.6.1/v10/cyrus.index").display().to_string();
    let messages = fixture("cyrus-3.6.1/messages").display().to_string();
    let out = dir.path("out");
    let args = ["convert", &ten, &out, "--to", "9", "--messages", &messages];
    let (exit, _, err) = run(&args);
    assert_eq!(exit, Exit::Ok, "{err}");
    assert!(err.contains("had nothing to do"), "{err}");
}

#[test]
fn dump_prints_what_can_be_read_and_names_the_damage() {
    let dir = Dir::new();
    let mut bytes = two(10);
    bytes[96 + 88..96 + 92].fill(0);
    let path = dir.write("cyrus.index", bytes);
    let (exit, out, err) = run(&["dump", &path]);
    assert_eq!(exit, Exit::Data);
    assert!(
        out.contains("uid=1 ") && out.contains("uid=0 ") && err.contains("record 2 has UID 0"),
        "{out}{err}"
    );
    let (exit, out, _) = run(&["dump", &path, "--json"]);
    assert_eq!((exit, out.lines().count()), (Exit::Data, 3));
}

#[test]
fn json_has_the_field_names_of_the_format() {
    let path = fixture("cyrus-2.3.16/a-v9-before/cyrus.index")
        .display()
        .to_string();
    let (exit, out, _) = run(&["dump", &path, "--json"]);
    assert_eq!(exit, Exit::Ok);
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 35);
    let header = &lines[0]["header"];
    assert_eq!(
        (&header["minor_version"], &header["exists"]),
        (&9.into(), &34.into())
    );
    assert_eq!(header["highestmodseq"], 57);
    let record = &lines[1]["record"];
    assert_eq!(
        (&record["uid"], &record["uuid"]),
        (&1.into(), &"01050046b0c0de0007000001".into())
    );
    assert_eq!(record["user_flags"], "00000000000000000000000000000000");
    assert!(record.get("guid").is_none());
    let flagged = lines[1..]
        .iter()
        .find(|l| l["record"]["uid"] == 40)
        .expect("UID 40");
    assert_eq!(
        flagged["record"]["flags"],
        serde_json::json!(["\\Answered", "$Forwarded", "$MDNSent"])
    );
    let (_, text, _) = run(&["dump", &path]);
    assert!(
        text.contains("uid=40 ") && text.contains("flags=(\\Answered $Forwarded $MDNSent)"),
        "{text}"
    );
}

/// A disk without space, or a terminal that went away.
struct Broken(std::io::ErrorKind);

impl std::io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error_unless_nobody_reads_it() {
    use std::io::ErrorKind::{BrokenPipe, StorageFull};
    let path = fixture("cyrus-2.3.16/a-v9-before/cyrus.index")
        .display()
        .to_string();
    for (kind, exit) in [(StorageFull, Exit::Io), (BrokenPipe, Exit::Ok)] {
        for args in [["indexfile", "dump", &path], ["indexfile", "check", &path]] {
            let mut err = Vec::new();
            assert_eq!(
                cli::run(args, &mut Broken(kind), &mut err),
                exit,
                "{args:?}"
            );
            assert_eq!(
                err.is_empty(),
                exit == Exit::Ok,
                "{}",
                String::from_utf8_lossy(&err)
            );
        }
    }
    // A summary that nobody can read takes the new file with it, unless nobody reads it.
    let dir = Dir::new();
    for (kind, exit) in [(StorageFull, Exit::Io), (BrokenPipe, Exit::Ok)] {
        let to = dir.0.path().join("new").display().to_string();
        let args = [
            "indexfile",
            "convert",
            &path,
            &to,
            "--to",
            "8",
            "--lossy",
            "--json",
        ];
        let got = cli::run(args, &mut Broken(kind), &mut Vec::new());
        let left = std::fs::read_dir(dir.0.path()).expect("list").count();
        assert_eq!((got, left), (exit, usize::from(exit == Exit::Ok)));
    }
    // And in the library: the copy says that it was the writer.
    let index = IndexFile::open(Path::new(&path), FileKind::Index).expect("sound");
    let copy = indexfile::StreamCopy::new(&index).to_version(10);
    let failed = copy.write(&mut Broken(StorageFull), |_| {
        Ok::<_, std::convert::Infallible>(indexfile::Decision::Keep)
    });
    assert!(matches!(failed, Err(indexfile::CopyError::Write(e)) if e.kind() == StorageFull));
}

#[test]
fn no_command_waits_for_a_fifo_or_reads_a_device_or_a_file_without_end() {
    type Make<'a> = &'a dyn Fn(&std::path::Path);
    let dir = Dir::new();
    let mailbox = dir.0.path().join("box");
    std::fs::create_dir(&mailbox).expect("mkdir");
    let index = mailbox.join("cyrus.index");
    std::fs::write(&index, two(10)).expect("write");
    let sound = index.display().to_string();
    let out = dir.path("out");
    let make: [(&str, Make<'_>); 4] = [
        ("a fifo", &|at| {
            let made = std::process::Command::new("mkfifo").arg(at).status();
            assert!(made.expect("mkfifo").success());
        }),
        ("a socket", &|at| {
            drop(std::os::unix::net::UnixListener::bind(at).expect("bind"));
        }),
        ("a device", &|at| {
            std::os::unix::fs::symlink("/dev/zero", at).expect("link");
        }),
        ("a directory", &|at| std::fs::create_dir(at).expect("mkdir")),
    ];
    for (what, make) in make {
        let odd = dir.0.path().join(what.replace(' ', "-"));
        make(&odd);
        let odd = odd.display().to_string();
        fails(&["dump", &odd], Exit::Data, what);
        fails(&["diff", &sound, &odd], Exit::Data, what);
        fails(&["convert", &odd, &out, "--to", "10"], Exit::Data, what);
        // In a mailbox: not even the link is followed.
        for file in ["cyrus.expunge", "cyrus.header"] {
            let at = mailbox.join(file);
            make(&at);
            let (exit, text, _) = run(&["check", &mailbox.display().to_string()]);
            assert_eq!(exit, Exit::Data, "{what}: {text}");
            assert!(text.contains("[not-regular]"), "{file}, {what}: {text}");
            std::fs::remove_file(&at)
                .or_else(|_| std::fs::remove_dir(&at))
                .expect("remove");
        }
    }
    // 3 GB of nothing.
    let header = std::fs::File::create(mailbox.join("cyrus.header")).expect("create");
    header.set_len(3 << 30).expect("grow");
    let (exit, text, _) = run(&["check", &mailbox.display().to_string()]);
    assert_eq!(exit, Exit::Data, "{text}");
    assert!(text.contains("[not-regular]"), "{text}");
}

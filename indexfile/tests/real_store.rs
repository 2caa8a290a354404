//! The store that a genuine Cyrus 2.3.9 wrote: found by walking, converted, compared with its
//! files.

use indexfile::mailbox::{HeaderFile, ImapdConf, MailboxName, MetaFile, name_of_dir};
use indexfile::message::Spool;
use indexfile::{Decision, FileKind, Guid, IndexFile, RecordGuid, StreamCopy};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unpacks the store and gives its directory.
fn store() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cyrus-2.3.9.tar.gz");
    let unpacked = Command::new("tar")
        .arg("xzf")
        .arg(archive)
        .arg("-C")
        .arg(dir.path())
        .status()
        .expect("tar");
    assert!(unpacked.success());
    let root = dir.path().join("cyrus-2.3.9");
    (dir, root)
}

fn conf(root: &Path) -> ImapdConf {
    let text = std::fs::read_to_string(root.join("imapd.conf")).expect("imapd.conf");
    ImapdConf::parse(&text.replace("@ROOT@", &root.display().to_string()))
        .expect("a genuine configuration")
}

/// All directories below `dir`, relative to it.
fn directories(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(sub) = waiting.pop() {
        for entry in std::fs::read_dir(dir.join(&sub)).expect("list") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                waiting.push(sub.join(entry.file_name()));
            }
        }
        all.push(sub);
    }
    all
}

#[test]
fn walking_the_partition_finds_the_mailboxes_that_the_server_lists() {
    let (_dir, root) = store();
    let conf = conf(&root);
    let partition = conf.default_partition().expect("one partition");
    let meta = partition.meta_root.clone().expect("a metapartition");
    let found: BTreeSet<String> = directories(&meta)
        .iter()
        .filter(|sub| meta.join(sub).join("cyrus.header").exists())
        .map(|sub| {
            name_of_dir(&conf, "default", sub)
                .expect("a mailbox")
                .to_string()
        })
        .collect();
    let listed: BTreeSet<String> = std::fs::read_to_string(root.join("mailboxes.txt"))
        .expect("list")
        .lines()
        .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(found, listed);
    assert_eq!(found.len(), 18);
}

#[test]
fn every_message_gets_the_sha1_of_its_file_and_everything_else_stays() {
    let (_dir, root) = store();
    let conf = conf(&root);
    let (mut records, mut expunged, mut uuids) = (0, 0, 0);
    for line in std::fs::read_to_string(root.join("mailboxes.txt"))
        .expect("list")
        .lines()
    {
        let name = MailboxName::parse(line.split('\t').next().unwrap_or_default()).expect("a name");
        let dirs = conf.dirs(&name, "default").expect("a place");
        let header = HeaderFile::open(&dirs.file(MetaFile::Header)).expect("a header");
        assert!(!header.uniqueid.is_empty());
        let messages = Spool::open(&dirs.data().path()).expect("a spool");
        for (file, kind) in [
            (MetaFile::Index, FileKind::Index),
            (MetaFile::Expunge, FileKind::Expunge),
        ] {
            let path = dirs.file(file);
            if !path.exists() {
                assert_eq!(kind, FileKind::Expunge, "{name}");
                continue;
            }
            let old = IndexFile::open(&path, kind).expect("sound");
            let mut out = Vec::new();
            let copy = StreamCopy::new(&old).to_version(10);
            copy.write(&mut out, |r| {
                messages.hash(r.uid()).map(|m| Decision::Alter(m.guid))
            })
            .expect("converted");
            let new = IndexFile::from_bytes(out, &path, kind).expect("sound");
            assert_eq!(old.records().len(), new.records().len());
            let paths: Vec<PathBuf> = old
                .records()
                .map(Result::unwrap)
                .map(|r| messages.path_of(r.uid()))
                .collect();
            let sums = sha1sums(&paths);
            for ((a, b), sum) in old
                .records()
                .map(Result::unwrap)
                .zip(new.records().map(Result::unwrap))
                .zip(sums)
            {
                assert_eq!(b.guid(), RecordGuid::Guid(sum), "{name}, UID {}", a.uid());
                assert_eq!(
                    (&a.bytes()[..60], a.modseq()),
                    (&b.bytes()[..60], b.modseq())
                );
                uuids += usize::from(a.guid().padded() != Guid::NULL);
            }
            match kind {
                FileKind::Index => records += new.records().len(),
                FileKind::Expunge => expunged += new.records().len(),
            }
            // Down again without the old file: the padded identifiers are gone, all else is there.
            let mut down = Vec::new();
            StreamCopy::new(&new)
                .to_version(9)
                .write(&mut down, |r| {
                    let uuid = old.find_uid(r.uid()).unwrap().map(|o| o.guid().truncated());
                    Ok::<_, std::convert::Infallible>(
                        uuid.map_or(Decision::Keep, Decision::AlterUuid),
                    )
                })
                .expect("converted");
            assert_eq!(down, old.to_bytes().unwrap(), "{name}");
        }
    }
    assert_eq!((records, expunged, uuids), (376, 19, 389));
}

/// By another program than ours.
fn sha1sums(paths: &[PathBuf]) -> Vec<Guid> {
    if paths.is_empty() {
        return Vec::new();
    }
    let output = Command::new("sha1sum")
        .arg("-z")
        .args(paths)
        .output()
        .expect("sha1sum");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sums: Vec<Guid> = text
        .split_terminator('\0')
        .map(|l| l[..40].parse().expect("40 digits"))
        .collect();
    assert_eq!(sums.len(), paths.len());
    sums
}

/// Runs a command that must succeed.
fn command(args: &[&str]) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = indexfile::cli::run([&["indexfile"], args].concat(), &mut out, &mut err);
    let err = String::from_utf8_lossy(&err);
    assert_eq!(exit, indexfile::exit::Exit::Ok, "{args:?}: {err}");
    String::from_utf8(out).expect("text")
}

#[test]
fn every_mailbox_is_changed_over_with_what_was_seen_and_is_fit_for_a_reconstruct() {
    let (_dir, root) = store();
    let conf = conf(&root);
    let (mut sums, mut seen_expunged) = ([0; 3], 0);
    for line in std::fs::read_to_string(root.join("mailboxes.txt"))
        .expect("list")
        .lines()
    {
        let name = line.split('\t').next().unwrap_or_default();
        let dirs = conf
            .dirs(&MailboxName::parse(name).expect("a name"), "default")
            .expect("a place");
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        let messages = text(dirs.data().path());
        let [index, expunge, header, cache] = [
            MetaFile::Index,
            MetaFile::Expunge,
            MetaFile::Header,
            MetaFile::Cache,
        ]
        .map(|file| text(dirs.file(file)));
        let has_expunge = Path::new(&expunge).exists();
        for file in [&index, &expunge] {
            if Path::new(file).exists() {
                let new = format!("{file}.10");
                command(&[
                    "convert",
                    "-q",
                    file,
                    &new,
                    "--to",
                    "10",
                    "--messages",
                    &messages,
                ]);
                std::fs::rename(new, file).expect("rename");
            }
        }
        let mut owner = name.split('.').skip_while(|part| *part != "user");
        let seen = owner.nth(1).map_or("--".to_owned(), |owner| {
            text(root.join(format!("conf/user/{}/{owner}.seen", &owner[..1])))
        });
        let new = format!("{index}.16");
        let mut args = vec!["convert", "--json", &index, &new, "--to", "16"];
        args.extend(["--header", &header, "--cache", &cache, "--seen", &seen]);
        if has_expunge {
            args.extend(["--expunge", &expunge]);
        }
        let report: serde_json::Value = serde_json::from_str(&command(&args)).expect("JSON");
        for (sum, key) in sums.iter_mut().zip(["exists", "expunged", "seen"]) {
            *sum += report[key].as_u64().expect("a number");
        }
        std::fs::rename(new, &index).expect("rename");
        if has_expunge {
            std::fs::rename(&expunge, format!("{expunge}.OLD")).expect("rename");
        }
        let new = IndexFile::open(Path::new(&index), FileKind::Index).expect("sound");
        let both = indexfile::flags::EXPUNGED | indexfile::flags::SEEN;
        let records = new.records().map(Result::unwrap);
        seen_expunged += records.filter(|r| r.system_flags() & both == both).count();
    }
    // As a program found that shares no code with ours.
    assert_eq!((sums, seen_expunged), ([376, 19, 158], 7));
    let text = std::fs::read_to_string(root.join("imapd.conf")).expect("imapd.conf");
    let placed = root.join("imapd.conf.placed");
    std::fs::write(&placed, text.replace("@ROOT@", &root.display().to_string())).expect("write");
    let placed = placed.to_str().expect("text");
    let found = command(&[
        "check",
        "--before-reconstruct",
        "-q",
        "--imapd-conf",
        placed,
    ]);
    assert!(!found.contains('['), "{found}");
}

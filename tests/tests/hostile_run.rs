//! A run over a store in which some files are none: good mailboxes are done on both hosts, each of
//! the others is refused with the file named, nothing is written elsewhere, and a later run does
//! what was repaired.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use indexfile::{FileKind, IndexFile};
use stores::Host;
use stores::judge::snapshot;
use tests::fleet::Fleet;

/// Puts something in the place of a file; what was there is kept beside the store.
fn replace(
    host: &Host,
    mailbox: &str,
    file: &str,
    kept: &Path,
    odd: impl FnOnce(&Path),
) -> PathBuf {
    let path = host.dirs(mailbox).meta.join(file);
    fs::copy(&path, kept.join(format!("{mailbox}.{file}"))).unwrap();
    fs::remove_file(&path).unwrap();
    odd(&path);
    path
}

#[test]
fn a_run_over_good_and_hostile_mailboxes_does_the_good_and_names_what_it_refuses() {
    let mut fleet = Fleet::of_239().unwatched();
    let kept = fleet.dir.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let (master, replica) = (fleet.master.clone(), fleet.replica.clone());
    let mut names = master.mailboxes().unwrap().into_keys().filter(|name| {
        let there = |file: &str| master.dirs(name).meta.join(file).exists();
        there("cyrus.index") && there("cyrus.header")
    });
    let mut next = || names.next().expect("enough mailboxes");
    let names: [String; 6] = std::array::from_fn(|_| next());
    let [link, fifo, directory, truncated, sparse, header] = &names;
    let copy = |path: &Path| {
        let name = format!("{link}.cyrus.index");
        symlink(kept.join(name), path).unwrap();
    };
    let mode = nix::sys::stat::Mode::S_IRWXU;
    let placed = [
        (link, replace(&master, link, "cyrus.index", &kept, copy)),
        (
            fifo,
            replace(&replica, fifo, "cyrus.index", &kept, |path| {
                nix::unistd::mkfifo(path, mode).unwrap();
            }),
        ),
        (
            directory,
            replace(&master, directory, "cyrus.index", &kept, |path| {
                fs::create_dir(path).unwrap();
            }),
        ),
        (
            truncated,
            replace(&replica, truncated, "cyrus.index", &kept, |path| {
                fs::write(path, b"\0\0\0\0").unwrap();
            }),
        ),
        (
            sparse,
            replace(&master, sparse, "cyrus.index", &kept, |path| {
                fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
            }),
        ),
        (
            header,
            replace(&replica, header, "cyrus.header", &kept, |path| {
                symlink("/dev/zero", path).unwrap();
            }),
        ),
    ];
    let before = snapshot::take(&kept).unwrap();
    fleet.start();
    let ended = fleet.controller("upgrade", &["--json", "--attempts", "1"]);
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    let summary = ended.json();
    assert_eq!(summary["upgraded"], 18 - placed.len(), "{ended:?}");
    for (name, path) in &placed {
        let file = path.file_name().unwrap().to_str().unwrap();
        let line = ended
            .stderr
            .lines()
            .find(|line| line.contains(*name) && line.contains(file));
        assert!(
            line.is_some(),
            "{name}: {file} is not named: {}",
            ended.stderr
        );
    }
    let after = snapshot::take(&kept).unwrap();
    assert_eq!(snapshot::differences(&before, &after), Vec::<String>::new());
    // Repaired, they are done as the others were.
    for (name, path) in &placed {
        let file = path.file_name().unwrap().to_str().unwrap();
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir(path);
        fs::copy(kept.join(format!("{name}.{file}")), path).unwrap();
    }
    let _ = fleet
        .controller("retry", &["--reason", "damaged"])
        .expect_code(0);
    for (name, _) in &placed {
        for host in [&master, &replica] {
            let index = host.dirs(name).meta.join("cyrus.index");
            let index = IndexFile::open(&index, FileKind::Index).unwrap();
            assert_eq!(index.minor_version(), 10, "{name}");
        }
    }
}

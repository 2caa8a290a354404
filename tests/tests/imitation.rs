//! The imitation of Cyrus 2.3 keeps what it writes, also when several of its processes share
//! mailboxes; it waits for an OFD lock; and it notices a tool that breaks the rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stores::cyrus23::agent;
use stores::cyrus23::log::Content;
use stores::genuine::unpack_239;
use stores::judge::locks;
use stores::{Dirs, Host};
use tests::damage;
use tests::process::Guard;

fn serve(spec: &Path, seed: u32, stop: &Path, mode: &str) -> Guard {
    let mut command = Command::new(env!("CARGO_BIN_EXE_t-cyrus23"));
    command
        .arg(spec)
        .arg(seed.to_string())
        .arg(stop)
        .args([mode, "300"]);
    Guard::spawn(&mut command)
}

fn spec_of(host: &Host, names: &[&str], dir: &Path) -> (PathBuf, Vec<(Dirs, PathBuf)>) {
    let mut text = String::new();
    let mut all = Vec::new();
    for name in names {
        let (dirs, log) = (host.dirs(name), dir.join(format!("{name}.log")));
        text += &agent::spec_line(&dirs, &log, None);
        all.push((dirs, log));
    }
    let spec = dir.join("spec");
    fs::write(&spec, text).unwrap();
    (spec, all)
}

fn keeps_everything(mode: &str) {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(&dir.path().join("host")).unwrap();
    let (spec, boxes) = spec_of(&host, &["user.alice.expunged", "user.bob"], dir.path());
    let start: Vec<_> = boxes
        .iter()
        .map(|(d, _)| Content::read(d).unwrap())
        .collect();
    let stop = dir.path().join("stop");
    let agents: Vec<_> = (0..3).map(|seed| serve(&spec, seed, &stop, mode)).collect();
    std::thread::sleep(Duration::from_millis(1500));
    fs::write(&stop, "").unwrap();
    for agent in agents {
        let _ = agent.finish().expect_code(0);
    }
    for ((dirs, log), mut want) in boxes.iter().zip(start) {
        want.replay(&fs::read_to_string(log).unwrap()).unwrap();
        assert!(want.changes > 20, "only {} changes", want.changes);
        assert_eq!(want.violations, Vec::<String>::new());
        assert_eq!(
            want.lost_in(&Content::read(dirs).unwrap()),
            Vec::<String>::new()
        );
        let index = fs::read(dirs.meta.join("cyrus.index")).unwrap();
        assert_eq!(u32::from(index[11]), if mode == "upgrade" { 10 } else { 9 });
    }
}

#[test]
fn three_processes_on_two_mailboxes_lose_nothing_at_version_9() {
    keeps_everything("as-is");
}

#[test]
fn three_processes_on_two_mailboxes_lose_nothing_while_one_upgrades_at_open() {
    keeps_everything("upgrade");
}

#[test]
fn it_waits_for_an_ofd_lock_and_works_on_the_file_that_was_renamed_into_place() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(&dir.path().join("host")).unwrap();
    let (spec, boxes) = spec_of(&host, &["user.alice.big"], dir.path());
    let (dirs, log) = &boxes[0];
    let index = dirs.meta.join("cyrus.index");
    let held = [
        locks::take_ofd(&dirs.meta.join("cyrus.header"))
            .unwrap()
            .unwrap(),
        locks::take_ofd(&index).unwrap().unwrap(),
    ];
    let stop = dir.path().join("stop");
    let agent = serve(&spec, 7, &stop, "as-is");
    std::thread::sleep(Duration::from_millis(700));
    let before = fs::read_to_string(log).unwrap_or_default();
    assert_eq!(before, "", "it wrote while we held the locks");

    let mut want = Content::read(dirs).unwrap();
    let ready = dir.path().join("ready"); // same file system, so a rename
    fs::copy(&index, &ready).unwrap();
    damage::make_v10(&ready);
    fs::rename(&ready, &index).unwrap();
    drop(held);
    while fs::read_to_string(log).unwrap_or_default().lines().count() < 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::write(&stop, "").unwrap();
    let _ = agent.finish().expect_code(0);
    want.replay(&fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!(
        want.lost_in(&Content::read(dirs).unwrap()),
        Vec::<String>::new()
    );
    assert_eq!(fs::read(&index).unwrap()[11], 10);
}

#[test]
fn a_tool_that_edits_in_place_or_leaves_its_scratch_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(&dir.path().join("host")).unwrap();
    let (spec, boxes) = spec_of(&host, &["user.alice.expunged"], dir.path());
    let (dirs, log) = &boxes[0];
    let mut want = Content::read(dirs).unwrap();
    damage::make_v10(&dirs.meta.join("cyrus.index")); // expunge stays at 9
    fs::write(dirs.meta.join("cyrus.expunge.NEW"), "").unwrap();
    let stop = dir.path().join("stop");
    let agent = serve(&spec, 7, &stop, "as-is");
    std::thread::sleep(Duration::from_millis(500));
    fs::write(&stop, "").unwrap();
    let _ = agent.finish();
    want.replay(&fs::read_to_string(log).unwrap()).unwrap();
    assert!(
        want.violations
            .iter()
            .any(|v| v.contains("cyrus.expunge.NEW"))
    );
    assert!(
        want.violations
            .iter()
            .any(|v| v.contains("index at version 10, expunge at 9"))
    );
}

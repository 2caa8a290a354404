//! Mail goes on while both hosts are migrated: nothing that Cyrus wrote is lost, and Cyrus never
//! sees a torn file, a scratch file under its locks, or index and expunge out of step. Some of its
//! changes replace an index under that file's lock alone, so who waits for the lock and does not
//! look at the inode again loses them.
//!
//! `REGUID_LIVE_SECONDS` sets how long mail goes on (default 4); a soak takes minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stores::cyrus23::agent::spec_line;
use stores::cyrus23::log::Content;
use stores::genuine::{split_layout, unpack_239};
use stores::judge::image::Image;
use stores::judge::true_guids;
use stores::{Dirs, Host};
use tests::fleet::{Fleet, program};
use tests::process::Guard;

struct Side {
    name: &'static str,
    boxes: Vec<(String, Dirs, PathBuf, Content)>,
}

impl Side {
    fn of(name: &'static str, host: &Host, dir: &Path) -> Self {
        let boxes = host
            .mailboxes()
            .unwrap()
            .into_iter()
            .map(|(mailbox, dirs)| {
                let log = dir.join(format!("{name}.{mailbox}.log"));
                fs::write(&log, "").unwrap();
                let start = Content::read(&dirs).unwrap();
                (mailbox, dirs, log, start)
            });
        Self {
            name,
            boxes: boxes.collect(),
        }
    }

    /// Replays the logs and compares; returns the number of changes.
    fn judge(self, lines: &mut Vec<String>) -> usize {
        let mut changes = 0;
        for (mailbox, dirs, log, mut want) in self.boxes {
            want.replay(&fs::read_to_string(log).unwrap()).unwrap();
            changes += want.changes;
            let mut found = want.violations.clone();
            match Content::read(&dirs) {
                Ok(disk) => found.extend(want.lost_in(&disk)),
                Err(e) => found.push(e.to_string()),
            }
            for file in ["cyrus.index", "cyrus.expunge"] {
                if let Ok(bytes) = fs::read(dirs.file(file)) {
                    let image = Image::parse(bytes).unwrap();
                    if image.minor() != 10 {
                        found.push(format!("{file} is at version {}", image.minor()));
                    }
                    true_guids(file, &image, &dirs.data, &mut found);
                }
                for stray in [".NEW", ".reguid"] {
                    if dirs.file(&format!("{file}{stray}")).exists() {
                        found.push(format!("stray file {file}{stray}"));
                    }
                }
            }
            lines.extend(
                found
                    .into_iter()
                    .map(|l| format!("{} {mailbox}: {l}", self.name)),
            );
        }
        changes
    }
}

fn agent(spec: &Path, seed: usize, stop: &Path, mode: &str) -> Guard {
    let mut command = Command::new(program("cyrus23"));
    command
        .arg(spec)
        .arg(seed.to_string())
        .arg(stop)
        .args([mode, "1000"]);
    Guard::spawn(&mut command)
}

/// Where two of a mailbox's files are on metapartitions of the master, and others on the replica.
fn split_fleet() -> Fleet {
    let dir = tempfile::tempdir().unwrap();
    let [master, replica] =
        [("master", "index cache"), ("replica", "header expunge")].map(|(name, on_meta)| {
            let flat = unpack_239(&dir.path().join("flat").join(name)).unwrap();
            split_layout(&flat, &dir.path().join(name), on_meta).unwrap()
        });
    Fleet::between(dir, master, replica)
}

fn mail_goes_on(mode: &str, fleet: Fleet) {
    let seconds = std::env::var("REGUID_LIVE_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    let mut fleet = if mode == "upgrade" {
        fleet.unwatched()
    } else {
        fleet
    };
    let dir = fleet.dir.path().to_owned();
    let master = Side::of("master", &fleet.master, &dir);
    let replica = Side::of("replica", &fleet.replica, &dir);
    let mut own = String::new();
    let mut fed = String::new();
    for (m, r) in master.boxes.iter().zip(&replica.boxes) {
        own += &spec_line(&m.1, &m.2, None);
        fed += &spec_line(&r.1, &r.2, Some((&m.2, &m.1.data)));
    }
    let (own_spec, fed_spec) = (dir.join("own"), dir.join("fed"));
    fs::write(&own_spec, own).unwrap();
    fs::write(&fed_spec, fed).unwrap();

    let (stop, stop_sync) = (dir.join("stop"), dir.join("stop-sync"));
    fleet.start();
    let servers: Vec<_> = (0..3)
        .map(|seed| agent(&own_spec, seed, &stop, mode))
        .collect();
    let sync = agent(&fed_spec, 9, &stop_sync, mode);
    std::thread::sleep(Duration::from_millis(300));
    let mut runs = 0;
    let until = std::time::Instant::now() + Duration::from_secs(seconds.unwrap_or(4));
    while std::time::Instant::now() < until {
        // Each run meets new mail; what Cyrus locked for too long is tried again by the next.
        let ended = fleet.controller("upgrade", &["--json"]);
        assert!(matches!(ended.code, Some(0 | 75)), "{ended:?}");
        runs += 1;
    }
    fs::write(&stop, "").unwrap();
    for server in servers {
        let _ = server.finish().expect_code(0);
    }
    fs::write(&stop_sync, "").unwrap();
    let _ = sync.finish().expect_code(0);
    let _ = fleet.controller("upgrade", &[]).expect_code(0);

    let mut lines = Vec::new();
    let changes = master.judge(&mut lines) + replica.judge(&mut lines);
    assert!(
        lines.is_empty(),
        "after {runs} runs and {changes} changes:\n{}",
        lines.join("\n")
    );
    assert!(changes > 200, "only {changes} changes in {runs} runs");
    println!("{mode}: {runs} runs, {changes} changes by Cyrus, nothing lost");
}

#[test]
fn nothing_is_lost_under_a_server_that_writes_the_version_it_finds() {
    mail_goes_on("as-is", Fleet::of_239());
}

#[test]
fn nothing_is_lost_where_index_and_expunge_lie_on_two_partitions() {
    mail_goes_on("as-is", split_fleet());
}

#[test]
fn nothing_is_lost_under_a_server_that_upgrades_at_open() {
    mail_goes_on("upgrade", Fleet::of_239());
}

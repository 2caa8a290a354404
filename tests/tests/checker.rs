//! The checker of invariants finds what it is there to find: each fault planted, one by one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use stores::genuine::{split_layout, unpack_239};
use stores::judge::image::sha1_of;
use stores::judge::locks;
use stores::judge::{Before, Report, State, When, alike, differing};
use stores::{Dirs, Host, Layout, StoreSpec};
use tests::damage;
use tests::fleet::Fleet;
use tests::watch::Watch;

/// Converts both files of a mailbox as a right migration does: complete files renamed over the
/// old, the old ones kept as `.OLD` links.
fn migrate(dirs: &Dirs) {
    for name in ["cyrus.expunge", "cyrus.index"] {
        migrate_file(dirs, name);
    }
}

fn migrate_file(dirs: &Dirs, name: &str) {
    let live = dirs.file(name);
    if !live.exists() {
        return;
    }
    let scratch = dirs.file(&format!("{name}.NEW"));
    fs::copy(&live, &scratch).unwrap();
    damage::make_v10(&scratch);
    fill_in_guids(&scratch, &dirs.data);
    keep_owner(&live, &scratch);
    fs::hard_link(&live, dirs.file(&format!("{name}.OLD"))).unwrap();
    fs::rename(&scratch, &live).unwrap();
}

fn put_back(dirs: &Dirs, name: &str) {
    fs::rename(dirs.file(&format!("{name}.OLD")), dirs.file(name)).unwrap();
}

fn keep_owner(from: &Path, to: &Path) {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(from).unwrap();
    std::os::unix::fs::chown(to, Some(meta.uid()), Some(meta.gid())).unwrap();
    fs::set_permissions(to, meta.permissions()).unwrap();
}

fn fill_in_guids(path: &Path, data: &Path) {
    let mut bytes = fs::read(path).unwrap();
    for record in bytes[96..].chunks_exact_mut(88) {
        let uid = u32::from_be_bytes(record[..4].try_into().unwrap());
        let message = fs::read(data.join(format!("{uid}."))).unwrap();
        record[60..80].copy_from_slice(&sha1_of(&message));
    }
    fs::write(path, bytes).unwrap();
}

const VICTIM: &str = "user.alice.expunged";

/// A store in which every mailbox was migrated right, then `fault` was done to one.
fn after(fault: impl FnOnce(&Dirs)) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let before = Before::remember(&host).unwrap();
    for dirs in host.mailboxes().unwrap().values() {
        migrate(dirs);
    }
    before.check(When::Settled).assert_clean();
    fault(&host.dirs(VICTIM));
    before.check(When::Settled)
}

fn assert_found(report: &Report, what: &str) {
    assert!(
        report
            .violations
            .iter()
            .any(|v| v.starts_with(VICTIM) && v.contains(what)),
        "{what:?} was not found, only {:#?}",
        report.violations
    );
}

#[test]
fn a_right_migration_is_clean_and_all_new_and_an_untouched_store_all_old() {
    let report = after(|_| {});
    report.assert_clean();
    assert_eq!(report.count(State::New), 18);
    assert_eq!(report.guids.values().map(Vec::len).sum::<usize>(), 376 + 19);

    let dir = tempfile::tempdir().unwrap();
    let host: Host = unpack_239(dir.path()).unwrap();
    let untouched = Before::remember(&host).unwrap().check(When::Settled);
    untouched.assert_clean();
    assert_eq!((untouched.count(State::Old), untouched.proven), (18, 0));
    assert_eq!(alike(&report, &untouched).len(), 18 + 376 + 19);
    assert_eq!(differing(&report, &untouched).len(), 16, "two are empty");
    assert!(differing(&report, &report).is_empty());
}

#[test]
fn a_lost_flag_a_wrong_guid_and_a_changed_header_are_found() {
    assert_found(
        &after(|d| flip(&d.meta.join("cyrus.index"), 96 + 35)),
        "record of UID",
    );
    assert_found(
        &after(|d| flip(&d.meta.join("cyrus.index"), 96 + 87)),
        "record of UID",
    );
    assert_found(
        &after(|d| flip(&d.meta.join("cyrus.expunge"), 96 + 60)),
        "is not the SHA-1",
    );
    assert_found(
        &after(|d| flip(&d.meta.join("cyrus.index"), 95)),
        "header bytes changed",
    );
}

#[test]
fn index_and_expunge_out_of_step_are_found() {
    let back = |name: &'static str| {
        move |d: &Dirs| {
            fs::rename(d.meta.join(format!("{name}.OLD")), d.meta.join(name)).unwrap();
        }
    };
    assert_found(
        &after(back("cyrus.expunge")),
        "index is New, but expunge is Old",
    );
    assert_found(
        &after(back("cyrus.index")),
        "index is Old, but expunge is New",
    );
}

/// Layouts: all on the metapartition, only one of the two there, none.
const LAYOUTS: [&str; 4] = ["header index cache expunge", "index", "expunge", "header"];

#[test]
fn an_index_newer_than_its_expunge_file_is_found_wherever_either_lies() {
    for on_meta in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let flat = unpack_239(&dir.path().join("flat")).unwrap();
        let host = split_layout(&flat, &dir.path().join("host"), on_meta).unwrap();
        let before = Before::remember(&host).unwrap();
        let dirs = host.dirs(VICTIM);
        migrate(&dirs);
        before.check(When::Settled).assert_clean();
        for when in [When::Settled, When::Cut] {
            put_back(&dirs, "cyrus.expunge");
            let what = "the index is at version 10 and its expunge file at 9";
            assert_found(&before.check(when), what);
            migrate_file(&dirs, "cyrus.expunge");
        }
        // The other way round is safe, and only an unfinished run leaves it.
        put_back(&dirs, "cyrus.index");
        before.check(When::Cut).assert_clean();
    }
}

#[test]
fn an_index_that_is_newer_for_a_moment_only_is_seen_by_the_watch() {
    for on_meta in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let flat = unpack_239(&dir.path().join("flat")).unwrap();
        let host = split_layout(&flat, &dir.path().join("host"), on_meta).unwrap();
        let dirs = host.dirs(VICTIM);
        let right = Watch::over(&[&host]);
        for _ in 0..200 {
            migrate(&dirs);
            put_back(&dirs, "cyrus.index");
            put_back(&dirs, "cyrus.expunge");
        }
        drop(right); // fails if it saw anything
        let wrong = Watch::over(&[&host]);
        let patience = Instant::now() + Duration::from_secs(60);
        while wrong.found().is_empty() {
            assert!(Instant::now() < patience, "{on_meta}: it was not seen");
            for name in ["cyrus.index", "cyrus.expunge"] {
                migrate_file(&dirs, name);
            }
            for name in ["cyrus.expunge", "cyrus.index"] {
                put_back(&dirs, name);
            }
        }
        let seen = wrong.end();
        assert!(seen[0].contains("at version 10"), "{seen:?}");
    }
}

#[test]
fn strays_torn_files_and_touched_files_are_found() {
    assert_found(
        &after(|d| fs::write(d.meta.join("cyrus.index.NEW"), "").unwrap()),
        "stray",
    );
    assert_found(
        &after(|d| fs::write(d.meta.join("cyrus.index.reguid"), "").unwrap()),
        "stray",
    );
    assert_found(
        &after(|d| damage::truncate(&d.meta.join("cyrus.index"))),
        "torn",
    );
    assert_found(
        &after(|d| damage::set_minor(&d.meta.join("cyrus.expunge"), 9)),
        "torn",
    );
    assert_found(
        &after(|d| fs::remove_file(d.meta.join("cyrus.expunge")).unwrap()),
        "is gone",
    );
    assert_found(
        &after(|d| flip(&d.meta.join("cyrus.cache"), 10)),
        "cyrus.cache was touched",
    );
    assert_found(&after(|d| flip(&d.data.join("2."), 10)), "2. was touched");
    assert_found(
        &after(|d| flip(&d.meta.join("cyrus.index.OLD"), 10)),
        "is not the file",
    );
    assert_found(
        &after(|d| {
            fs::copy(d.meta.join("cyrus.header"), d.meta.join("x")).unwrap();
            fs::rename(d.meta.join("x"), d.meta.join("cyrus.header")).unwrap();
        }),
        "cyrus.header was touched",
    );
}

#[test]
fn a_lock_left_behind_is_found() {
    let mut held = None;
    let report = after(|d| held = locks::take_ofd(&d.meta.join("cyrus.index")).unwrap());
    assert!(held.is_some());
    assert_found(&report, "cyrus.index is locked");
}

/// Every version and oddity that the demo's store has, converted by the real programs.
#[test]
fn a_run_of_every_version_is_right_and_a_byte_of_any_file_that_is_not_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let layouts = [
        ("master", Layout::HASHED),
        ("replica", Layout::METAPARTITION),
    ];
    let [master, replica] = layouts.map(|(n, l)| Host::lay_out(&dir.path().join(n), l).unwrap());
    let built = StoreSpec::new(32, 4).build(&[&master, &replica]).unwrap();
    let mut fleet = Fleet::between(dir, master.clone(), replica);
    let before = fleet.check(When::Upgraded);
    let unfinished = |line: &&String| line.contains("is still at version");
    assert_eq!(before[0].violations.iter().filter(unfinished).count(), 37);
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    for report in fleet.check(When::Upgraded) {
        report.assert_clean();
        assert_eq!(report.proven, built.live + built.expunged);
        assert_eq!(
            (report.count(State::New), report.count(State::Old)),
            (31, 1)
        );
    }
    for version in ["since the 2^2", "since the 2^3^3", "since the 2^3^6"] {
        let name = format!("user.carol.Archive.{version}");
        let index = master.dirs(&name).file("cyrus.index");
        // A flag of a header, the highest modseq, a spare; a record's flag, GUID and modseq.
        for at in [45, 70, 90, 96 + 33, 96 + 79, 96 + 87] {
            flip(&index, at);
            let found = fleet.check(When::Upgraded)[0].violations.clone();
            flip(&index, at);
            let named = found.iter().any(|line| line.contains(&name));
            assert!(named, "{version}: {at}: {found:?}");
        }
    }
    // What was right before, and so was left alone.
    let right = master.dirs("user.bob.done").file("cyrus.index");
    flip(&right, 96 + 70);
    let found = fleet.check(When::Settled)[0].violations.join("\n");
    assert!(found.contains("was written in place"), "{found}");
    flip(&right, 96 + 70);
    let index = master.dirs("user.alice").file("cyrus.index");
    fs::set_permissions(&index, Permissions::from_mode(0o644)).unwrap();
    fs::write(master.data.join("x"), "").unwrap();
    let found = fleet.check(When::Settled)[0].violations.join("\n");
    assert!(
        found.contains("cyrus.index owner or mode changed"),
        "{found}"
    );
    assert!(found.contains("/x is a stray"), "{found}");
}

fn flip(path: &Path, at: usize) {
    let bytes = fs::read(path).unwrap();
    damage::overwrite(path, at, &[bytes[at] ^ 1]);
}

//! The checker of invariants finds what it is there to find: each fault planted, one by one.

use std::fs;
use std::path::Path;

use tests::damage;
use tests::invariants::{Before, Report, State, When, alike};
use tests::locks;
use tests::store::{Dirs, Host, unpack_239};
use tests::witness::sha1_of;

/// Converts both files of a mailbox as a right migration does: complete files renamed over the
/// old, the old ones kept as `.OLD` links.
fn migrate(dirs: &Dirs) {
    for name in ["cyrus.expunge", "cyrus.index"] {
        let live = dirs.meta.join(name);
        if !live.exists() {
            continue;
        }
        let scratch = dirs.meta.join(format!("{name}.NEW"));
        fs::copy(&live, &scratch).unwrap();
        damage::make_v10(&scratch);
        fill_in_guids(&scratch, &dirs.data);
        keep_owner(&live, &scratch);
        fs::hard_link(&live, dirs.meta.join(format!("{name}.OLD"))).unwrap();
        fs::rename(&scratch, &live).unwrap();
    }
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
    let host = unpack_239(dir.path());
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
    let host: Host = unpack_239(dir.path());
    let untouched = Before::remember(&host).unwrap().check(When::Settled);
    untouched.assert_clean();
    assert_eq!(untouched.count(State::Old), 18);
    assert_eq!(alike(&report, &untouched).len(), 18 + 376 + 19);
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

fn flip(path: &Path, at: usize) {
    let bytes = fs::read(path).unwrap();
    damage::overwrite(path, at, &[bytes[at] ^ 1]);
}

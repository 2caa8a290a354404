//! The checker must see each kind of damage; a checker that cannot fail checks nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};

use indexfile::mailbox::ImapdConf;
use indexfile::{Decision, FileKind, Guid, IndexFile, StreamCopy};
use tempfile::TempDir;

use super::*;
use crate::demo::store::StoreSpec;

struct Host {
    dir: TempDir,
    originals: Originals,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().to_str().expect("ASCII").to_owned();
        let conf = ImapdConf::parse(&format!(
            "configdirectory: {root}/conf\npartition-default: {root}/spool\n\
             metapartition-default: {root}/meta\nmetapartition_files: header index cache expunge\n"
        ))
        .expect("a conf");
        StoreSpec::new(32, 4)
            .build(&[&conf], "default")
            .expect("a store");
        let originals = Originals::take(
            "master",
            &dir.path().join("spool"),
            &dir.path().join("meta"),
            false,
        )
        .expect("readable");
        Self { dir, originals }
    }

    /// Does to one file what a migration does: complete new file, old one kept, rename.
    fn migrate(&self, path: &Path, kind: FileKind) {
        let old = IndexFile::open(path, kind).expect("a good file");
        if old.minor_version() == 10
            && old
                .records()
                .map(Result::unwrap)
                .all(|r| !r.guid().is_old_style())
        {
            return;
        }
        let below = path
            .parent()
            .and_then(|d| d.strip_prefix(self.dir.path().join("meta")).ok());
        let data = self
            .dir
            .path()
            .join("spool")
            .join(below.expect("below meta"));
        let mut new = Vec::new();
        StreamCopy::new(&old)
            .to_version(10)
            .write(&mut new, |record| {
                let bytes = fs::read(data.join(format!("{}.", record.uid())))?;
                let sha1: [u8; 20] = sha1::Digest::finalize(sha1::Digest::chain_update(
                    <sha1::Sha1 as sha1::Digest>::new(),
                    bytes,
                ))
                .into();
                Ok::<_, std::io::Error>(Decision::Alter(Guid::from_bytes(sha1)))
            })
            .expect("a copy");
        fs::hard_link(path, with_suffix(path, OLD)).expect("a link");
        let staged = with_suffix(path, ".NEW");
        fs::write(&staged, new).expect("written");
        fs::set_permissions(&staged, Permissions::from_mode(0o600)).expect("a mode");
        fs::rename(staged, path).expect("renamed");
    }

    fn migrate_all(&self) {
        for dir in self.originals.before.mailboxes() {
            self.migrate(&dir.join("cyrus.index"), FileKind::Index);
            if dir.join("cyrus.expunge").exists() {
                self.migrate(&dir.join("cyrus.expunge"), FileKind::Expunge);
            }
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn check(&self) -> Verdict {
        self.originals.check().expect("readable")
    }

    /// The one thing found.
    #[track_caller]
    fn finding(&self) -> String {
        let verdict = self.check();
        assert_eq!(verdict.findings.len(), 1, "{:#?}", verdict.findings);
        verdict.findings[0].clone()
    }
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("reads");
    file.write_all_at(&[byte[0] ^ 1], offset).expect("writes");
}

#[test]
fn a_right_migration_is_found_good_and_an_unmigrated_store_is_not() {
    let host = Host::new();
    let before = host.check();
    assert!(
        before
            .findings
            .iter()
            .any(|f| f.contains("still at version 9")),
        "{before:?}"
    );
    assert_eq!(before.changed, 0);
    host.migrate_all();
    let after = host.check();
    assert_eq!(after.findings, Vec::<String>::new());
    assert_eq!(
        (after.mailboxes, after.changed),
        (32, 31),
        "one was right before"
    );
    assert!(after.guids > 100 && after.bytes > 0 && after.untouched > 100);
    let mut same = after.clone();
    same.compare(&after);
    assert!(same.good());
}

#[test]
fn a_flipped_byte_of_a_record_is_found() {
    let host = Host::new();
    host.migrate_all();
    let index = host.path("meta/user/alice/cyrus.index");
    flip(&index, 96 + 33);
    assert!(host.finding().contains("a field before the GUID differs"));
    flip(&index, 96 + 33);
    flip(&index, 96 + 87);
    assert!(host.finding().contains("the modseq differs"));
    flip(&index, 96 + 87);
    flip(&index, 96 + 79);
    assert!(host.finding().contains("GUID is not the SHA-1"));
    flip(&index, 96 + 79);
    flip(&index, 45);
    assert!(host.finding().contains("header differs at offsets [44]"));
    flip(&index, 45);
    flip(&index, 90);
    assert!(host.finding().contains("header differs at offsets [76]"));
    flip(&index, 90);
    assert!(host.check().good());
}

#[test]
fn a_touched_message_and_a_replaced_header_are_found() {
    let host = Host::new();
    host.migrate_all();
    let header = host.path("meta/user/bob/cyrus.header");
    let bytes = fs::read(&header).expect("a header");
    fs::write(host.path("h"), bytes).expect("written");
    fs::set_permissions(host.path("h"), Permissions::from_mode(0o600)).expect("a mode");
    fs::rename(host.path("h"), &header).expect("renamed");
    assert!(
        host.finding()
            .contains("user/bob/cyrus.header: was changed or replaced")
    );
    let host = Host::new();
    host.migrate_all();
    let message = host.path("spool/shared/1.");
    let message = if message.exists() {
        message
    } else {
        first_message(&host.path("spool/shared"))
    };
    let file = fs::File::options()
        .write(true)
        .open(&message)
        .expect("opens");
    file.set_modified(std::time::SystemTime::now())
        .expect("a time");
    assert!(
        host.check()
            .findings
            .iter()
            .any(|f| f.contains("was changed or replaced"))
    );
}

fn first_message(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir)
        .expect("a directory")
        .map(|e| e.expect("an entry").path());
    entries
        .into_iter()
        .find(|p| p.is_file())
        .expect("a message")
}

#[test]
fn strays_modes_and_missing_files_are_found() {
    let host = Host::new();
    host.migrate_all();
    let index = host.path("meta/user/alice/cyrus.index");
    fs::write(host.path("meta/user/alice/cyrus.index.NEW"), "").expect("written");
    assert!(host.finding().contains("cyrus.index.NEW was left behind"));
    fs::remove_file(host.path("meta/user/alice/cyrus.index.NEW")).expect("removed");
    fs::set_permissions(&index, Permissions::from_mode(0o644)).expect("a mode");
    assert!(host.finding().contains("mode and owner"));
    fs::set_permissions(&index, Permissions::from_mode(0o600)).expect("a mode");
    fs::remove_file(host.path("meta/user/bob/cyrus.header")).expect("removed");
    assert!(host.finding().contains("is gone"));
}

#[test]
fn an_old_file_that_is_not_the_one_replaced_is_found() {
    let host = Host::new();
    host.migrate_all();
    let kept = host.path("meta/user/alice/cyrus.index.OLD");
    fs::remove_file(&kept).expect("removed");
    fs::write(&kept, "something else").expect("written");
    assert!(host.finding().contains("is not the file that was replaced"));
}

#[test]
fn a_file_changed_in_place_and_hosts_that_differ_are_found() {
    let host = Host::new();
    let done = host.path("meta/user/bob/done/cyrus.index");
    flip(&done, 96 + 70);
    assert!(
        host.check()
            .findings
            .iter()
            .any(|f| f.contains("written in place"))
    );
    let (one, two) = (Host::new(), Host::new());
    one.migrate_all();
    two.migrate_all();
    let (mut one, two_good) = (one.check(), two.check());
    one.compare(&two_good);
    assert!(one.good(), "{:?}", one.findings);
    flip(&two.path("meta/user/alice/cyrus.index"), 96 + 79);
    one.compare(&two.check());
    assert_eq!(
        one.findings,
        ["user.alice: cyrus.index differs between the hosts"]
    );
}

use std::fs;

use indexfile::mailbox::{HEADER_MAGIC, ImapdConf};

use super::*;

/// A store as a genuine 2.3 leaves it: text header, version 9, skiplist mailboxes.db.
fn store() -> (tempfile::TempDir, ImapdConf) {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path();
    for dir in ["conf/user/j", "conf/proc", "conf/db", "spool/user/joe"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(
        root.join("conf/mailboxes.db"),
        b"\xa1\x02\x8b\x0dskiplist file\0\0\0 user.joe 0 default joe\tlrs\t",
    )
    .unwrap();
    fs::write(root.join("conf/user/j/joe.seen"), "flat").unwrap();
    mailbox(root, b"\t0123456789abcdef\n\njoe\tlrs\t\n", 9);
    let conf = ImapdConf::parse(&format!(
        "configdirectory: {0}/conf\npartition-default: {0}/spool\n",
        root.display()
    ));
    (tmp, conf.unwrap())
}

fn mailbox(root: &Path, header: &[u8], version: u32) {
    let dir = root.join("spool/user/joe");
    fs::write(dir.join("cyrus.header"), [HEADER_MAGIC, header].concat()).unwrap();
    let mut index = [0; 96];
    index[8..12].copy_from_slice(&version.to_be_bytes());
    fs::write(dir.join("cyrus.index"), index).unwrap();
}

fn seen(tmp: &tempfile::TempDir, conf: &ImapdConf) -> (Served, String) {
    let found = gather::look(conf, &[tmp.path().join("spool")]);
    (judge(&found), reasons(&found))
}

#[test]
fn what_a_genuine_2_3_leaves_is_no_sign_of_a_later_server() {
    let (tmp, conf) = store();
    assert_eq!(seen(&tmp, &conf), (Served::Cyrus23, String::new()));
}

#[test]
fn each_thing_that_only_a_later_server_leaves_is_enough() {
    type Leave = fn(&Path);
    let left: [(Leave, &str); 8] = [
        (
            |root| {
                fs::create_dir_all(root.join("conf/lock/user")).unwrap();
                fs::write(root.join("conf/lock/user/joe.lock"), "").unwrap();
            },
            "name lock",
        ),
        (
            |root| {
                let magic = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0";
                fs::write(root.join("conf/mailboxes.db"), magic).unwrap();
            },
            "twoskip",
        ),
        (
            |root| {
                let text = b"user.joe\t%(A %(joe lrs) I abc P default)\n";
                fs::write(root.join("conf/mailboxes.db"), text).unwrap();
            },
            "form of 2.5",
        ),
        (
            |root| fs::write(root.join("conf/user/j/joe.conversations"), "").unwrap(),
            "does not know",
        ),
        (
            |root| {
                let magic = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0";
                fs::write(root.join("conf/user/j/joe.seen"), magic).unwrap();
            },
            "joe.seen",
        ),
        (
            |root| mailbox(root, b"%(N user.joe I vf7oni7wtvd7bb23dp1rewlg U ())\n", 9),
            "list form",
        ),
        (
            |root| mailbox(root, b"\tvf7oni7wtvd7bb23dp1rewlg\n\njoe\tlrs\t\n", 9),
            "unique id",
        ),
        (
            |root| {
                mailbox(root, b"\t0123456789abcdef\n\njoe\tlrs\t\n", 13);
                let (joe, bob) = (root.join("spool/user/joe"), root.join("spool/user/bob"));
                fs::create_dir(&bob).unwrap();
                fs::copy(joe.join("cyrus.index"), bob.join("cyrus.index")).unwrap();
            },
            "version 13",
        ),
    ];
    for (leave, why) in left {
        let (tmp, conf) = store();
        leave(tmp.path());
        let (served, reasons) = seen(&tmp, &conf);
        assert_eq!(served, Served::Cyrus24, "{why}");
        assert!(reasons.contains(why), "{reasons}");
    }
}

#[test]
fn one_index_of_a_later_version_says_nothing_of_the_others() {
    let (tmp, conf) = store();
    mailbox(tmp.path(), b"\t0123456789abcdef\n\njoe\tlrs\t\n", 13);
    assert_eq!(seen(&tmp, &conf).0, Served::Cyrus23);
}

#[test]
fn indexes_of_a_later_version_that_slotd_put_there_say_nothing_of_the_server() {
    let (tmp, conf) = store();
    let header = b"\t0123456789abcdef\n\njoe\tlrs\t\n";
    mailbox(tmp.path(), header, 16);
    let (joe, bob) = (
        tmp.path().join("spool/user/joe"),
        tmp.path().join("spool/user/bob"),
    );
    fs::create_dir(&bob).unwrap();
    fs::copy(joe.join("cyrus.index"), bob.join("cyrus.index")).unwrap();
    assert_eq!(seen(&tmp, &conf).0, Served::Cyrus24);
    for dir in [joe, bob] {
        fs::write(dir.join(indexfile::cutover::STAMP_NAME), "").unwrap();
    }
    assert_eq!(seen(&tmp, &conf), (Served::Cyrus23, String::new()));
}

#[test]
fn what_could_not_be_looked_at_or_was_written_for_a_later_server_leaves_a_doubt() {
    let (tmp, conf) = store();
    fs::create_dir(tmp.path().join("conf/lock")).unwrap();
    assert_eq!(seen(&tmp, &conf).0, Served::Unknown);

    let (tmp, conf) = store();
    fs::write(tmp.path().join("conf/lock"), "no directory").unwrap();
    assert_eq!(seen(&tmp, &conf).0, Served::Unknown);

    let (tmp, _) = store();
    let text = format!(
        "configdirectory: {0}/conf\npartition-default: {0}/spool\nconversations: 1\n",
        tmp.path().display()
    );
    assert_eq!(
        seen(&tmp, &ImapdConf::parse(&text).unwrap()).0,
        Served::Unknown
    );
    let text = text.replace("conversations: 1", "mboxlist_db: twoskip");
    assert_eq!(
        seen(&tmp, &ImapdConf::parse(&text).unwrap()).0,
        Served::Cyrus24
    );
}

#[test]
fn a_proof_outlives_its_file_and_a_doubt_does_not() {
    let (tmp, conf) = store();
    let roots = [tmp.path().join("spool")];
    let served = || {
        let watch = Watch::begin(&conf, &roots, tmp.path(), false).unwrap();
        watch.served()
    };
    let lock = tmp.path().join("conf/lock");
    fs::create_dir(&lock).unwrap();
    assert_eq!(served(), Served::Unknown);
    fs::remove_dir(&lock).unwrap();
    assert_eq!(served(), Served::Cyrus23);
    fs::create_dir(&lock).unwrap();
    fs::write(lock.join("x.lock"), "").unwrap();
    assert_eq!(served(), Served::Cyrus24);
    // A lock directory in memory is empty after a boot.
    fs::remove_dir_all(&lock).unwrap();
    assert_eq!(served(), Served::Cyrus24);
    fs::write(tmp.path().join(FILE_NAME), "{").unwrap();
    assert_eq!(
        served(),
        Served::Unknown,
        "what was known is not forgotten in silence"
    );
}

#[test]
fn a_server_that_is_said_to_be_stopped_and_is_not_is_seen_by_what_it_has_open() {
    let (tmp, conf) = store();
    let roots = [tmp.path().join("spool")];
    let watch = Watch::begin(&conf, &roots, tmp.path(), true).unwrap();
    watch.verify_stopped().unwrap();
    let index = fs::File::open(tmp.path().join("spool/user/joe/cyrus.index")).unwrap();
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .stdin(index)
        .spawn()
        .unwrap();
    let seen = watch.verify_stopped();
    other.kill().unwrap();
    other.wait().unwrap();
    let holder = seen.unwrap_err().holder;
    assert_eq!(
        (holder.pid, holder.path.file_name().unwrap().to_str()),
        (other.id(), Some("cyrus.index"))
    );
    watch.verify_stopped().unwrap();
}

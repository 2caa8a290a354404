use std::fs;

use indexfile::mailbox::{HEADER_MAGIC, ImapdConf};

use super::evidence::reasons;
use super::kept::FILE_NAME;
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
}

#[test]
fn a_server_that_comes_while_slotd_runs_is_noticed_by_what_it_leaves() {
    let (tmp, conf) = store();
    let dir = conf.config_directory().unwrap();
    let watch = Watch::begin(&conf, &[], tmp.path(), false).unwrap();
    let later = || {
        watch.state.lock().looked = None;
        watch.look_again();
        watch.served()
    };
    assert_eq!(later(), Served::Cyrus23);
    fs::create_dir_all(dir.join("lock/user")).unwrap();
    assert_eq!(later(), Served::Cyrus23, "a directory is no proof");
    fs::write(dir.join("lock/user/a.lock"), b"").unwrap();
    // Of a look just now, however slow this machine is.
    watch.state.lock().looked = Instant::now().checked_add(FRESH * 3600);
    watch.look_again();
    assert_eq!(watch.served(), Served::Cyrus23);
    assert_eq!(later(), Served::Cyrus24);
    assert!(watch.reasons().contains("a.lock"), "{}", watch.reasons());
}

#[test]
fn what_was_kept_and_is_not_understood_stays_as_it_is_and_is_not_forgotten() {
    let (tmp, conf) = store();
    let roots = [tmp.path().join("spool")];
    let file = tmp.path().join(FILE_NAME);
    let begin = || Watch::begin(&conf, &roots, tmp.path(), false).unwrap();
    for damaged in ["{", "", "[]", r#"{"served":"2.4+"}"#, r#"{"proofs":{}}"#] {
        fs::write(&file, damaged).unwrap();
        for _ in 0..2 {
            let watch = begin();
            assert_eq!(watch.served(), Served::Unknown, "{damaged}");
            assert!(watch.reasons().contains(FILE_NAME), "{}", watch.reasons());
            watch.note(Evidence::UniqueId("/spool/user/bob/cyrus.header".into()));
            assert_eq!(watch.served(), Served::Cyrus24);
            assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
        }
    }
    // A proof of a kind that is not known is one, and does not hide the others.
    let unknown = r#"{"kind_of_a_later_release":["/x",7]}"#;
    for other in ["", r#"{"name_lock":"/run/cyrus/lock/u/user.bob"},"#] {
        let text = format!(r#"{{"proofs":[{other}{unknown}],"more":[1]}}"#);
        fs::write(&file, text).unwrap();
        for _ in 0..2 {
            assert_eq!(begin().served(), Served::Cyrus24);
            let kept: serde_json::Value =
                serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let unknown: serde_json::Value = serde_json::from_str(unknown).unwrap();
            let proofs = kept["proofs"].as_array().unwrap();
            assert_eq!(proofs.last(), Some(&unknown));
            assert_eq!(proofs.len(), 1 + usize::from(!other.is_empty()));
            assert_eq!(kept["more"][0], 1);
        }
    }
}

#[test]
fn a_line_of_imapd_conf_counts_while_it_is_there_and_no_longer() {
    let (tmp, conf) = store();
    let file = tmp.path().join(FILE_NAME);
    let roots = [tmp.path().join("spool")];
    let text = format!(
        "configdirectory: {0}/conf\npartition-default: {0}/spool\nduplicate_db: twoskip\n",
        tmp.path().display()
    );
    let prepared = ImapdConf::parse(&text).unwrap();
    let begin = |conf| Watch::begin(conf, &roots, tmp.path(), false).unwrap();
    assert_eq!(begin(&prepared).served(), Served::Cyrus24);
    assert_eq!(begin(&conf).served(), Served::Cyrus23);
    // Earlier releases kept it.
    fs::write(&file, r#"{"proofs":[{"format":"duplicate_db: twoskip"}]}"#).unwrap();
    assert_eq!(begin(&conf).served(), Served::Cyrus23);
    // What is met while it is there is kept.
    begin(&prepared).note(Evidence::UniqueId("/spool/user/bob/cyrus.header".into()));
    let watch = begin(&conf);
    assert_eq!(watch.served(), Served::Cyrus24);
    let (reasons, file) = (watch.reasons(), file.to_str().unwrap());
    assert!(
        reasons.contains("unique id") && reasons.contains(file),
        "{reasons}"
    );
}

#[test]
fn a_name_that_is_no_text_is_kept_once() {
    use std::os::unix::ffi::OsStrExt;
    let (tmp, conf) = store();
    let lock = tmp.path().join("conf/lock");
    fs::create_dir(&lock).unwrap();
    fs::write(
        lock.join(std::ffi::OsStr::from_bytes(b"user.\xff.lock")),
        "",
    )
    .unwrap();
    for _ in 0..2 {
        let watch = Watch::begin(&conf, &[], tmp.path(), false).unwrap();
        assert_eq!(watch.served(), Served::Cyrus24);
        assert_eq!(watch.state.lock().evidence.len(), 1);
    }
}

/// A skiplist file with one entry; it need not be whole behind that.
fn skiplist(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = b"\xa1\x02\x8b\x0dskiplist file\0\0\0".to_vec();
    for word in [1u32, 2, 20, 16, 1, 0, 0, 1] {
        bytes.extend(word.to_be_bytes());
    }
    for text in [key, value] {
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// A Berkeley DB file of one page behind the first, with keys and values in turn. `hash`: a hash
/// table, not a tree.
fn berkeley(hash: bool, big: bool, items: &[&[u8]]) -> Vec<u8> {
    let order = |bytes: &[u8]| -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if big {
            bytes.reverse();
        }
        bytes
    };
    let mut file = vec![0; 1024];
    let magic: u32 = if hash { 0x0006_1561 } else { 0x0005_3162 };
    file[12..16].copy_from_slice(&order(&magic.to_le_bytes()));
    file[20..24].copy_from_slice(&order(&512u32.to_le_bytes()));
    let page = &mut file[512..];
    let count = u16::try_from(items.len()).unwrap();
    page[20..22].copy_from_slice(&order(&count.to_le_bytes()));
    page[25] = if hash { 13 } else { 5 };
    let mut end = 512;
    for (i, item) in items.iter().enumerate() {
        let len = u16::try_from(item.len()).unwrap();
        let head = if hash {
            Vec::new()
        } else {
            order(&len.to_le_bytes())
        };
        let bytes = [&head[..], &[1], item].concat();
        let start = (end - bytes.len()) & !3;
        page[start..start + bytes.len()].copy_from_slice(&bytes);
        let offset = u16::try_from(start).unwrap();
        page[26 + 2 * i..28 + 2 * i].copy_from_slice(&order(&offset.to_le_bytes()));
        end = start;
    }
    file
}

#[test]
fn an_entry_in_list_form_is_seen_in_every_format_and_only_where_a_value_begins() {
    let key: &[u8] = b"user.joe";
    let list: &[u8] = b"%(A %(joe lrs) I abc P default)";
    // What a user may write into a mailbox's list of rights.
    let old: &[u8] = b"0 default joe\tlrs\t%(A %(\tlrs\t";
    let with = |value: &[u8]| {
        let mut all = vec![
            skiplist(key, value),
            [
                b"user.bob\t0 default bob\tlrs\t\n",
                key,
                b"\t",
                value,
                b"\n",
            ]
            .concat(),
        ];
        for (hash, big) in [(false, false), (false, true), (true, false), (true, true)] {
            all.push(berkeley(
                hash,
                big,
                &[b"user.bob", b"0 default ", key, value],
            ));
        }
        all
    };
    for (value, served) in [(list, Served::Cyrus24), (old, Served::Cyrus23)] {
        for (format, bytes) in with(value).into_iter().enumerate() {
            let (tmp, conf) = store();
            fs::write(tmp.path().join("conf/mailboxes.db"), &bytes).unwrap();
            assert_eq!(seen(&tmp, &conf).0, served, "format {format}");
            // No server of any release writes such entries elsewhere; users can.
            let (tmp, conf) = store();
            for name in ["annotations.db", "deliver.db", "statuscache.db"] {
                fs::write(tmp.path().join("conf").join(name), &bytes).unwrap();
            }
            assert_eq!(seen(&tmp, &conf), (Served::Cyrus23, String::new()));
        }
    }
    // One that is cut off anywhere is read as far as it goes.
    let whole = berkeley(false, false, &[key, list]);
    for len in 0..whole.len() {
        entries::any_in_list_form(&whole[..len]);
    }
}

#[test]
fn a_user_s_file_of_a_virtual_domain_counts_and_a_quota_file_of_any_name_does_not() {
    for domain in ["example.org", "user"] {
        let (tmp, conf) = store();
        let home = tmp.path().join("conf/domain/e").join(domain);
        for dir in ["quota/d", "quota/u/user/d", "user/d", "sieve/user/d"] {
            fs::create_dir_all(home.join(dir)).unwrap();
        }
        for name in ["user.dav", "user.joe.alarms", "user.conversations"] {
            fs::write(home.join("quota/d").join(name), "0\n102400\n").unwrap();
            fs::write(home.join("quota/u/user/d").join(name), "").unwrap();
            fs::write(home.join("sieve/user/d").join(name), "").unwrap();
        }
        // Users of these names, with files that every release has.
        for name in ["dav.seen", "joe.dav.sub", "counters.mboxkey"] {
            fs::write(home.join("user/d").join(name), "").unwrap();
        }
        assert_eq!(seen(&tmp, &conf), (Served::Cyrus23, String::new()));
        fs::write(home.join("user/d/dave.dav"), "").unwrap();
        let (served, reasons) = seen(&tmp, &conf);
        assert_eq!(served, Served::Cyrus24);
        assert!(reasons.contains("user/d/dave.dav"), "{reasons}");
    }
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

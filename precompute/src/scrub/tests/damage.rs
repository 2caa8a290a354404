//! Every kind of damage is found and reported by its code, and nothing else is.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

#[test]
fn a_thousand_random_single_bit_flips_are_all_found_and_no_sound_message_is_accused() {
    let mut rng = 0x5eed_u64;
    let mut random = |below: u64| {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        rng % below
    };
    let stores: Vec<Store> = [10, 12, 17, 20]
        .into_iter()
        .map(|minor| Store::new(minor, 350))
        .collect();
    let mut flipped = Vec::new();
    while flipped.len() < 1000 {
        let store = &stores[usize::try_from(random(4)).expect("small")];
        let uid = u32::try_from(random(350)).expect("small") + 1;
        let key = (store.path().display().to_string(), Some(uid));
        if flipped.contains(&key) {
            continue;
        }
        let size = store.file(uid).metadata().expect("there").len();
        flip(&store.file(uid), random(size * 8));
        flipped.push(key);
    }
    flipped.sort();
    let (summary, findings) = scrub(stores.iter().map(Store::mailbox));
    assert!(findings.iter().all(|finding| finding.code == Code::BitRot));
    let found: Vec<_> = findings
        .into_iter()
        .map(|finding| (finding.mailbox, finding.compared.uid))
        .collect();
    assert_eq!(found, flipped);
    assert_eq!((summary.compared, summary.findings), (1400, 1000));
    assert_eq!(summary.exit().code(), 65);
}

#[test]
fn missing_changed_and_unlisted_messages_have_codes_of_their_own() {
    let mut store = Store::new(10, 20);
    std::fs::remove_file(store.file(3)).expect("remove");
    let message = std::fs::read(store.file(5)).expect("read");
    std::fs::write(store.file(5), &message[..message.len() - 1]).expect("write");
    store.records[6].size += 1; // the record of UID 7 is wrong, its message is right
    store.records.remove(8); // the record of UID 9
    store.write();
    std::fs::remove_file(store.file(11)).expect("remove");
    std::fs::create_dir(store.file(11)).expect("mkdir");
    std::fs::remove_file(store.file(12)).expect("remove");
    symlink("1.", store.file(12)).expect("link");
    std::fs::remove_file(store.file(13)).expect("remove");
    rustix::fs::mkfifoat(rustix::fs::CWD, store.file(13), 0o600.into()).expect("fifo");
    std::fs::write(store.file(14), []).expect("write");
    let (summary, findings) = store.scrub();
    assert_eq!(
        codes(&findings),
        [
            ("missing", Some(3)),
            ("size", Some(5)),
            ("size", Some(7)),
            ("unlisted", Some(9)),
            ("not-regular", Some(11)),
            ("not-regular", Some(12)),
            ("not-regular", Some(13)),
            ("size", Some(14)),
        ]
    );
    assert_eq!(
        findings[2].compared.record_guid,
        findings[2].compared.file_guid
    );
    assert!(
        findings[2].text.contains("the SHA-1 is right"),
        "{}",
        findings[2].text
    );
    assert_eq!(findings[3].path, store.file(9));
    assert_eq!(summary.by_code[&Code::Size], 3);
}

#[test]
fn old_style_guids_are_counted_and_their_messages_still_must_be_there() {
    let mut store = Store::new(10, 6);
    for (record, guid) in store.records.iter_mut().zip([
        RecordGuid::Guid(Guid::NULL),
        RecordGuid::Guid(Guid::padded(indexfile::Uuid::from_bytes([7; 12]))),
        RecordGuid::Absent,
        RecordGuid::Guid(Guid::NULL),
    ]) {
        record.guid = guid;
    }
    store.write();
    let summary = store.clean();
    assert_eq!(
        (summary.messages, summary.old_style, summary.compared),
        (6, 4, 2)
    );
    std::fs::remove_file(store.file(1)).expect("remove");
    std::fs::write(store.file(2), b"other").expect("write");
    let (_, findings) = store.scrub();
    assert_eq!(codes(&findings), [("missing", Some(1)), ("size", Some(2))]);
}

#[test]
fn expunged_messages_are_checked_and_unlinked_ones_not_expected() {
    for minor in [12, 17, 19, 20] {
        let mut store = Store::new(minor, 5);
        store.records[1].system_flags = indexfile::flags::EXPUNGED;
        store.records[2].system_flags = indexfile::flags::EXPUNGED | indexfile::flags::UNLINKED;
        store.records[3].system_flags = indexfile::flags::EXPUNGED | indexfile::flags::UNLINKED;
        store.write();
        std::fs::remove_file(store.file(3)).expect("remove");
        let summary = store.clean();
        assert_eq!(
            (summary.messages, summary.unlinked),
            (3, 2),
            "version {minor}"
        );
        flip(&store.file(2), 9);
        let (_, findings) = store.scrub();
        assert_eq!(codes(&findings), [("bit-rot", Some(2))], "version {minor}");
    }
}

#[test]
fn messages_that_cyrus_expunge_lists_are_checked_in_any_order() {
    let mut store = Store::new(10, 6);
    store.expunged = [4, 2, 6].iter().map(|uid| store.records[uid - 1]).collect();
    store.records.retain(|record| record.uid % 2 == 1);
    store.write();
    assert_eq!(store.clean().messages, 6);
    std::fs::remove_file(store.file(2)).expect("remove");
    flip(&store.file(6), 0);
    let (_, findings) = store.scrub();
    assert_eq!(
        codes(&findings),
        [("missing", Some(2)), ("bit-rot", Some(6))]
    );
}

#[test]
fn a_damaged_index_has_the_code_of_indexfile_and_accuses_no_message() {
    let store = Store::new(17, 30);
    let index = store.path().join("cyrus.index");
    let good = std::fs::read(&index).expect("read");
    let cases: [(&str, Vec<u8>); 6] = [
        ("truncated", good[..good.len() - 1].to_vec()),
        ("zero-length", Vec::new()),
        (
            "not-index",
            b"From: me\r\nSubject: not an index at all, this one\r\n\r\n".to_vec(),
        ),
        ("header-crc", {
            let mut b = good.clone();
            b[40] ^= 1;
            b
        }),
        ("unknown-version", {
            let mut b = good.clone();
            b[11] = 99;
            b
        }),
        ("bad-header", {
            let mut b = good.clone();
            b[19] = 116;
            b
        }),
    ];
    for (code, bytes) in cases {
        std::fs::write(&index, bytes).expect("write");
        let (_, findings) = store.scrub();
        assert_eq!(codes(&findings), [(code, None)]);
        assert_eq!(findings[0].path, index);
    }
}

#[test]
fn a_damaged_record_is_reported_and_the_others_are_still_checked() {
    let store = Store::new(17, 600);
    let index = store.path().join("cyrus.index");
    let mut bytes = std::fs::read(&index).expect("read");
    bytes[160 + 300 * 112 + 70] ^= 4; // the GUID of UID 301
    std::fs::write(&index, bytes).expect("write");
    flip(&store.file(599), 3);
    let (_, findings) = store.scrub();
    assert_eq!(
        codes(&findings),
        [("record-crc", None), ("bit-rot", Some(599))]
    );
    assert!(findings[0].text.contains("UID 301"), "{}", findings[0].text);
}

#[test]
fn records_out_of_order_or_without_uid_are_reported() {
    let store = Store::new(10, 10);
    let index = store.path().join("cyrus.index");
    let good = std::fs::read(&index).expect("read");
    for (uid, code) in [(1, "uid-order"), (0, "zero-uid")] {
        let mut bytes = good.clone();
        bytes[96 + 5 * 88 + 3] = uid;
        std::fs::write(&index, bytes).expect("write");
        assert_eq!(codes(&store.scrub().1), [(code, None)]);
    }
}

#[test]
fn an_unmounted_spool_is_one_finding_and_not_one_a_message() {
    let store = Store::new(10, 500);
    let gone = store.path().join("not-mounted");
    let mailbox = plain(&gone, Some(store.path()), None);
    let (summary, findings) = scrub([mailbox]);
    assert_eq!(codes(&findings), [("no-spool", None)]);
    assert_eq!((findings[0].path.clone(), summary.mailboxes), (gone, 0));
}

#[test]
fn a_lost_index_and_an_unknown_mailbox_are_distinguished() {
    let store = Store::new(10, 3);
    std::fs::remove_file(store.path().join("cyrus.index")).expect("remove");
    let (summary, findings) = store.scrub();
    assert!(is(&findings, Code::NoIndex), "{findings:?}");
    assert_eq!(summary.exit().code(), 65);
    let tree = store::Store::plain(store.path(), None, None);
    let nobody = Target {
        named: true,
        ..tree
            .target(&"plain".into(), Path::new("nobody"))
            .expect("plain")
    };
    let (summary, findings) = scrub([nobody]);
    assert!(is(&findings, Code::NoMailbox), "{findings:?}");
    assert_eq!(summary.exit().code(), 67);
}

#[test]
fn archived_messages_are_looked_for_in_the_archive() {
    const ARCHIVED: u32 = 1 << 29;
    let mut store = Store::new(17, 8);
    let cold = tempfile::tempdir().expect("scratch");
    let archived = |uid: u32| cold.path().join(format!("{uid}."));
    for uid in [2, 4, 6] {
        store.records[uid as usize - 1].system_flags = ARCHIVED;
        std::fs::rename(store.file(uid), archived(uid))
            .or_else(|_| std::fs::copy(store.file(uid), archived(uid)).map(drop))
            .expect("move");
    }
    store.write();
    let scrub = || scrub([plain(store.path(), None, Some(cold.path()))]);
    let (summary, findings) = scrub();
    assert_eq!((findings.len(), summary.compared), (0, 8));
    flip(&archived(2), 5);
    std::fs::rename(archived(4), store.file(4)).expect("move");
    std::fs::copy(archived(6), store.file(6)).expect("copy");
    std::fs::write(archived(900), b"stray").expect("write");
    std::fs::write(archived(7), b"other copy").expect("write");
    let summary = |findings: &[Finding]| codes(findings);
    let options = Options {
        delivery_grace: Duration::ZERO,
        ..options(Duration::from_millis(30))
    };
    let mailbox = plain(store.path(), None, Some(cold.path()));
    let (_, findings) = scrub_with([Ok(mailbox)].into_iter(), &options);
    assert_eq!(
        summary(&findings),
        [
            ("bit-rot", Some(2)),
            ("missing", Some(4)),
            ("duplicate", Some(6)),
            ("duplicate", Some(7)),
            ("unlisted", Some(900)),
        ]
    );
    assert!(
        findings[1].text.contains("but there is"),
        "{}",
        findings[1].text
    );
    assert_eq!(
        (findings[2].path.clone(), findings[3].path.clone()),
        (store.file(6), archived(7))
    );
}

#[test]
fn without_an_archive_partition_archived_messages_lie_with_the_others() {
    let mut store = Store::new(17, 3);
    store.records[1].system_flags = 1 << 29;
    store.write();
    assert_eq!(store.clean().compared, 3);
}

#[test]
fn an_unmounted_archive_is_one_finding() {
    let mut store = Store::new(17, 300);
    for record in &mut store.records[..250] {
        record.system_flags = 1 << 29;
        std::fs::remove_file(store.dir.path().join(format!("{}.", record.uid))).expect("remove");
    }
    store.write();
    let (summary, findings) = scrub([plain(
        store.path(),
        None,
        Some(Path::new("/nonexistent/cold")),
    )]);
    assert!(is(&findings, Code::NoSpool), "{findings:?}");
    assert_eq!(summary.compared, 50);
}

#[test]
fn a_delivery_that_is_not_finished_is_no_finding_until_it_is_old() {
    let store = Store::new(10, 3);
    std::fs::write(store.file(4), b"on its way").expect("write");
    let summary = store.clean();
    assert_eq!(summary.in_delivery, 1);
    let options = Options {
        delivery_grace: Duration::ZERO,
        ..options(Duration::from_millis(30))
    };
    let (_, findings) = scrub_with([Ok(store.mailbox())].into_iter(), &options);
    assert_eq!(codes(&findings), [("unlisted", Some(4))]);
}

#[test]
fn a_second_name_of_a_damaged_file_is_reported_too() {
    let stores = [Store::new(10, 1), Store::new(10, 1), Store::new(10, 1)];
    for other in &stores[1..] {
        std::fs::remove_file(other.file(1)).expect("remove");
        std::fs::hard_link(stores[0].file(1), other.file(1)).expect("link");
    }
    flip(&stores[0].file(1), 17);
    let (_, findings) = scrub(stores.iter().map(Store::mailbox));
    assert_eq!(codes(&findings), [("bit-rot", Some(1)); 3]);
}

#[test]
fn nothing_is_written_nor_locked_nor_touched() {
    let mut store = Store::new(10, 50);
    store.expunged.push(store.records[4]);
    store.records.remove(4);
    store.write();
    flip(&store.file(9), 3);
    let state = || {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(store.path()).expect("read") {
            let entry = entry.expect("read");
            let meta = entry.metadata().expect("stat");
            let times = [
                meta.atime(),
                meta.atime_nsec(),
                meta.mtime_nsec(),
                meta.ctime(),
                meta.ctime_nsec(),
            ];
            all.push((entry.file_name(), meta.ino(), meta.len(), times));
        }
        all.sort();
        all
    };
    let before = state();
    let _ = store.scrub();
    assert_eq!(state(), before, "not even access times");
    // A reader needs no write permission anywhere.
    std::fs::set_permissions(store.path(), PermissionsExt::from_mode(0o500)).expect("chmod");
    assert_eq!(store.scrub().1.len(), 1);
    std::fs::set_permissions(store.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
}

#[test]
fn an_expunge_file_that_cannot_be_looked_for_is_reported_and_its_messages_are_not_called_strays() {
    let scratch = tempfile::tempdir().expect("scratch");
    let (data, meta) = (scratch.path().join("data"), scratch.path().join("meta"));
    std::fs::create_dir_all(&data).expect("mkdir");
    std::fs::write(data.join("1."), b"kept").expect("write");
    std::fs::write(data.join("2."), b"expunged").expect("write");
    let record = BuildRecord {
        uid: 1,
        size: 4,
        guid: RecordGuid::Guid(Guid::from_bytes(sha1_of(b"kept"))),
        ..BuildRecord::default()
    };
    let index = IndexBuilder::new(10, FileKind::Index).record(record);
    let index = index.to_bytes().expect("sound");
    std::fs::write(data.join("cyrus.index"), index).expect("write");
    let conf = format!(
        "partition-p: {}\nmetapartition-p: {}\nmetapartition_files: expunge\n",
        data.display(),
        meta.display()
    );
    let conf = indexfile::mailbox::ImapdConf::parse(&conf).expect("sound");
    let store = store::Store::Conf(conf.into());
    let mailbox = store.target(&"p".into(), Path::new("")).expect("known");
    let (_, findings) = scrub([mailbox]);
    let codes: Vec<_> = findings.iter().map(|f| (f.code, &f.path)).collect();
    assert_eq!(codes, [(Code::NoSpool, &meta)], "{findings:?}");
}

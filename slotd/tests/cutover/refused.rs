//! What is not changed over, and that nothing is touched then.

use super::*;

#[test]
fn what_could_only_be_half_right_is_refused_and_nothing_is_touched() {
    let cases: [(Spoil, Code, &str); 4] = [
        (
            |store| {
                append_with_null_guid(store, MAILBOX);
            },
            Code::Unsupported,
            "upgrade the mailbox to version 10 first",
        ),
        (
            |store| {
                let path = first_expunged(store);
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[0] ^= 1;
                std::fs::write(path, bytes).unwrap();
            },
            Code::Damaged,
            "the SHA-1 of its message is",
        ),
        (
            |store| std::fs::remove_file(first_expunged(store)).unwrap(),
            Code::NoMessage,
            "",
        ),
        (
            |store| {
                let path = seen_path(store);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, b"\0\x01\x02 no database").unwrap();
            },
            Code::Damaged,
            "seen",
        ),
    ];
    for (spoil, code, why) in cases {
        let (store, _host, mut session) = fenced();
        spoil(&store);
        let before = (live(&store), inodes(&store));
        for commands in [
            vec![prepare(16)],
            vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(16))],
        ] {
            let (refused, text) = run(&mut session, commands).unwrap_err();
            assert!(refused == code && text.contains(why), "{refused}: {text}");
        }
        assert_eq!((live(&store), inodes(&store)), before);
    }
}

fn first_expunged(store: &Store) -> PathBuf {
    let expunge = store.expunge(MAILBOX).unwrap();
    let uid = expunge.record(0).unwrap().unwrap().uid();
    store.spool(MAILBOX).join(format!("{uid}."))
}

#[test]
fn a_mailbox_below_version_10_is_upgraded_first() {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    raise_fence(&store);
    let mut session = Session::new(host);
    let (code, text) = run(&mut session, vec![prepare(16)]).unwrap_err();
    assert!(
        code == Code::Unsupported && text.contains("10 first"),
        "{text}"
    );
}

/// By what it left the way back, and recovery after a crash, are proven.
#[test]
fn what_a_change_over_under_way_was_made_from_is_not_written_anew_by_another_connection() {
    let (store, host, mut session) = fenced();
    let mut other = Session::new(host);
    let stamp = store.meta(MAILBOX).join("cyrus.cutover");
    let commands = vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(16))];
    run(&mut session, commands).unwrap();
    let made = std::fs::read(&stamp).unwrap();
    see_all(&store);
    for step in [commit(true), Command::Rollback] {
        let (code, text) = run(&mut other, vec![prepare(17)]).unwrap_err();
        assert!(
            code == Code::Locked && text.contains("changes over"),
            "{text}"
        );
        assert_eq!(std::fs::read(&stamp).unwrap(), made);
        run(&mut session, vec![step]).unwrap();
    }
    assert!(!prepared(&mut other).unchanged, "after it, it may");
}

#[test]
fn nothing_is_changed_over_or_back_or_called_complete_without_the_fence() {
    let (store, _host, mut session) = fenced();
    let shutdown = store.conf.config_directory().unwrap().join("msg/shutdown");
    let lower = || std::fs::remove_file(&shutdown).unwrap();
    let complete = Command::Complete(Complete {
        version: 16,
        mailboxes: 1,
        dry_run: true,
    });
    prepared(&mut session);
    // It falls when all is staged.
    let commands = vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(16))];
    run(&mut session, commands).unwrap();
    lower();
    let (code, text) = run(&mut session, vec![commit(false)]).unwrap_err();
    assert!(
        code == Code::Unfenced && text.contains("msg/shutdown"),
        "{text}"
    );
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
    for (to, version) in [(16, 10), (10, 16)] {
        // Nothing is staged even.
        let commands = vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(to))];
        let (code, _) = run(&mut session, commands).unwrap_err();
        assert_eq!(code, Code::Unfenced);
        let (code, _) = run(&mut session, vec![complete.clone()]).unwrap_err();
        assert_eq!(code, Code::Unfenced);
        assert_eq!(store.index(MAILBOX).minor_version(), version);
        if version == 10 {
            raise_fence(&store);
            change(&mut session, 16).unwrap();
            lower();
        }
    }
    // What only looks needs none.
    assert!(prepared(&mut session).unchanged);
}

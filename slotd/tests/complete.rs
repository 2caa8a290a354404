//! What says that a later server may start: made in two steps, true at any time, taken back.

mod common;

use std::path::PathBuf;

use common::fenced::{MAILBOX, change, commit, fenced, fields, run, upgrade};
use common::{Store, lock};
use slotd::protocol::{Code, Command, Complete, Completed, Revoked};
use slotd::session::Session;

fn complete(mailboxes: u32, dry_run: bool) -> Command {
    Command::Complete(Complete {
        version: 16,
        mailboxes,
        dry_run,
    })
}

fn complete_file(store: &Store) -> PathBuf {
    let dir = store.conf.config_directory().unwrap();
    dir.join("cutover-complete")
}

#[test]
fn a_store_is_complete_when_every_mailbox_is_changed_over_and_not_any_more_when_one_goes_back() {
    let (store, _host, mut session) = fenced();
    let complete = |mailboxes| vec![complete(mailboxes, true), complete(mailboxes, false)];
    let path = complete_file(&store);
    let (code, text) = run(&mut session, complete(1)).unwrap_err();
    assert!(code == Code::State && text.contains("version 10"), "{text}");
    change(&mut session, 16).unwrap();
    let (code, text) = run(&mut session, complete(2)).unwrap_err();
    assert!(
        code == Code::State && text.contains("1 mailboxes"),
        "{text}"
    );
    assert!(!path.exists());
    let replies = run(&mut session, complete(1)).unwrap();
    let completed = Completed::from_fields(fields(&replies[1])).unwrap();
    assert_eq!(completed.file.as_deref(), path.to_str());
    assert!(path.exists());
    change(&mut session, 10).unwrap();
    assert!(!path.exists());
    // An expunge file that a server would unlink the messages of.
    let expunge = std::fs::read(store.meta(MAILBOX).join("cyrus.expunge")).unwrap();
    change(&mut session, 16).unwrap();
    std::fs::write(store.meta(MAILBOX).join("cyrus.expunge"), expunge).unwrap();
    let (code, text) = run(&mut session, complete(1)).unwrap_err();
    assert!(
        code == Code::State && text.contains("lies beside"),
        "{text}"
    );
}

#[test]
fn a_dry_run_says_whether_a_store_would_be_complete_and_makes_no_file() {
    let (store, _host, mut session) = fenced();
    let path = complete_file(&store);
    let (code, text) = run(&mut session, vec![complete(1, true)]).unwrap_err();
    assert!(code == Code::State && text.contains("version 10"), "{text}");
    change(&mut session, 16).unwrap();
    let (code, _) = run(&mut session, vec![complete(2, true)]).unwrap_err();
    assert_eq!(code, Code::State);
    let replies = run(&mut session, vec![complete(1, true)]).unwrap();
    let completed = Completed::from_fields(fields(&replies[0])).unwrap();
    let dry = Completed {
        mailboxes: 1,
        file: None,
    };
    assert_eq!(completed, dry);
    assert!(!path.exists());
    // It takes nothing back either.
    run(&mut session, vec![complete(1, false)]).unwrap();
    run(&mut session, vec![complete(2, true)]).unwrap_err();
    assert!(path.exists());
}

#[test]
fn nothing_is_called_complete_that_was_not_looked_at_before_on_the_same_connection() {
    let (store, host, mut session) = fenced();
    let path = complete_file(&store);
    change(&mut session, 16).unwrap();
    let refused = |session: &mut Session, says: &str| {
        let (code, text) = run(session, vec![complete(1, false)]).unwrap_err();
        assert!(code == Code::State && text.contains(says), "{text}");
        assert!(!path.exists());
    };
    refused(&mut session, "dry_run=1");
    run(&mut session, vec![complete(1, true)]).unwrap();
    let mut other = Session::new(host);
    refused(&mut other, "dry_run=1");
    // It was delayed, and another controller has given up meanwhile.
    run(&mut other, vec![Command::Revoke]).unwrap();
    refused(&mut session, "since the store was looked at");
    // It serves once.
    run(&mut session, vec![complete(1, true), complete(1, false)]).unwrap();
    run(&mut session, vec![complete(1, true)]).unwrap();
    change(&mut other, 10).unwrap();
    change(&mut other, 16).unwrap();
    refused(&mut session, "since the store was looked at");
}

#[test]
fn what_was_called_complete_is_not_after_revoke() {
    let (store, _host, mut session) = fenced();
    let path = complete_file(&store);
    change(&mut session, 16).unwrap();
    run(&mut session, vec![complete(1, true), complete(1, false)]).unwrap();
    for removed in [true, false] {
        let replies = run(&mut session, vec![Command::Revoke]).unwrap();
        let revoked = Revoked::from_fields(fields(&replies[0])).unwrap();
        let file = path.to_str().unwrap().to_owned();
        assert_eq!(revoked, Revoked { removed, file });
        assert!(!path.exists());
    }
    // No fence is needed to say that no server may start.
    run(&mut session, vec![complete(1, true), complete(1, false)]).unwrap();
    std::fs::remove_file(store.conf.config_directory().unwrap().join("msg/shutdown")).unwrap();
    run(&mut session, vec![Command::Revoke]).unwrap();
    assert!(!path.exists());
}

/// What another connection calls complete between UPGRADE and COMMIT is untrue once the way back
/// is gone.
#[test]
fn no_commit_leaves_a_store_that_is_called_complete_and_is_not() {
    let (store, host, mut session) = fenced();
    let path = complete_file(&store);
    change(&mut session, 16).unwrap();
    let commands = vec![Command::Lock(lock(MAILBOX)), Command::Upgrade(upgrade(10))];
    run(&mut session, commands).unwrap();
    let mut other = Session::new(host);
    let (code, text) = run(&mut other, vec![complete(1, true)]).unwrap_err();
    assert!(
        code == Code::State && text.contains("not settled"),
        "{text}"
    );
    // It looked before the intent was open, and only now has made the file.
    std::fs::write(&path, "").unwrap();
    run(&mut session, vec![commit(false)]).unwrap();
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
    assert!(!path.exists());
}

//! `verify --imap`: what a user saw on the master is on the replica after a change-over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::cyrus36::server::Server;
use tests::fleet::program;
use tests::process::{Ended, run};

use super::{changed_over, server_for};

/// `verify --imap` as alice.
fn verify_imap(server: &Server, dir: &Path, more: &[&str]) -> Ended {
    let (address, password) = (server.imap().to_string(), dir.join("password"));
    let password = password.to_str().unwrap();
    let args = ["verify", "--json", "--imap", &address, "--user", "alice"];
    let args = [&args[..], &["--password-file", password], more].concat();
    run(&program("controller"), args)
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn what_a_user_saw_on_the_master_is_there_on_the_replica_and_each_change_to_it_is_noticed() {
    let (fleet, before) = changed_over();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), "any\n").unwrap();
    let private = PermissionsExt::from_mode(0o600);
    fs::set_permissions(dir.path().join("password"), private).unwrap();
    let kept = dir.path().join("alice.before");
    let kept = kept.to_str().unwrap();
    let seen_by_alice = || {
        let of_alice = before
            .mailboxes
            .iter()
            .filter(|((_, user), _)| user == "alice");
        of_alice.map(|(_, mailbox)| mailbox)
    };

    let master = server_for(&fleet.master);
    let saved = verify_imap(&master, dir.path(), &["--save", kept])
        .expect_code(0)
        .json();
    let messages: usize = seen_by_alice().map(|mailbox| mailbox.messages.len()).sum();
    let numbers = ["mailboxes", "messages", "guids"].map(|key| saved[key].as_u64().unwrap());
    let [mailboxes, messages] = [seen_by_alice().count(), messages].map(|n| n as u64);
    assert_eq!(numbers, [mailboxes, messages, messages], "{saved}");
    let _ = verify_imap(&master, dir.path(), &["--save", kept]).expect_code(78);
    drop(master);

    let replica = server_for(&fleet.replica);
    let same = verify_imap(&replica, dir.path(), &["--against", kept])
        .expect_code(0)
        .json();
    assert_eq!(same["compared"].as_u64(), Some(mailboxes), "{same}");
    assert_eq!(same["new"].as_u64(), Some(0), "{same}");

    // It looks, and leaves no trace.
    let mut alice = replica.login("alice");
    let _ = alice.ask("SELECT INBOX");
    let first = alice.search("ALL")[0];
    let _ = alice.ask(&format!("UID STORE {first} +FLAGS ($Changed)"));
    let counts = || {
        let other = verify_imap(&replica, dir.path(), &["--against", kept]).expect_code(65);
        other.json()["counts"].clone()
    };
    assert_eq!(counts(), serde_json::json!({"flags": 1}));
    let _ = alice.ask(&format!("UID STORE {first} +FLAGS (\\Deleted)"));
    let _ = alice.ask("EXPUNGE");
    assert_eq!(counts(), serde_json::json!({"gone": 1}));
    let _ = alice.ask("DELETE INBOX.expunged");
    assert_eq!(counts(), serde_json::json!({"gone": 1, "missing": 1}));
}

//! That there is nothing to do is an error with its own sentence, from every command.

mod common;

use std::fs;
use std::process::Command;

use common::{PRECOMPUTE, Store};

const COMMANDS: [&str; 4] = ["run", "verify", "scrub", "clean"];

/// Exit code and what it said; the findings of a scrub go to standard output.
fn precompute(store: &Store, command: &str, more: &[&str]) -> (i32, String) {
    let mut process = Command::new(PRECOMPUTE);
    process.arg(command).arg("--imapd-conf").arg(store.conf());
    let output = process.args(more).output().expect("runs");
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().expect("an exit code"), said)
}

#[test]
fn an_empty_list_is_an_error_and_a_list_of_other_hosts_mailboxes_too() {
    let store = Store::new();
    store.make("user.joe", &[1, 2], &[]);
    let list = store.spool().join("list");
    let path = list.to_str().expect("text");
    for text in ["", "# none\n\n", "user.x\t1 be2!p1 x\tlrs\t\n"] {
        fs::write(&list, text).expect("list");
        for command in COMMANDS {
            let (code, said) = precompute(&store, command, &["--mailboxes", path]);
            assert_eq!(code, 65, "{command} {text:?}: {said}");
            assert!(
                said.contains("nothing to do: the list has no mailbox"),
                "{said}"
            );
        }
    }
    fs::write(&list, "user.joe\n").expect("list");
    for command in COMMANDS {
        let (code, said) = precompute(&store, command, &["--mailboxes", path]);
        assert_eq!(code, 0, "{command}: {said}");
    }
}

#[test]
fn a_store_without_a_mailbox_is_an_error_with_its_own_sentence() {
    let store = Store::new();
    for command in COMMANDS {
        let (code, said) = precompute(&store, command, &[]);
        // A walk names the partition that has none; what has no walk of its own says it at the end.
        let expected = [(67, "no mailbox below it"), (65, "there is no mailbox")];
        let is = |(exit, text): (i32, &str)| code == exit && said.contains(text);
        assert!(expected.into_iter().any(is), "{command}: {code} {said}");
    }
}

//! Which mailboxes a pass takes: names, lists and trees.

use super::*;

#[test]
fn names_lists_and_trees_select_mailboxes() {
    let store = store();
    assert_eq!(store.summary(0, &["user.joe.Old"])["messages"], 6);
    assert_eq!(
        store.summary(67, &["user.joe.Old", "user.nobody"])["messages"],
        6
    );
    let list = store.spool().with_file_name("list");
    fs::write(
        &list,
        "user.joe.Old\t0 default\tjoe\tlrs\t\n\nuser.expunged\n",
    )
    .expect("list");
    let list = list.display().to_string();
    assert_eq!(store.summary(0, &["--mailboxes", &list])["messages"], 8);
    json_of_3_6(&store, &list);
    let plain = |dir: &Path, more: &[&str]| {
        let mut command = std::process::Command::new(common::PRECOMPUTE);
        command
            .args(["run", "--json", "--spool"])
            .arg(dir)
            .args(more);
        let output = command.output().expect("run");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (
            output.status.code(),
            json["mailboxes"].clone(),
            json["messages"].clone(),
        )
    };
    assert_eq!(
        plain(&store.mailbox("user.joe"), &[]),
        (Some(0), 1.into(), 700.into())
    );
    assert_eq!(
        plain(&store.mailbox("user.joe"), &["-r"]),
        (Some(0), 2.into(), 706.into())
    );
    assert_eq!(plain(&store.spool(), &[]), (Some(0), 4.into(), 708.into()));
    let nowhere = store.spool().with_file_name("nowhere");
    assert_eq!(plain(&nowhere, &[]), (Some(74), 0.into(), 0.into()));
    fs::create_dir(&nowhere).expect("mkdir");
    assert_eq!(plain(&nowhere, &[]), (Some(67), 0.into(), 0.into()));
}

/// The dump of Cyrus 3.6: `l` lies at the path of its name; the others have nothing to be hashed.
fn json_of_3_6(store: &Store, list: &str) {
    let json = r#"{
"user.joe.Old": {"name": "user.joe.Old", "mbtype": "el", "partition": "default", "acl": {}},
"user.new": {"name": "user.new", "mbtype": "e", "partition": "default", "uniqueid": "x1", "acl": {}},
"user.far": {"name": "user.far", "mbtype": "er", "partition": "p", "server": "be1.test", "acl": {}}
}
"#;
    fs::write(list, json).expect("list");
    let output = store.run("run", &["--json", "--quiet", "--mailboxes", list]);
    let errors = String::from_utf8_lossy(&output.stderr);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (output.status.code(), &summary["messages"]),
        (Some(0), &6.into())
    );
    assert!(errors.contains("no mailbox here: 1 remote"), "{errors}");
    assert!(
        errors.contains("1 mailboxes of the list skipped: Cyrus 3.6"),
        "{errors}"
    );
    fs::write(list, "{\n\"user.joe\": [1]\n}\n").expect("list");
    let output = store.run("run", &["--mailboxes", list]);
    let errors = String::from_utf8_lossy(&output.stderr);
    // An entry that is none is a name that is no mailbox; the rest of the list is done.
    assert_eq!(output.status.code(), Some(67), "{errors}");
    assert!(errors.contains("line 2: not a member"), "{errors}");
}

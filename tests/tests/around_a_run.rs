//! plan, verify and clean: the first two change nothing on any host, the last removes what is ours
//! and nothing else.

use std::fs;

use stores::Host;
use stores::judge::snapshot;
use tests::damage;
use tests::fleet::Fleet;
use tests::process::Guard;

/// Everything below the data and meta roots of a host.
fn mail(host: &Host) -> [snapshot::Tree; 2] {
    [&host.meta, &host.data].map(|root| snapshot::take(root).unwrap())
}

fn assert_same(before: &[snapshot::Tree; 2], after: &[snapshot::Tree; 2]) {
    for (old, new) in before.iter().zip(after) {
        assert_eq!(snapshot::differences(old, new), Vec::<String>::new());
    }
}

#[test]
fn plan_changes_nothing_on_either_host() {
    let mut fleet = Fleet::of_239();
    let before = [mail(&fleet.master), mail(&fleet.replica)];
    fleet.start();
    let plan = fleet.controller("plan", &[]).expect_code(0);
    assert!(plan.stdout.contains("18"), "{plan:?}");
    assert_same(&before[0], &mail(&fleet.master));
    assert_same(&before[1], &mail(&fleet.replica));
}

#[test]
fn plan_names_what_a_run_would_refuse() {
    let mut fleet = Fleet::of(|host| {
        damage::truncate(&host.dirs("user.alice.big").meta.join("cyrus.index"));
    });
    fleet.start();
    let plan = fleet.controller("plan", &["--deep"]);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(said.contains("user.alice.big"), "{plan:?}");
}

#[test]
fn verify_is_content_after_a_run_and_finds_a_guid_that_is_not_its_messages() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let before = [mail(&fleet.master), mail(&fleet.replica)];
    let _ = fleet.controller("verify", &[]).expect_code(0);
    assert_same(&before[0], &mail(&fleet.master));
    assert_same(&before[1], &mail(&fleet.replica));
    let message = fleet.replica.dirs("user.alice.mixed").data.join("5.");
    let middle = fs::read(&message).unwrap().len() / 2;
    damage::overwrite(&message, middle, b"\x01\x02\x03");
    let found = fleet.controller("verify", &[]).expect_code(65);
    let said = format!("{}{}", found.stdout, found.stderr);
    assert!(said.contains("user.alice.mixed"), "{said}");
}

#[test]
fn clean_removes_the_old_files_and_the_caches_and_nothing_else() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let before = mail(&fleet.master);
    let _ = fleet.controller("clean", &[]).expect_code(0);
    let lines = snapshot::differences(&before[0], &mail(&fleet.master)[0]);
    assert_eq!(lines.len(), 18 + 3, "{lines:#?}"); // an index each, three with an expunge
    assert!(
        lines.iter().all(|l| l.ends_with(".OLD is gone")),
        "{lines:#?}"
    );
}

#[test]
fn a_preflight_is_the_look_of_a_run_without_the_run() {
    let mut fleet = Fleet::of_239();
    let before = [mail(&fleet.master), mail(&fleet.replica)];
    fleet.start();
    let list = fleet.journal().with_file_name("list");
    fs::write(&list, "user.bob\nuser.nobody\n").unwrap();
    let look = |args: &[&str], code| {
        let ended = fleet.controller("preflight", &[&["--json"], args].concat());
        ended.expect_code(code).json()
    };
    let all = look(&[], 0);
    assert_eq!(
        (&all["mailboxes"], &all["sampled"]),
        (&18.into(), &18.into())
    );
    for side in ["master", "replica"] {
        assert!(all["hosts"][side]["free"].is_number(), "{all}");
    }
    let some = look(&["--mailboxes", list.to_str().unwrap()], 67);
    assert_eq!(some["unknown"][0], "user.nobody");
    let ended = fleet
        .controller("preflight", &["user.nobody"])
        .expect_code(67);
    assert!(ended.stdout.contains("refuse some"), "{}", ended.stdout);
    assert!(!fleet.journal().exists());
    assert_same(&before[0], &mail(&fleet.master));
    assert_same(&before[1], &mail(&fleet.replica));
    drop(fleet.take_slotd(1));
    let away = fleet.controller("preflight", &[]).expect_code(69);
    assert!(away.stderr.contains("replica"), "{}", away.stderr);
}

#[test]
fn a_plan_says_no_where_a_run_would() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let plan = |fleet: &Fleet, args: &[&str]| {
        let ended = fleet.controller("plan", &[&["--json"], args].concat());
        let found = |what: &str| {
            let troubles = ended.json()["preflight"]["troubles"].clone();
            let of = |t: &serde_json::Value| t["what"] == what;
            troubles.as_array().unwrap().iter().any(of)
        };
        (ended.code, found("names"), found("replica"))
    };
    assert_eq!(plan(&fleet, &[]), (Some(0), false, false));
    // A name that does not exist, and a list given as a name.
    let unknown = plan(&fleet, &["user.bob", "user.nobody"]);
    assert_eq!(unknown, (Some(67), true, false));
    let list = fleet.journal().with_file_name("boxes");
    fs::write(&list, "user.bob\n").unwrap();
    let mut command = fleet.command("plan", &["boxes"]);
    command.current_dir(list.parent().unwrap());
    let ended = Guard::spawn(&mut command).finish().expect_code(67);
    assert!(ended.stdout.contains("--mailboxes"), "{}", ended.stdout);
    // Mailboxes that were made anew under the same names are others.
    for dirs in fleet.replica.mailboxes().unwrap().values() {
        for name in ["cyrus.index", "cyrus.expunge"] {
            if let Ok(bytes) = fs::read(dirs.file(name)) {
                tests::damage::overwrite(&dirs.file(name), 44, &[bytes[44] ^ 1]);
            }
        }
    }
    fleet.remember();
    assert_eq!(plan(&fleet, &[]), (Some(78), false, true));
    let ended = fleet.controller("upgrade", &[]).expect_code(78);
    assert!(
        ended.stderr.contains("no replica of this master"),
        "{}",
        ended.stderr
    );
    let _ = fleet.assert_settled();
    assert_eq!(fleet.open_transactions(), [""; 0]);
    // One that is dead.
    drop(fleet.take_slotd(1));
    let ended = fleet.controller("plan", &["user.bob"]).expect_code(69);
    assert!(ended.stderr.contains("replica"), "{}", ended.stderr);
}

#[test]
fn nothing_to_look_at_is_an_error_of_plan_and_of_verify() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let list = empty.path().to_str().unwrap();
    for verb in ["plan", "verify"] {
        let ended = fleet.controller(verb, &["--mailboxes", list]);
        let ended = ended.expect_code(65);
        assert!(!ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn another_unique_id_on_the_replica_is_told_by_plan_and_verify() {
    let mut fleet = Fleet::of(|_| {});
    let path = fleet.replica.dirs("user.bob").meta.join("cyrus.header");
    let id = indexfile::mailbox::HeaderFile::open(&path)
        .unwrap()
        .uniqueid;
    let header = fs::read(&path).unwrap();
    let at = header.windows(id.len()).position(|w| w == id.as_bytes());
    let at = at.unwrap();
    let other = if header[at] == b'1' { b"2" } else { b"1" };
    damage::overwrite(&path, at, other);
    fleet.start();
    let said = |verb: &str, more: &[&str]| {
        let ended = fleet.controller(verb, more);
        format!("{}{}", ended.stdout, ended.stderr)
    };
    for (verb, more) in [("plan", &["--deep"][..]), ("verify", &[])] {
        let said = said(verb, more);
        assert!(said.contains("unique id"), "{verb}: {said}");
    }
}

#[test]
fn clean_looks_whether_these_are_the_hosts_of_its_runs() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let old = |host: &Host| host.dirs("user.bob").meta.join("cyrus.index.OLD").exists();
    let mut command = fleet.command("status", &[]);
    command = std::process::Command::new(command.get_program());
    command.args(["clean", "--state"]).arg(fleet.journal());
    command.args(["--master", &fleet.addr(1), "--replica", &fleet.addr(0)]);
    let refused = Guard::spawn(&mut command).finish().expect_code(78);
    assert!(!refused.stderr.is_empty(), "{refused:?}");
    assert!(old(&fleet.master) && old(&fleet.replica));
    let _ = fleet.controller("clean", &[]).expect_code(0);
    assert!(!old(&fleet.master) && !old(&fleet.replica));
}

//! The main job on a store that a genuine Cyrus 2.3.9 wrote: master and replica to version 10,
//! every GUID right, nothing else changed; and again, which changes nothing.

use std::collections::BTreeMap;
use std::fs;

use stores::Layout;
use stores::genuine::{list_239, relayout, split_layout, unpack_239};
use stores::judge::image::Image;
use stores::judge::snapshot;
use stores::judge::{Before, State, When};
use tests::fleet::{Fleet, program};
use tests::process::run;

fn number(json: &serde_json::Value, key: &str) -> u64 {
    json[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {json}"))
}

#[test]
fn all_18_mailboxes_of_2_3_9_are_upgraded_and_all_395_guids_are_right() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let list = list_239(&fleet.master);
    let ended = fleet.controller(
        "upgrade",
        &["--json", "--mailboxes", list.to_str().unwrap()],
    );
    let summary = ended.expect_code(0).json();
    assert_eq!(number(&summary, "mailboxes"), 18);
    assert_eq!(number(&summary, "upgraded"), 18);
    for none in ["unchanged", "rolled_back", "in_doubt"] {
        assert_eq!(number(&summary, none), 0, "{none}: {summary}");
    }
    for report in fleet.assert_settled() {
        assert_eq!(report.count(State::New), 18);
        assert_eq!(report.guids.values().map(Vec::len).sum::<usize>(), 376 + 19);
    }
    // Spelt out, beside what the checker says: whole files of version 10, sizes to the byte.
    for (name, dirs) in fleet.master.mailboxes().unwrap() {
        for file in ["cyrus.index", "cyrus.expunge"] {
            let Ok(bytes) = fs::read(dirs.meta.join(file)) else {
                continue;
            };
            let length = bytes.len();
            let image = Image::parse(bytes).unwrap();
            assert_eq!(
                (image.minor(), length),
                (10, 96 + 88 * image.count()),
                "{name} {file}"
            );
        }
    }
}

#[test]
fn running_again_changes_nothing_at_all() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let trees = || [&fleet.master, &fleet.replica].map(|h| snapshot::take(&h.root).unwrap());
    let mail = |tree: &snapshot::Tree| -> snapshot::Tree {
        tree.iter()
            .filter(|(p, _)| !p.starts_with("slotd-state"))
            .map(|(p, e)| (p.clone(), e.clone()))
            .collect()
    };
    let before = trees();
    let summary = fleet
        .controller("upgrade", &["--json"])
        .expect_code(0)
        .json();
    assert_eq!(number(&summary, "unchanged"), 18);
    assert_eq!(number(&summary, "upgraded"), 0);
    for (old, new) in before.iter().zip(trees()) {
        assert_eq!(
            snapshot::differences(&mail(old), &mail(&new)),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_hashed_spool_without_metapartition_on_the_replica_ends_with_the_same_guids() {
    let dir = tempfile::tempdir().unwrap();
    let master = stores::genuine::unpack_239(&dir.path().join("master")).unwrap();
    let flat = stores::genuine::unpack_239(&dir.path().join("flat")).unwrap();
    let replica = relayout(&flat, &dir.path().join("replica"), Layout::HASHED).unwrap();
    assert_eq!(
        replica.dirs("shared.news").meta,
        replica.data.join("n/shared/news")
    );
    let mut fleet = Fleet::between(dir, master, replica);
    fleet.start();
    let summary = fleet
        .controller("upgrade", &["--json"])
        .expect_code(0)
        .json();
    assert_eq!(number(&summary, "upgraded"), 18);
    let [master, replica] = fleet.assert_settled();
    assert_eq!(master.guids, replica.guids);
    assert_eq!(replica.count(State::New), 18);
}

#[test]
fn precomputed_hashes_are_used_and_give_the_same_files_as_hashing_under_the_lock() {
    let plain = {
        let mut fleet = Fleet::of_239();
        fleet.start();
        let summary = fleet
            .controller("upgrade", &["--json"])
            .expect_code(0)
            .json();
        assert!(
            number(&summary, "hashed") > 0 && number(&summary, "cached") == 0,
            "{summary}"
        );
        contents(&fleet)
    };
    let mut fleet = Fleet::of_239();
    for host in [&fleet.master, &fleet.replica] {
        let args = ["run", "--json", "--imapd-conf", host.conf.to_str().unwrap()];
        let ended = run(&program("precompute"), args).expect_code(0).json();
        assert_eq!(number(&ended, "messages"), 395);
        assert_eq!(number(&ended, "errors"), 0);
    }
    fleet.start();
    let summary = fleet
        .controller("upgrade", &["--json"])
        .expect_code(0)
        .json();
    assert_eq!(number(&summary, "hashed"), 0, "{summary}");
    assert!(number(&summary, "cached") >= 395, "{summary}");
    let _ = fleet.assert_settled();
    assert!(contents(&fleet) == plain, "the files differ");
}

/// Index and expunge bytes of both hosts.
fn contents(fleet: &Fleet) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (side, host) in [("master", &fleet.master), ("replica", &fleet.replica)] {
        for (name, dirs) in host.mailboxes().unwrap() {
            for file in ["cyrus.index", "cyrus.expunge"] {
                if let Ok(bytes) = fs::read(dirs.meta.join(file)) {
                    all.insert(format!("{side} {name} {file}"), bytes);
                }
            }
        }
    }
    all
}

#[test]
fn one_host_without_a_replica_is_migrated_alone() {
    let dir = tempfile::tempdir().unwrap();
    let host = stores::genuine::unpack_239(&dir.path().join("only")).unwrap();
    let before = Before::remember(&host).unwrap();
    let slotd = tests::process::Slotd::start(&program("slotd"), &host, &[]);
    let journal = dir.path().join("journal");
    let args = [
        "upgrade",
        "--json",
        "--master",
        &slotd.addr,
        "--state",
        journal.to_str().unwrap(),
    ];
    let summary = run(&program("controller"), args).expect_code(0).json();
    assert_eq!(number(&summary, "upgraded"), 18);
    let report = before.check(When::Settled);
    report.assert_clean();
    assert_eq!(report.count(State::New), 18);
    let ended = slotd.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn the_list_may_come_from_a_dump_of_any_release_on_stdin_or_as_names() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let names = ["user.bob", "user.alice.With space &AOk-t&AOk- caf&AOk-"];
    let summary = fleet.controller("upgrade", &[&["--json"], &names[..]].concat());
    let summary = summary.expect_code(0).json();
    assert_eq!(
        (number(&summary, "mailboxes"), number(&summary, "upgraded")),
        (2, 2)
    );
    let [master, _] = fleet.assert_settled();
    for name in names {
        assert_eq!(master.states[name], State::New);
    }
    assert_eq!(master.count(State::Old), 16);

    // The list of 2.3.9 on stdin does the rest.
    let mut command = fleet.command("upgrade", &["--json", "--mailboxes", "-"]);
    command.stdin(fs::File::open(list_239(&fleet.master)).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (number(&summary, "upgraded"), number(&summary, "unchanged")),
        (16, 2)
    );
    assert_eq!(fleet.assert_settled()[0].count(State::New), 18);
}

/// Each file is looked for where its own word of `metapartition_files` says, and another layout on
/// the replica is nobody's business. The stores are watched: no index is newer than its expunge
/// file at any instant.
#[test]
fn index_and_expunge_on_two_partitions_go_up_and_back_down() {
    for [on_master, on_replica] in [
        ["index", "expunge"],
        ["expunge cache", "header index cache"],
        ["header", "index expunge"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let [master, replica] =
            [("master", on_master), ("replica", on_replica)].map(|(name, on_meta)| {
                let flat = unpack_239(&dir.path().join("flat").join(name)).unwrap();
                split_layout(&flat, &dir.path().join(name), on_meta).unwrap()
            });
        let dirs = master.dirs("user.alice.expunged");
        let [index, expunge] = ["cyrus.index", "cyrus.expunge"].map(|n| dirs.file(n));
        assert!(index.exists() && expunge.exists());
        assert_eq!(index.parent() == expunge.parent(), on_master == "header");
        let mut fleet = Fleet::between(dir, master, replica);
        let bytes = |fleet: &Fleet| -> BTreeMap<_, _> {
            let boxes = [&fleet.master, &fleet.replica].map(|h| h.mailboxes().unwrap());
            let files = boxes.iter().flat_map(BTreeMap::values);
            let files = files.flat_map(|d| ["cyrus.index", "cyrus.expunge"].map(|n| d.file(n)));
            files
                .map(|path| (path.clone(), fs::read(path).ok()))
                .collect()
        };
        let old = bytes(&fleet);
        fleet.start();
        let summary = fleet.controller("upgrade", &["--json"]).expect_code(0);
        assert_eq!(number(&summary.json(), "upgraded"), 18);
        let [master, replica] = fleet.assert_settled();
        assert_eq!(master.guids, replica.guids);
        assert_eq!([master, replica].map(|r| r.count(State::New)), [18; 2]);
        let _ = fleet.controller("rollback", &["last"]).expect_code(0);
        assert!(bytes(&fleet) == old, "not every byte is back");
    }
}

#[test]
fn one_bad_entry_of_a_list_is_named_and_the_rest_of_the_list_is_done() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let list = fleet.journal().with_file_name("names");
    let text = "user.bob\nuser..carol\n#user.later\nuser.alice.mixed\n";
    fs::write(&list, text).unwrap();
    let list = list.to_str().unwrap();
    let plan = fleet.controller("plan", &["--json", "--mailboxes", list]);
    let plan = plan.expect_code(65).json();
    assert_eq!(plan["bad_entries"]["count"], 1, "{plan}");
    let ended = fleet.controller("upgrade", &["--json", "--mailboxes", list]);
    let ended = ended.expect_code(65);
    let summary = ended.json();
    assert_eq!(number(&summary, "upgraded"), 2);
    assert_eq!(summary["skipped"]["commented_out"], 1, "{summary}");
    let bad = summary["bad_entries"]["first"][0].as_str().unwrap();
    assert!(
        bad.starts_with("line 2: ") && bad.contains("user..carol"),
        "{bad}"
    );
    assert!(ended.stderr.contains("user..carol"), "{}", ended.stderr);
    let verified = fleet.controller("verify", &["--mailboxes", list]);
    let verified = verified.expect_code(65);
    assert!(
        verified.stderr.contains("user..carol"),
        "{}",
        verified.stderr
    );
    let conf = fleet.master.conf.to_str().unwrap().to_owned();
    let args = ["run", "--imapd-conf", &conf, "--mailboxes", list];
    let precomputed = tests::process::run(&tests::fleet::program("precompute"), args);
    let precomputed = precomputed.expect_code(67);
    assert!(
        precomputed.stderr.contains("line 2"),
        "{}",
        precomputed.stderr
    );
}

#[test]
fn an_upgrade_warns_of_servers_that_damage_a_version_10_index_quiet_or_not() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let warns = |verb: &str, args: &[&str]| {
        let ended = fleet.controller(verb, args).expect_code(0);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        said.contains("2.3.0 to 2.3.9 damage an index of version 10")
    };
    assert!(warns("plan", &["user.bob"]));
    assert!(warns("upgrade", &["-q", "user.bob"]));
    assert!(!warns("plan", &["--to", "9", "user.alice.mixed"]));
}

#[test]
fn a_version_10_mailbox_with_padded_guids_is_rewritten_and_counts_as_upgraded() {
    let mut fleet = Fleet::of(|host| {
        let dirs = host.dirs("user.alice.expunged");
        tests::damage::make_v10(&dirs.meta.join("cyrus.index"));
        tests::damage::make_v10(&dirs.meta.join("cyrus.expunge"));
    });
    fleet.start();
    let summary = fleet.controller("upgrade", &["--json", "user.alice.expunged"]);
    assert_eq!(number(&summary.expect_code(0).json(), "upgraded"), 1);
    let [master, replica] = fleet.assert_settled();
    assert_eq!(master.states["user.alice.expunged"], State::New);
    assert_eq!(master.guids, replica.guids);
}

#[test]
fn messages_that_only_one_side_has_are_no_error() {
    let mut fleet = Fleet::of_239();
    let dirs = fleet.replica.dirs("user.alice.mixed");
    let index = dirs.meta.join("cyrus.index");
    let mut bytes = fs::read(&index).unwrap();
    let count = u32::from_be_bytes(bytes[20..24].try_into().unwrap());
    bytes.truncate(bytes.len() - 80); // the last message has not been replicated yet
    bytes[20..24].copy_from_slice(&(count - 1).to_be_bytes());
    fs::write(&index, bytes).unwrap();
    fleet.remember();
    fleet.start();
    let _ = fleet
        .controller("upgrade", &["user.alice.mixed"])
        .expect_code(0);
    assert_eq!(
        fleet.assert_settled()[1].states["user.alice.mixed"],
        State::New
    );
}

#[test]
fn a_message_damaged_on_one_side_rolls_that_mailbox_back_and_no_other() {
    let mut fleet = Fleet::of_239();
    let message = fleet.replica.dirs("user.alice.mixed").data.join("5.");
    let size = fs::read(&message).unwrap().len();
    tests::damage::overwrite(&message, size / 2, b"\x01\x02\x03");
    fleet.remember();
    fleet.start();
    let ended = fleet.controller("upgrade", &["--json"]).expect_code(75);
    let summary = ended.json();
    assert_eq!(
        (
            number(&summary, "upgraded"),
            number(&summary, "rolled_back")
        ),
        (17, 1)
    );
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(
        said.contains("user.alice.mixed") && said.contains('5'),
        "{said}"
    );
    for report in fleet.assert_settled() {
        assert_eq!(report.states["user.alice.mixed"], State::Old);
    }
}

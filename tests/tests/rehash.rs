//! `upgrade --rehash`: GUIDs of version 10 that are no SHA-1 of anything are found on either host,
//! set right on both, and come back with the run.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use stores::Host;
use stores::judge::image::{Image, hex, sha1_of};
use tests::fleet::{Fleet, program};
use tests::process::Slotd;

const BOTH: &str = "user.alice.expunged";
const ONE: &str = "user.alice.mixed";
const FALSE: [u8; 20] = [0xab; 20];

/// Paths and bytes.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// All index and expunge files of a host.
fn files(host: &Host) -> Files {
    let mut files = Vec::new();
    for dirs in host.mailboxes().unwrap().values() {
        for file in ["cyrus.index", "cyrus.expunge"] {
            let path = dirs.meta.join(file);
            files.extend(fs::read(&path).ok().map(|bytes| (path, bytes)));
        }
    }
    files
}

fn both(fleet: &Fleet) -> [Files; 2] {
    [&fleet.master, &fleet.replica].map(files)
}

/// Gives the record a GUID that no message has, in place, and gives its UID.
fn falsify(host: &Host, mailbox: &str, file: &str, record: usize) -> u32 {
    let path = host.dirs(mailbox).meta.join(file);
    let image = Image::parse(fs::read(&path).unwrap()).unwrap();
    let at = 96 + 88 * record + 60;
    let live = fs::File::options().write(true).open(path).unwrap();
    live.write_all_at(&FALSE, at as u64).unwrap();
    Image::uid(image.record(record))
}

/// Version 10 on both hosts, and how all files are when they are right.
fn upgraded() -> (Fleet, [Files; 2]) {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let right = both(&fleet);
    (fleet, right)
}

#[test]
fn wrong_guids_are_reported_then_set_right_on_both_hosts_and_come_back_with_the_run() {
    let (fleet, right) = upgraded();
    let mut wrong = Vec::new();
    for host in [&fleet.master, &fleet.replica] {
        wrong.push(falsify(host, BOTH, "cyrus.index", 2));
        wrong.push(falsify(host, BOTH, "cyrus.expunge", 1));
    }
    let before = both(&fleet);

    // A normal upgrade has nothing to do, and `verify` says what has.
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let verify = fleet.controller("verify", &["--full"]).expect_code(65);
    assert!(verify.stderr.contains("--rehash"), "{verify:?}");

    let report = fleet.controller("upgrade", &["--rehash"]).expect_code(65);
    for (at, side) in ["master", "replica"].into_iter().enumerate() {
        assert!(
            report.stderr.contains(&format!("{side}: 2 GUID(s)")),
            "{report:?}"
        );
        for uid in &wrong[2 * at..2 * at + 2] {
            let message = fleet.master.dirs(BOTH).data.join(format!("{uid}."));
            let is = hex(&sha1_of(&fs::read(message).unwrap()));
            let noted = format!("UID {uid} has {} and its file {is}", hex(&FALSE));
            assert!(report.stderr.contains(&noted), "{noted}: {report:?}");
        }
    }
    assert!(
        report.stderr.contains(&format!("{BOTH}: wrong GUIDs: ")),
        "{report:?}"
    );
    assert!(
        report.stderr.contains("controller upgrade --rehash=fix"),
        "{report:?}"
    );
    assert!(report.stdout.contains("17 unchanged") && report.stdout.contains("1 with wrong GUIDs"));
    let json = fleet.controller("upgrade", &["--rehash=report", "--json"]);
    let json = json.expect_code(65).json();
    assert_eq!(
        (&json["wrong_guid"], &json["unchanged"]),
        (&1.into(), &17.into())
    );
    assert_eq!(json["failures"]["wrong_guid"], 1);
    assert_eq!(json["warnings"]["wrong_guids"], 4);
    assert!(both(&fleet) == before, "a report has written something");

    let fix = fleet.controller("upgrade", &["--rehash=fix", "--json"]);
    let fix = fix.expect_code(0).json();
    assert_eq!(
        (&fix["upgraded"], &fix["unchanged"]),
        (&1.into(), &17.into())
    );
    assert!(both(&fleet) == right, "not what it was before it was wrong");
    let _ = fleet.controller("upgrade", &["--rehash"]).expect_code(0);
    let _ = fleet.controller("verify", &["--full"]).expect_code(0);

    // Later runs changed nothing.
    let run = fix["run"].to_string();
    let _ = fleet.controller("rollback", &[&run]).expect_code(0);
    assert!(both(&fleet) == before, "not what it was before the run");
    // And the way back of that is the way forth.
    let _ = fleet
        .controller("upgrade", &["--rehash=fix"])
        .expect_code(0);
    assert!(both(&fleet) == right);
}

#[test]
fn one_host_alone_may_be_wrong_and_messages_that_differ_are_refused() {
    let (fleet, right) = upgraded();
    falsify(&fleet.replica, ONE, "cyrus.index", 0);
    let report = fleet.controller("upgrade", &["--rehash"]).expect_code(65);
    assert!(report.stderr.contains("replica: 1 GUID(s)"), "{report:?}");
    assert!(!report.stderr.contains("master: 1 GUID(s)"), "{report:?}");

    // The same size, other bytes: then nobody can say which of the two is right.
    let index = fs::read(fleet.master.dirs(BOTH).meta.join("cyrus.index")).unwrap();
    let uid = Image::uid(Image::parse(index).unwrap().record(0));
    let message = fleet.master.dirs(BOTH).data.join(format!("{uid}."));
    let was = fs::read(&message).unwrap();
    let mut other = was.clone();
    other[0] ^= 1;
    fs::write(&message, &other).unwrap();
    let report = fleet.controller("upgrade", &["--rehash"]).expect_code(65);
    assert!(report.stderr.contains("(differs)"), "{report:?}");
    let fix = fleet
        .controller("upgrade", &["--rehash=fix"])
        .expect_code(75);
    assert!(fix.stderr.contains("(differs)") && fix.stderr.contains(&format!("UID {uid}")));
    assert!(
        both(&fleet) == right,
        "the one is right, and the other is as it was"
    );

    fs::write(&message, &was).unwrap();
    let _ = fleet.controller("retry", &["--all"]).expect_code(0);
    assert!(both(&fleet) == right);
}

/// After the decision the replica is right and the master is not, and no version says so: only the
/// run does.
#[test]
fn a_master_that_dies_in_its_commit_is_set_right_by_recover() {
    for point in ["commit.link", "commit.renamed"] {
        let (mut fleet, right) = upgraded();
        for host in [&fleet.master, &fleet.replica] {
            falsify(host, BOTH, "cyrus.index", 2);
            falsify(host, BOTH, "cyrus.expunge", 1);
        }
        let wrong = files(&fleet.master);
        let _ = fleet.take_slotd(0).unwrap().stop();
        let dies = [
            "env".to_owned(),
            format!("REGUID_FAILPOINTS={point}=1:kill"),
        ];
        let slotd = Slotd::start_under(&dies, &program("slotd"), &fleet.master, &[]);
        fleet.put_slotd(0, slotd);
        let hasty = [
            "--rehash=fix",
            "--settle-attempts",
            "1",
            "--host-wait",
            "0",
            BOTH,
        ];
        let _ = fleet.controller("upgrade", &hasty).expect_code(70);
        assert_eq!(fleet.open_transactions(), [BOTH], "{point}");
        assert!(
            files(&fleet.replica) == right[1],
            "{point}: the replica has not committed"
        );
        assert_eq!(
            files(&fleet.master) == wrong,
            point == "commit.link",
            "{point}"
        );
        fleet.take_slotd(0).unwrap().kill();
        fleet.start();
        let _ = fleet.controller("recover", &[]).expect_code(0);
        assert!(both(&fleet) == right, "{point}");
        assert!(fleet.open_transactions().is_empty());
        let _ = fleet.controller("upgrade", &["--rehash"]).expect_code(0);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet
        .controller("upgrade", &["--rehash=all"])
        .expect_code(64);
    // Below version 10 no GUID can be wrong: a report has nothing to tell and brings nothing up.
    let report = fleet.controller("upgrade", &["--rehash", "--json"]);
    let report = report.expect_code(0).json();
    assert_eq!(report["unchanged"], 18);
    // The name after it is a mailbox.
    let one = fleet.controller("upgrade", &["--rehash", ONE, "--json"]);
    assert_eq!(one.expect_code(0).json()["mailboxes"], 1);
}

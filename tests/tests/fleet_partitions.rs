//! Partitions in a fleet: names keep theirs, and what is left out is left alone.

use std::fs;

use stores::Host;
use tests::fleet::Fleet;
use tests::pairs::Pairs;

const MAILBOXES: usize = 6;

/// Moves mailboxes that have none below them to a second partition.
fn split(host: &Host, names: &[&String]) {
    let archive = host.root.join("archive");
    for name in names {
        let from = host.dirs(name).data;
        let to = archive.join(from.strip_prefix(&host.data).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(from, to).unwrap();
    }
    let conf = fs::read_to_string(&host.conf).unwrap();
    let more = format!("\npartition-archive: {}\n", archive.display());
    fs::write(&host.conf, conf + &more).unwrap();
}

/// One pair, two of whose mailboxes are on its second partition, with their names.
fn pair() -> (Pairs, Vec<String>) {
    let fleet = Fleet::plain(MAILBOXES, 2).unwatched();
    let all = fleet.master.mailboxes().unwrap();
    let leaf = |name: &&String| {
        let below = format!("{name}.");
        !all.keys().any(|other| other.starts_with(&below))
    };
    let names: Vec<&String> = all.keys().filter(leaf).take(2).collect();
    for host in [&fleet.master, &fleet.replica] {
        split(host, &names);
    }
    let names = names.into_iter().cloned().collect();
    (Pairs::of(vec![("be1".to_owned(), fleet)]), names)
}

fn leave_out(pairs: &Pairs, partition: &str) {
    pairs.write("");
    let text = fs::read_to_string(pairs.file()).unwrap();
    let text = format!("{text}leave-out = [{partition:?}]\n");
    fs::write(pairs.file(), text).unwrap();
}

#[test]
fn a_name_keeps_its_partition_and_canaries_are_of_each_pair() {
    let (pairs, names) = pair();
    let name = names[0].as_str();
    let args = ["-q", "--partition", "default", name];
    let refused = pairs.controller("upgrade", &args).expect_code(67);
    let text = "no pair has 1 of the mailboxes on partition default";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    let done = pairs.json("upgrade", &["-q", "--partition", "Archive", name], 0);
    assert_eq!(done["upgraded"], 1, "{done}");
    let canaries = ["-q", "--canary", "1", name, names[1].as_str()];
    assert_eq!(pairs.json("upgrade", &canaries, 0)["mailboxes"], 1);
    // A list that has the partition.
    let list = pairs.file().with_file_name("list");
    fs::write(&list, format!("{}\t0 archive\t\n", names[1])).unwrap();
    let done = pairs.json("upgrade", &["-q", "--mailboxes", list.to_str().unwrap()], 0);
    assert_eq!(done["mailboxes"], 1, "{done}");
}

#[test]
fn what_is_left_out_is_left_alone_by_every_command_and_a_change_over_is_refused() {
    let (pairs, names) = pair();
    leave_out(&pairs, "archiv");
    for verb in ["upgrade", "fleet check"] {
        let refused = pairs.controller(verb, &[]).expect_code(78);
        let all = refused.stdout + &refused.stderr;
        assert!(
            all.contains("leave-out has archiv, and the master's"),
            "{all}"
        );
    }
    leave_out(&pairs, "Archive");
    // Its master is called otherwise than in the file, and that is all.
    let look = pairs.controller("fleet check", &[]).stdout;
    assert!(!look.contains("leave-out"), "{look}");
    let refused = pairs.controller("upgrade", &[&names[0]]).expect_code(78);
    let text = format!("{} (on archive)", names[0]);
    assert!(refused.stderr.contains(&text), "{}", refused.stderr);
    let list = pairs.file().with_file_name("list");
    fs::write(&list, format!("{}\n", names[0])).unwrap();
    let list = ["--mailboxes", list.to_str().unwrap()];
    let empty = pairs.controller("upgrade", &list).expect_code(65);
    assert!(empty.stderr.contains("nothing to do"), "{}", empty.stderr);
    let done = pairs.json("upgrade", &["-q"], 0);
    assert_eq!(done["upgraded"], MAILBOXES - 2, "{done}");
    for more in [["--to", "16", "--prepare"], ["--to", "16", "--verify"]] {
        let refused = pairs.controller("cutover", &more).expect_code(78);
        let text = "a change-over is of every mailbox of a pair, and leave-out";
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    let _ = pairs.controller("cutover", &["--to", "16"]).expect_code(78);
    let _ = pairs.controller("cutover", &["--undo"]).expect_code(78);
    // All is upgraded, and what is left out afterwards stays there.
    pairs.write("");
    let done = pairs.json("upgrade", &["-q"], 0);
    assert_eq!(done["upgraded"], 2, "{done}");
    leave_out(&pairs, "archive");
    let back = pairs.controller("rollback", &["last"]).expect_code(75);
    assert!(back.stderr.contains("leave-out"), "{}", back.stderr);
    pairs.write("");
    let back = pairs.controller("rollback", &["last", "-q"]).expect_code(0);
    assert!(back.stdout.contains("2 restored"), "{}", back.stdout);
}

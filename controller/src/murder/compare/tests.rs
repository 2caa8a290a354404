//! Each code, by lists that have it; and what the numbers of a backend decide.

use std::collections::BTreeSet;

use indexfile::mailbox::MailboxName;
use indexfile::mailbox::list::Reader;
use proptest::prelude::*;

use super::*;
use crate::murder::wire::Entry;

fn mailbox(name: &str, location: &str) -> Entry {
    Entry::Mailbox {
        name: name.into(),
        location: location.into(),
        acl: Vec::new(),
    }
}

fn reserve(name: &str, location: &str) -> Entry {
    Entry::Reserve {
        name: name.into(),
        location: location.into(),
    }
}

/// Lists of the backends be1 and be2, both asked, and of be3, which was not; `old` is left out.
fn lists(master: &[Entry], found: &[(&str, &str, &str)], own: &[(&str, &str)]) -> Lists {
    let mut lists = Lists::new(["be1", "be2", "be3"], ["old"]).unwrap();
    lists.add_master(master).unwrap();
    lists.master_is_whole();
    for &(server, name, partition) in found {
        let name = MailboxName::parse(name).unwrap();
        let partition = partition.to_owned();
        let backend = lists.backend(server).unwrap();
        lists
            .add_found(backend, &[Found { name, partition }])
            .unwrap();
    }
    for server in ["be1", "be2"] {
        let backend = lists.backend(server).unwrap();
        lists.found_is_whole(backend);
    }
    for &(server, dump) in own {
        let backend = lists.backend(server).unwrap();
        lists
            .add_own(backend, Reader::new(dump.as_bytes()))
            .unwrap();
    }
    lists
}

fn all(lists: &Lists) -> Vec<Finding> {
    let summary = lists.compare().unwrap();
    let (mut after, mut all) = (None, Vec::new());
    loop {
        // Steps of 3, so that several are needed.
        let page = lists.page(&summary, &mut after, 3).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Code, action and server of each finding.
fn said(lists: &Lists) -> Vec<(Code, Action, String)> {
    let all = all(lists).into_iter();
    all.map(|f| (f.code, f.action, f.server.unwrap_or_default()))
        .collect()
}

fn one(master: &[Entry], found: &[(&str, &str, &str)], own: &[(&str, &str)]) -> Finding {
    let mut all = all(&lists(master, found, own));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

const JOE: &str = "user.joe";

#[test]
fn normal_is_migrated() {
    for (location, own) in [
        ("be1!p1", ""),
        ("be1!P1", ""),
        ("be1!", ""),
        ("be1!p1", "user.joe\t0 p1 joe\tlrs\t\n"),
        // The backend's own list may be older than the mailbox.
        ("be1!p1", "user.bob\t0 p1 bob\tlrs\t\n"),
    ] {
        let finding = one(
            &[mailbox(JOE, location)],
            &[("be1", JOE, "p1")],
            &[("be1", own)],
        );
        assert_eq!(
            (finding.code, finding.action),
            (Code::Normal, Action::Migrate)
        );
    }
}

#[test]
fn stale_is_skipped() {
    let finding = one(&[mailbox(JOE, "be1!p1")], &[], &[]);
    assert_eq!((finding.code, finding.action), (Code::Stale, Action::Skip));
    assert_eq!(
        finding.to_string(),
        "user.joe: stale: the master has it on a backend that has no such mailbox; the master says \
         be1!p1"
    );
    // That the backend's own list has it is another thing than a deletion, and is shown.
    let own = [("be1", "user.joe\t0 p2 joe\tlrs\t\n")];
    let finding = one(&[mailbox(JOE, "be1!p1")], &[], &own);
    assert_eq!(
        (finding.code, finding.own.as_deref()),
        (Code::Stale, Some("p2"))
    );
}

#[test]
fn unpushed_is_migrated_wherever_the_master_points() {
    let finding = one(&[], &[("be1", JOE, "p1")], &[]);
    assert_eq!(
        (finding.code, finding.action),
        (Code::Unpushed, Action::Migrate)
    );
    let at = |location| lists(&[mailbox(JOE, location)], &[("be1", JOE, "p1")], &[]);
    let be1 = |action| (Code::Unpushed, action, "be1".to_owned());
    // Where the master's own server was not asked it may be on that one as well.
    for (location, action, other) in [
        (
            "be2!p1",
            Action::Migrate,
            (Code::Stale, Action::Skip, "be2"),
        ),
        (
            "be3!p1",
            Action::Refuse,
            (Code::NotAsked, Action::Skip, "be3"),
        ),
        (
            "old!p1",
            Action::Refuse,
            (Code::UnknownServer, Action::Skip, "old"),
        ),
        (
            "be9!p1",
            Action::Refuse,
            (Code::UnknownServer, Action::Refuse, "be9"),
        ),
        ("p1", Action::Migrate, (Code::NoServer, Action::Skip, "")),
    ] {
        let lists = at(location);
        let refused = u64::from(action == Action::Refuse);
        assert_eq!(lists.compare().unwrap().refused_names, refused);
        let (code, of_other, server) = other;
        let other = (code, of_other, server.to_owned());
        assert_eq!(said(&lists), [be1(action), other], "{location}");
    }
}

#[test]
fn a_duplicate_is_refused_on_both_hosts_and_names_both_and_the_master() {
    let found = [("be2", JOE, "p2"), ("be1", JOE, "p1")];
    let all = all(&lists(&[mailbox(JOE, "be2!p2")], &found, &[]));
    let servers: Vec<_> = all.iter().map(|f| f.server.as_deref().unwrap()).collect();
    assert_eq!(servers, ["be1", "be2"]);
    for finding in &all {
        assert_eq!(
            (finding.code, finding.action),
            (Code::Duplicate, Action::Refuse)
        );
        assert_eq!(
            finding.to_string(),
            "user.joe: duplicate: it is in more than one place, and only a person can say which is \
             the mail; found at be1!p1 and be2!p2; the master says be2!p2"
        );
    }
    // Also where the master points to a third, has it reserved, or knows nothing.
    let duplicate = |server: &str| (Code::Duplicate, Action::Refuse, server.to_owned());
    let both = [duplicate("be1"), duplicate("be2")];
    assert_eq!(said(&lists(&[], &found, &[])), both);
    assert_eq!(said(&lists(&[reserve(JOE, "be1!p1")], &found, &[])), both);
    let third = said(&lists(&[mailbox(JOE, "be9!p")], &found, &[]));
    assert_eq!(third[..2], both);
    assert_eq!(third[2].0, Code::UnknownServer);
    // Two partitions of one host are two places too.
    let twice = [("be1", JOE, "p1"), ("be1", JOE, "p2")];
    let said = said(&lists(&[mailbox(JOE, "be1!p1")], &twice, &[]));
    assert_eq!(said, [duplicate("be1"), duplicate("be1")]);
}

#[test]
fn a_partition_is_believed_only_if_files_and_the_backends_own_list_agree() {
    let differs = |location: &str, own: &str| {
        let own = format!("user.joe\t0 {own} joe\tlrs\t\n");
        let own: &[(&str, &str)] = if own.contains("none") {
            &[]
        } else {
            &[("be1", &own)]
        };
        let finding = one(&[mailbox(JOE, location)], &[("be1", JOE, "p2")], own);
        assert_eq!(finding.code, Code::PartitionDiffers, "{finding}");
        finding.action
    };
    // The master is out of step.
    assert_eq!(differs("be1!p1", "p2"), Action::Migrate);
    // Who is wrong cannot be known.
    assert_eq!(differs("be1!p1", "none"), Action::Refuse);
    // A rename that failed while the master was away: the server would look in p3.
    assert_eq!(differs("be1!p1", "p3"), Action::Refuse);
    assert_eq!(differs("be1!p2", "p3"), Action::Refuse);
    let own = [("be1", "user.joe\t0 p3 joe\tlrs\t\n")];
    let finding = one(&[], &[("be1", JOE, "p2")], &own);
    assert_eq!(
        (finding.code, finding.action),
        (Code::PartitionDiffers, Action::Refuse)
    );
    assert_eq!(finding.own.as_deref(), Some("p3"));
}

#[test]
fn reserved_is_skipped_whether_there_are_files_or_not() {
    for found in [&[][..], &[("be1", JOE, "p1")], &[("be2", JOE, "p1")]] {
        let finding = one(&[reserve(JOE, "be1!p1")], found, &[]);
        assert_eq!(
            (finding.code, finding.action),
            (Code::Reserved, Action::Skip)
        );
        assert_eq!(finding.server.as_deref(), Some("be1"));
    }
}

#[test]
fn a_bad_name_is_shown_escaped_and_not_followed() {
    for (name, escaped) in [
        (&b"user.\x1b[2J"[..], "user.\\x1b[2J"),
        (b"../../etc/passwd", "../../etc/passwd"),
        (b"user.caf\xe9", "user.caf\\xe9"),
        (b"", ""),
    ] {
        let entry = Entry::Mailbox {
            name: name.to_vec(),
            location: b"be1!p1\n".to_vec(),
            acl: Vec::new(),
        };
        let finding = one(&[entry], &[], &[]);
        assert_eq!(
            (finding.code, finding.action),
            (Code::BadName, Action::Skip)
        );
        assert_eq!(finding.name, escaped);
        assert_eq!(finding.master.as_deref(), Some("be1!p1\\n"));
    }
}

#[test]
fn nothing_is_said_of_a_backend_that_was_not_asked_but_that() {
    let master = [mailbox("user.a", "be3!p1"), mailbox("user.b", "be3!p1")];
    // What it had given before it broke off does not count.
    let lists = lists(&master, &[("be3", "user.a", "p1")], &[]);
    let skip = || (Code::NotAsked, Action::Skip, "be3".to_owned());
    assert_eq!(said(&lists), [skip(), skip()]);
    let summary = lists.compare().unwrap();
    let pair = &summary.pairs["be3"];
    assert_eq!(
        (pair.said, pair.found, pair.missing, pair.asked),
        (2, 0, 0, false)
    );
}

#[test]
fn a_backend_that_is_asked_again_has_what_it_says_now() {
    let master = [mailbox("user.a", "be3!p1"), mailbox("user.b", "be3!p1")];
    let mut lists = lists(&master, &[("be3", "user.a", "p1")], &[]);
    let be3 = lists.backend("be3").unwrap();
    lists.forget(be3).unwrap();
    let found = Found {
        name: MailboxName::parse("user.b").unwrap(),
        partition: "p1".to_owned(),
    };
    lists.add_found(be3, &[found]).unwrap();
    lists.found_is_whole(be3);
    let said = said(&lists);
    let codes: Vec<Code> = said.iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes, [Code::Stale, Code::Normal]);
}

#[test]
fn what_comes_last_is_so_and_what_is_gone_is_gone() {
    let delete = Entry::Delete {
        name: b"user.bob".to_vec(),
    };
    let master = [
        mailbox(JOE, "be1!p1"),
        mailbox("user.bob", "be1!p1"),
        reserve(JOE, "be2!p1"),
        delete,
    ];
    let finding = one(&master, &[], &[]);
    assert_eq!(
        (finding.code, finding.master.as_deref()),
        (Code::Reserved, Some("be2!p1"))
    );
}

#[test]
fn lists_that_are_not_whole_are_not_compared_or_not_believed() {
    let mut lists = Lists::new(["be1"], []).unwrap();
    lists.add_master(&[mailbox(JOE, "be1!p1")]).unwrap();
    assert!(matches!(lists.compare(), Err(CompareError::NotWhole)));
    lists.master_is_whole();
    let be1 = lists.backend("be1").unwrap();
    let found = Found {
        name: MailboxName::parse(JOE).unwrap(),
        partition: "p1".into(),
    };
    lists.add_found(be1, &[found]).unwrap();
    lists.found_is_whole(be1);
    let broken = "{\n\"user.joe\": {\"mbtype\": \"el\", \"partition\": \"p9\"},\n";
    let error = lists
        .add_own(be1, Reader::new(broken.as_bytes()))
        .unwrap_err();
    assert!(
        error.to_string().starts_with("the own list of be1: "),
        "{error}"
    );
    assert_eq!(all(&lists)[0].code, Code::Normal);
}

/// A backend that the master says has `said` mailboxes, of which slotd finds none of the first
/// `missing`.
fn backend(said: usize, missing: usize) -> Lists {
    let name = |n: usize| format!("user.u{n:04}");
    let master: Vec<Entry> = (0..said).map(|n| mailbox(&name(n), "be1!p1")).collect();
    let names: Vec<String> = (missing..said).map(name).collect();
    let found: Vec<_> = names
        .iter()
        .map(|name| ("be1", name.as_str(), "p1"))
        .collect();
    lists(&master, &found, &[])
}

#[test]
fn a_backend_of_which_much_is_missing_is_refused_as_a_whole() {
    for (said, missing, refused) in [
        // No more than ten is few, however few there are.
        (10, 10, false),
        (12, 11, true),
        // Not more than one in twenty.
        (220, 11, false),
        (219, 11, true),
        (400, 20, false),
        (400, 21, true),
        (300, 300, true),
    ] {
        let lists = backend(said, missing);
        let summary = lists.compare().unwrap();
        let names: Vec<&str> = summary.refused().map(|(name, _)| name).collect();
        let wanted: &[&str] = if refused { &["be1"] } else { &[] };
        assert_eq!(names, wanted, "{missing} of {said}");
        let pair = &summary.pairs["be1"];
        assert_eq!(pair.said, said as u64);
        assert_eq!(pair.missing, missing as u64);
        assert_eq!(pair.found, (said - missing) as u64);
        for finding in all(&lists) {
            let wanted = match finding.code {
                Code::Stale => Action::Skip,
                _ if refused => Action::Refuse,
                _ => Action::Migrate,
            };
            assert_eq!(finding.action, wanted, "{finding}");
        }
    }
}

#[test]
fn a_summary_has_every_kind_the_first_of_each_and_the_unknown_servers() {
    let mut master: Vec<Entry> = (0..30)
        .map(|n| mailbox(&format!("a{n:02}"), "be9!p"))
        .collect();
    master.extend((0..30).map(|n| mailbox(&format!("b{n:02}"), &format!("x{n:02}!p"))));
    master.extend([mailbox("c", "old!p"), mailbox("d", "be1!p")]);
    let summary = lists(&master, &[("be1", "d", "p")], &[]).compare().unwrap();
    assert_eq!(summary.count(Code::UnknownServer), 61);
    assert_eq!(summary.first[&Code::UnknownServer].len(), 20);
    assert_eq!(summary.unknown["be9"], 30);
    assert_eq!(summary.unknown.len(), 20);
    assert!(!summary.unknown.contains_key("old"));
    assert!(!summary.first.contains_key(&Code::Normal));
    let json = serde_json::to_value(&summary).unwrap();
    let counts = json["counts"].as_object().unwrap();
    assert_eq!(counts.len(), Code::ALL.len());
    assert_eq!(counts["normal"], 1);
    assert_eq!(counts["bad-name"], 0);
    assert_eq!(json["first"]["unknown-server"][0]["action"], "refuse");
}

proptest! {
    /// A second way to know: each name's own lists, compared without order or file.
    #[test]
    fn every_name_gets_its_findings_and_no_other(
        master in proptest::collection::btree_map("[ab]{1,3}", (0..5usize, any::<bool>()), 0..12),
        found in proptest::collection::btree_set(("[ab]{1,3}", 0..2usize), 0..12),
    ) {
        const SERVERS: [&str; 5] = ["be1", "be2", "be3", "old", "be9"];
        let entries: Vec<Entry> = master.iter().map(|(name, &(server, reserved))| {
            let location = format!("{}!p", SERVERS[server]);
            if reserved { reserve(name, &location) } else { mailbox(name, &location) }
        }).collect();
        let places: Vec<_> = found.iter().map(|(n, s)| (SERVERS[*s], n.as_str(), "p")).collect();
        let got = all(&lists(&entries, &places, &[]));
        let mut names: BTreeSet<&str> = master.keys().map(String::as_str).collect();
        names.extend(found.iter().map(|(name, _)| name.as_str()));
        let mut wanted = Vec::new();
        for name in names {
            let there = |server: &usize| found.contains(&(name.to_owned(), *server));
            let on: Vec<usize> = (0..2).filter(there).collect();
            let said = master.get(name);
            let active = said.filter(|(_, reserved)| !reserved).map(|(server, _)| *server);
            let mut push = |code, server: usize| {
                wanted.push((name.to_owned(), code, SERVERS[server].to_owned()));
            };
            match on[..] {
                [one] if said.is_none_or(|(_, reserved)| !reserved) => {
                    let code = if active == Some(one) { Code::Normal } else { Code::Unpushed };
                    push(code, one);
                }
                [a, b] => {
                    push(Code::Duplicate, a);
                    push(Code::Duplicate, b);
                }
                _ => if let Some((server, true)) = said {
                    push(Code::Reserved, *server);
                }
            }
            match active {
                Some(server @ 0..2) if !on.contains(&server) => push(Code::Stale, server),
                Some(2) => push(Code::NotAsked, 2),
                Some(server @ 3..) => push(Code::UnknownServer, server),
                _ => {}
            }
        }
        let got: Vec<_> = got.into_iter().map(|f| (f.name, f.code, f.server.unwrap())).collect();
        prop_assert_eq!(got, wanted);
    }
}

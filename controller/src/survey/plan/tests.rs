//! What `plan` promises.

use super::*;
use indexfile::Guid;
use indexfile::mailbox::MailboxName;
use slotd::protocol::MailboxFacts;

use crate::hosts::Said;
use crate::journal::Candidate;
use crate::two_phase::Reason;

#[allow(clippy::unnecessary_wraps)] // what a host says
fn status(index: u32, old: u32, digest: u8) -> Said {
    let status = Status {
        facts: MailboxFacts {
            mailbox: MailboxName::parse("user.a").unwrap(),
            partition: "p".to_owned(),
            uniqueid: "u".to_owned(),
            uidvalidity: 1,
            index,
            expunge: Some(index),
            exists: 10,
            expunged: 2,
            old: Some(old),
        },
        cached: 5,
        bytes: 1_234_567,
        hash_bytes: 7_000,
        index_bytes: 900,
        last_uid: 12,
        has_old: false,
        keeps_owner: true,
        findings: vec!["cyrus.index:short".to_owned()],
        digest: Guid::from_bytes([digest; 20]),
    };
    Ok(status.to_fields())
}

fn answered(name: &str, master: Said, replica: Said) -> Answered {
    let of = Candidate {
        name: MailboxName::parse(name).unwrap(),
        partition: Some("p".to_owned()),
        named: true,
        back: [None; 2],
    };
    Answered {
        of,
        said: [Some(master), Some(replica)],
        then: [None, None],
    }
}

#[test]
fn counts_add_up_for_each_host_and_refusals_are_told_with_an_example() {
    let mut plan = Plan::new(10, true);
    plan.answered(&answered("user.a", status(9, 12, 1), status(9, 12, 1)));
    plan.answered(&answered("user.b", status(10, 0, 1), status(9, 3, 2)));
    let refusal = || Err((Reason::Unmounted, "/p is not mounted".to_owned()));
    plan.answered(&answered("user.c", refusal(), refusal()));
    plan.answered(&answered(
        "user.d",
        Err((Reason::NoMailbox, "no".to_owned())),
        status(9, 0, 1),
    ));
    let master = &plan.hosts["master"];
    assert_eq!(
        (
            plan.mailboxes,
            plan.unknown,
            plan.alike,
            plan.different.mailboxes
        ),
        (4, 1, 1, 1)
    );
    assert_eq!((master.mailboxes, master.done, master.messages), (2, 1, 24));
    assert_eq!(
        (master.old_guids, master.cached, master.to_hash),
        (12, 5, 7)
    );
    assert_eq!(
        master.refused.of(Reason::Unmounted).unwrap().example,
        "user.c"
    );
    assert_eq!(master.findings["short"].mailboxes, 2);
    let text = plan.to_string();
    for part in [
        "4 mailboxes to bring to version 10",
        "1 of version 9, 1 of version 10",
        "would fail, unmounted",
        "Cyrus 2.5 and 3.x",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_time_expected_counts_what_is_left_to_do_and_what_is_left_to_hash() {
    let mut plan = Plan::new(10, false);
    (0..4_000).for_each(|_| plan.listed(None));
    plan.expect(400);
    assert_eq!(plan.expected_seconds, 10);
    let mut deep = Plan::new(10, true);
    for name in ["user.a", "user.b", "user.c"] {
        deep.answered(&answered(name, status(9, 12, 1), status(9, 12, 1)));
    }
    deep.answered(&answered("user.d", status(10, 0, 1), status(10, 0, 1)));
    deep.hosts.get_mut("replica").unwrap().hash_bytes = 2_000_000_000;
    deep.expect(1);
    assert_eq!(deep.expected_seconds, 3 + 10);
    assert!(
        deep.to_string().contains("expected time: 13s"),
        "{}",
        deep.to_string()
    );
}

#[test]
fn from_the_list_alone_only_the_list_is_told() {
    let mut plan = Plan::new(10, false);
    plan.listed(Some("p1"));
    plan.listed(None);
    let text = plan.to_string();
    assert!(
        text.contains("2 mailboxes") && text.contains("partition p1: 1") && text.contains("--deep"),
        "{text}"
    );
}

#[test]
fn a_plan_warns_of_what_is_not_listed() {
    let mut plan = Plan::new(10, false);
    let odd = Odd {
        count: 2,
        first: vec!["/a is a symbolic link".to_owned()],
    };
    plan.note_excluded(Excluded {
        odd,
        ..Excluded::default()
    });
    let text = plan.to_string();
    for line in [
        "WARNING: 2 place(s)",
        "  /a is a symbolic link\n",
        "  and 1 more\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

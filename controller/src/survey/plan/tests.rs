//! What `plan` promises.

use super::*;
use indexfile::Guid;
use indexfile::mailbox::MailboxName;
use slotd::protocol::MailboxFacts;

use crate::hosts::Said;
use crate::journal::Candidate;
use crate::survey::{HostLook, Room};
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
        uniqueids: [None, None],
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
        "4 mailboxes, wanted at version 10",
        "1 of version 9, 1 of version 10",
        "would fail, unmounted",
        "Cyrus 2.5 and 3.x",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_to_do_is_of_the_host_that_has_more_and_done_mailboxes_are_none_of_it() {
    let mut plan = Plan::new(10, false);
    (0..4_000).for_each(|_| plan.listed(None));
    assert_eq!(plan.to_do(), (4_000, None));
    let mut deep = Plan::new(10, true);
    for name in ["user.a", "user.b", "user.c"] {
        deep.answered(&answered(name, status(9, 12, 1), status(9, 12, 1)));
    }
    deep.answered(&answered("user.d", status(10, 0, 1), status(9, 0, 1)));
    assert_eq!(deep.to_do(), (4, Some(48)));
}

#[test]
fn the_room_that_is_needed_is_told_by_host_and_partition_against_what_is_free() {
    let mut plan = Plan::new(10, true);
    for name in ["user.a", "user.b"] {
        plan.answered(&answered(name, status(9, 12, 1), status(9, 12, 1)));
    }
    let look = |free| HostLook {
        partitions: [("p".to_owned(), Room { device: 7, free })].into(),
        ..HostLook::default()
    };
    plan.preflight.hosts = [("master", look(4_000)), ("replica", look(1_000))].into();
    plan.check_disk_space();
    let space = plan.hosts["master"].partitions["p"];
    // Records of version 10 have 8 bytes more than those of version 9, and its header as many as
    // the layouts say.
    let header = |version| u64::from(indexfile::layout::of(version).unwrap().header_size);
    let each = 900 + 12 * 8 + 2 * (header(10) - header(9));
    assert_eq!((space.mailboxes, space.old_bytes), (2, 1800));
    assert_eq!((space.new_bytes, space.largest), (2 * each, each));
    assert_eq!(space.free, Some(4_000));
    assert_eq!(
        (plan.no_room.as_slice(), plan.exit()),
        (&["replica"][..], Exit::Io)
    );
    let text = plan.to_string();
    assert!(
        text.contains("WOULD RUN OUT OF ROOM on the replica"),
        "{text}"
    );
    assert!(text.contains("stay as .OLD until"), "{text}");
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
fn damage_that_was_found_refuses_a_mailbox() {
    for (finding, exit) in [
        ("cyrus.expunge:expunge-older", Exit::Data),
        ("cyrus.index:duplicate-uid", Exit::Data),
        ("cyrus.index:a-code-of-a-later-release", Exit::Ok),
    ] {
        let mut plan = Plan::new(10, true);
        let mut said = Status::from_fields(&status(9, 12, 1).unwrap()).unwrap();
        said.findings = vec![finding.to_owned()];
        plan.answered(&answered("user.a", Ok(said.to_fields()), status(9, 12, 1)));
        assert_eq!(plan.exit(), exit, "{finding}");
    }
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

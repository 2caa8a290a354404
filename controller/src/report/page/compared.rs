//! What master and replica were compared on before anything was changed.

use indexfile::program::spelled;
use maud::{Markup, html};

use crate::journal::Verb;
use crate::page::table::{Kind, count, table};
use crate::report::account::Account;
use crate::two_phase::{FIRST_WITH_GUIDS, Reason};

/// Reasons by which a mailbox is refused because of how the two hosts compare.
const UNLIKE: [(Reason, &str); 5] = [
    (Reason::Differs, "one UID is two messages, or has two GUIDs"),
    (Reason::OtherMailbox, "another uidvalidity"),
    (
        Reason::OutOfSync,
        "a UID on one host only, with --require-in-sync",
    ),
    (Reason::OneSided, "the hosts would differ afterwards"),
    (Reason::NoMailbox, "a host has no such mailbox"),
];

pub(super) fn section(account: &Account) -> Markup {
    let begun = || account.pairs.iter().filter_map(|pair| pair.info.as_ref());
    let pairs = begun().filter(|info| info.spec.replica.is_some()).count();
    html! {
        h2 { "What the hosts were compared on" }
        @if pairs == 0 {
            p { "The run worked on one host alone: nothing was compared with another." }
        } @else {
            @if pairs < begun().count() {
                p { "A pair without a replica was compared with nothing." }
            }
            (looked_at(account))
            (numbers(account))
        }
    }
}

fn looked_at(account: &Account) -> Markup {
    let (verb, to) = (account.run.verb, account.run.to);
    // As `Plan::compares_content` has it.
    let by_content = verb == Verb::Rollback || to < FIRST_WITH_GUIDS;
    html! {
        p {
            "Of each mailbox, under the locks of both hosts and before the decision to change it:"
        }
        ul {
            li { "The uidvalidity: another one is another mailbox, and it is refused." }
            @if by_content {
                li {
                    "What each message is: for every UID of cyrus.index and cyrus.expunge its "
                    "SHA-1, or its size where no SHA-1 is known, summed to one digest a host. "
                    "Where the digests differ, message by message. Where one host alone was "
                    "changed, what both call a message."
                }
            } @else {
                li {
                    "Every UID of cyrus.index and cyrus.expunge with the SHA-1 that its message "
                    "has on that host, summed to one digest a host. Where the digests differ, "
                    "message by message: one UID with two SHA-1s is refused."
                }
            }
            li { "UIDs that one host alone has: counted as replication lag." }
            li { "The digest again, just before the decision: both hosts still had it staged." }
            @if account.run.rehash().is_some() {
                li { "On each host every GUID with the SHA-1 of its message file." }
            }
        }
        p.faint {
            "Flags, dates and other fields were not compared by the run."
            @if verb == Verb::Cutover {
                " " code { (spelled("controller cutover --verify")) }
                " compares them, before a server may start."
            } @else if !verb.crosses() {
                " It does not change them."
            }
        }
    }
}

fn numbers(account: &Account) -> Markup {
    let t = &account.whole.totals;
    let columns = [("found", Kind::Text), ("", Kind::Number)];
    let mut rows = vec![
        vec![
            "mailboxes that were changed, or needed no change".to_owned(),
            count(t.changed() + t.unchanged),
        ],
        vec!["UIDs on one host only".to_owned(), count(t.lag)],
    ];
    for (reason, words) in UNLIKE {
        let of_it = account.failures.iter().filter(|((_, r), _)| *r == reason);
        let sum: u64 = of_it.map(|(_, failures)| failures.mailboxes).sum();
        if sum > 0 {
            rows.push(vec![
                format!("mailboxes refused, {reason}: {words}"),
                count(sum),
            ]);
        }
    }
    table(&columns, rows)
}

//! What becomes of changes: durable ones survive, lazy ones keep their place, a transaction stays
//! open until its end.

use indexfile::mailbox::MailboxName;

use super::{Arm, attempt, begin};
use crate::journal::Durability;
use crate::journal::model::{Change, Ended, Filter, MailboxId, State};
use crate::two_phase::{Open, Reason, Side};

pub(super) fn a_decision_with_its_receipt_survives_a_crash(arm: &impl Arm) {
    let (_, ids) = begin(arm, &["user.a", "user.b c", "ex.com!user.d"]);
    let decide = |id| Change::Decide {
        mailbox: id,
        before: [Some(9), None],
    };
    arm.journal()
        .submit(decide(ids[1]), Durability::Durable)
        .wait_blocking()
        .unwrap();
    let after = arm.crash();
    let open = after.journal().open_transactions(MailboxId(0), 10).unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].row.name.as_str(), "user.b c");
    assert_eq!(open[0].spec, arm.spec());
    assert_eq!(
        open[0].open,
        Open {
            reversing: false,
            before: [Some(9), None],
            forward: [false; 2]
        }
    );
}

pub(super) fn lazy_changes_never_overtake_and_are_never_overtaken(arm: &impl Arm) {
    let (run, ids) = begin(arm, &["user.a", "user.b"]);
    let journal = arm.journal();
    let before = [Some(9), Some(8)];
    journal.submit(
        Change::Decide {
            mailbox: ids[0],
            before,
        },
        Durability::Lazy,
    );
    journal.submit(
        Change::Forward {
            mailbox: ids[0],
            side: Side::Replica,
        },
        Durability::Lazy,
    );
    // A later durable change carries the earlier lazy ones with it.
    journal
        .submit(
            Change::Decide {
                mailbox: ids[1],
                before,
            },
            Durability::Durable,
        )
        .wait_blocking()
        .unwrap();
    let after = arm.crash();
    let open = after.journal().open_transactions(MailboxId(0), 10).unwrap();
    assert_eq!(open.len(), 2);
    assert_eq!(open[0].open.forward, [false, true]);
    // And a lazy one that was not carried may be lost, but nothing else with it.
    let finish = Change::Finish {
        mailbox: ids[0],
        attempt: attempt(Ended::Upgraded, None),
    };
    after.journal().submit(finish, Durability::Lazy);
    after.journal().flush().unwrap();
    let again = after.crash();
    let rows = again
        .journal()
        .page(run, Filter::In(State::Upgraded), MailboxId(0), 10)
        .unwrap();
    assert_eq!(rows.len(), 1, "flushed is durable");
}

pub(super) fn a_transaction_is_open_until_it_is_finished(arm: &impl Arm) {
    let journal = arm.journal();
    let (run, ids) = begin(arm, &["user.a"]);
    let id = ids[0];
    let submit = |change| {
        let receipt = journal.submit(change, Durability::Durable);
        receipt.wait_blocking().unwrap();
    };
    let open = || journal.open_transactions(MailboxId(0), 10).unwrap();
    submit(Change::Decide {
        mailbox: id,
        before: [Some(9), Some(9)],
    });
    submit(Change::Reverse { mailbox: id });
    assert!(open()[0].open.reversing);
    submit(Change::Finish {
        mailbox: id,
        attempt: attempt(Ended::Waits, Some(Reason::Unmounted)),
    });
    let totals = journal.totals(run).unwrap();
    assert_eq!((totals.open, totals.waiting, totals.in_doubt), (1, 1, 0));
    assert!(open()[0].row.waits() && open()[0].open.reversing);
    submit(Change::Finish {
        mailbox: id,
        attempt: attempt(Ended::InDoubt, Some(Reason::HostAway)),
    });
    assert!(
        open()[0].row.in_doubt && open()[0].open.reversing,
        "in doubt stays open"
    );
    let totals = journal.totals(run).unwrap();
    assert_eq!((totals.open, totals.waiting, totals.in_doubt), (1, 0, 1));
    submit(Change::Finish {
        mailbox: id,
        attempt: attempt(Ended::RolledBack, Some(Reason::Damaged)),
    });
    assert!(open().is_empty());
    let row = journal
        .find(run, &MailboxName::parse("user.a").unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.state, row.attempts, row.in_doubt),
        (State::RolledBack, 3, false)
    );
    assert_eq!(
        (row.reason, row.side, row.detail.as_str()),
        (Some(Reason::Damaged), Some(Side::Replica), "why")
    );
    // A new decision starts afresh.
    submit(Change::Requeue { mailbox: id });
    submit(Change::Decide {
        mailbox: id,
        before: [None, Some(9)],
    });
    assert_eq!(
        open()[0].open,
        Open {
            reversing: false,
            before: [None, Some(9)],
            forward: [false; 2]
        }
    );
}

pub(super) fn only_what_was_rolled_back_or_gone_is_requeued(arm: &impl Arm) {
    let journal = arm.journal();
    let (run, ids) = begin(arm, &["user.a", "user.b", "user.c"]);
    for (id, ended) in ids
        .iter()
        .zip([Ended::Upgraded, Ended::RolledBack, Ended::Gone])
    {
        journal.submit(
            Change::Finish {
                mailbox: *id,
                attempt: attempt(ended, None),
            },
            Durability::Lazy,
        );
        journal.submit(Change::Requeue { mailbox: *id }, Durability::Lazy);
    }
    journal.flush().unwrap();
    let pending = journal
        .page(run, Filter::In(State::Pending), MailboxId(0), 10)
        .unwrap();
    assert_eq!(
        pending.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        ["user.b", "user.c"]
    );
}

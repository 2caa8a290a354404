//! The journal may have lost a decision: what is not known to be alike goes forward, or is in
//! doubt.

use super::*;

fn lost() -> Coordinator {
    with(|plan| plan.rows_lost = true)
}

/// What an earlier attempt left that counts as decided.
fn assumed() -> Coordinator {
    let plan = Plan {
        rows_lost: true,
        ..plan()
    };
    let open = Open {
        reversing: false,
        before: [None; 2],
        forward: [false; 2],
    };
    Coordinator::resume(plan, open)
}

#[test]
fn a_side_that_refuses_beside_one_that_is_as_wanted_is_in_doubt_and_never_rolled_back() {
    let forward = [("r:lock", locked(R, 10, 1)), ("r:upgrade", unchanged(R))];
    let told = |machine, fault| drive(machine, &[&forward[..], &[fault]].concat());
    assert_eq!(
        told(lost(), ("m:upgrade", no(M, Reason::NoMessage))),
        "m:lock r:lock m:upgrade r:upgrade r:rollback m:rollback ASSUMED ALERT in_doubt(no_message)"
    );
    for (at, side) in [("m:confirm", M), ("r:confirm", R), ("m:commit", M)] {
        let line = told(lost(), (at, no(side, Reason::Damaged)));
        assert!(line.ends_with("ALERT in_doubt(damaged)"), "{line}");
    }
    // Without rows that may be lost nothing was committed, and both are as before.
    let line = told(new(), ("m:upgrade", no(M, Reason::NoMessage)));
    assert!(line.ends_with("rolled_back(no_message)"), "{line}");
}

#[test]
fn a_lock_that_is_refused_tells_nothing_of_either_side_and_is_tried_again() {
    for (at, side) in [("m:lock", M), ("r:lock", R)] {
        let line = drive(lost(), &[(at, no(side, Reason::Locked))]);
        assert!(line.contains("ASSUMED wait m:lock r:lock"), "{line}");
        // It is decided again, now that both are known.
        let again = line.contains("DECIDED r:hold") && line.ends_with("upgraded");
        assert!(again, "{line}");
    }
    let line = drive(lost(), &[("m:lock", no(M, Reason::Damaged))]);
    assert_eq!(line, "m:lock ASSUMED ALERT in_doubt(damaged)");
}

#[test]
fn two_sides_that_are_known_to_be_as_before_are_rolled_back_as_ever() {
    let line = drive(lost(), &[("r:upgrade", no(R, Reason::Damaged))]);
    assert!(line.ends_with("m:rollback rolled_back(damaged)"), "{line}");
    let line = drive(lost(), &[("r:lock", no(R, Reason::NoMailbox))]);
    assert!(line.ends_with("rolled_back(no_mailbox)"), "{line}");
    // Whether the version can be made at all is judged once both were asked for theirs.
    let over = with(|plan| (plan.rows_lost, plan.to) = (true, 16));
    assert_eq!(
        drive(over, &[]),
        "m:lock r:lock r:rollback m:rollback rolled_back(unsupported)"
    );
}

#[test]
fn what_counts_as_decided_is_found_out_anew_after_a_restart_and_never_goes_back() {
    assert_eq!(
        drive(assumed(), &[]),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold note m:commit note \
         r:release upgraded"
    );
    let both = [("m:upgrade", unchanged(M)), ("r:upgrade", unchanged(R))];
    let line = drive(assumed(), &both);
    assert!(line.ends_with("r:rollback m:rollback upgraded"), "{line}");
    let refuses = ("m:upgrade", no(M, Reason::Damaged));
    let forward = [("r:lock", locked(R, 10, 1)), ("r:upgrade", unchanged(R))];
    let line = drive(
        assumed(),
        &[&forward[..], std::slice::from_ref(&refuses)].concat(),
    );
    assert!(line.ends_with("ALERT in_doubt(damaged)"), "{line}");
    // Both are as before: nothing was half done.
    let line = drive(assumed(), &[refuses]);
    assert!(line.ends_with("m:rollback rolled_back(damaged)"), "{line}");
}

#[test]
fn a_note_that_a_side_is_forward_may_be_older_than_what_was_lost() {
    let plan = Plan {
        rows_lost: true,
        ..plan()
    };
    let machine = Coordinator::resume(plan, open(false, [false, true]));
    assert!(drive(machine, &[]).starts_with("m:lock r:lock"));
}

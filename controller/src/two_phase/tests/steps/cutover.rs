//! A change-over, its way back, and a fence that falls.

use super::*;

/// A machine of a change-over.
fn over() -> Coordinator {
    with(|plan| plan.to = 16)
}

#[test]
fn a_change_over_begins_at_version_10_on_both_hosts() {
    let at = |master, replica| {
        [
            ("m:lock", locked(M, master, 1)),
            ("r:lock", locked(R, replica, 1)),
        ]
    };
    assert_eq!(
        drive(over(), &at(10, 10)),
        "m:lock r:lock m:back16 r:back16 m:confirm r:confirm DECIDED r:hold note m:commit note \
         r:release upgraded"
    );
    assert_eq!(
        drive(over(), &at(9, 10)[..1]),
        "m:lock m:rollback rolled_back(unsupported)"
    );
    for replica in [9, 14, 17] {
        assert_eq!(
            drive(over(), &at(10, replica)),
            "m:lock r:lock r:rollback m:rollback rolled_back(unsupported)"
        );
    }
    // What one host has already is compared, and not changed.
    let line = drive(over(), &at(16, 10));
    assert!(line.ends_with("upgraded"), "{line}");
}

#[test]
fn nothing_takes_a_change_over_back_that_was_not_asked_to() {
    for to in [9, 10] {
        let machine = with(|plan| plan.to = to);
        let line = drive(machine, &[("m:lock", locked(M, 16, 1))]);
        assert_eq!(line, "m:lock m:rollback rolled_back(unsupported)");
    }
    let back = with(|plan| plan.undo = true);
    let both = [("m:lock", locked(M, 16, 1)), ("r:lock", locked(R, 16, 1))];
    assert_eq!(
        drive(back, &both),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold note m:commit note \
         r:release upgraded"
    );
}

#[test]
fn to_undo_a_change_over_changes_nothing_that_was_not_changed_over() {
    let at = |index| {
        [
            ("m:lock", locked(M, index, 1)),
            ("r:lock", locked(R, index, 1)),
        ]
    };
    for index in [9, 10] {
        assert_eq!(
            drive(with(|plan| plan.undo = true), &at(index)),
            "m:lock r:lock r:rollback m:rollback unchanged"
        );
    }
    let [_, replica] = at(10);
    let one = [("m:lock", locked(M, 16, 1)), replica];
    assert_eq!(
        drive(with(|plan| plan.undo = true), &one),
        "m:lock r:lock m:upgrade DECIDED m:commit note r:rollback upgraded"
    );
}

#[test]
fn a_change_over_is_taken_back_by_what_it_was_and_by_no_old_identifiers() {
    let open = Open {
        before: [Some(10), Some(10)],
        ..open(true, [false, true])
    };
    let plan = Plan { to: 16, ..plan() };
    let line = drive(
        Coordinator::resume(plan, open),
        &[("m:lock", locked(M, 10, 1)), ("r:lock", locked(R, 16, 1))],
    );
    assert_eq!(
        line,
        "r:lock r:upgrade r:commit m:lock m:upgrade m:commit rolled_back(interrupted)"
    );
}

#[test]
fn a_fence_that_falls_at_a_commit_takes_back_what_is_held() {
    let from_10 = [("m:lock", locked(M, 10, 1)), ("r:lock", locked(R, 10, 1))];
    for (at, unfenced, line) in [
        (
            "r:hold",
            no(R, Reason::Unfenced),
            "r:hold REVERSING r:rollback m:rollback rolled_back(unfenced)",
        ),
        (
            "m:commit",
            no(M, Reason::Unfenced),
            "r:hold note m:commit REVERSING r:rollback m:rollback rolled_back(unfenced)",
        ),
    ] {
        let mut faults = from_10.to_vec();
        faults.push((at, unfenced));
        let whole = drive(over(), &faults);
        assert!(whole.ends_with(line), "{whole}");
    }
}

#[test]
fn a_fence_that_falls_after_the_decision_reverses_nothing_that_is_released() {
    let open = Open {
        before: [Some(10), Some(10)],
        ..open(false, [false, true])
    };
    let plan = Plan { to: 16, ..plan() };
    let faults = [
        ("m:lock", locked(M, 10, 1)),
        ("m:back16", no(M, Reason::Unfenced)),
    ];
    assert_eq!(
        drive(Coordinator::resume(plan, open), &faults),
        "m:lock m:back16 m:rollback ALERT in_doubt(unfenced)"
    );
}

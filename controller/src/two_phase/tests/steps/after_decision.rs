//! What fails once it is decided: brought forward, or back, or in doubt.

use super::*;

#[test]
fn a_replica_that_refuses_its_commit_takes_both_back() {
    assert_eq!(
        drive(new(), &[("r:hold", no(R, Reason::Io))]),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold REVERSING \
         r:rollback m:rollback rolled_back(io)"
    );
}

#[test]
fn a_master_that_refuses_its_commit_costs_nothing() {
    assert_eq!(
        drive(new(), &[("m:commit", no(M, Reason::NoSpace))]),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold note m:commit \
         REVERSING r:rollback m:rollback \
         rolled_back(no_space)"
    );
}

#[test]
fn a_replica_lost_at_its_commit_is_brought_forward_together_with_the_master() {
    assert_eq!(
        drive(new(), &[("r:hold", lost(R))]),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold m:rollback wait \
         m:lock r:lock m:upgrade r:upgrade r:hold note m:commit note r:release upgraded"
    );
}

#[test]
fn a_master_lost_at_its_commit_is_brought_forward_alone() {
    assert_eq!(
        drive(new(), &[("m:commit", lost(M))]),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold note m:commit \
         r:release wait \
         m:lock m:upgrade m:commit note upgraded"
    );
}

#[test]
fn a_master_that_cannot_go_forward_any_more_brings_the_replica_back() {
    assert_eq!(
        drive(
            Coordinator::resume(plan(), open(false, [false, true])),
            &[
                ("m:upgrade", no(M, Reason::Damaged)),
                ("r:lock", locked(R, 10, 1))
            ]
        ),
        "m:lock m:upgrade REVERSING m:rollback r:lock r:back9old r:commit rolled_back(damaged)"
    );
}

#[test]
fn a_host_that_stays_away_after_the_decision_is_in_doubt_and_loud() {
    assert_eq!(
        drive(
            Coordinator::resume(plan(), open(false, [false, false])),
            &[("r:lock", lost(R)), ("r:lock", lost(R))]
        ),
        "m:lock r:lock m:rollback wait m:lock r:lock m:rollback ALERT in_doubt(host_away)"
    );
}

#[test]
fn a_replica_that_cannot_be_brought_back_is_in_doubt_and_loud() {
    assert_eq!(
        drive(
            Coordinator::resume(plan(), open(true, [false, false])),
            &[
                ("r:lock", locked(R, 10, 1)),
                ("r:back9old", no(R, Reason::Damaged))
            ]
        ),
        "r:lock r:back9old r:rollback ALERT in_doubt(damaged)"
    );
}

#[test]
fn a_way_back_cut_short_is_taken_up_again() {
    assert_eq!(
        drive(
            Coordinator::resume(plan(), open(true, [true, true])),
            &[("r:lock", locked(R, 10, 1))]
        ),
        "r:lock r:back9old r:commit m:lock m:back9old m:commit rolled_back(interrupted)"
    );
}

#[test]
fn a_mailbox_that_is_nowhere_after_the_decision_is_no_doubt() {
    let open = open(false, [false, false]);
    let gone = [
        ("m:lock", Event::Reply(M, Answer::Gone)),
        ("r:lock", Event::Reply(R, Answer::Gone)),
    ];
    let line = drive(
        Coordinator::resume(
            Plan {
                settle_attempts: 3,
                ..plan()
            },
            open,
        ),
        &gone,
    );
    assert!(line.ends_with("rolled_back(no_mailbox)"), "{line}");
}

#[test]
fn no_such_mailbox_after_the_decision_is_no_answer_by_itself() {
    for (reversing, side) in [(false, M), (false, R), (true, M), (true, R)] {
        let what = if side == M { "m:lock" } else { "r:lock" };
        let line = drive(
            Coordinator::resume(plan(), open(reversing, [false, false])),
            &[(what, no(side, Reason::NoMailbox))],
        );
        assert!(line.ends_with("ALERT in_doubt(no_mailbox)"), "{line}");
    }
}

fn without_old() -> Coordinator {
    with(|plan| plan.drop_old = true)
}

const DECIDED: &str = "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold note";

#[test]
fn a_replica_that_was_released_meanwhile_is_locked_again_to_drop_its_old_files() {
    // The second time there is nothing to change on it.
    let mut machine = without_old();
    let mut words = Vec::new();
    let mut drops = Vec::new();
    let mut fault = Some(lost(M));
    let mut committed = false;
    let mut owed = machine.step(Event::Start);
    while !owed.is_empty() {
        let action = owed.remove(0);
        words.push(word(&action));
        let event = match action {
            Action::Send(M, Request::Commit { .. }) if fault.is_some() => fault.take().unwrap(),
            Action::Send(side, Request::Lock) => {
                locked(side, if committed && side == R { 10 } else { 9 }, 1)
            }
            Action::Send(R, Request::Upgrade { .. }) if committed => unchanged(R),
            Action::Send(side, Request::Upgrade { to, .. }) => staged(side, to, to),
            Action::Send(side, Request::Confirm) => confirmed(side),
            Action::Send(side, request) => {
                match request {
                    Request::Commit { hold, drop_old } => {
                        committed |= hold;
                        drops.push((side, drop_old));
                    }
                    Request::Release { drop_old } => drops.push((side, drop_old)),
                    _ => {}
                }
                Event::Reply(side, Answer::Done)
            }
            Action::Record(_) => Event::Recorded,
            Action::Wait { .. } => Event::Waited,
            _ => continue,
        };
        owed.extend(machine.step(event));
    }
    let line = words.join(" ");
    let after = "m:commit r:release wait m:lock m:upgrade m:commit note \
                 r:lock r:upgrade r:commit upgraded";
    assert_eq!(line, format!("{DECIDED} {after}"));
    let last = [(R, false), (R, false), (M, true), (R, true)];
    assert_eq!(drops, last);
}

#[test]
fn what_cannot_be_dropped_costs_no_transaction() {
    for (fault, after) in [
        // It is away, and then it is there.
        (lost(R), "r:release wait r:lock r:upgrade r:commit upgraded"),
        (no(R, Reason::Damaged), "r:release r:close upgraded"),
    ] {
        let mut faults = vec![("r:release", fault.clone())];
        if matches!(fault, Event::Lost(..)) {
            faults.push(("r:lock", locked(R, 9, 1)));
            faults.push(("r:lock", locked(R, 10, 1)));
            faults.push(("r:upgrade", staged(R, 10, 10)));
            faults.push(("r:upgrade", unchanged(R)));
        }
        let line = drive(without_old(), &faults);
        assert_eq!(line, format!("{DECIDED} m:commit note {after}"));
    }
}

#[test]
fn a_restart_drops_what_the_one_before_could_not() {
    let both = open(false, [true, true]);
    let plan = Plan {
        drop_old: true,
        ..plan()
    };
    let again = |side| locked(side, 10, 1);
    let faults = [
        ("r:lock", again(R)),
        ("r:upgrade", unchanged(R)),
        ("m:lock", again(M)),
        ("m:upgrade", unchanged(M)),
    ];
    assert_eq!(
        drive(Coordinator::resume(plan, both), &faults),
        "r:lock r:upgrade r:commit m:lock m:upgrade m:commit upgraded"
    );
}

//! A side that waits for the other one: kept alive, and never decided once it is lost.

use super::*;

/// A machine whose master has staged, while the replica's UPGRADE is under way.
fn waiting_for_the_replica() -> Coordinator {
    let mut machine = new();
    machine.step(Event::Start);
    for side in Side::ALL {
        machine.step(locked(side, 9, 1));
    }
    machine.step(staged(M, 10, 10));
    machine
}

fn words(actions: &[Action]) -> String {
    actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_is_decided_for_a_side_whose_transaction_has_ended() {
    let good = "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm";
    for (at, fault, end) in [
        (
            "m:confirm",
            no(M, Reason::Expired),
            "r:rollback m:rollback rolled_back(expired)",
        ),
        (
            "r:confirm",
            no(R, Reason::Expired),
            "r:rollback m:rollback rolled_back(expired)",
        ),
        ("m:confirm", lost(M), "r:rollback rolled_back(host_away)"),
        ("r:confirm", lost(R), "m:rollback rolled_back(host_away)"),
        // Locked again, by whomever, and nothing staged; or something else staged.
        (
            "m:confirm",
            Event::Reply(M, Answer::Confirmed { digest: None }),
            "r:rollback m:rollback rolled_back(expired)",
        ),
        (
            "r:confirm",
            Event::Reply(
                R,
                Answer::Confirmed {
                    digest: Some([1; 20]),
                },
            ),
            "r:rollback m:rollback rolled_back(protocol)",
        ),
    ] {
        assert_eq!(drive(new(), &[(at, fault)]), format!("{good} {end}"));
    }
}

#[test]
fn a_side_that_waits_for_the_other_is_kept_alive_and_one_that_works_is_left_alone() {
    let mut machine = waiting_for_the_replica();
    assert_eq!(words(&machine.step(Event::Tick)), "m:confirm");
    // One at a time.
    assert_eq!(words(&machine.step(Event::Tick)), "");
    assert_eq!(words(&machine.step(confirmed(M))), "");
    assert_eq!(words(&machine.step(Event::Tick)), "m:confirm");
    // The other is done meanwhile: what follows waits for the answer.
    assert_eq!(words(&machine.step(staged(R, 10, 10))), "");
    assert_eq!(words(&machine.step(confirmed(M))), "m:confirm r:confirm");
    // A slow confirmation of the one makes that of the other old.
    assert_eq!(words(&machine.step(confirmed(M))), "");
    assert_eq!(words(&machine.step(Event::Tick)), "m:confirm");
    assert_eq!(words(&machine.step(confirmed(R))), "");
    let ended = machine.step(no(M, Reason::Expired));
    assert_eq!(words(&ended), "r:rollback");
}

#[test]
fn a_side_that_is_lost_while_it_waits_is_not_decided() {
    let mut machine = waiting_for_the_replica();
    machine.step(Event::Tick);
    assert_eq!(words(&machine.step(lost(M))), "");
    assert_eq!(words(&machine.step(staged(R, 10, 10))), "r:rollback");
    let end = machine.step(Event::Reply(R, Answer::Done));
    assert_eq!(words(&end), "rolled_back(host_away)");
}

#[test]
fn a_command_waits_for_the_answer_that_keeps_its_side_alive() {
    let mut machine = new();
    machine.step(Event::Start);
    assert_eq!(words(&machine.step(locked(M, 9, 1))), "r:lock");
    assert_eq!(words(&machine.step(Event::Tick)), "m:confirm");
    assert_eq!(words(&machine.step(locked(R, 9, 1))), "r:upgrade");
    assert_eq!(words(&machine.step(staged(R, 10, 10))), "");
    let kept = Event::Reply(M, Answer::Confirmed { digest: None });
    assert_eq!(words(&machine.step(kept)), "m:upgrade");
    assert_eq!(words(&machine.step(Event::Tick)), "r:confirm");
    // What was never sent was never done.
    let machine_lost = machine.step(lost(M));
    assert_eq!(words(&machine_lost), "");
    assert_eq!(words(&machine.step(confirmed(R))), "r:rollback");
}

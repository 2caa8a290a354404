//! Each step's failure, with the exact order of what follows.

mod after_decision;
mod alive;
mod cutover;
mod fenced;
mod lost;
mod rehearsed;

use crate::two_phase::{
    Action, Answer, Comparison, Coordinator, Entry, Event, Open, Outcome, Plan, Reason, Refusal,
    Request, Side,
};

fn plan() -> Plan {
    Plan {
        to: 10,
        master: true,
        replica: true,
        only: None,
        uuids_old: false,
        undo: false,
        rehearse: false,
        prepare: false,
        require_in_sync: false,
        drop_old: false,
        settle_attempts: 1,
        rows_lost: false,
    }
}

/// One word for an action, so that a whole history reads as a line.
fn word(action: &Action) -> String {
    let side = |s: &Side| if *s == Side::Master { "m" } else { "r" };
    match action {
        Action::Send(s, request) => {
            let verb = match request {
                Request::Prepare { .. } => "prepare".to_owned(),
                Request::Lock => "lock".to_owned(),
                Request::Upgrade { to: 10, .. } => "upgrade".to_owned(),
                Request::Upgrade { to, uuids_old } => {
                    format!("back{to}{}", if *uuids_old { "old" } else { "" })
                }
                Request::Commit { hold: true, .. } => "hold".to_owned(),
                Request::Commit { hold: false, .. } => "commit".to_owned(),
                Request::Release { .. } => "release".to_owned(),
                Request::Confirm => "confirm".to_owned(),
                Request::RollBack => "rollback".to_owned(),
            };
            format!("{}:{verb}", side(s))
        }
        Action::Disconnect(s) => format!("{}:close", side(s)),
        Action::Compare => "compare".to_owned(),
        Action::Record(Entry::Decided { .. }) => "DECIDED".to_owned(),
        Action::Record(Entry::Assumed) => "ASSUMED".to_owned(),
        Action::Record(_) => "REVERSING".to_owned(),
        Action::Note(_) => "note".to_owned(),
        Action::Wait { .. } => "wait".to_owned(),
        Action::Alert(_) => "ALERT".to_owned(),
        Action::Finished(Outcome::Upgraded) => "upgraded".to_owned(),
        Action::Finished(Outcome::Rehearsed) => "rehearsed".to_owned(),
        Action::Finished(Outcome::Unchanged) => "unchanged".to_owned(),
        Action::Finished(Outcome::RolledBack(f)) => format!("rolled_back({})", f.reason),
        Action::Finished(Outcome::InDoubt(f)) => format!("in_doubt({})", f.reason),
        Action::Finished(Outcome::TakenOver(f)) => format!("taken_over({})", f.reason),
    }
}

/// Drives a machine. A fault answers an action (named by its word) in another way, once.
fn drive(mut machine: Coordinator, faults: &[(&str, Event)]) -> String {
    let mut faults: Vec<_> = faults.to_vec();
    let mut line = Vec::new();
    let mut digests = [None; 2];
    let mut owed = machine.step(Event::Start);
    while !owed.is_empty() {
        let action = owed.remove(0);
        let name = word(&action);
        line.push(name.clone());
        let fault = faults
            .iter()
            .position(|(at, _)| *at == name)
            .map(|i| faults.remove(i).1);
        let good = match action {
            Action::Send(side, Request::Lock) => Some(locked(side, 9, 1)),
            Action::Send(side, Request::Upgrade { to, .. }) => Some(staged(side, to, to)),
            Action::Send(side, Request::Confirm) => {
                let digest = digests[side.index()];
                Some(Event::Reply(side, Answer::Confirmed { digest }))
            }
            Action::Send(side, _) => Some(Event::Reply(side, Answer::Done)),
            Action::Compare => Some(Event::Compared(Comparison::default())),
            Action::Record(_) => Some(Event::Recorded),
            Action::Wait { .. } => Some(Event::Waited),
            _ => None,
        };
        if let Some(event) = fault.or(good) {
            if let Event::Reply(side, Answer::Staged { digest, .. }) = &event {
                digests[side.index()] = Some(*digest);
            }
            owed.extend(machine.step(event));
        }
    }
    assert!(faults.is_empty(), "never came to {faults:?}: {line:?}");
    assert!(machine.is_finished());
    line.join(" ")
}

fn staged(side: Side, to: u8, digest: u8) -> Event {
    let answer = Answer::Staged {
        changed: true,
        from: if to == 10 { 9 } else { 10 },
        digest: [digest; 20],
    };
    Event::Reply(side, answer)
}

fn confirmed(side: Side) -> Event {
    let digest = Some([10; 20]);
    Event::Reply(side, Answer::Confirmed { digest })
}

fn unchanged(side: Side) -> Event {
    Event::Reply(
        side,
        Answer::Staged {
            changed: false,
            from: 10,
            digest: [10; 20],
        },
    )
}

fn no(side: Side, reason: Reason) -> Event {
    Event::Reply(
        side,
        Answer::No(Refusal {
            reason,
            text: String::new(),
        }),
    )
}

/// An answer to `LOCK`.
fn locked(side: Side, index: u8, uidvalidity: u32) -> Event {
    Event::Reply(side, Answer::Locked { index, uidvalidity })
}

/// A decision that is open, with something staged on both sides.
fn open(reversing: bool, forward: [bool; 2]) -> Open {
    Open {
        reversing,
        before: [Some(9), Some(9)],
        forward,
    }
}

fn lost(side: Side) -> Event {
    Event::Lost(side, String::new())
}

use Side::{Master as M, Replica as R};

fn new() -> Coordinator {
    Coordinator::new(plan())
}

/// A machine with another plan.
fn with(change: impl FnOnce(&mut Plan)) -> Coordinator {
    let mut plan = plan();
    change(&mut plan);
    Coordinator::new(plan)
}

#[test]
fn the_good_way() {
    assert_eq!(
        drive(new(), &[]),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:hold note m:commit note \
         r:release upgraded"
    );
    let prepared = with(|plan| plan.prepare = true);
    assert!(drive(prepared, &[]).starts_with("m:prepare r:prepare m:lock r:lock"));
}

#[test]
fn messages_that_differ_are_known_before_any_lock_and_what_else_prepare_refuses_the_lock_tells() {
    let prepared = || with(|plan| plan.prepare = true);
    for side in [M, R] {
        let at = if side == M { "m:prepare" } else { "r:prepare" };
        let line = drive(prepared(), &[(at, no(side, Reason::Differs))]);
        assert!(
            !line.contains("lock") && line.ends_with("rolled_back(differs)"),
            "{line}"
        );
        let line = drive(prepared(), &[(at, no(side, Reason::Damaged))]);
        assert!(line.starts_with("m:prepare r:prepare m:lock"), "{line}");
    }
}

#[test]
fn one_host_alone_commits_without_hold() {
    let alone = with(|plan| plan.replica = false);
    assert_eq!(
        drive(alone, &[]),
        "m:lock m:upgrade DECIDED m:commit note upgraded"
    );
}

#[test]
fn both_as_wanted_is_unchanged_and_nothing_is_decided() {
    assert_eq!(
        drive(
            new(),
            &[("m:upgrade", unchanged(M)), ("r:upgrade", unchanged(R))]
        ),
        "m:lock r:lock m:upgrade r:upgrade r:rollback m:rollback unchanged"
    );
}

#[test]
fn a_failure_before_the_decision_rolls_back_replica_first() {
    for (at, fault, line) in [
        (
            "m:lock",
            no(M, Reason::Locked),
            "m:lock rolled_back(locked)",
        ),
        ("m:lock", lost(M), "m:lock rolled_back(host_away)"),
        (
            "r:lock",
            no(R, Reason::NoMailbox),
            "m:lock r:lock m:rollback rolled_back(no_mailbox)",
        ),
        (
            "r:lock",
            lost(R),
            "m:lock r:lock m:rollback rolled_back(host_away)",
        ),
        (
            "m:upgrade",
            no(M, Reason::NoMessage),
            "m:lock r:lock m:upgrade r:upgrade r:rollback m:rollback rolled_back(no_message)",
        ),
        (
            "r:upgrade",
            no(R, Reason::Damaged),
            "m:lock r:lock m:upgrade r:upgrade r:rollback m:rollback rolled_back(damaged)",
        ),
        (
            "r:upgrade",
            lost(R),
            "m:lock r:lock m:upgrade r:upgrade m:rollback rolled_back(host_away)",
        ),
        (
            "DECIDED",
            Event::RecordFailed(String::new()),
            "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm DECIDED r:rollback m:rollback \
             rolled_back(journal)",
        ),
    ] {
        assert_eq!(drive(new(), &[(at, fault)]), line);
    }
}

#[test]
fn lists_are_compared_only_when_digests_differ() {
    let other = ("r:upgrade", staged(R, 10, 77));
    assert_eq!(
        drive(new(), std::slice::from_ref(&other)),
        "m:lock r:lock m:upgrade r:upgrade compare m:confirm r:confirm DECIDED r:hold note \
         m:commit note r:release upgraded"
    );
    let differing = Comparison {
        differing: 1,
        examples: "UID 7".into(),
        ..Comparison::default()
    };
    assert_eq!(
        drive(
            new(),
            &[other.clone(), ("compare", Event::Compared(differing))]
        ),
        "m:lock r:lock m:upgrade r:upgrade compare r:rollback m:rollback rolled_back(differs)"
    );
    for end in [no(R, Reason::Expired), lost(R)] {
        let line = drive(new(), &[other.clone(), ("compare", end)]);
        assert!(
            line.contains("compare") && line.contains("rolled_back"),
            "{line}"
        );
    }
}

#[test]
fn lag_is_a_failure_only_when_asked() {
    let lag = Event::Compared(Comparison {
        master_only: 3,
        ..Comparison::default()
    });
    let faults = [("r:upgrade", staged(R, 10, 77)), ("compare", lag)];
    assert!(drive(new(), &faults).ends_with("upgraded"));
    let strict = with(|plan| plan.require_in_sync = true);
    assert!(drive(strict, &faults).ends_with("r:rollback m:rollback rolled_back(out_of_sync)"));
}

#[test]
fn another_uidvalidity_is_another_mailbox() {
    let other = locked(R, 9, 2);
    assert_eq!(
        drive(new(), &[("r:lock", other)]),
        "m:lock r:lock r:rollback m:rollback rolled_back(other_mailbox)"
    );
}

#[test]
fn old_files_are_dropped_only_once_both_are_committed() {
    let mut machine = with(|plan| plan.drop_old = true);
    let mut owed = machine.step(Event::Start);
    let mut drops = Vec::new();
    while !owed.is_empty() {
        let event = match owed.remove(0) {
            Action::Send(side, Request::Lock) => locked(side, 9, 1),
            Action::Send(side, Request::Upgrade { to, .. }) => staged(side, to, to),
            Action::Send(
                side,
                Request::Commit { drop_old, .. } | Request::Release { drop_old },
            ) => {
                drops.push((side, drop_old));
                Event::Reply(side, Answer::Done)
            }
            Action::Send(side, Request::Confirm) => confirmed(side),
            Action::Record(_) => Event::Recorded,
            _ => continue,
        };
        owed.extend(machine.step(event));
    }
    assert_eq!(drops, [(R, false), (M, true), (R, true)]);
}

#[test]
fn a_stop_rolls_back_what_is_not_decided_and_sees_the_rest_through() {
    let mut machine = new();
    machine.step(Event::Start);
    let stopped = machine.step(Event::Abort);
    assert_eq!(
        stopped.iter().map(word).collect::<Vec<_>>(),
        ["m:close", "rolled_back(interrupted)"]
    );

    let mut machine = new();
    machine.step(Event::Start);
    for side in Side::ALL {
        machine.step(locked(side, 9, 1));
    }
    machine.step(staged(M, 10, 10));
    machine.step(staged(R, 10, 10));
    machine.step(confirmed(M));
    machine.step(confirmed(R));
    assert!(
        machine.step(Event::Abort).is_empty(),
        "the decision is being written"
    );
    let after = machine.step(Event::Recorded);
    assert_eq!(after.iter().map(word).collect::<Vec<_>>(), ["r:hold"]);
}

#[test]
fn after_a_restart_the_decision_is_carried_out() {
    assert_eq!(
        drive(
            Coordinator::resume(plan(), open(false, [false, false])),
            &[]
        ),
        "m:lock r:lock m:upgrade r:upgrade r:hold note m:commit note r:release upgraded"
    );
    let known = open(false, [false, true]);
    assert_eq!(
        drive(Coordinator::resume(plan(), known), &[]),
        "m:lock m:upgrade m:commit note upgraded"
    );
    let both = open(false, [true, true]);
    assert_eq!(drive(Coordinator::resume(plan(), both), &[]), "upgraded");
}

//! Another coordinator takes over: from then on not one command is sent.

use super::*;

#[test]
fn a_fenced_coordinator_sends_nothing_more_wherever_it_stands() {
    let whole = drive(Coordinator::new(plan()), &[]);
    let mut places = 0;
    for (n, word) in whole.split(' ').enumerate() {
        let Some(side) = [(M, "m:"), (R, "r:")]
            .into_iter()
            .find_map(|(side, of)| word.starts_with(of).then_some(side))
        else {
            continue;
        };
        places += 1;
        let line = drive(
            Coordinator::new(plan()),
            &[(word, no(side, Reason::Fenced))],
        );
        let after: Vec<&str> = line.split(' ').skip(n + 1).collect();
        let (last, rest) = after.split_last().expect("it ends");
        assert_eq!(*last, "taken_over(fenced)", "{line}");
        // What was sent to the other side at the same time apart.
        let sent = rest.iter().filter(|word| !word.ends_with(":close"));
        let sent: Vec<_> = sent.collect();
        let same = |w: &str| w.split(':').nth(1) == word.split(':').nth(1);
        assert!(sent.iter().all(|w| same(w)), "{line}");
    }
    assert!(places > 8, "{whole}");
}

#[test]
fn a_journal_that_says_so_ends_it_as_a_host_that_says_so_does() {
    for (entry, refused) in [("DECIDED", None), ("REVERSING", Some("r:hold"))] {
        let mut faults = vec![(entry, Event::TakenOver(String::new()))];
        faults.extend(refused.map(|at| (at, no(R, Reason::Io))));
        let line = drive(Coordinator::new(plan()), &faults);
        let end = format!("{entry} m:close r:close taken_over(fenced)");
        assert!(line.ends_with(&end), "{line}");
    }
}

#[test]
fn what_is_decided_is_left_to_the_one_that_took_over() {
    let machine = || Coordinator::resume(plan(), open(false, [false, true]));
    assert_eq!(
        drive(machine(), &[("m:lock", no(M, Reason::Fenced))]),
        "m:lock m:close taken_over(fenced)"
    );
    let back = || Coordinator::resume(plan(), open(true, [false, true]));
    let line = drive(back(), &[("r:lock", no(R, Reason::Fenced))]);
    assert_eq!(line, "r:lock r:close taken_over(fenced)");
}

//! What comes after a run: why it ended as it did, and which command does the rest.

use super::text::Failures;
use crate::journal::Verb;
use crate::report::retry;
use crate::run::Summary;
use crate::two_phase::Reason;

/// What to do next, a line each.
/// `options`: the hosts and the state file, as they were given.
pub(super) fn hints(
    verb: Verb,
    summary: &Summary,
    failures: &Failures,
    options: &str,
) -> Vec<String> {
    let advice = failures
        .iter()
        .map(|(reason, n)| format!("{n} {reason}: {}", reason.advice()));
    let mut lines: Vec<String> = advice.collect();
    if summary.in_doubt == 0 && summary.pending > 0 {
        lines.push("not all was done: give the same command again to go on".to_owned());
    } else if verb.rehearses() {
        if summary.rolled_back > 0 {
            lines.push(
                "a rehearsal leaves nothing to retry: the same command rehearses all of it again"
                    .to_owned(),
            );
        }
    } else if summary.in_doubt == 0 && summary.rolled_back > 0 {
        lines.extend(retry_hints(failures, options));
    }
    lines
}

/// Why a run ended as it did and what has to be done, quiet or not.
pub(super) fn reasons(summary: &Summary, options: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(away) = &summary.away {
        lines.push(format!("the run ended because {away}"));
    }
    if let Some(denied) = &summary.denied {
        lines.push(format!(
            "the run ended because {denied}; the same command goes on with it once that is put \
             right (docs/security.md)"
        ));
    }
    if let Some(text) = &summary.taken_over {
        lines.push(format!(
            "another controller has taken over, and this one has stopped; what is open is settled \
             by that one: {text}"
        ));
    }
    if let Some(fence) = &summary.fence {
        lines.push(format!(
            "the run stopped because {fence}; raise the fence again, and the same command goes on"
        ));
    }
    if let Some(why) = &summary.panic {
        lines.push(format!(
            "the run was ended at once because {why}: what was not decided is as before, and what \
             was decided was carried out; the same command goes on"
        ));
    }
    if let Some(failover) = &summary.failover {
        lines.push(format!(
            "the run stopped because {failover}; once that is cleared the same command goes on"
        ));
    }
    if let Some(stopped) = &summary.stopped {
        lines.push(format!(
            "the run stopped by itself: {stopped}. See that the names, the hosts and the stores \
             are \
             the right ones; the same command goes on, with a higher --max-failures if these \
             failures are expected"
        ));
    }
    lines.extend(summary.left_out.sentence());
    if summary.waiting > 0 {
        lines.push(format!(
            "{} mailbox(es) are decided and wait for a partition: mount it, then give the same \
             command again, or: controller recover {options}",
            summary.waiting
        ));
    }
    if summary.in_doubt > 0 {
        lines.push(format!(
            "settle what is in doubt: controller recover {options}"
        ));
    }
    lines
}

/// Which `retry` takes which failures up: what may have passed by itself, and what needs a repair
/// first.
fn retry_hints(failures: &Failures, options: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (may, cannot): (Vec<_>, Vec<_>) = failures.iter().partition(|(r, _)| r.may_pass());
    let sum = |part: &[(&Reason, &u64)]| part.iter().map(|(_, n)| **n).sum::<u64>();
    if !may.is_empty() {
        lines.push(format!(
            "take up {} that may pass by themselves: {}",
            sum(&may),
            retry(options, &[])
        ));
    }
    if !cannot.is_empty() {
        let reasons: Vec<Reason> = cannot.iter().map(|(reason, _)| **reason).collect();
        lines.push(format!(
            "take up {} that cannot, after a repair: {} (or their names)",
            sum(&cannot),
            retry(options, &reasons)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Totals;

    fn of(totals: Totals) -> Summary {
        Summary {
            totals,
            ..Summary::default()
        }
    }

    #[test]
    fn every_reason_has_its_advice_in_the_hints() {
        let failures: Failures = Reason::ALL.into_iter().map(|r| (r, 2)).collect();
        let summary = of(Totals {
            rolled_back: 3,
            ..Totals::default()
        });
        let lines = hints(
            Verb::Upgrade,
            &summary,
            &failures,
            "--master m:1 --state x.db",
        );
        assert_eq!(lines.len(), Reason::ALL.len() + 2);
        let of = |may: bool| Reason::ALL.iter().filter(|r| r.may_pass() == may).count() * 2;
        assert_eq!(
            lines[lines.len() - 2],
            format!(
                "take up {} that may pass by themselves: controller retry --master m:1 --state \
                 x.db",
                of(true)
            )
        );
        let last = &lines[lines.len() - 1];
        let begin = format!("take up {} that cannot, after a repair: ", of(false));
        assert!(last.starts_with(&begin), "{last}");
        for reason in Reason::ALL.into_iter().filter(|r| !r.may_pass()) {
            assert!(last.contains(reason.as_str()), "{reason}: {last}");
        }
    }

    #[test]
    fn every_reason_why_a_run_ended_early_is_named_with_what_goes_on_from_there() {
        let of = |summary: Summary| reasons(&summary, "--master m:1 --state x.db");
        assert_eq!(of(Summary::default()), Vec::<String>::new());
        // Failures of single mailboxes, and what is left to do, are hints, and not shown with -q.
        let failed = Summary {
            totals: Totals {
                rolled_back: 1,
                pending: 2,
                ..Totals::default()
            },
            ..Summary::default()
        };
        assert_eq!(of(failed), Vec::<String>::new());
        let lines = of(Summary {
            away: Some("the replica was away for longer than --host-wait".to_owned()),
            panic: Some("somebody asked".to_owned()),
            stopped: Some("3 of 6 attempts failed".to_owned()),
            totals: Totals {
                waiting: 4,
                in_doubt: 5,
                ..Totals::default()
            },
            ..Summary::default()
        });
        let parts = [
            "the run ended because the replica was away",
            "the run was ended at once because somebody asked: what was not decided is as before",
            "the run stopped by itself: 3 of 6 attempts failed. See that the names",
            "4 mailbox(es) are decided and wait for a partition: mount it, then give the same \
             command again, or: controller recover --master m:1 --state x.db",
            "settle what is in doubt: controller recover --master m:1 --state x.db",
        ];
        assert_eq!(lines.len(), parts.len(), "{lines:?}");
        for (line, part) in lines.iter().zip(parts) {
            assert!(line.starts_with(part), "{part}: {line}");
        }
    }

    #[test]
    fn only_a_retry_that_takes_something_up_is_suggested() {
        let damaged = Failures::from([(Reason::Damaged, 1)]);
        let summary = of(Totals {
            rolled_back: 1,
            ..Totals::default()
        });
        let lines = hints(
            Verb::Upgrade,
            &summary,
            &damaged,
            "--master m:1 --state x.db",
        );
        assert!(lines[1].contains("controller retry --master m:1 --state x.db --reason damaged"));
        assert_eq!(lines.len(), 2, "{lines:?}");
        // A rehearsal leaves nothing to be retried.
        let lines = hints(Verb::Rehearse, &summary, &damaged, "--master m:1");
        assert!(!lines.concat().contains("controller retry"), "{lines:?}");
        assert!(lines[1].contains("rehearses all of it again"), "{lines:?}");
    }
}

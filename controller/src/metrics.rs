//! The numbers of a controller for Prometheus: for each pair what `status` says of it, from the
//! same [`Totals`] and [`Control`], and what was counted since the controller began.
//!
//! Looks only, so a crash leaves nothing.

use slotd::metrics::{Kind, Metric, Page};

use crate::control::Control;
use crate::journal::Totals;
use crate::two_phase::Side;

/// A metric of a pair.
const fn of_pair(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

/// All of them; docs/monitoring.md is compared with it by a test.
pub static METRICS: [Metric; 18] = [
    of_pair(
        "reguid_updated_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When these numbers were made, seconds since 1970",
    ),
    of_pair(
        "reguid_run_active",
        Kind::Gauge,
        &["pair"],
        "Whether a run works on the pair",
    ),
    of_pair(
        "reguid_run_number",
        Kind::Gauge,
        &["pair"],
        "The number of the last run",
    ),
    of_pair(
        "reguid_mailboxes",
        Kind::Gauge,
        &["pair", "outcome"],
        "Mailboxes of the last run by what became of them, as status counts them",
    ),
    of_pair(
        "reguid_in_doubt",
        Kind::Gauge,
        &["pair"],
        "Mailboxes of which master and replica may differ: a human must look",
    ),
    of_pair(
        "reguid_under_way",
        Kind::Gauge,
        &["pair"],
        "Mailboxes that are worked on",
    ),
    of_pair(
        "reguid_parallel",
        Kind::Gauge,
        &["pair"],
        "Mailboxes that may be worked on at once now",
    ),
    of_pair(
        "reguid_attempts_total",
        Kind::Counter,
        &["pair", "ended"],
        "Attempts at mailboxes that are over, by how they ended",
    ),
    of_pair(
        "reguid_failures_total",
        Kind::Counter,
        &["pair", "reason"],
        "Attempts that failed, by reason",
    ),
    of_pair(
        "reguid_messages_total",
        Kind::Counter,
        &["pair"],
        "Messages of the mailboxes that are over",
    ),
    of_pair(
        "reguid_decisions_total",
        Kind::Counter,
        &["pair"],
        "Decisions to commit that the journal has made durable",
    ),
    of_pair(
        "reguid_lock_hold_seconds",
        Kind::Histogram,
        &["pair", "side"],
        "For how long mailboxes were locked",
    ),
    of_pair(
        "reguid_host_away",
        Kind::Gauge,
        &["pair", "side"],
        "Whether a host does not answer",
    ),
    of_pair(
        "reguid_certificate_days",
        Kind::Gauge,
        &["pair"],
        "Whole days until the certificate that the hosts are shown ends; below 0 once it has",
    ),
    of_pair(
        "reguid_host_busy",
        Kind::Gauge,
        &["pair", "side", "reason"],
        "1 while a host has more than a limit (reason) allows, or that is not known",
    ),
    of_pair(
        "reguid_waiting",
        Kind::Gauge,
        &["pair", "reason"],
        "Whether nothing new begins: paused, run, conditions (of this machine) or hosts",
    ),
    of_pair(
        "reguid_partitions_away",
        Kind::Gauge,
        &["pair"],
        "Partitions that are not mounted and are waited for",
    ),
    of_pair(
        "reguid_journal_unreadable",
        Kind::Gauge,
        &["pair"],
        "Whether the journal could not be read, so that mailboxes are not counted",
    ),
];

/// A pair at this moment.
#[derive(Debug)]
pub struct PairNow<'a> {
    /// Its name; empty without a fleet file.
    pub name: &'a str,
    /// Its controls.
    pub control: &'a Control,
    /// The sides that it has.
    pub sides: &'a [Side],
    /// What the last run amounts to, and its number, as the journal says; `None` if there is none.
    ///
    /// # Errors
    /// The journal could not be read.
    pub totals: Result<Option<(i64, Totals)>, ()>,
    /// Days until the certificate that is shown to its hosts ends; `None` without one.
    pub cert_days: Option<i64>,
}

/// The numbers of these pairs. `now_ms` is milliseconds since 1970.
#[must_use]
pub fn page<'a>(now_ms: i64, pairs: impl IntoIterator<Item = PairNow<'a>>) -> Page {
    let mut page = Page::of(&METRICS);
    #[allow(clippy::cast_precision_loss)] // exact until the year 287396
    page.number(
        "reguid_updated_timestamp_seconds",
        &[],
        now_ms as f64 / 1000.0,
    );
    for pair in pairs {
        add_journal(&mut page, &pair);
        add_control(&mut page, &pair);
        if let Some(days) = pair.cert_days {
            #[allow(clippy::cast_precision_loss)] // days
            page.number("reguid_certificate_days", &[pair.name], days as f64);
        }
    }
    page
}

/// Each mailbox of a run counts once.
fn outcomes(totals: &Totals) -> [(&'static str, u64); 10] {
    let decided = totals.open.saturating_sub(totals.in_doubt + totals.waiting);
    [
        ("upgraded", totals.upgraded),
        ("unchanged", totals.unchanged),
        ("rehearsed", totals.rehearsed),
        ("rolled_back", totals.rolled_back),
        ("wrong_guid", totals.wrong_guid),
        ("in_doubt", totals.in_doubt),
        ("waiting", totals.waiting),
        ("decided", decided),
        ("pending", totals.pending),
        ("gone", totals.gone),
    ]
}

fn add_journal(page: &mut Page, pair: &PairNow<'_>) {
    let name = pair.name;
    page.switch("reguid_journal_unreadable", &[name], pair.totals.is_err());
    let Ok(Some((run, totals))) = &pair.totals else {
        return;
    };
    let run = u64::try_from(*run).unwrap_or(0);
    page.count("reguid_run_number", &[name], run);
    for (outcome, mailboxes) in outcomes(totals) {
        page.count("reguid_mailboxes", &[name, outcome], mailboxes);
    }
    page.count("reguid_in_doubt", &[name], totals.in_doubt);
}

fn add_control(page: &mut Page, pair: &PairNow<'_>) {
    let (name, counts, live) = (pair.name, pair.control.counts(), pair.control.live());
    page.switch("reguid_run_active", &[name], counts.is_running());
    page.count("reguid_under_way", &[name], live.under_way as u64);
    page.count("reguid_parallel", &[name], live.allowed as u64);
    page.count("reguid_partitions_away", &[name], live.parked.len() as u64);
    page.count("reguid_messages_total", &[name], counts.messages);
    page.count("reguid_decisions_total", &[name], counts.decisions);
    for (ended, attempts) in &counts.attempts {
        page.count("reguid_attempts_total", &[name, ended], *attempts);
    }
    for (reason, failures) in &counts.failures {
        page.count("reguid_failures_total", &[name, reason], *failures);
    }
    for (reason, is_so) in pair.control.reasons() {
        page.switch("reguid_waiting", &[name, reason], is_so);
    }
    for side in pair.sides {
        let (at, word) = (side.index(), side.as_str());
        page.histogram("reguid_lock_hold_seconds", &[name, word], &counts.holds[at]);
        page.switch("reguid_host_away", &[name, word], counts.away[at]);
    }
    for busy in pair.control.state().busy {
        if let Some(side) = busy.side {
            page.switch("reguid_host_busy", &[name, side.as_str(), busy.limit], true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::control::{Busy, Limits};
    use crate::journal::{Ended, Figures};
    use crate::two_phase::{Failure, Reason};

    #[test]
    fn each_number_of_a_pair_is_on_the_page_once_and_mailboxes_add_up() {
        let control = Arc::new(Control::new(Limits::default()));
        let running = control.runs();
        control.decided(2);
        control.hosts_away([false, true]);
        let figures = Figures {
            messages: 7,
            lock_us: [Some(1500), None],
            ..Figures::default()
        };
        let took = Duration::from_millis(9);
        control.finished("user.a", Ended::Upgraded, None, &figures, took);
        let locked = Failure::new(Some(Side::Master), Reason::Locked, "by imapd".to_owned());
        control.finished(
            "user.b",
            Ended::Again,
            Some(&locked),
            &Figures::default(),
            took,
        );
        control.update(|state| {
            state.paused = true;
            state.busy = vec![Busy {
                side: Some(Side::Replica),
                limit: "max-lag",
                text: "replica mail2: lags".to_owned(),
            }];
        });
        let totals = Totals {
            mailboxes: 20,
            upgraded: 5,
            unchanged: 1,
            rolled_back: 2,
            open: 4,
            in_doubt: 1,
            waiting: 2,
            pending: 7,
            gone: 1,
            ..Totals::default()
        };
        let sum: u64 = outcomes(&totals).iter().map(|(_, n)| n).sum();
        assert_eq!(sum, totals.mailboxes);
        let now = |name| PairNow {
            name,
            control: &control,
            sides: &Side::ALL,
            totals: Ok(Some((3, totals))),
            cert_days: Some(-1),
        };
        let text = page(1_795_791_600_500, [now("a"), now("b")]).into_openmetrics();
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            "reguid_updated_timestamp_seconds 1795791600.5",
            "reguid_run_active{pair=\"a\"} 1.0",
            "reguid_run_number{pair=\"b\"} 3.0",
            "reguid_mailboxes{pair=\"a\",outcome=\"decided\"} 1.0",
            "reguid_mailboxes{pair=\"a\",outcome=\"pending\"} 7.0",
            "reguid_in_doubt{pair=\"a\"} 1.0",
            "reguid_attempts_total{pair=\"a\",ended=\"upgraded\"} 1.0",
            "reguid_failures_total{pair=\"a\",reason=\"locked\"} 1.0",
            "reguid_messages_total{pair=\"a\"} 7.0",
            "reguid_decisions_total{pair=\"a\"} 2.0",
            "reguid_lock_hold_seconds_count{pair=\"a\",side=\"master\"} 1",
            "reguid_lock_hold_seconds_sum{pair=\"a\",side=\"master\"} 0.0015",
            "reguid_lock_hold_seconds_count{pair=\"a\",side=\"replica\"} 0",
            "reguid_host_away{pair=\"a\",side=\"replica\"} 1.0",
            "reguid_host_away{pair=\"a\",side=\"master\"} 0.0",
            "reguid_host_busy{pair=\"a\",side=\"replica\",reason=\"max-lag\"} 1.0",
            "reguid_waiting{pair=\"a\",reason=\"paused\"} 1.0",
            "reguid_waiting{pair=\"a\",reason=\"conditions\"} 0.0",
            "reguid_journal_unreadable{pair=\"a\"} 0.0",
            "reguid_certificate_days{pair=\"a\"} -1.0",
        ] {
            let times = lines.iter().filter(|l| **l == line).count();
            assert_eq!(times, 1, "{line}\nis not once in\n{text}");
        }
        for metric in &METRICS {
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let head = format!("# TYPE {name} {}", metric.kind);
            assert!(lines.contains(&head.as_str()), "{head}");
        }
        assert!(!text.contains("user."), "no mailbox has a label of its own");

        drop(running);
        let unknown = PairNow {
            totals: Err(()),
            ..now("")
        };
        let text = page(0, [unknown]).into_openmetrics();
        assert!(text.contains("\nreguid_run_active 0.0\n"), "{text}");
        assert!(text.contains("\nreguid_journal_unreadable 1.0\n"), "{text}");
        assert!(!text.contains("reguid_mailboxes"), "{text}");
    }
}

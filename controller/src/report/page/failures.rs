//! What failed, why, what to do about it, and the command that takes it up.

use std::collections::BTreeMap;

use indexfile::program::spelled;
use maud::{Markup, html};

use super::PageOptions;
use crate::chart::{Bar, Bars, Hue, Series, visible};
use crate::journal::RunInfo;
use crate::page::table::{Kind, chart, count, length, table};
use crate::report::account::{Account, Failures};
use crate::report::standing::Standing;
use crate::two_phase::Reason;

pub(super) fn section(account: &Account, options: &PageOptions) -> Markup {
    let left = account.whole.totals.pending;
    html! {
        h2 { "Failures" }
        @if account.failures.is_empty() {
            p { "Nothing failed." }
        } @else {
            (bars(account))
            (numbers(account))
            @for (kind, failures) in sorted(account) {
                (one(account, options, *kind, failures))
            }
        }
        @if left > 0 && let Some(info) = account.begun() {
            p {
                (count(left)) " mailboxes are not done. This goes on with the run:"
            }
            pre { (visible(&spelled(&info.go_on(&whole(account, options, info))))) }
        }
    }
}

/// The kinds, the most frequent first.
fn sorted(account: &Account) -> Vec<(&(Standing, Reason), &Failures)> {
    let mut all: Vec<_> = account.failures.iter().collect();
    all.sort_by_key(|(_, failures)| std::cmp::Reverse(failures.mailboxes));
    all
}

fn bars(account: &Account) -> Markup {
    let all = sorted(account);
    let bars: Vec<Bar<'_>> = all
        .iter()
        .map(|((_, reason), failures)| Bar {
            name: reason.as_str(),
            says: count(failures.mailboxes),
        })
        .collect();
    let series = [Series {
        name: "mailboxes",
        hue: Hue::Bad,
        values: all.iter().map(|(_, f)| length(f.mailboxes)).collect(),
    }];
    let chart_of = Bars {
        title: "Mailboxes that failed, by reason",
        bars: &bars,
        series: &series,
    };
    chart(|width| chart_of.svg(width))
}

fn numbers(account: &Account) -> Markup {
    let mut columns = vec![
        ("reason", Kind::Text),
        ("what became of them", Kind::Text),
        ("mailboxes", Kind::Number),
    ];
    if account.is_fleet() {
        columns.push(("pairs", Kind::Name));
    }
    let rows = sorted(account)
        .into_iter()
        .map(|((standing, reason), failures)| {
            let mut row = vec![
                reason.to_string(),
                standing.words(account.run.verb).to_owned(),
                count(failures.mailboxes),
            ];
            if account.is_fleet() {
                let pairs = failures.pairs.iter();
                let pairs =
                    pairs.map(|(pair, n)| format!("{} {}", account.pair_name(*pair), count(*n)));
                row.push(pairs.collect::<Vec<_>>().join(", "));
            }
            row
        });
    table(&columns, rows)
}

fn one(
    account: &Account,
    options: &PageOptions,
    (standing, reason): (Standing, Reason),
    failures: &Failures,
) -> Markup {
    let verb = account.run.verb;
    let go_on = account.begun().map_or_else(String::new, |info| {
        info.go_on(&whole(account, options, info))
    });
    let rehearses = verb.rehearses();
    let given = some(account, options, &failures.pairs);
    html! {
        article {
            h3 {
                (reason.as_str()) ": " (count(failures.mailboxes)) " "
                (standing.words(verb))
            }
            p { (spelled(&sentence(reason.advice()))) }
            p {
                "For example " code { (visible(&failures.example)) } ": "
                (visible(&failures.detail))
            }
            @if rehearses {
                p { "This rehearses it again, after a repair:" }
                pre { (visible(&spelled(&go_on))) }
            } @else {
                pre { (visible(&spelled(&standing.command(reason, &given, &go_on)))) }
            }
        }
    }
}

/// An advice as a sentence of its own.
fn sentence(advice: &str) -> String {
    let mut rest = advice.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    let dot = if advice.ends_with('.') { "" } else { "." };
    first.chain(rest).chain(dot.chars()).collect()
}

/// The hosts and the journal, as a command names them.
fn whole(account: &Account, options: &PageOptions, info: &RunInfo) -> String {
    let state = &options.state;
    if account.is_fleet() {
        return format!("--fleet {} --state {state}", options.fleet);
    }
    let replica = info.spec.replica.as_deref();
    let replica = replica.map_or_else(String::new, |addr| format!(" --replica {addr}"));
    format!("--master {}{replica} --state {state}", info.spec.master)
}

/// The same of some pairs only, where these are not all.
fn some(account: &Account, options: &PageOptions, pairs: &BTreeMap<usize, u64>) -> String {
    let Some(info) = account.begun() else {
        return String::new();
    };
    let mut out = whole(account, options, info);
    if account.is_fleet() && pairs.len() < account.pairs.len() {
        let names: Vec<&str> = pairs.keys().map(|pair| account.pair_name(*pair)).collect();
        out.push_str(" --pairs ");
        out.push_str(&names.join(","));
    }
    out
}

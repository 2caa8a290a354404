//! What each pair and each partition came to.

use maud::{Markup, html};

use crate::chart::{Bar, Bars, Hue, Series};
use crate::journal::{Totals, Verb};
use crate::page::table::{Kind, chart, count, length, ms, rate, table};
use crate::report::account::{Account, OfPair, PartitionName};
use crate::report::part::Part;
use crate::report::time::{per_second, seconds};

/// Columns that pairs and partitions have in common.
fn heads(verb: Verb) -> [(&'static str, Kind); 9] {
    [
        ("mailboxes", Kind::Number),
        (verb.done(), Kind::Number),
        ("nothing to do", Kind::Number),
        ("failed", Kind::Number),
        ("open", Kind::Number),
        ("not done", Kind::Number),
        ("messages", Kind::Number),
        ("lock median, ms", Kind::Number),
        ("p99, ms", Kind::Number),
    ]
}

fn cells(part: &Part) -> Vec<String> {
    let t = &part.totals;
    let both = part.both();
    let lock = |percent| {
        if both.count() > 0 {
            ms(both.quantile(percent))
        } else {
            "none".to_owned()
        }
    };
    let numbers = [
        t.mailboxes,
        t.changed(),
        t.unchanged + t.gone,
        failed(t),
        t.open,
        t.pending,
        t.messages,
    ];
    let mut cells: Vec<String> = numbers.into_iter().map(count).collect();
    cells.extend([lock(50), lock(99)]);
    cells
}

fn failed(totals: &Totals) -> u64 {
    totals.rolled_back + totals.wrong_guid
}

pub(super) fn section(account: &Account) -> Markup {
    let verb = account.run.verb;
    html! {
        @if account.is_fleet() {
            h2 { "Pairs" }
            (bars(account))
            (pairs(account))
        }
        h2 { "Partitions" }
        @if account.partitions.is_empty() {
            p { "The run has no mailbox." }
        } @else {
            (partitions(account))
        }
        p.faint {
            "Nothing to do: as wanted already, or deleted by its owner before its turn. Failed: "
            (verb.failed()) ". Open: decided, and not known to be done on both hosts."
        }
    }
}

fn bars(account: &Account) -> Markup {
    let bars: Vec<Bar<'_>> = account.pairs.iter().map(bar).collect();
    let of = |name, hue, number: fn(&Totals) -> u64| Series {
        name,
        hue,
        values: account
            .pairs
            .iter()
            .map(|pair| length(number(&pair.part.totals)))
            .collect(),
    };
    let series = [
        of(account.run.verb.done(), Hue::First, Totals::changed),
        of("nothing to do", Hue::Quiet, |t| t.unchanged + t.gone),
        of("failed", Hue::Bad, failed),
        of("open or not done", Hue::Open, |t| t.open + t.pending),
    ];
    let chart_of = Bars {
        title: "Mailboxes of each pair, by what has become of them",
        bars: &bars,
        series: &series,
    };
    chart(|width| chart_of.svg(width))
}

fn bar(pair: &OfPair) -> Bar<'_> {
    Bar {
        name: &pair.name,
        says: match &pair.info {
            None => "not begun".to_owned(),
            Some(_) => count(pair.part.totals.mailboxes),
        },
    }
}

fn pairs(account: &Account) -> Markup {
    let mut columns = vec![("pair", Kind::Text)];
    columns.extend(heads(account.run.verb));
    columns.push(("mailboxes/s", Kind::Number));
    let rows = account.pairs.iter().map(|pair| {
        let mut row = vec![pair.name.clone()];
        row.extend(cells(&pair.part));
        row.push(match &pair.info {
            None => "not begun".to_owned(),
            Some(info) => {
                let end = info.finished_ms.or(account.last_ms);
                let took = seconds(end.unwrap_or(info.started_ms) - info.started_ms);
                rate(per_second(pair.part.totals.done(), took))
            }
        });
        row
    });
    table(&columns, rows)
}

fn partitions(account: &Account) -> Markup {
    let mut columns = Vec::new();
    if account.is_fleet() {
        columns.push(("pair", Kind::Text));
    }
    columns.push(("partition", Kind::Text));
    columns.extend(heads(account.run.verb));
    let rows = account.partitions.iter().map(|(key, part)| {
        let mut row = Vec::new();
        if account.is_fleet() {
            row.push(account.pair_name(key.pair).to_owned());
        }
        row.push(match &key.name {
            PartitionName::Named(name) => name.clone(),
            PartitionName::NotListed => "(the list has none)".to_owned(),
            PartitionName::Others => "(all others)".to_owned(),
        });
        row.extend(cells(part));
        row
    });
    table(&columns, rows)
}

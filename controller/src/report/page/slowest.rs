//! The mailboxes whose locks were held longest.

use maud::{Markup, html};

use crate::chart::{Bar, Bars, Hue, Series};
use crate::page::table::{Kind, chart, count, folded, length, ms, table};
use crate::report::account::{Account, Slow};

pub(super) fn section(account: &Account) -> Markup {
    if account.slowest.is_empty() {
        return html! {};
    }
    let names: Vec<String> = account.slowest.iter().map(|s| named(account, s)).collect();
    let bars: Vec<Bar<'_>> = account
        .slowest
        .iter()
        .zip(&names)
        .map(|(slow, name)| Bar {
            name,
            says: format!(
                "{} ms, {} messages",
                ms(slow.longest_us()),
                count(slow.figures.messages)
            ),
        })
        .collect();
    let values = account
        .slowest
        .iter()
        .map(|s| length(s.longest_us()) / 1000.0);
    let series = [Series {
        name: "milliseconds",
        hue: Hue::First,
        values: values.collect(),
    }];
    let chart_of = Bars {
        title: "The mailboxes whose locks were held longest",
        bars: &bars,
        series: &series,
    };
    html! {
        h2 { "Longest locks" }
        (chart(|width| chart_of.svg(width)))
        (folded(&numbers(account)))
    }
}

fn named(account: &Account, slow: &Slow) -> String {
    crate::control::of_pair(account.pair_name(slow.pair), &slow.name)
}

fn numbers(account: &Account) -> Markup {
    let mut columns = Vec::new();
    if account.is_fleet() {
        columns.push(("pair", Kind::Text));
    }
    columns.extend([
        ("mailbox", Kind::Name),
        ("partition", Kind::Text),
        ("messages", Kind::Number),
        ("master, ms", Kind::Number),
        ("replica, ms", Kind::Number),
    ]);
    let lock = |us: Option<u64>| us.map_or_else(|| "none".to_owned(), ms);
    let rows = account.slowest.iter().map(|slow| {
        let mut row = Vec::new();
        if account.is_fleet() {
            row.push(account.pair_name(slow.pair).to_owned());
        }
        row.extend([
            slow.name.clone(),
            slow.partition.clone().unwrap_or_default(),
            count(slow.figures.messages),
            lock(slow.figures.lock_us[0]),
            lock(slow.figures.lock_us[1]),
        ]);
        row
    });
    table(&columns, rows)
}

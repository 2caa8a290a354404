//! How many mailboxes a second, over the time of the run.

use maud::{Markup, html};

use crate::chart::{Columns, Hue, Series, Side};
use crate::page::table::{Kind, chart, count, folded, length, rate, table};
use crate::report::account::Account;
use crate::report::time::{per_second, seconds};

/// Units of time: how long a run may be to be shown in it, in seconds; its seconds; its name.
const UNITS: [(f64, f64, &str); 4] = [
    (180.0, 1.0, "seconds"),
    (3.0 * 3600.0, 60.0, "minutes"),
    (3.0 * 86_400.0, 3600.0, "hours"),
    (f64::INFINITY, 86_400.0, "days"),
];

pub(super) fn section(account: &Account) -> Markup {
    html! {
        h2 { "Rate over time" }
        @if account.last_ms.is_none() {
            p { "No mailbox has come to an end." }
        } @else {
            (curve(account))
        }
    }
}

fn curve(account: &Account) -> Markup {
    let slices = &account.slices;
    let wide = seconds(slices.width_ms);
    let all = wide * length(slices.each.len() as u64);
    let unit = UNITS.into_iter().find(|(most, ..)| all <= *most);
    let (_, unit, name) = unit.unwrap_or(UNITS[3]);
    let edge = |nth: usize| wide * length(nth as u64) / unit;
    let edges: Vec<f64> = (0..=slices.each.len()).map(edge).collect();
    let of = |n: u64| per_second(n, wide);
    let good = slices.each.iter().map(|slice| of(slice.good)).collect();
    let failed = slices.each.iter().map(|slice| of(slice.failed)).collect();
    let series = [
        Series {
            name: "done, or nothing to do",
            hue: Hue::First,
            values: good,
        },
        Series {
            name: "failed",
            hue: Hue::Bad,
            values: failed,
        },
    ];
    let across = format!("{name} since the begin");
    let columns = Columns {
        title: "Mailboxes a second over the time of the run",
        across: &across,
        up: "mailboxes a second",
        edges: &edges,
        log: false,
        series: &series,
        side: Side::Upon,
        marks: &[],
    };
    let until = format!("until, {name}");
    let heads = [
        (until.as_str(), Kind::Number),
        ("done, or nothing to do", Kind::Number),
        ("failed", Kind::Number),
        ("mailboxes a second", Kind::Number),
    ];
    let rows = slices.each.iter().zip(edges.iter().skip(1));
    let rows = rows.map(|(slice, until)| {
        vec![
            rounded(*until),
            count(slice.good),
            count(slice.failed),
            rate(of(slice.good + slice.failed)),
        ]
    });
    html! {
        (chart(|width| columns.svg(width)))
        (folded(&table(&heads, rows)))
    }
}

/// A time without digits that say nothing.
fn rounded(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

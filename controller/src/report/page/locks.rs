//! How long locks were held.

use maud::{Markup, html};

use crate::chart::{Columns, Hue, Mark, Series, Side as Share};
use crate::page::table::{Kind, chart, count, folded, length, ms, table};
use crate::report::account::Account;
use crate::run::Histogram;
use crate::two_phase::Side;

/// Columns of the chart, at most.
const MOST: i32 = 32;

pub(super) fn section(account: &Account) -> Markup {
    let sides = account.whole.sides();
    html! {
        h2 { "How long locks were held" }
        @if sides.is_empty() {
            p { "No lock was taken." }
        } @else {
            p.faint {
                "Of the last attempt at each mailbox, from the first lock to the last unlock; "
                "while it is held, clients wait. The scale is logarithmic."
            }
            (percentiles(account, &sides))
            (histogram(account, &sides))
        }
    }
}

fn percentiles(account: &Account, sides: &[(Side, &Histogram)]) -> Markup {
    let heads = [
        ("", Kind::Text),
        ("locks", Kind::Number),
        ("median, ms", Kind::Number),
        ("p90, ms", Kind::Number),
        ("p99, ms", Kind::Number),
        ("longest, ms", Kind::Number),
    ];
    let row = |name: &str, held: &Histogram| {
        let at = |percent| ms(held.quantile(percent));
        vec![
            name.to_owned(),
            count(held.count()),
            at(50),
            at(90),
            at(99),
            at(100),
        ]
    };
    let mut rows: Vec<_> = sides
        .iter()
        .map(|(side, held)| row(side.as_str(), held))
        .collect();
    if sides.len() > 1 {
        rows.push(row("both", &account.whole.both()));
    }
    table(&heads, rows)
}

/// The bins of the chart: a few to each doubling.
struct Bins {
    to_each: f64,
    first: i32,
    many: usize,
}

impl Bins {
    /// Bins that have all of it.
    fn over(held: &Histogram) -> Self {
        let (low, high) = held.rows().fold((u64::MAX, 1), |(low, high), (us, _)| {
            (low.min(us), high.max(us))
        });
        let low = low.min(high);
        let fits = |to_each: &f64| nth(high, *to_each) - nth(low, *to_each) < MOST;
        let to_each = [4.0, 2.0, 1.0].into_iter().find(fits).unwrap_or(0.5);
        let first = nth(low, to_each);
        Self {
            to_each,
            first,
            many: usize::try_from(nth(high, to_each) - first + 1).unwrap_or(1),
        }
    }

    /// Counts of each.
    fn count(&self, held: &Histogram) -> Vec<u64> {
        let mut counts = vec![0; self.many];
        for (us, count) in held.rows() {
            let at = usize::try_from(nth(us, self.to_each) - self.first).unwrap_or(0);
            if let Some(sum) = counts.get_mut(at.min(self.many - 1)) {
                *sum += count;
            }
        }
        counts
    }

    /// Where they begin and end, in milliseconds.
    fn edges(&self) -> Vec<f64> {
        let edge = |n: i32| (f64::from(n) / self.to_each).exp2() / 1000.0;
        let last = self.first + i32::try_from(self.many).unwrap_or(MOST);
        (self.first..=last).map(edge).collect()
    }
}

/// The bin of a time.
#[allow(clippy::cast_possible_truncation)] // below 64 times 4
fn nth(us: u64, to_each: f64) -> i32 {
    (length(us.max(1)).log2() * to_each).floor() as i32
}

fn histogram(account: &Account, sides: &[(Side, &Histogram)]) -> Markup {
    let both = account.whole.both();
    let bins = Bins::over(&both);
    let edges = bins.edges();
    let counts: Vec<(Side, Vec<u64>)> = sides
        .iter()
        .map(|(side, held)| (*side, bins.count(held)))
        .collect();
    let series: Vec<Series<'_>> = counts
        .iter()
        .map(|(side, counts)| Series {
            name: side.as_str(),
            hue: match side {
                Side::Master => Hue::First,
                Side::Replica => Hue::Second,
            },
            values: counts.iter().map(|n| length(*n)).collect(),
        })
        .collect();
    let mark = |name, percent| Mark {
        name,
        at: length(both.quantile(percent)) / 1000.0,
    };
    let columns = Columns {
        title: "How often locks were held for how long, by host",
        across: "milliseconds",
        up: "locks",
        edges: &edges,
        log: true,
        series: &series,
        side: Share::NextTo,
        marks: &[mark("median", 50), mark("p90", 90), mark("p99", 99)],
    };
    let mut heads = vec![("from, ms", Kind::Number), ("below, ms", Kind::Number)];
    heads.extend(counts.iter().map(|(side, _)| (side.as_str(), Kind::Number)));
    let rows = edges.windows(2).enumerate().map(|(at, edges)| {
        let mut row = vec![format!("{:.3}", edges[0]), format!("{:.3}", edges[1])];
        let cells = counts
            .iter()
            .map(|(_, counts)| counts.get(at).copied().unwrap_or(0));
        row.extend(cells.map(count));
        row
    });
    html! {
        (chart(|width| columns.svg(width)))
        (folded(&table(&heads, rows)))
    }
}

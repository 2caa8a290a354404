//! Tables, charts and numbers, as all sections of a page show them.

use indicatif::HumanCount;
use maud::{Markup, PreEscaped, html};

use crate::chart::visible;

/// Widths of a chart in pixels: of the page on a large screen, and on a telephone.
const WIDTHS: [(&str, u16); 2] = [("wide", 888), ("narrow", 360)];

/// A chart in both widths; the style sheet shows the one that fits.
pub(crate) fn chart(draw: impl Fn(u16) -> String) -> Markup {
    html! {
        @for (class, width) in WIDTHS {
            div class=(class) { (PreEscaped(draw(width))) }
        }
    }
}

/// What a column of a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Text,
    /// The name of a mailbox, which may be long.
    Name,
}

impl Kind {
    const fn class(self) -> Option<&'static str> {
        match self {
            Self::Number => Some("n"),
            Self::Text => None,
            Self::Name => Some("name"),
        }
    }
}

/// A table with these columns.
pub(crate) fn table(
    columns: &[(&str, Kind)],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr {
                    @for (name, kind) in columns {
                        th scope="col" class=[kind.class()] { (name) }
                    }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            @for ((_, kind), cell) in columns.iter().zip(&row) {
                                td class=[kind.class()] { (visible(cell)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A table that is opened by a click: it has what the chart above it shows.
pub(crate) fn folded(table: &Markup) -> Markup {
    html! {
        details {
            summary { "The same numbers as a table" }
            (table)
        }
    }
}

/// A number of things.
pub(crate) fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

/// Microseconds as milliseconds.
#[allow(clippy::cast_precision_loss)] // for a person to read
pub(crate) fn ms(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    let digits = match ms {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{ms:.digits$}")
}

/// A rate.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second >= 10.0 {
        format!("{per_second:.0}")
    } else {
        format!("{per_second:.2}")
    }
}

/// A count as a length.
#[allow(clippy::cast_precision_loss)] // of a picture
pub(crate) fn length(n: u64) -> f64 {
    n as f64
}

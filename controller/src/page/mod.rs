//! Pages for a browser: one file that needs no other.
//!
//! # What it promises
//!
//! * Nothing is loaded and no script runs: the policy in the head of each forbids both.
//! * They are made in memory, of what they are given, and nothing is written.

pub(crate) mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::STYLE;

/// What a browser may do with the page: show it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'";

/// A whole page: its title is its first heading too.
pub(crate) fn whole(title: &str, main: &Markup, footer: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "reguid: " (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    h1 { (title) }
                    (main)
                }
                footer { p { (footer) } }
            }
        }
    }
}

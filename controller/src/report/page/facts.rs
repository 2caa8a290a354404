//! What was done: the run, its pairs and mailboxes, when, and how it ended.

use std::time::Duration;

use maud::{Markup, html};

use super::PageOptions;
use crate::chart::visible;
use crate::journal::{RunInfo, Totals};
use crate::page::table::{Kind, count, rate, table};
use crate::report::account::Account;
use crate::report::time::{per_second, utc};
use crate::survey::duration;

pub(super) fn section(account: &Account, options: &PageOptions) -> Markup {
    let run = &account.run;
    let totals = account.whole.totals.once_over();
    let ended = run.finished_ms.map(utc);
    let end = run.finished_ms.unwrap_or(options.now_ms);
    let took = Duration::from_millis(u64::try_from(end - run.started_ms).unwrap_or(0));
    let of_what = account
        .begun()
        .map_or_else(String::new, |i| i.spec.of_what());
    html! {
        p.result { (totals.sentence(run.verb)) "." }
        @if totals.in_doubt > 0 {
            p.alarm {
                "In doubt: master and replica may differ in " (count(totals.in_doubt))
                " mailboxes. A person must look."
            }
        }
        @if run.finished_ms.is_none() {
            p.alarm { "The run is not finished; this is how far it was." }
        }
        dl {
            dt { "Run" } dd { (run.id.0) }
            dt { "Command" } dd { (run.verb.as_str()) }
            @if run.to > 0 { dt { "Target" } dd { "index version " (run.to) } }
            @if let Some(undone) = run.undoes { dt { "Undoes" } dd { "run " (undone.0) } }
            dt { "Mailboxes" } dd { (visible(&of_what)) }
            dt { "Begun" } dd { (utc(run.started_ms)) }
            dt { "Ended" } dd { (ended.as_deref().unwrap_or("not yet")) }
            dt { @if ended.is_some() { "From begin to end" } @else { "Since its begin" } }
            dd { (duration(took)) }
        }
        ul.tiles {
            @for (number, what) in tiles(account, &totals) { li { b { (number) } (what) } }
        }
        (hosts(account))
    }
}

fn tiles(account: &Account, totals: &Totals) -> Vec<(String, &'static str)> {
    let ended = account.slices.each.iter().map(|s| s.good + s.failed).sum();
    vec![
        (count(totals.mailboxes), "mailboxes"),
        (count(totals.messages), "messages"),
        (count(totals.cached), "GUIDs from cyrus.sha1s"),
        (count(totals.hashed), "GUIDs computed"),
        (
            rate(per_second(ended, account.seconds())),
            "mailboxes a second",
        ),
        (count(account.whole.attempts), "attempts"),
    ]
}

fn hosts(account: &Account) -> Markup {
    let columns = [
        ("pair", Kind::Text),
        ("master", Kind::Name),
        ("replica", Kind::Name),
        ("begun", Kind::Text),
        ("ended", Kind::Text),
        ("mailboxes at once", Kind::Text),
    ];
    let at = |ms: Option<i64>| ms.map_or_else(|| "not yet".to_owned(), utc);
    let rows = account.pairs.iter().map(|pair| {
        let info = pair.info.as_ref();
        let host = |of: fn(&RunInfo) -> Option<(&str, &str)>| {
            let host = info.and_then(of);
            host.map_or_else(|| "none".to_owned(), |(addr, id)| named(addr, id))
        };
        let name = if pair.name.is_empty() {
            "the only one"
        } else {
            &pair.name
        };
        vec![
            name.to_owned(),
            host(|info| Some((&info.spec.master, &info.spec.master_id))),
            host(|info| Some((info.spec.replica.as_deref()?, &info.spec.replica_id))),
            at(info.map(|info| info.started_ms)),
            at(info.and_then(|info| info.finished_ms)),
            match &pair.steered {
                Some(found) => visible(&found.to_string()).to_string(),
                None => "as given".to_owned(),
            },
        ]
    });
    html! {
        h2 { "Hosts" }
        (table(&columns, rows))
    }
}

/// An address, with what its host calls itself.
fn named(addr: &str, id: &str) -> String {
    if id.is_empty() {
        addr.to_owned()
    } else {
        format!("{addr} ({id})")
    }
}

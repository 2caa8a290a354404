//! What the page about a run says.

use super::{PageOptions, page};
use crate::journal::memory::MemoryStore;
use crate::journal::{AtOnce, Ended, JournalStore, RunOfPairs, Verb, pair_names};
use crate::report::account::Account;
use crate::report::sample::{BEGUN, attempt, put, refused, run, spec};
use crate::two_phase::Reason;

fn options() -> PageOptions {
    PageOptions {
        slowest: 10,
        fleet: "fleet.toml".to_owned(),
        state: "run.db".to_owned(),
        now_ms: BEGUN + 600_000,
    }
}

fn html(store: &MemoryStore, run: &RunOfPairs) -> String {
    page(store, run, &options()).unwrap()
}

/// What a page may not have: anything that is loaded or run.
fn assert_alone(html: &str) {
    let lower = html.to_lowercase();
    for never in [
        "<script",
        "<link",
        "<img",
        "<iframe",
        "<object",
        "src=",
        "href=",
        "url(",
        "@import",
        "onclick",
        "onerror=\"",
        "style=",
    ] {
        assert!(!lower.contains(never), "{never}");
    }
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"));
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline';"));
    assert!(html.contains("prefers-color-scheme: dark"));
}

/// A run of one mailbox, or of none.
fn small(done: Option<crate::journal::Attempt>, mailbox: Option<&str>) -> String {
    let store = MemoryStore::new();
    let journal = store.pair("").unwrap();
    let id = journal.begin_run(&spec(Verb::Upgrade, ""), BEGUN).unwrap();
    if let Some(name) = mailbox {
        put(journal.as_ref(), id, name, "default", done);
    }
    let last = store.last_run().unwrap().unwrap();
    html(&store, &last)
}

#[test]
fn a_run_without_a_mailbox_and_one_that_has_done_none_have_a_page() {
    for html in [small(None, None), small(None, Some("user.joe"))] {
        assert_alone(&html);
        for part in [
            "No mailbox has come to an end",
            "No lock was taken",
            "Nothing failed",
            "The run is not finished",
            "<dd>--user joe</dd>",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
    let one = small(None, Some("user.joe"));
    let go_on = "controller upgrade --to 10 --master unix:/run/m --replica unix:/run/r --state \
                 run.db --user joe";
    assert!(one.contains("1 mailboxes are not done"), "{one}");
    assert!(one.contains(go_on), "{one}");
}

#[test]
fn one_mailbox_has_its_charts_and_its_numbers() {
    let html = small(
        Some(attempt(250, Ended::Upgraded, 7, 1500)),
        Some("user.joe"),
    );
    assert_alone(&html);
    // Rate, locks and slowest, each in two widths.
    assert_eq!(html.matches("<svg").count(), 6, "{html}");
    for part in [
        "1 mailboxes: 1 upgraded",
        "<td>master</td><td class=\"n\">1</td><td class=\"n\">1.50</td>",
        "<td>replica</td><td class=\"n\">1</td><td class=\"n\">3.00</td>",
        "user.joe",
        "<td>UIDs on one host only</td><td class=\"n\">1</td>",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
}

#[test]
fn each_failure_has_its_reason_its_advice_and_the_command_that_takes_it_up() {
    let (store, last) = run(Verb::Upgrade, "", 60);
    let html = html(&store, &last);
    assert_alone(&html);
    let hosts = "--master unix:/run/m --replica unix:/run/r --state run.db";
    for part in [
        "<h3>damaged: 3 rolled back</h3>".to_owned(),
        "Run `indexfile check` on the mailbox".to_owned(),
        "<code>user.u7</code>: master: cyrus.index: it ends within a record".to_owned(),
        format!("<pre>controller retry {hosts} --reason damaged</pre>"),
        "<h3>locked: 3 rolled back</h3>".to_owned(),
        format!("<pre>controller retry {hosts}</pre>"),
    ] {
        assert!(html.contains(&part), "{part}: {html}");
    }
}

#[test]
fn eight_pairs_have_a_line_each_and_commands_name_those_that_are_meant() {
    let names = "be1,be2,be3,be4,be5,be6,be7,be8";
    let (store, last) = run(Verb::Upgrade, names, 10);
    let journal = store.pair("be3").unwrap();
    let done = refused(
        attempt(9000, Ended::Upgraded, 1, 5),
        Reason::Differs,
        "UID 7",
    );
    put(journal.as_ref(), last.id, "user.odd", "p3", Some(done));
    let found = AtOnce {
        at_once: 6,
        of: "auto".to_owned(),
        least: 4,
        most: 9,
        why: "<b>9</b> were no faster".to_owned(),
    };
    journal.note_at_once(last.id, &found).unwrap();
    let html = html(&store, &last);
    assert_alone(&html);
    for name in pair_names(names) {
        assert!(html.contains(&format!("<td>{name}</td>")), "{name}");
    }
    for part in [
        "81 mailboxes: 72 upgraded",
        "<pre>controller retry --fleet fleet.toml --state run.db --reason damaged</pre>",
        "<pre>controller retry --fleet fleet.toml --state run.db --pairs be3 --reason \
         differs</pre>",
        "<td>6 of auto (4 to 9): &lt;b&gt;9&lt;/b&gt; were no faster</td>",
        "<td>as given</td>",
        "<td>be3</td><td>p3</td><td class=\"n\">1</td>",
        "mailboxes refused, differs: one UID is two messages, or has two GUIDs",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert_eq!(
        html.matches("<td>be1</td><td>").count(),
        2,
        "its partitions, {html}"
    );
}

#[test]
fn whatever_the_journal_says_is_text() {
    let evil = "<script>alert(1)</script>\"'&\u{202e}\u{7}\n";
    let store = MemoryStore::new();
    let mut spec = spec(Verb::Upgrade, "<b>pair");
    (spec.words, spec.master, spec.master_id) = (evil.into(), evil.into(), evil.into());
    let journal = store.pair("<b>pair").unwrap();
    let id = journal.begin_run(&spec, BEGUN).unwrap();
    let done = attempt(100, Ended::Upgraded, 1, 5);
    for name in ["user.<script>alert(1)", "user.\"><img x onerror=alert(1)>"] {
        put(
            journal.as_ref(),
            id,
            name,
            evil,
            Some(refused(done.clone(), Reason::Io, evil)),
        );
    }
    let options = PageOptions {
        fleet: evil.to_owned(),
        state: evil.to_owned(),
        ..options()
    };
    let last = store.last_run().unwrap().unwrap();
    let html = page(&store, &last, &options).unwrap();
    assert_alone(&html);
    assert!(
        !html.contains("<b>pair") && !html.contains("<img"),
        "{html}"
    );
    // The style sheet alone has line ends.
    let body = html.split("</style>").nth(1).unwrap();
    assert!(!body.contains(['\u{202e}', '\u{7}', '\n']), "{body}");
    for part in [
        "user.&lt;script&gt;alert(1)",
        "user.&quot;&gt;&lt;img x onerror=alert(1)&gt;",
        "alert(1)&lt;/script&gt;&quot;'&amp;\\u{202e}\\u{7}\\u{a}",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
}

#[test]
fn the_numbers_of_the_page_are_those_of_the_journal() {
    for (verb, pairs) in [(Verb::Upgrade, ""), (Verb::Rollback, "a,b")] {
        let (store, last) = run(verb, pairs, 100);
        let account = Account::collect(&store, &last, 10).unwrap();
        let mut sum = crate::journal::Totals::default();
        for pair in &account.pairs {
            let totals = store.pair(&pair.name).unwrap().totals(last.id).unwrap();
            assert_eq!(pair.part.totals, totals, "{}", pair.name);
            sum += totals;
        }
        assert_eq!(account.whole.totals, sum);
        let mut parts = crate::journal::Totals::default();
        account
            .partitions
            .values()
            .for_each(|part| parts += part.totals);
        assert_eq!(parts, sum);
        let ended: u64 = account.slices.each.iter().map(|s| s.good + s.failed).sum();
        assert_eq!(ended, sum.mailboxes);
        assert_eq!(account.slowest.len(), 10);
        let locks = account.slowest.windows(2);
        assert!(
            locks
                .into_iter()
                .all(|two| two[0].longest_us() >= two[1].longest_us())
        );
    }
}

#[test]
fn a_rollback_says_restored_and_never_rolled_back() {
    let (store, last) = run(Verb::Rollback, "", 40);
    let html = html(&store, &last);
    assert!(
        html.contains("34 restored; 2 needed no change; 4 failed, unchanged"),
        "{html}"
    );
    assert!(!html.contains("rolled back"), "{html}");
    assert!(html.contains("or its size where no SHA-1 is known"));
}

#[test]
fn a_list_with_very_many_partitions_makes_no_page_of_very_many_lines() {
    let store = MemoryStore::new();
    let journal = store.pair("").unwrap();
    let id = journal.begin_run(&spec(Verb::Upgrade, ""), BEGUN).unwrap();
    for n in 0..1010 {
        put(
            journal.as_ref(),
            id,
            &format!("user.u{n}"),
            &format!("p{n}"),
            None,
        );
    }
    let last = store.last_run().unwrap().unwrap();
    let html = html(&store, &last);
    assert!(
        html.contains("<td>(all others)</td><td class=\"n\">10</td>"),
        "{html}"
    );
}

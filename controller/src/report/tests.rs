//! What the story of a run says, and that a terminal of 80 columns shows it.

use super::sample::{attempt, put, refused, run, spec};
use super::story::Story;
use crate::journal::memory::MemoryStore;
use crate::journal::{AtOnce, Ended, JournalStore, Verb};
use crate::two_phase::Reason;

fn story(store: &MemoryStore, slowest: usize) -> Story {
    let journal = store.pair("").unwrap();
    let info = journal.last_run().unwrap().unwrap();
    Story::collect(journal.as_ref(), &info, slowest).unwrap()
}

#[test]
fn a_story_has_totals_rates_locks_and_what_to_do_about_each_failure() {
    let store = MemoryStore::new();
    let journal = store.pair("").unwrap();
    let run = journal.begin_run(&spec(Verb::Upgrade, ""), 1000).unwrap();
    for n in 0..10 {
        let mut done = attempt(0, Ended::Upgraded, 3, 1000 * u64::try_from(n + 1).unwrap());
        done.figures.lock_us[1] = None;
        done.finished_ms = 1000 + 200 * (n + 1);
        if n == 9 {
            done = refused(done, Reason::Damaged, "cyrus.index: short");
        }
        put(
            journal.as_ref(),
            run,
            &format!("user.u{n}"),
            "default",
            Some(done),
        );
    }
    let found = AtOnce {
        at_once: 6,
        of: "auto".to_owned(),
        least: 4,
        most: 9,
        why: "9 were no faster".to_owned(),
    };
    assert_eq!(story(&store, 2).steered, None);
    journal.note_at_once(run, &found).unwrap();
    let story = story(&store, 2);
    let json = serde_json::to_value(&story).unwrap();
    let range = ["at_once", "least", "most"].map(|key| json["steered"][key].as_u64());
    assert_eq!(range, [Some(6), Some(4), Some(9)], "{json}");
    assert_eq!(json["steered"]["why"], "9 were no faster");
    let t = &story.totals;
    assert_eq!((t.upgraded, t.rolled_back, t.messages), (9, 1, 30));
    assert_eq!(story.attempts, 10);
    assert_eq!(story.rate.iter().sum::<u64>(), 10);
    assert!((story.mailboxes_per_second - 5.0).abs() < 1e-9);
    assert_eq!(story.lock_histogram.iter().map(|(_, n)| n).sum::<u64>(), 10);
    let slowest: Vec<&str> = story.slowest.iter().map(|s| s.mailbox.as_str()).collect();
    assert_eq!(slowest, ["user.u9", "user.u8"]);
    let text = story.to_string();
    for part in [
        "Run 1: upgrade to version 10",
        "Begun 1970-01-01 00:00:01 UTC; not finished",
        "10 mailboxes: 9 upgraded, 0 unchanged, 1 rolled back",
        "Failed, damaged: 1 mailbox(es): run `indexfile check`",
        "  for example user.u9: cyrus.index: short",
        "\nMailboxes at once, at the end: 6 of auto (4 to 9): 9 were no faster\n",
        "longest 10.00 ms",
        "\n       10.00 ms        3 messages  user.u9\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_story_of_a_run_fits_80_columns_but_for_a_name_that_does_not() {
    let long = format!("user.{}.{}", "x".repeat(60), "y".repeat(60));
    for verb in Verb::ALL {
        let (store, last) = run(verb, "", 60);
        let journal = store.pair("").unwrap();
        let done = attempt(20_000, Ended::Upgraded, u64::from(u32::MAX), 86_400_000_000);
        put(journal.as_ref(), last.id, &long, "default", Some(done));
        for (n, reason) in Reason::ALL.into_iter().enumerate() {
            let done = attempt(20_000, Ended::Upgraded, 1, 100);
            let detail = "the text of a failure that has very much to say of itself ".repeat(5);
            let done = refused(done, reason, detail.trim());
            put(
                journal.as_ref(),
                last.id,
                &format!("user.f{n}"),
                "default",
                Some(done),
            );
        }
        let text = story(&store, 10).to_string();
        assert!(text.contains(&long), "{text}");
        for line in text.lines().filter(|line| !line.contains(&long)) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

//! `precompute` on the 2.3.9 store: right hashes beside each mailbox, and not another byte changed.

use std::fs;

use stores::genuine::unpack_239;
use stores::judge::image::{hex, sha1_of};
use stores::judge::snapshot;
use tests::fleet::program;
use tests::process::run;

#[test]
fn run_adds_one_file_a_mailbox_with_the_sha1_of_each_message_and_changes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let conf = host.conf.to_str().unwrap();
    let before = [&host.meta, &host.data].map(|root| snapshot::take(root).unwrap());
    let summary = run(
        &program("precompute"),
        ["run", "--json", "--imapd-conf", conf],
    );
    let summary = summary.expect_code(0).json();
    assert_eq!(summary["messages"], 395, "{summary}");
    assert_eq!(summary["errors"], 0, "{summary}");
    assert_eq!(summary["mailboxes"], 18, "{summary}");

    let after = [&host.meta, &host.data].map(|root| snapshot::take(root).unwrap());
    let lines = snapshot::differences(&before[0], &after[0]);
    assert!(
        lines.iter().all(|l| l.ends_with("/cyrus.sha1s is new")),
        "{lines:#?}"
    );
    assert_eq!(
        snapshot::differences(&before[1], &after[1]),
        Vec::<String>::new()
    );

    let mut seen = 0;
    for dirs in host.mailboxes().unwrap().values() {
        let cache = dirs.meta.join("cyrus.sha1s");
        if !cache.exists() {
            continue; // a mailbox without messages needs none
        }
        let shown = run(&program("precompute"), ["show", cache.to_str().unwrap()]).expect_code(0);
        for line in shown.stdout.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(Ok(uid)) = words.first().map(|w| w.parse::<u32>()) else {
                continue;
            };
            let message = fs::read(dirs.data.join(format!("{uid}."))).unwrap();
            assert_eq!(
                words[1..],
                [&*message.len().to_string(), &hex(&sha1_of(&message))]
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 395);

    // Again: all is known, nothing is read. Then clean: as if it had never run.
    let again = run(
        &program("precompute"),
        ["run", "--json", "--imapd-conf", conf],
    );
    let again = again.expect_code(0).json();
    assert_eq!(
        (&again["hashed"], &again["cached"]),
        (&0.into(), &395.into()),
        "{again}"
    );
    let _ = run(&program("precompute"), ["clean", "--imapd-conf", conf]).expect_code(0);
    let cleaned = snapshot::take(&host.meta).unwrap();
    assert_eq!(
        snapshot::differences(&before[0], &cleaned),
        Vec::<String>::new()
    );
}

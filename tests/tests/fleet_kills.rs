//! A run over many pairs: slotds and the controller are killed at random, and one pair's replica is
//! away for a time. In the end each mailbox of each pair is done, once, and the other pairs did not
//! wait for the one that did.
//!
//! `REGUID_KILL_SEED` sets the moments.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rusqlite::{Connection, OpenFlags};
use stores::judge::State;
use tests::pairs::Pairs;
use tests::process::Guard;

/// Longest pause between two looks at the journal.
const LOOK: Duration = Duration::from_millis(10);

struct Size {
    pairs: usize,
    mailboxes: u64,
    kills: u32,
    away: Duration,
}

fn counted(journal: &Path, sql: &str) -> u64 {
    let open = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count = open.and_then(|db| db.query_row(sql, [], |row| row.get::<_, i64>(0)));
    u64::try_from(count.unwrap_or(0)).unwrap()
}

fn done(journal: &Path) -> u64 {
    counted(
        journal,
        "SELECT count(*) FROM mailbox WHERE state = 'upgraded'",
    )
}

fn start(pairs: &Pairs) -> Guard {
    let limits = ["--quiet", "--parallel", "4", "--host-wait", "300", "--json"];
    Guard::spawn(&mut pairs.command(&["upgrade"], &limits))
}

/// Waits until this many are done, with the run started again where it ended for want of a host.
fn wait_for(pairs: &Pairs, run: &mut Guard, from: u64) {
    let deadline = Instant::now() + Duration::from_secs(900);
    while done(&pairs.journal()) < from {
        assert!(Instant::now() < deadline, "it does not go on");
        if run.0.try_wait().unwrap().is_some() {
            *run = start(pairs);
        }
        thread::sleep(LOOK);
    }
}

fn killed(size: &Size) {
    let seed = std::env::var("REGUID_KILL_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |text| text.parse().unwrap());
    println!("REGUID_KILL_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let names: Vec<String> = (1..=size.pairs).map(|n| format!("be{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut pairs = Pairs::plain(&names, usize::try_from(size.mailboxes).unwrap(), 2);
    pairs.write("[limits]\nparallel = 16\n");
    let all = size.mailboxes * size.pairs as u64;
    let begun = Instant::now();
    let tell = |what: &str| println!("{:>6.1} s: {what}", begun.elapsed().as_secs_f64());

    let mut run = start(&pairs);
    // A third of the way, one pair's replica goes away; the others are nearly done before it is
    // back, or it was away long enough.
    let (last, others) = (names[size.pairs - 1], all - size.mailboxes);
    wait_for(&pairs, &mut run, all / 10);
    let before = (Instant::now(), done(&pairs.journal()));
    wait_for(&pairs, &mut run, all / 4);
    let rate = |(at, count): (Instant, u64), now: u64| {
        f64::from(u32::try_from(now - count).unwrap()) / at.elapsed().as_secs_f64()
    };
    let with_all = rate(before, done(&pairs.journal()));
    pairs.pair(last).take_slotd(1).unwrap().kill();
    tell(&format!("the replica of {last} is away"));
    let away = (Instant::now(), done(&pairs.journal()));
    wait_for(&pairs, &mut run, all / 2);
    let without = rate(away, done(&pairs.journal()));
    println!(
        "{with_all:.0} mailboxes/s with {} pairs, {without:.0}/s while one of them waits",
        size.pairs
    );
    let mut moments: Vec<u64> = (0..size.kills)
        .map(|_| random.u64(all / 2..others * 9 / 10))
        .collect();
    moments.sort_unstable();
    for (n, from) in (0..).zip(moments) {
        wait_for(&pairs, &mut run, from);
        thread::sleep(Duration::from_millis(random.u64(0..30)));
        if n % 3 == 0 {
            run.signal(Signal::SIGKILL);
            run = start(&pairs);
            tell(&format!("the controller was killed once {from} were done"));
        } else {
            let (name, side) = (names[random.usize(0..size.pairs - 1)], random.usize(0..2));
            pairs.pair(name).take_slotd(side).unwrap().kill();
            pairs.pair(name).start();
            tell(&format!(
                "slotd {side} of {name} was killed once {from} were done"
            ));
        }
    }
    wait_for(&pairs, &mut run, others);
    tell("all other pairs are done");
    thread::sleep(size.away.saturating_sub(away.0.elapsed()));
    pairs.pair(last).start();
    wait_for(&pairs, &mut run, all);
    let ended = run.finish_within(Duration::from_secs(300));
    let summary = ended.expect_code(0).json();
    tell("all is done; the last judgement");

    for (key, value) in [
        ("run", 1),
        ("mailboxes", all),
        ("upgraded", all),
        ("in_doubt", 0),
        ("rolled_back", 0),
        ("pending", 0),
    ] {
        assert_eq!(summary[key], value, "{key}: {summary}");
    }
    let count = |sql: &str| counted(&pairs.journal(), sql);
    assert_eq!(count("SELECT count(*) FROM run"), 1);
    let attempts = "SELECT count(*) FROM attempt WHERE outcome = 'upgraded'";
    assert_eq!(count(attempts), all);
    let mailboxes = "SELECT count(DISTINCT mailbox) FROM attempt WHERE outcome = 'upgraded'";
    assert_eq!(count(mailboxes), all);
    for (name, pair) in &pairs.pairs {
        for report in pair.assert_settled() {
            assert_eq!(report.count(State::New) as u64, size.mailboxes, "{name}");
        }
    }
}

#[test]
fn a_run_over_four_pairs_does_each_mailbox_once_whatever_is_killed() {
    killed(&Size {
        pairs: 4,
        mailboxes: 60,
        kills: 3,
        away: Duration::from_secs(2),
    });
}

#[test]
#[ignore = "some minutes: 8,000 mailboxes on 16 slotds, ten kills"]
fn a_run_over_eight_pairs_does_each_mailbox_once_whatever_is_killed() {
    killed(&Size {
        pairs: 8,
        mailboxes: 1000,
        kills: 10,
        away: Duration::from_secs(60),
    });
}

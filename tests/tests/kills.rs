//! A run over many small mailboxes is killed again and again, at random, and started again with the
//! same command: in the end each mailbox is done, once, and the journal says what lies on the
//! disks.
//!
//! `REGUID_KILL_MAILBOXES` and `REGUID_KILLS` set the size, `REGUID_KILL_SEED` the moments.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rusqlite::{Connection, OpenFlags};

use stores::judge::{State, When};
use tests::fleet::Fleet;
use tests::process::Guard;

/// Longest pause between two looks at the journal.
const LOOK: Duration = Duration::from_millis(2);

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Mailboxes that the journal has as done; none while there is no journal.
fn done(journal: &Path) -> u64 {
    let open = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count = open.and_then(|db| {
        let sql = "SELECT count(*) FROM mailbox WHERE state = 'upgraded'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
    });
    u64::try_from(count.unwrap_or(0)).unwrap()
}

/// Kills the run once `from` mailboxes are done and a moment has passed; false if it ended before.
fn cut(fleet: &Fleet, from: u64, moment: Duration) -> bool {
    let run = Guard::spawn(&mut fleet.command("upgrade", &["--parallel", "16", "--quiet"]));
    let deadline = Instant::now() + Duration::from_secs(600);
    while done(&fleet.journal()) < from {
        assert!(Instant::now() < deadline, "it does not go on");
        thread::sleep(LOOK);
    }
    thread::sleep(moment);
    run.signal(Signal::SIGKILL);
    run.finish().code.is_none()
}

fn killed_again_and_again(mailboxes: u64, kills: u64) {
    let seed = number("REGUID_KILL_SEED", fastrand::u64(..));
    println!("REGUID_KILL_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    let tell = |what: &str| println!("{:>5} s: {what}", begun.elapsed().as_secs());
    let mut fleet = Fleet::plain(usize::try_from(mailboxes).unwrap(), 2);
    fleet.start();
    tell("the stores are there");

    // The first one comes while the list is taken in, or soon after.
    let mut moments: Vec<u64> = (1..kills)
        .map(|_| random.u64(0..mailboxes * 9 / 10))
        .collect();
    moments.sort_unstable();
    moments.insert(0, 0);
    let (mut cuts, mut open) = (0, 0);
    for (n, from) in moments.into_iter().enumerate() {
        cuts += u64::from(cut(&fleet, from, Duration::from_millis(random.u64(0..30))));
        // Now and then a host goes down with it.
        if n % 3 > 0 {
            fleet.take_slotd(n % 3 - 1).unwrap().kill();
        }
        for report in fleet.check(When::Cut) {
            let held = |v: &&String| v.contains("locked");
            let torn: Vec<_> = report.violations.iter().filter(|v| !held(v)).collect();
            assert!(torn.is_empty(), "{torn:#?}");
        }
        fleet.start();
        if fleet.journal().exists() && done(&fleet.journal()) > 0 {
            open += fleet.open_transactions().len();
        }
        tell(&format!("killed once {from} were done, and judged"));
    }
    println!(
        "{cuts} of {kills} kills cut the run; they left {open} open transactions in the journal"
    );
    assert!(cuts * 2 > kills, "only {cuts} kills cut the run");
    let last = Guard::spawn(&mut fleet.command("upgrade", &["--parallel", "16", "--json"]))
        .finish_within(Duration::from_secs(1800))
        .expect_code(0);
    let summary = last.json();
    for (key, value) in [
        ("mailboxes", mailboxes),
        ("upgraded", mailboxes),
        ("in_doubt", 0),
        ("rolled_back", 0),
        ("pending", 0),
    ] {
        assert_eq!(summary[key], value, "{summary}");
    }
    // None is in doubt, and none was done twice: one attempt of each ended as done.
    assert!(fleet.open_transactions().is_empty());
    let db = Connection::open(fleet.journal()).unwrap();
    let count = |sql: &str| -> u64 {
        let count: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        u64::try_from(count).unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM run"), 1);
    assert_eq!(
        count("SELECT count(*) FROM mailbox WHERE state = 'upgraded'"),
        mailboxes
    );
    assert_eq!(
        count("SELECT count(*) FROM attempt WHERE outcome = 'upgraded'"),
        mailboxes
    );
    assert_eq!(
        count("SELECT count(DISTINCT mailbox) FROM attempt WHERE outcome = 'upgraded'"),
        mailboxes
    );
    tell("all done; the last judgement");
    // The disks say the same; and `.OLD` is the file of version 9, so nothing was renamed twice.
    for report in fleet.assert_settled() {
        assert_eq!(report.count(State::New) as u64, mailboxes);
    }
}

#[test]
fn a_run_killed_again_and_again_does_each_mailbox_once() {
    killed_again_and_again(
        number("REGUID_KILL_MAILBOXES", 200),
        number("REGUID_KILLS", 4),
    );
}

#[test]
#[ignore = "some minutes: 20,000 mailboxes, ten kills"]
fn a_run_of_20_000_killed_ten_times_does_each_mailbox_once() {
    killed_again_and_again(
        number("REGUID_KILL_MAILBOXES", 20_000),
        number("REGUID_KILLS", 10),
    );
}

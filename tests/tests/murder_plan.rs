//! `plan --murder` over forty pairs: what it takes does not grow with the list. The mupdate master
//! and the slotds are in this process. `REGUID_MURDER_NAMES=2000000` with `--release` for the size
//! of a large Murder; how long it takes is printed.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tests::fleet::program;
use tests::mupdate::{Mupdate, Names};
use tests::process::Guard;
use tests::slotds::{self, Mailboxes};

const PAIRS: usize = 40;
/// Folders of a user, all on one backend.
const FOLDERS: usize = 10;
const LIMIT_KIB: u64 = 64 << 10;
/// How long the largest may take on a machine that is slow.
const PATIENCE: Duration = Duration::from_secs(900);

fn name(n: usize) -> String {
    format!(
        "user.u{:06}.folder.with a longer name {}",
        n / FOLDERS,
        n % FOLDERS
    )
}

fn pair(n: usize) -> usize {
    n / FOLDERS % PAIRS
}

fn number(name: &str) -> Option<usize> {
    let (user, folder) = name
        .strip_prefix("user.u")?
        .split_once(".folder.with a longer name ")?;
    Some(user.parse::<usize>().ok()? * FOLDERS + folder.parse::<usize>().ok()?)
}

/// All names, this many.
struct All(usize);

impl Names for All {
    fn each(&self, visit: &mut dyn FnMut(&str, &str, bool)) {
        for n in 0..self.0 {
            visit(&name(n), &format!("be{:02}!default", pair(n)), false);
        }
    }

    fn find(&self, _: &str) -> Option<(String, bool)> {
        None
    }
}

/// Those of one pair. The last of all is missing.
struct Of {
    pair: usize,
    all: usize,
}

impl Mailboxes for Of {
    fn at(&self, place: usize) -> Option<String> {
        let user = place / FOLDERS * PAIRS + self.pair;
        let n = user * FOLDERS + place % FOLDERS;
        (n < self.all - 1).then(|| name(n))
    }

    fn place(&self, name: &str) -> Option<usize> {
        let n = number(name).filter(|n| *n < self.all - 1 && pair(*n) == self.pair)?;
        Some(n / FOLDERS / PAIRS * FOLDERS + n % FOLDERS)
    }
}

/// The largest resident size of a process so far, KiB; `None` once it has ended.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim_end_matches("kB").trim().parse().ok()
}

#[test]
fn a_plan_of_forty_pairs_fits_in_64_mib() {
    let names = std::env::var("REGUID_MURDER_NAMES").ok();
    let all: usize = names.map_or(40_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = String::new();
    for pair in 0..PAIRS {
        let _ = writeln!(fleet, "[pairs.be{pair:02}]");
        for side in ["master", "replica"] {
            let socket = dir.path().join(format!("{side}{pair:02}"));
            slotds::serve(&socket, &format!("{side}{pair}"), Of { pair, all });
            let _ = writeln!(fleet, "{side} = \"unix:{}\"", socket.display());
        }
    }
    let file = dir.path().join("fleet.toml");
    fs::write(&file, fleet).unwrap();
    let master = Mupdate::start(All(all));
    let mut plan = Command::new(program("controller"));
    plan.args(["plan", "--json", "--fleet"])
        .arg(&file)
        .args(master.options());
    let begun = Instant::now();
    let running = Guard::spawn(&mut plan);
    let pid = running.0.id();
    let watch = thread::spawn(move || {
        let mut most = 0;
        while let Some(kib) = resident(pid) {
            most = most.max(kib);
            thread::sleep(Duration::from_millis(5));
        }
        most
    });
    let ended = running.finish_within(PATIENCE).expect_code(0);
    let took = begun.elapsed();
    let kib = watch.join().unwrap();
    let plan = ended.json();
    assert_eq!(
        plan["murder"]["counts"]["normal"],
        all - 1,
        "{}",
        plan["murder"]
    );
    assert_eq!(plan["murder"]["counts"]["stale"], 1);
    let pairs = plan["pairs"].as_object().unwrap().values();
    let mailboxes: u64 = pairs.map(|pair| pair["mailboxes"].as_u64().unwrap()).sum();
    assert_eq!(mailboxes, all as u64 - 1);
    println!("{all} names over {PAIRS} pairs planned in {took:?}, {kib} KiB resident");
    assert!(kib < LIMIT_KIB, "{kib} KiB");
}

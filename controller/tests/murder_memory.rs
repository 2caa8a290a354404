//! The comparison of a Murder's lists does not grow with them: two million names fit in 64 MiB.
//! A process of its own, for its resident size is measured. `REGUID_MURDER_NAMES=2000000` for all
//! of them.

use std::time::Instant;

use controller::murder::compare::{Code, Found, Lists};
use controller::murder::wire::Entry;
use indexfile::mailbox::MailboxName;

const PAIRS: usize = 40;
const LIMIT_KIB: u64 = 64 << 10;

/// The largest resident size so far, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
}

fn name(n: usize) -> String {
    format!("user.u{:06}.folder.with a longer name {}", n / 10, n % 10)
}

#[test]
fn two_million_names_fit_in_64_mib() {
    let names = std::env::var("REGUID_MURDER_NAMES").ok();
    let names: usize = names.map_or(100_000, |n| n.parse().unwrap());
    let servers: Vec<String> = (0..PAIRS).map(|n| format!("be{n:02}.test")).collect();
    // All folders of a user are on one backend.
    let server = |n: usize| n / 10 % PAIRS;
    let begun = Instant::now();
    let mut lists = Lists::new(servers.iter().map(String::as_str), []).unwrap();
    for first in (0..names).step_by(500) {
        let some = first..(first + 500).min(names);
        let entries: Vec<Entry> = some
            .map(|n| Entry::Mailbox {
                name: name(n).into_bytes(),
                location: format!("{}!default", servers[server(n)]).into_bytes(),
                acl: Vec::new(),
            })
            .collect();
        lists.add_master(&entries).unwrap();
    }
    lists.master_is_whole();
    // A slotd lists as its disk has it, in no order of names; the last one lacks one mailbox.
    for (pair, name_of) in servers.iter().enumerate() {
        let backend = lists.backend(name_of).unwrap();
        let mut found = Vec::new();
        for n in (0..names)
            .rev()
            .filter(|n| server(*n) == pair && *n != names - 1)
        {
            found.push(Found {
                name: MailboxName::parse(&name(n)).unwrap(),
                partition: "default".to_owned(),
            });
            if found.len() == 500 {
                lists.add_found(backend, &found).unwrap();
                found.clear();
            }
        }
        lists.add_found(backend, &found).unwrap();
        lists.found_is_whole(backend);
    }
    let summary = lists.compare().unwrap();
    assert_eq!(summary.count(Code::Normal), names as u64 - 1);
    assert_eq!(summary.count(Code::Stale), 1);
    let (mut after, mut paged) = (None, 0);
    loop {
        let page = lists.page(&summary, &mut after, 2000).unwrap();
        if page.is_empty() {
            break;
        }
        paged += page.len();
    }
    assert_eq!(paged, names);
    let (kib, took) = (resident(), begun.elapsed());
    println!("{names} names over {PAIRS} backends: {kib} KiB, {took:?}");
    assert!(kib < LIMIT_KIB, "{kib} KiB");
}

//! `auto` is never worse than four at once, the number that a run without it has, and better where
//! more or fewer are.

use super::simulated::*;

const WEATHERS: [(&str, Weather); 5] = [
    ("calm", CALM),
    ("rough", ROUGH),
    ("tail", TAIL),
    ("stalls", STALLS),
    ("storm", STORM),
];
/// Ten epochs of the shortest, and a hundred.
const SIZES: [usize; 2] = [1_000, 10_000];

/// Rates and percentiles of hosts where no other number is much better than four.
type Curve = fn(f64) -> f64;
const EVEN: [(&str, Curve, Curve); 6] = [
    ("as measured", rate_here, p99_here),
    // Seen in a release build beside other work: locks of 4 are a quarter too long, those of 2 are
    // not.
    (
        "long",
        |n| 465.0 * (n / 4.0).powf(0.4).min(1.1),
        |n| 12.8 * (n / 4.0).powf(0.56),
    ),
    // Locks are too long with one at once too.
    ("slow", |n| rate_here(n) / 4.0, |n| p99_here(n) * 3.2),
    ("busy", |n| rate_here(n) / 1.5, |n| p99_here(n) * 1.5),
    (
        "network storage",
        |n| 40.0 * n.min(8.0),
        |n| 25.0 * (n / 8.0).max(1.0),
    ),
    ("fast", |n| rate_here(n) * 4.0, |n| p99_here(n) / 8.0),
];

#[test]
fn it_never_does_much_less_work_than_four_at_once_whatever_the_weather() {
    let mut worse = Vec::new();
    for (name, rate, p99) in EVEN {
        for (kind, weather) in WEATHERS {
            let hosts = Hosts { rate, p99, weather };
            for mailboxes in SIZES {
                let [work, p99, p50] = beside_four(&hosts, steering(64, 10), mailboxes);
                let line = format!(
                    "{name}, {kind}, {mailboxes}: work {work:.3}, locks p99 {p99:.2}, p50 {p50:.2}"
                );
                println!("{line}");
                if work < 0.95 {
                    worse.push(line);
                }
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

#[test]
fn where_more_are_better_it_is_better_than_four() {
    for (kind, weather) in WEATHERS {
        let many = Hosts {
            rate: |n| 25.0 * n,
            p99: |_| 4.0,
            weather,
        };
        let large = beside_four(&many, steering(64, 10), 20_000);
        let small = beside_four(&many, steering(64, 10), 3_000);
        let here = beside_four(&here(weather), steering(64, 10), 20_000);
        let slow = Hosts {
            rate: |n| 40.0 * n.min(8.0),
            p99: |n| 25.0 * (n / 8.0).max(1.0),
            weather,
        };
        let slow = beside_four(&slow, steering(64, 10), 20_000);
        println!("{kind}: {large:.2?} {small:.2?}, as measured {here:.2?}, slow {slow:.2?}");
        assert!(
            large[0] >= 1.5 && small[0] >= 1.2,
            "{kind}: {large:?} {small:?}"
        );
        assert!(here[0] >= 0.98, "{kind}: {here:?}");
        assert!(slow[0] >= 1.4, "{kind}: {slow:?}");
    }
    // 6 at once hold locks for 9.1 ms, that is 1.4 times as long, and do 1.08 times the work.
    let [work, p99, _] = beside_four(&here(CALM), steering(64, 10), 20_000);
    assert!(work >= 1.02 && p99 <= 1.6, "{work} {p99}");
}

#[test]
fn where_fewer_are_better_locks_are_much_shorter_than_with_four() {
    for (kind, weather) in WEATHERS {
        // One disk with a head. Each waits for all before it, and hardly more is done.
        let hosts = Hosts {
            rate: |n| 60.0 + 3.0 * n.min(4.0),
            p99: |n| 15.0 * n,
            weather,
        };
        let [work, p99, p50] = beside_four(&hosts, steering(64, 10), 20_000);
        println!("{kind}: {work:.2} {p99:.2} {p50:.2}");
        assert!(work >= 0.85 && p50 <= 0.5, "{kind}: {work} {p50}");
    }
}

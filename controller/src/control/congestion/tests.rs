//! What it comes to at hosts whose rates and locks are known for each number at once.

mod beside_four;
mod simulated;

use simulated::*;

use super::*;

#[test]
fn here_it_finds_the_most_whose_locks_are_short_enough() {
    // 6 at once hold locks for 9.1 ms, 9 for 12.8 ms.
    for noise in [0.0, 0.05] {
        let hosts = here(Weather { noise, ..CALM });
        let (share, changes) = settled(&hosts, steering(64, 10), (6, 100), (4, 6));
        assert!(share >= 0.9 && changes <= 40, "{noise}: {share} {changes}");
    }
    let hosts = here(Weather {
        noise: 0.02,
        ..CALM
    });
    // And with 50 ms it stops where more bring nothing, not where the locks would end it.
    let (share, _) = settled(&hosts, steering(64, 50), (40, 100), (9, 28));
    assert!(share >= 0.9, "{share}");
    // Without a target it is the rate alone.
    let (share, _) = settled(&hosts, steering(64, 0), (40, 100), (9, 28));
    assert!(share >= 0.9, "{share}");
}

#[test]
fn where_more_are_always_faster_and_never_longer_it_is_the_most() {
    let hosts = Hosts {
        rate: |n| 25.0 * n,
        p99: |_| 4.0,
        weather: Weather {
            noise: 0.05,
            ..CALM
        },
    };
    let (share, changes) = settled(&hosts, steering(64, 10), (60, 200), (42, 64));
    assert!(share >= 0.9 && changes <= 40, "{share} {changes}");
    let (share, _) = settled(&hosts, steering(20, 10), (60, 200), (19, 20));
    assert!(share >= 0.85, "{share}");
}

#[test]
fn where_more_are_never_faster_few_are_enough() {
    let hosts = Hosts {
        rate: |_| 300.0,
        p99: |_| 2.0,
        weather: Weather {
            noise: 0.02,
            ..CALM
        },
    };
    let (share, _) = settled(&hosts, steering(64, 10), (40, 100), (1, 4));
    assert!(share >= 0.85, "{share}");
}

#[test]
fn locks_that_are_long_with_one_at_once_too_do_not_cost_the_speed_of_many() {
    // A slow network storage: 25 ms for each, no matter how many up to 8.
    let hosts = Hosts {
        rate: |n| 40.0 * n.min(8.0),
        p99: |n| 25.0 * (n / 8.0).max(1.0),
        weather: Weather {
            noise: 0.05,
            ..CALM
        },
    };
    let (share, _) = settled(&hosts, steering(64, 10), (80, 300), (6, 9));
    assert!(share >= 0.7, "{share}");
}

#[test]
fn a_host_that_gets_slower_or_faster_in_mid_run_is_followed() {
    let weather = Weather {
        noise: 0.03,
        ..CALM
    };
    let slow = Hosts {
        rate: |n| 100.0 + 5.0 * n.min(4.0),
        p99: |n| 6.0 * n,
        weather,
    };
    for seed in 0..8 {
        let mut run = Run::new(steering(64, 10), seed);
        run.seconds(&here(weather), 100).forget();
        // More are hardly faster then, and 4 at once hold locks for 24 ms.
        run.seconds(&slow, 30).forget();
        run.seconds(&slow, 200);
        assert!(run.share(1, 3) >= 0.85, "{seed}: {:?}", run.times);
        run.seconds(&here(weather), 100).forget();
        run.seconds(&here(weather), 100);
        assert!(run.share(4, 9) >= 0.8, "{seed}: {:?}", run.times);
    }
}

#[test]
fn a_target_that_was_given_is_kept_where_fewer_keep_it_and_else_the_work_counts() {
    let weather = Weather {
        noise: 0.05,
        ..CALM
    };
    // 4 at once hold locks for 6.4 ms, 2 for 4.6 ms, and do two thirds of the work.
    for (strict, bounds) in [(true, (1, 2)), (false, (4, 4))] {
        let by = Steering {
            strict,
            ..steering(64, 5)
        };
        let (share, _) = settled(&here(weather), by, (20, 100), bounds);
        assert!(share >= 0.85, "{strict}: {share}");
    }
}

#[test]
fn what_fails_waits_or_finds_nothing_to_do_does_not_drive_it_up() {
    let hosts = Hosts {
        rate: |n| 200.0 * n,
        p99: |_| 4.0,
        weather: CALM,
    };
    // Other pairs have the places, or partitions that are not mounted.
    let mut run = Run::new(steering(64, 10), 1);
    run.room = 2;
    run.seconds(&hosts, 50);
    assert_eq!(run.it.at_once(), 4);
    assert!(
        run.it.why().ends_with("not all of them in use"),
        "{}",
        run.it.why()
    );
    // Refusals without a lock, however fast they come.
    let mut run = Run::new(steering(64, 10), 1);
    let refused = Sample {
        held_us: [None; 2],
        messages: 0,
        took: Duration::from_micros(200),
        worked: false,
    };
    for _ in 0..100_000 {
        run.it.working(run.now, 4);
        run.now += Duration::from_micros(50);
        run.it.finished(run.now, &refused);
    }
    assert_eq!((run.it.at_once(), run.it.p99()), (4, None));
    // Nor does one that queued for five seconds for a client's lock look like a slow disk.
    let mut run = Run::new(steering(64, 10), 1);
    for _ in 0..8 {
        run.seconds(&here(CALM), 3);
        let at_once = run.it.at_once();
        let queued = Sample {
            took: Duration::from_secs(5),
            ..refused
        };
        run.it.finished(run.now, &queued);
        assert_eq!(run.it.at_once(), at_once);
    }
    assert!(run.it.at_once() >= 4);
}

#[test]
fn whatever_happens_it_is_between_one_and_the_most() {
    for seed in 0..50 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let by = |dice: &mut fastrand::Rng| steering(dice.usize(1..200), dice.u64(0..30));
        let mut it = Congestion::new(by(&mut dice), Duration::ZERO, 0);
        let mut now = Duration::ZERO;
        for _ in 0..2000 {
            now += Duration::from_micros(dice.u64(0..200_000));
            it.working(now, dice.usize(0..=it.at_once() + 1));
            let us = |dice: &mut fastrand::Rng| {
                let width = dice.u32(0..40);
                dice.bool().then(|| dice.u64(0..=1 << width))
            };
            let sample = Sample {
                held_us: [us(&mut dice), us(&mut dice)],
                messages: [0, 30, 200_000, u64::MAX][dice.usize(0..4)],
                took: Duration::from_micros(dice.u64(0..u64::MAX >> 20)),
                worked: dice.bool(),
            };
            it.finished(now, &sample);
            assert!((1..=it.steering.most).contains(&it.at_once()), "{it:?}");
            if dice.u32(0..100) == 0 {
                it.steer(by(&mut dice), now);
                assert!((1..=it.steering.most).contains(&it.at_once()), "{it:?}");
            }
        }
        assert!(!it.why().is_empty());
    }
}

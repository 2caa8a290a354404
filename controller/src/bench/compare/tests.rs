//! Benches whose noise is known.

use fastrand::Rng;

use super::{By, Comparison, Unknown, Verdict};
use crate::bench::document::{Better, Document, Measure, Unit};
use crate::bench::sample::{document, measure, section};

/// Seeds of each test.
const SEEDS: u64 = 1000;

/// Noise around 1, by its shape.
#[derive(Clone, Copy, Debug)]
enum Noise {
    /// A bell of this width.
    Bell(f64),
    /// A narrow bell, but one value in five takes up to twice as long: other work on the machine.
    Tail,
    /// Two states of a processor, 15 % apart.
    TwoStates,
}

impl Noise {
    fn draw(self, rng: &mut Rng) -> f64 {
        // The sum of twelve even numbers is near enough to a bell.
        let mut bell = |width: f64| {
            let sum: f64 = (0..12).map(|_| rng.f64()).sum();
            ((sum - 6.0) * width).exp()
        };
        match self {
            Self::Bell(width) => bell(width),
            Self::Tail => {
                let narrow = bell(0.02);
                let slow = if rng.f64() < 0.2 {
                    1.0 + rng.f64()
                } else {
                    1.0
                };
                narrow / slow
            }
            Self::TwoStates => {
                let narrow = bell(0.02);
                if rng.bool() { narrow } else { narrow * 0.85 }
            }
        }
    }

    fn rates(self, rng: &mut Rng, middle: f64, rounds: usize) -> Vec<f64> {
        (0..rounds).map(|_| middle * self.draw(rng)).collect()
    }
}

fn rate(values: &[f64]) -> Measure {
    measure("rate", "Rate", Unit::MailboxesPerSecond, values)
}

fn of(measures: Vec<Measure>) -> Document {
    document(vec![section("fleet", measures)])
}

fn verdict_of(was: Measure, is: Measure) -> Verdict {
    let found = Comparison::of(&of(vec![was]), &of(vec![is]));
    found.measures[0].verdict
}

/// How many of the seeds come to each verdict if the rate becomes this multiple of what it was.
fn counted(noise: Noise, rounds: usize, times: f64) -> [usize; 3] {
    let mut counts = [0; 3];
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let was = rate(&noise.rates(&mut rng, 700.0, rounds));
        let is = rate(&noise.rates(&mut rng, 700.0 * times, rounds));
        match verdict_of(was, is) {
            Verdict::Worse => counts[0] += 1,
            Verdict::Better => counts[1] += 1,
            Verdict::Alike => counts[2] += 1,
            other => panic!("{other:?}"),
        }
    }
    counts
}

#[test]
fn noise_alone_is_called_a_change_no_more_often_than_promised() {
    for noise in [
        Noise::Bell(0.03),
        Noise::Bell(0.2),
        Noise::Tail,
        Noise::TwoStates,
    ] {
        for rounds in [5, 7, 20] {
            let [worse, better, _] = counted(noise, rounds, 1.0);
            // One of a hundred is promised: in a thousand seeds there are ten, and three times the
            // deviation of that number more if the seeds are unlucky.
            assert!(
                worse + better <= 10 + 9,
                "{noise:?} {rounds}: {worse} {better}"
            );
        }
    }
}

#[test]
fn what_got_a_fifth_slower_or_faster_is_found() {
    for (noise, rounds, least) in [
        (Noise::Bell(0.03), 5, 990),
        (Noise::Bell(0.05), 7, 950),
        (Noise::Bell(0.1), 20, 950),
        (Noise::Tail, 20, 950),
    ] {
        let [worse, ..] = counted(noise, rounds, 0.8);
        assert!(worse >= least, "{noise:?} {rounds}: {worse}");
        let [_, better, _] = counted(noise, rounds, 1.25);
        assert!(better >= least, "{noise:?} {rounds}: {better}");
    }
}

#[test]
fn what_is_small_is_no_change_however_sure_it_is() {
    let [worse, better, alike] = counted(Noise::Bell(0.001), 10, 0.97);
    assert_eq!([worse, better, alike], [0, 0, 1000]);
}

#[test]
fn a_machine_with_a_slow_hour_is_not_a_change_of_ours() {
    let both = |rate: f64, bare: f64| {
        let noise = [1.0, 1.01, 0.99, 1.02, 0.98];
        let ours = Measure {
            beside: Some("bare".to_owned()),
            ..measure(
                "rate",
                "Rate",
                Unit::MailboxesPerSecond,
                &noise.map(|n| n * rate),
            )
        };
        let bare = Measure {
            better: Better::Neither,
            ..measure(
                "bare",
                "Bare",
                Unit::MailboxesPerSecond,
                &noise.map(|n| n * bare),
            )
        };
        of(vec![ours, bare])
    };
    let before = both(700.0, 1400.0);
    let slow_hour = Comparison::of(&before, &both(350.0, 700.0));
    assert_eq!(slow_hour.measures[0].verdict, Verdict::Alike);
    assert_eq!(slow_hour.measures[0].by, By::MultipleOf("bare".to_owned()));
    assert_eq!(slow_hour.measures[1].verdict, Verdict::Changed);
    assert!(!slow_hour.is_worse());
    // On a machine that is twice as fast the same rate is half of what it could be.
    let hidden = Comparison::of(&before, &both(700.0, 2800.0));
    assert_eq!(hidden.measures[0].verdict, Verdict::Worse);
    assert!(hidden.is_worse());
}

#[test]
fn worse_is_less_of_a_rate_and_more_of_a_time_and_another_program_is_not_ours() {
    let (low, high) = ([1.0, 1.01, 1.02, 1.03, 1.04], [2.0, 2.01, 2.02, 2.03, 2.04]);
    for (unit, better, worse) in [
        (Unit::PerSecond, Better::Higher, [high, low]),
        (Unit::Seconds, Better::Lower, [low, high]),
        (Unit::Bytes, Better::Lower, [low, high]),
    ] {
        let [was, is] = worse.map(|values| Measure {
            better,
            ..measure("m", "M", unit, &values)
        });
        assert_eq!(
            verdict_of(was.clone(), is.clone()),
            Verdict::Worse,
            "{unit:?}"
        );
        assert_eq!(
            verdict_of(is.clone(), was.clone()),
            Verdict::Better,
            "{unit:?}"
        );
        let peer = |measure: Measure| Measure {
            peer: Some("sha1sum".to_owned()),
            ..measure
        };
        assert_eq!(verdict_of(peer(was), peer(is)), Verdict::Changed);
    }
}

#[test]
fn with_few_rounds_nothing_is_said_and_the_text_says_that() {
    let three = rate(&[700.0, 710.0, 690.0]);
    let half = rate(&[350.0, 355.0, 345.0]);
    let found = Comparison::of(&of(vec![three]), &of(vec![half]));
    assert_eq!(found.measures[0].verdict, Verdict::Unknown(Unknown::TooFew));
    let text = found.text(false);
    assert!(
        text.contains("Cannot say of 1 measures with 3 and 3 rounds"),
        "{text}"
    );
    assert!(!found.is_worse());
}

#[test]
fn another_machine_or_other_settings_are_said_first() {
    let (mut was, mut is) = (of(vec![rate(&[100.0; 5])]), of(vec![rate(&[50.0; 5])]));
    is.machine.cpu = "Another".to_owned();
    // As much memory, of which the kernel kept a little more.
    is.machine.memory_bytes -= 1;
    was.machine.memory_bytes += 1 << 20;
    is.settings.insert("mailboxes".to_owned(), "200".to_owned());
    is.settings.remove("quick");
    is.peers[0].version = "sha1sum 9.5".to_owned();
    was.sections[0]
        .measures
        .push(measure("gone", "Gone", Unit::Count, &[1.0]));
    let mut other_unit = rate(&[1.0; 5]);
    other_unit.id = "unit".to_owned();
    was.sections[0].measures.push(other_unit.clone());
    other_unit.unit = Unit::Seconds;
    is.sections[0].measures.push(other_unit);
    let found = Comparison::of(&was, &is);
    let text = found.text(false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "They ran on different machines:", "{text}");
    for part in [
        "  processor: AMD EPYC, then Another\n",
        "  mailboxes: 1000, then 200\n",
        "  quick: true, then none\n",
        "  sha1sum: sha1sum (GNU coreutils) 9.1, then sha1sum 9.5\n",
        "\nWorse, beyond the noise\n  fleet/rate: Rate\n      100 mailboxes/s, then 50 \
         mailboxes/s; 0.500 times (0.500 .. 0.500): slower\n",
        "\nOnly in the first: fleet/gone, fleet/unit\n",
        "\nOnly in the second: fleet/unit\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let place = |part: &str| text.find(part).unwrap();
    assert!(
        place("different machines") < place("Worse, beyond"),
        "{text}"
    );
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["measures"][0]["verdict"], "worse");
    assert_eq!(json["measures"][0]["interval"]["ratio"], 0.5);
    assert_eq!(json["measures"][0]["by"], "value");
}

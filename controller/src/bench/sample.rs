//! Documents for tests.

use std::collections::BTreeMap;

use super::document::{Better, Document, FORMAT, Machine, Measure, Peer, Section, Unit};

/// A measure that stands beside nothing.
pub(super) fn measure(id: &str, name: &str, unit: Unit, values: &[f64]) -> Measure {
    let less = matches!(unit, Unit::Seconds | Unit::Milliseconds | Unit::Bytes);
    Measure {
        id: id.to_owned(),
        name: name.to_owned(),
        unit,
        better: if less { Better::Lower } else { Better::Higher },
        values: values.to_vec(),
        peer: None,
        beside: None,
        at: None,
    }
}

/// A section with a note.
pub(super) fn section(id: &str, measures: Vec<Measure>) -> Section {
    Section {
        id: id.to_owned(),
        title: format!("What {id} does"),
        notes: vec!["Syncs limit it.".to_owned()],
        measures,
    }
}

/// A document with these sections.
pub(super) fn document(sections: Vec<Section>) -> Document {
    Document {
        format: FORMAT,
        reguid: "0.1.0".to_owned(),
        began: "2026-11-28T01:02:03Z".to_owned(),
        seconds: 312.4,
        machine: Machine {
            cores: 2,
            cpu: "AMD EPYC".to_owned(),
            memory_bytes: 24 << 30,
            kernel: "6.1.0".to_owned(),
            file_system: "ext4".to_owned(),
            load_before: 0.1,
            load_after: 2.3,
        },
        settings: BTreeMap::from([
            ("mailboxes".to_owned(), "1000".to_owned()),
            ("quick".to_owned(), "true".to_owned()),
        ]),
        peers: vec![Peer {
            name: "sha1sum".to_owned(),
            version: "sha1sum (GNU coreutils) 9.1".to_owned(),
        }],
        not_measured: vec!["openssl is not installed.".to_owned()],
        sections,
    }
}

/// A fleet beside its floor at four places, and hashing beside a peer.
pub(super) fn whole() -> Document {
    let mut fleet = Vec::new();
    for (n, rate, bare) in [(1, 353.0, 640.0), (4, 770.0, 1380.0), (64, 1028.0, 2100.0)] {
        // Few digits, so that they are the same after they were written and read.
        let digits = |value: f64| (value * 1000.0).round() / 1000.0;
        let noise = |value: f64| [value * 0.98, value * 1.03, value].map(digits);
        fleet.push(Measure {
            beside: Some(format!("bare-{n}")),
            at: Some(f64::from(n)),
            ..measure(
                &format!("rate-{n}"),
                &format!("{n} at once"),
                Unit::MailboxesPerSecond,
                &noise(rate),
            )
        });
        fleet.push(Measure {
            at: Some(f64::from(n)),
            better: Better::Neither,
            ..measure(
                &format!("bare-{n}"),
                &format!("the bare way, {n} at once"),
                Unit::MailboxesPerSecond,
                &noise(bare),
            )
        });
        fleet.push(Measure {
            at: Some(f64::from(n)),
            ..measure(
                &format!("lock-{n}"),
                &format!("{n} at once: lock held, p99"),
                Unit::Milliseconds,
                &noise(1.3 * f64::from(n)),
            )
        });
    }
    let hashing = vec![
        Measure {
            beside: Some("sha1sum".to_owned()),
            ..measure(
                "run",
                "precompute run",
                Unit::BytesPerSecond,
                &[2e9, 2.1e9, 2.05e9, 2.02e9, 0.1e9],
            )
        },
        Measure {
            peer: Some("sha1sum".to_owned()),
            ..measure(
                "sha1sum",
                "sha1sum",
                Unit::BytesPerSecond,
                &[0.5e9, 0.52e9, 0.51e9, 0.5e9, 0.5e9],
            )
        },
        measure("memory", "Memory at its peak", Unit::Bytes, &[13e6]),
    ];
    document(vec![section("fleet", fleet), section("hashing", hashing)])
}

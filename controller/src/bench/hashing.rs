//! Section `precompute`: the messages of one host hashed ahead, as `precompute run` does.

use std::path::Path;

use precompute::bench::contenders::{DROP_CACHES, forget_pages};

use super::document::{Better, Measure, Section, Unit};
use super::fleet::Fleet;
use super::peers::Peers;
use super::{Bench, BenchError, rate, reset};
use crate::demo::{PrecomputeReport, migrate};

impl Fleet {
    /// Hashes ahead on both hosts; on the master as often as runs are asked for, if that part is.
    /// The caches of hashes are there afterwards.
    pub fn hash(&self, bench: &mut Bench<'_>) -> Result<Section, BenchError> {
        (bench.note)("hashing ahead on both hosts");
        self.hash_once(bench)?;
        let mut section = Section::new("precompute", "Messages hashed ahead, one host");
        if !bench.wants(super::Part::Precompute) {
            return Ok(section);
        }
        let cold = rustix::process::geteuid().is_root() && Path::new(DROP_CACHES).exists();
        if !cold {
            bench
                .not_measured
                .push("hashing with a cold page cache: only root can drop it".into());
        }
        let (mut peers, versions, missing) = Peers::find(&self.master)?;
        bench.peers.extend(versions);
        bench.not_measured.extend(missing);
        let (mut warm, mut again, mut colds) = (Vec::new(), Vec::new(), Vec::new());
        let measure = |into: &mut Vec<PrecomputeReport>, round: usize, name: &str| {
            rustix::fs::sync();
            let report = migrate::precompute(&self.master, &bench.signals)?;
            let per_second = rate(report.messages, report.seconds);
            (bench.note)(&format!(
                "hashing {round}, {name}: {per_second:.0} messages/s"
            ));
            if round > 0 {
                into.push(report);
            }
            Ok::<(), BenchError>(())
        };
        for round in 0..=bench.options.runs {
            reset::forget(&self.master.store.meta)?;
            measure(&mut warm, round, "warm")?;
            measure(&mut again, round, "again")?;
            peers.round(round > 0)?;
        }
        // The last: a pass does not read what is done already, so that nothing would be warm for
        // what came after it.
        for round in (1..=bench.options.runs).filter(|_| cold) {
            reset::forget(&self.master.store.meta)?;
            let dropped = forget_pages().is_ok();
            // Whatever it is worth: other parts find everything hashed.
            measure(&mut colds, round, "cold")?;
            // A system may forbid it even to root: then there is no such figure.
            if !dropped {
                colds.clear();
                bench
                    .not_measured
                    .push("hashing with a cold page cache: the system does not drop it".into());
                break;
            }
        }
        section.notes.push(
            "A pass of `precompute run` over the master's store, fsync of the caches included; \
             again: with nothing changed since. Other programs print hashes of the same files, \
             and keep and sync nothing; b3sum makes another hash, BLAKE3."
                .into(),
        );
        for (id, name, reports) in [
            ("warm", "warm", &warm),
            ("cold", "page cache dropped before", &colds),
            ("again", "again, everything known", &again),
        ] {
            section.measures.extend(figures(id, name, reports));
        }
        let ours = section
            .measures
            .iter_mut()
            .find(|m| m.id == "messages-warm");
        if let (Some(ours), Some(peer)) = (ours, peers.beside()) {
            ours.beside = Some(peer);
        }
        section.measures.extend(peers.measures());
        Ok(section)
    }
}

fn figures(id: &str, name: &str, reports: &[PrecomputeReport]) -> Vec<Measure> {
    let of = |unit, word: &str, count: fn(&PrecomputeReport) -> u64| {
        let values = reports.iter().map(|r| rate(count(r), r.seconds));
        Measure::new(format!("{word}-{id}"), name, unit, Better::Higher)
            .with(values.collect::<Vec<f64>>())
    };
    let mut measures = vec![of(Unit::MessagesPerSecond, "messages", |r| r.messages)];
    if reports.iter().any(|r| r.bytes > 0) {
        measures.push(of(Unit::BytesPerSecond, "bytes", |r| r.bytes));
    }
    measures.retain(|measure| !measure.values.is_empty());
    measures
}

//! Section `convert`: one large index written anew as version 10, beside a copy of the result, and
//! beside `cp` and `sync` as programs of their own, which is the least that a script could do.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{
    Decision, FileKind, Guid, IndexFile, IoContext, IoError, RecordGuid, StreamCopy, Uuid,
    WriteBehind,
};

use super::document::{Better, Measure, Peer, Section, Unit};
use super::peers::version;
use super::{Bench, BenchError, float, rate};

/// The programs that copy, as one peer.
const CP: &str = "cp and sync";

/// Measures both by turns, once a size.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<Section, BenchError> {
    let dir = bench.work.path().join("convert");
    fs::create_dir_all(&dir).io_context("create directory", &dir)?;
    let mut section = Section::new(
        "convert",
        "One index, version 9 to 10, both ends on this disk",
    );
    section.notes.push(
        "Each record gets another GUID; the new file is synced. Beside it: the result copied, and \
         synced, by this process and by cp and sync."
            .into(),
    );
    let cp = version("cp", "--version");
    match &cp {
        Some(version) => bench.peers.push(Peer {
            name: CP.into(),
            version: version.clone(),
        }),
        None => bench.not_measured.push(format!("{CP}: not installed")),
    }
    for records in bench.options.records() {
        let index = Index::make(&dir, records)?;
        let (mut ours, mut copied, mut by_cp) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=bench.options.runs {
            bench.signals.check()?;
            let converted = index.convert(true)?;
            let copy = index.copy()?;
            (bench.note)(&format!(
                "{records} records {round}: converted in {:.0} ms, copied in {:.0} ms",
                converted * 1e3,
                copy * 1e3
            ));
            if round > 0 {
                ours.push(rate(records, converted));
                copied.push(rate(records, copy));
            }
            if cp.is_some() {
                let seconds = index.cp()?;
                if round > 0 {
                    by_cp.push(rate(records, seconds));
                }
            }
        }
        let at = float(records);
        let new = |id: String, name: String, better| {
            Measure::new(id, name, Unit::RecordsPerSecond, better).at(at)
        };
        let copy = format!("copy-{records}");
        section.measures.push(
            new(
                format!("convert-{records}"),
                format!("converted, {records}"),
                Better::Higher,
            )
            .beside(copy.as_str())
            .with(ours),
        );
        section
            .measures
            .push(new(copy, format!("copied, {records}"), Better::Neither).with(copied));
        if cp.is_some() {
            section.measures.push(
                new(
                    format!("cp-{records}"),
                    format!("{CP}, {records}"),
                    Better::Neither,
                )
                .by(CP)
                .with(by_cp),
            );
        }
    }
    let _ = fs::remove_dir_all(&dir);
    Ok(section)
}

/// An index of version 9, and where its successor goes.
pub(super) struct Index {
    old: PathBuf,
    new: PathBuf,
    copy: PathBuf,
}

impl Index {
    /// With that many records, each with a UUID of schema 1.
    pub fn make(dir: &Path, records: u64) -> Result<Self, IoError> {
        let [old, new, copy] = ["old", "new", "copy"].map(|name| dir.join(name));
        let record = |uid: u32| {
            let mut uuid = [1, 5, 0, 0x46, 0xb0, 0xc0, 0xde, 0, 7, 0, 0, 0];
            uuid[8..].copy_from_slice(&uid.to_be_bytes());
            BuildRecord {
                uid,
                size: 4000 + uid % 977,
                guid: RecordGuid::Uuid(Uuid::from_bytes(uuid)),
                modseq: u64::from(uid) + 2,
                ..BuildRecord::default()
            }
        };
        let last = u32::try_from(records).unwrap_or(u32::MAX);
        let bytes = IndexBuilder::new(9, FileKind::Index)
            .records((1..=last).map(record))
            .to_bytes();
        let bytes = bytes.map_err(io::Error::other);
        bytes
            .and_then(|bytes| fs::write(&old, bytes))
            .io_context("write", &old)?;
        rustix::fs::sync();
        Ok(Self { old, new, copy })
    }

    /// Seconds; without `durable` nothing is synced.
    pub fn convert(&self, durable: bool) -> Result<f64, IoError> {
        let start = Instant::now();
        let index = IndexFile::open(&self.old, FileKind::Index).map_err(io::Error::other);
        let index = index.io_context("read", &self.old)?;
        let file = File::create(&self.new).io_context("create", &self.new)?;
        let guid = |uid: u32| {
            let mut bytes = [0xa5; 20];
            bytes[..4].copy_from_slice(&uid.to_be_bytes());
            Guid::from_bytes(bytes)
        };
        let decide = |record: indexfile::Record<'_>| {
            Ok::<_, Infallible>(Decision::Alter(guid(record.uid())))
        };
        let copy = StreamCopy::new(&index).to_version(10);
        let done = if durable {
            let report = copy.write(&mut WriteBehind::new(&file), decide);
            report
                .map_err(io::Error::other)
                .and_then(|_| file.sync_all())
        } else {
            let report = copy.write(&mut io::sink(), decide);
            report.map(drop).map_err(io::Error::other)
        };
        done.io_context("write", &self.new)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The same by `cp` and `sync`; seconds.
    fn cp(&self) -> Result<f64, IoError> {
        let start = Instant::now();
        for (program, files) in [
            ("cp", &[&self.new, &self.copy][..]),
            ("sync", &[&self.copy]),
        ] {
            let output = Command::new(program).args(files).output();
            let done = output.and_then(|output| {
                if output.status.success() {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&output.stderr);
                Err(io::Error::other(format!(
                    "{program} failed: {}",
                    said.trim()
                )))
            });
            done.io_context("copy", &self.new)?;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Copies what [`Self::convert`] made; seconds.
    fn copy(&self) -> Result<f64, IoError> {
        let start = Instant::now();
        let copied = fs::copy(&self.new, &self.copy)
            .and_then(|_| File::open(&self.copy))
            .and_then(|file| file.sync_all());
        copied.io_context("copy", &self.new)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_converted_is_a_whole_index_of_version_10_and_the_copy_is_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let index = Index::make(dir.path(), 1000).expect("made");
        assert!(index.convert(true).expect("converted") > 0.0);
        let new = fs::read(&index.new).expect("there");
        assert_eq!(new.len(), 96 + 88 * 1000);
        for copy in [Index::copy, Index::cp] {
            assert!(copy(&index).expect("copied") > 0.0);
            assert_eq!(new, fs::read(&index.copy).expect("there"));
            fs::remove_file(&index.copy).expect("removed");
        }
        fs::remove_file(&index.new).expect("removed");
        let error = index.cp().expect_err("nothing to copy");
        assert!(error.to_string().contains("cp failed"), "{error}");
    }
}

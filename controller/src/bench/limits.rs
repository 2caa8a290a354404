//! Section `limits`: what this machine can do at most, with nothing of ours in between.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use indexfile::{IoContext, IoError};
use precompute::bench::limit::{hash_alone, lane_rates};
use rustix::fs::Advice;
use slotd::client::{Addr, Client, ClientError, Timeouts};
use stores::Layout;
use tokio::runtime::Runtime;

use super::document::{Better, Measure, Section, Unit};
use super::{Bench, BenchError, rate};
use crate::demo::{DemoError, Host, Slotd, migrate};

/// Bytes of each sync, as many as a small index has.
const BLOCK: usize = 4096;
/// Syncs of each thread.
const SYNCS: u64 = 100;
/// Threads that sync at once, and files of a group.
const AT_ONCE: u64 = 16;
/// Round trips.
const TRIPS: u64 = 2000;

/// Measures all of them by turns.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Section, BenchError> {
    let dir = bench.work.path().join("limits");
    fs::create_dir_all(&dir).io_context("create directory", &dir)?;
    let host = Host::lay_out(&dir, "probe", Layout::HASHED)?;
    let slotd = Slotd::start(&host, &bench.work.socket("master"), None)?;
    let address = migrate::address(&slotd)?;
    let runtime = bench.signals.runtime();
    let large = dir.join("large");
    let bytes = bench.options.large();
    make_large(&large, bytes).io_context("write", &large)?;

    let new = |id: &str, name: &str, unit| Measure::new(id, name, unit, Better::Neither);
    let mut measures = [
        new(
            "read",
            "reading, page cache, one thread",
            Unit::BytesPerSecond,
        ),
        new(
            "read_disk",
            "reading from the disk, one thread",
            Unit::BytesPerSecond,
        ),
        new("hash_core", "SHA-1 of one core", Unit::BytesPerSecond),
        new("hash_cores", "SHA-1 of all cores", Unit::BytesPerSecond),
        new("sync-1", "fdatasync, one at a time", Unit::PerSecond),
        new("sync-16", "fdatasync, 16 threads", Unit::PerSecond),
        new(
            "syncfs-16",
            "files synced by one syncfs for 16",
            Unit::PerSecond,
        ),
        new(
            "socket",
            "round trips of a bare Unix socket",
            Unit::PerSecond,
        ),
        new("hello", "round trips of HELLO to a slotd", Unit::PerSecond),
    ];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for round in 0..=bench.options.runs {
        (bench.note)(&format!("limits of the machine, round {round}"));
        bench.signals.check()?;
        let values = [
            read(&large, bytes, false).io_context("read", &large)?,
            read(&large, bytes, true).io_context("read", &large)?,
            lane_rates()
                .iter()
                .map(|(_, rate)| *rate)
                .fold(0.0, f64::max),
            timed(bytes * 4, || {
                hash_alone(bytes * 4, cores);
                Ok::<(), IoError>(())
            })?,
            syncs(&dir, 1)?,
            syncs(&dir, AT_ONCE)?,
            grouped(&dir).io_context("sync files in", &dir)?,
            echo().io_context("use a socket in", &dir)?,
            hello(runtime, &address)?,
        ];
        for (measure, value) in measures.iter_mut().zip(values) {
            if round > 0 {
                measure.values.push(value);
            }
        }
    }
    drop(slotd);
    let _ = fs::remove_dir_all(&dir);
    let mut section = Section::new("limits", "What this machine can do at most");
    section.notes.push(format!(
        "{} MiB read and hashed; each sync is of {BLOCK} new bytes in a file that is there.",
        bytes >> 20
    ));
    section.measures = measures.into();
    Ok(section)
}

/// Round trips a second of HELLO. Connected just before: slotd closes a connection without a word.
fn hello(runtime: &Runtime, address: &Addr) -> Result<f64, DemoError> {
    let asked = runtime.block_on(async {
        let mut client = Client::connect(address, Timeouts::default()).await?;
        let start = Instant::now();
        for _ in 0..TRIPS {
            client.hello().await?;
        }
        Ok::<f64, ClientError>(rate(TRIPS, start.elapsed().as_secs_f64()))
    });
    asked.map_err(|error| DemoError::Address(error.to_string()))
}

/// How many of `count` a second.
fn timed<E>(count: u64, work: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    work()?;
    Ok(rate(count, start.elapsed().as_secs_f64()))
}

fn make_large(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let block: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
    for _ in 0..bytes >> 20 {
        file.write_all(&block)?;
    }
    file.sync_all()
}

/// Bytes a second; from the disk after the system was asked to forget the file.
fn read(path: &Path, bytes: u64, disk: bool) -> io::Result<f64> {
    let mut file = File::open(path)?;
    if disk {
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    let mut buffer = vec![0; 256 << 10];
    timed(bytes, || {
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    })
}

/// Syncs a second of that many threads, each with a file of its own.
fn syncs(dir: &Path, threads: u64) -> Result<f64, IoError> {
    let files = open(dir, threads)?;
    let one = |file: &File| -> io::Result<()> {
        for n in 0..SYNCS {
            file.write_all_at(&[u8::try_from(n).unwrap_or(0); BLOCK], 0)?;
            file.sync_data()?;
        }
        Ok(())
    };
    timed(threads * SYNCS, || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = files.iter().map(|f| scope.spawn(|| one(f))).collect();
            let ended = threads.into_iter().map(|thread| {
                let panicked = |_| Err(io::Error::other("a syncing thread panicked"));
                thread.join().unwrap_or_else(panicked)
            });
            ended.collect::<io::Result<()>>()
        })
    })
    .io_context("sync files in", dir)
}

/// Files a second that a `syncfs` makes durable, for a group of them at a time.
fn grouped(dir: &Path) -> io::Result<f64> {
    let files = open(dir, AT_ONCE).map_err(|error| error.source)?;
    let groups = SYNCS / 4;
    timed(groups * AT_ONCE, || {
        for n in 0..groups {
            for file in &files {
                file.write_all_at(&[u8::try_from(n).unwrap_or(0); BLOCK], 0)?;
            }
            rustix::fs::syncfs(&files[0])?;
        }
        Ok(())
    })
}

fn open(dir: &Path, files: u64) -> Result<Vec<File>, IoError> {
    let one = |n: u64| {
        let path = dir.join(format!("sync-{n}"));
        let made = File::create(&path).and_then(|file| {
            file.write_all_at(&[0; BLOCK], 0)?;
            file.sync_all()?;
            Ok(file)
        });
        made.io_context("write", &path)
    };
    (0..files).map(one).collect()
}

/// Round trips a second of one byte between two threads.
fn echo() -> io::Result<f64> {
    let (mut here, mut there) = UnixStream::pair()?;
    let answering = std::thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
    });
    let mut byte = [0];
    let rate = timed(TRIPS, || {
        for _ in 0..TRIPS {
            here.write_all(&byte)?;
            here.read_exact(&mut byte)?;
        }
        Ok(())
    });
    drop(here);
    let _ = answering.join();
    rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_count_by_the_time_and_a_sync_makes_no_file_grow() {
        let slow = timed(100, || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            Ok::<(), ()>(())
        });
        assert!(slow.is_ok_and(|rate| rate > 0.0 && rate <= 5000.0));
        let dir = tempfile::tempdir().expect("a directory");
        assert!(syncs(dir.path(), 2).expect("synced") > 0.0);
        assert!(grouped(dir.path()).expect("synced") > 0.0);
        let sizes = fs::read_dir(dir.path()).expect("there");
        for entry in sizes {
            let length = entry.and_then(|e| e.metadata()).expect("there").len();
            assert_eq!(length, BLOCK as u64);
        }
        assert!(echo().expect("a socket") > 0.0);
    }
}

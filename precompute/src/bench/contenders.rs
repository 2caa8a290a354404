//! What is measured: `precompute run`, what people would use instead, and reading alone.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rustix::fs::{AtFlags, Mode, OFlags};
use sha1::Digest as _;

use super::Plan;
use super::limit::hash_alone;
use super::store::Store;

/// Where a system with this file forgets what it has read, if root asks for it.
pub const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// State of the page cache before a contender starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// All files are in memory.
    Warm,
    /// None is.
    Cold,
}

impl Cache {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }

    fn prepare(self) -> io::Result<()> {
        match self {
            // The contender before has read all of it, but for a cold round.
            Self::Warm => Ok(()),
            Self::Cold => forget_pages(),
        }
    }
}

/// Makes the system forget what it has read of files. What was written is on the disk afterwards.
///
/// # Errors
/// Only root may do that, and not everywhere.
pub fn forget_pages() -> io::Result<()> {
    rustix::fs::sync();
    fs::write(DROP_CACHES, "3")
}

/// What one round of a contender cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// From beginning to end.
    pub wall: Duration,
    /// Processor time, user and system, of all threads and child processes. Where other programs
    /// share the machine this is the figure that still means something.
    pub cpu: Duration,
}

impl Cost {
    /// The smaller of both, each for itself.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        Self {
            wall: self.wall.min(other.wall),
            cpu: self.cpu.min(other.cpu),
        }
    }
}

/// Processor time of this process and of its children that have ended.
fn cpu_time() -> Duration {
    let both = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    let usage = both.into_iter().filter_map(|who| getrusage(who).ok());
    let micros = usage.map(|usage| (usage.user_time() + usage.system_time()).num_microseconds());
    Duration::from_micros(u64::try_from(micros.sum::<i64>()).unwrap_or_default())
}

/// One of those that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Opening, reading and closing every file with as many threads as the pass has.
    ReadOnly,
    /// The same with a thread a core.
    ReadOnCores,
    /// Hashing as many bytes from the caches of all cores.
    HashOnly,
    /// `precompute run`, first run: no cache yet.
    Run,
    /// The same with a single lane: what the kernel is worth.
    RunOneLane,
    /// `precompute run` again: everything cached.
    Again,
    /// The same with `--look-at-all`.
    AgainLooking,
    /// One `fstatat` a message, a thread a core: the least that finding nothing new takes.
    LookOnly,
    /// A thread a core: open, read, `sha1` crate.
    PlainLoop,
    /// `xargs -P CORES sha1sum`.
    Sha1sum,
    /// `xargs -P CORES openssl dgst -sha1`.
    Openssl,
}

impl Contender {
    /// All of them; those that run again right behind a `Run`, whose caches they use.
    #[must_use]
    pub fn all() -> [Self; 11] {
        [
            Self::ReadOnly,
            Self::ReadOnCores,
            Self::HashOnly,
            Self::RunOneLane,
            Self::Run,
            Self::Again,
            Self::AgainLooking,
            Self::LookOnly,
            Self::PlainLoop,
            Self::Sha1sum,
            Self::Openssl,
        ]
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "reading alone, threads as the pass",
            Self::ReadOnCores => "reading alone, a thread a core",
            Self::Run => "precompute run",
            Self::HashOnly => "hashing alone, a thread a core",
            Self::RunOneLane => "precompute run, one lane",
            Self::Again => "precompute run again",
            Self::AgainLooking => "precompute run --look-at-all, again",
            Self::LookOnly => "a look at every file, a thread a core",
            Self::PlainLoop => "open, read, sha1 crate",
            Self::Sha1sum => "xargs -P sha1sum",
            Self::Openssl => "xargs -P openssl",
        }
    }

    /// Whether it is here to be compared with, and no part of a limit or a promise of ours.
    #[must_use]
    pub fn is_other(self) -> bool {
        matches!(self, Self::PlainLoop | Self::Sha1sum | Self::Openssl)
    }

    /// Whether the program it needs is installed.
    #[must_use]
    pub fn available(self) -> bool {
        let program = match self {
            Self::Sha1sum => "sha1sum",
            Self::Openssl => "openssl",
            _ => return true,
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
    }

    /// Lets it run once.
    ///
    /// # Errors
    /// If it fails.
    pub fn time(
        self,
        plan: &Plan,
        store: &mut Store,
        cache: Cache,
        cores: usize,
    ) -> io::Result<Cost> {
        if matches!(self, Self::Run | Self::RunOneLane) {
            store.forget()?;
        }
        cache.prepare()?;
        let (start, before) = (Instant::now(), cpu_time());
        match self {
            Self::ReadOnly => drop(read_all(&store.files, plan.jobs)?),
            Self::ReadOnCores => drop(read_all(&store.files, cores)?),
            Self::HashOnly => hash_alone(store.bytes, cores),
            Self::LookOnly => look_at_all(&store.files, cores)?,
            Self::Run | Self::Again => precompute(plan, &store.root, &[])?,
            Self::AgainLooking => precompute(plan, &store.root, &["--look-at-all"])?,
            Self::RunOneLane => precompute(plan, &store.root, &["--lanes", "1"])?,
            Self::PlainLoop => plain_loop(&store.files, cores)?,
            Self::Sha1sum => xargs(&store.files, cores, &["sha1sum"])?,
            Self::Openssl => xargs(&store.files, cores, &["openssl", "dgst", "-sha1", "-r"])?,
        }
        Ok(Cost {
            wall: start.elapsed(),
            cpu: cpu_time().saturating_sub(before),
        })
    }
}

fn precompute(plan: &Plan, root: &Path, more: &[&str]) -> io::Result<()> {
    let mut command = Command::new(&plan.program);
    command.args([
        "run",
        "--quiet",
        "--jobs",
        &plan.jobs.to_string(),
        "--spool",
    ]);
    command.arg(root).args(more);
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "precompute run failed ({status})"
        )))
    }
}

/// Has a program, with its arguments, read these files: a process a core, 500 files each. What it
/// prints is dropped.
///
/// # Errors
/// There is no `xargs`, or the program fails.
pub fn xargs(files: &[PathBuf], cores: usize, program: &[&str]) -> io::Result<()> {
    let mut list = Vec::new();
    for file in files {
        list.extend_from_slice(file.as_os_str().as_encoded_bytes());
        list.push(0);
    }
    let mut command = Command::new("xargs");
    command.args(["-0", "-n", "500", "-P", &cores.to_string()]);
    command.args(program);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn()?;
    // Its output goes nowhere, so it reads on whatever it prints.
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(&list));
    let ended = child.wait()?;
    if !ended.success() {
        return Err(io::Error::other(format!("{} failed: {ended}", program[0])));
    }
    written
}

/// The least that looking takes: the directories are open, their files are asked for by name.
fn look_at_all(files: &[PathBuf], threads: usize) -> io::Result<()> {
    let same_dir = |a: &PathBuf, b: &PathBuf| a.parent() == b.parent();
    let dirs: Vec<&[PathBuf]> = files.chunk_by(same_dir).collect();
    let each = |files: &[PathBuf], _: &mut Vec<u8>| {
        let Some(dir) = files.first().and_then(|file| file.parent()) else {
            return Ok(0);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        for name in files.iter().filter_map(|file| file.file_name()) {
            let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            std::hint::black_box(stat);
        }
        Ok(0)
    };
    on_threads(&dirs, threads, |files, buffer| each(files, buffer)).map(drop)
}

/// Runs `each` for every file, on `threads` threads; a buffer a thread.
fn on_threads<T: Sync>(
    files: &[T],
    threads: usize,
    each: impl Fn(&T, &mut Vec<u8>) -> io::Result<u64> + Sync,
) -> io::Result<u64> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; 256 << 10];
        let mut bytes = 0;
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            bytes += each(file, &mut buffer)?;
        }
        Ok(bytes)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = threads.into_iter().map(|thread| {
            let panicked = |_| Err(io::Error::other("a reading thread panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        results.sum::<io::Result<u64>>()
    })
}

/// The least that reading takes: open, read until the end, close.
fn read_all(files: &[PathBuf], threads: usize) -> io::Result<u64> {
    on_threads(files, threads, |file, buffer| {
        let fd = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = 0;
        loop {
            match rustix::io::read(&fd, &mut buffer[..])? {
                0 => return Ok(bytes),
                n => bytes += n as u64,
            }
        }
    })
}

fn plain_loop(files: &[PathBuf], threads: usize) -> io::Result<()> {
    on_threads(files, threads, |file, buffer| {
        buffer.clear();
        fs::File::open(file)?.read_to_end(buffer)?;
        std::hint::black_box(sha1::Sha1::digest(&buffer));
        Ok(buffer.len() as u64)
    })
    .map(drop)
}

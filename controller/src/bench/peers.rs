//! What people would hash their messages with instead: other programs of this system, if they are
//! installed, over the same files.
//!
//! Each gets the names from `xargs`, a process a processor. They print hashes and keep none, and
//! sync nothing. A program that fails is an error, and no figure.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use indexfile::{IoContext, IoError};
use precompute::bench::contenders::xargs;

use super::document::{Better, Measure, Peer, Unit};
use super::rate;
use crate::demo::Host;

/// A program that hashes the files it is given.
#[derive(Clone, Copy)]
struct Program {
    name: &'static str,
    /// Its name, and what comes before the files.
    command: &'static [&'static str],
    /// Makes it say its version.
    version: &'static str,
}

const PROGRAMS: [Program; 3] = [
    Program {
        name: "sha1sum",
        command: &["sha1sum"],
        version: "--version",
    },
    Program {
        name: "openssl",
        command: &["openssl", "dgst", "-sha1", "-r"],
        version: "version",
    },
    // Another hash, and a faster one: it shows what reading the files takes such a program.
    Program {
        name: "b3sum",
        command: &["b3sum", "--num-threads", "1"],
        version: "--version",
    },
];

/// The programs that are installed, and the files for them.
pub(super) struct Peers {
    messages: Vec<PathBuf>,
    data: PathBuf,
    found: Vec<(Program, Vec<f64>)>,
}

impl Peers {
    /// Looks for programs and for this host's messages. Gives the versions of those found, and a
    /// sentence for each that is missing.
    pub fn find(host: &Host) -> Result<(Self, Vec<Peer>, Vec<String>), IoError> {
        let (mut found, mut peers, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for program in PROGRAMS {
            match version(program.name, program.version) {
                Some(version) => {
                    peers.push(Peer {
                        name: program.name.into(),
                        version,
                    });
                    found.push((program, Vec::new()));
                }
                None => missing.push(format!("{}: it is not installed", program.name)),
            }
        }
        let data = host.store.data.clone();
        let mut messages = Vec::new();
        for dirs in host.store.mailboxes().io_context("walk", &data)?.values() {
            names(&dirs.data, &mut messages).io_context("read directory", &dirs.data)?;
        }
        let peers_of_host = Self {
            messages,
            data,
            found,
        };
        Ok((peers_of_host, peers, missing))
    }

    /// Lets each hash all messages once; `counts`: the round is measured.
    pub fn round(&mut self, counts: bool) -> Result<(), IoError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for (program, values) in &mut self.found {
            let start = Instant::now();
            let done = xargs(&self.messages, cores, program.command);
            done.io_context("hash messages in", &self.data)?;
            if counts {
                values.push(rate(
                    self.messages.len() as u64,
                    start.elapsed().as_secs_f64(),
                ));
            }
        }
        Ok(())
    }

    /// What they did, a measure each.
    pub fn measures(self) -> Vec<Measure> {
        let measure = |(program, values): (Program, Vec<f64>)| {
            let name = format!("{}, a process a processor, warm", program.name);
            let (id, unit) = (id(program), Unit::MessagesPerSecond);
            Measure::new(id, name, unit, Better::Neither)
                .with(values)
                .by(program.name)
        };
        self.found.into_iter().map(measure).collect()
    }

    /// The measure that ours stands beside: what does the same, and is everywhere.
    pub fn beside(&self) -> Option<String> {
        self.found.first().map(|(program, _)| id(*program))
    }
}

fn id(program: Program) -> String {
    format!("messages-{}", program.name)
}

/// The first line of what it says; `None` if it is not there or fails.
pub(super) fn version(program: &str, option: &str) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.arg(option).stdin(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}

/// Adds the names of a mailbox's messages.
fn names(dir: &Path, messages: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let uid = name.strip_suffix(b".").unwrap_or_default();
        if !uid.is_empty() && uid.iter().all(u8::is_ascii_digit) {
            messages.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_files_named_by_a_uid_and_each_is_hashed_or_it_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["1.", "22.", "cyrus.index", ".", "x.", "3"] {
            if name != "." {
                fs::write(dir.path().join(name), name).expect("written");
            }
        }
        let mut messages = Vec::new();
        names(dir.path(), &mut messages).expect("read");
        assert_eq!(messages.len(), 2);
        let sha1sum = PROGRAMS[0];
        let version = version(sha1sum.name, sha1sum.version);
        assert!(version.expect("coreutils").contains("sha1sum"));
        xargs(&messages, 2, sha1sum.command).expect("hashed");
        fs::remove_file(dir.path().join("22.")).expect("removed");
        let error = xargs(&messages, 2, sha1sum.command).expect_err("one is gone");
        assert!(error.to_string().starts_with("sha1sum failed"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version("no-such-program-of-reguid", "--version"), None);
    }
}

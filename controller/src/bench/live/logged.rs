//! What the clients of one phase wrote, and whether all of it is there at its end.
//!
//! Each change is logged under the lock under which it was made. The log, replayed over what the
//! files said before, must be what they say afterwards, byte for byte, whatever version they have.

use std::fs;
use std::path::{Path, PathBuf};

use indexfile::IoContext;
use stores::cyrus23::agent::spec_line;
use stores::cyrus23::log::Content;
use stores::{Dirs, Host};

use super::error::LiveError;

/// Files beside an index that only they have who hold its locks.
const STRAYS: [&str; 2] = ["cyrus.index.NEW", "cyrus.expunge.NEW"];

/// One mailbox of one host, as it was.
struct Logged {
    name: String,
    dirs: Dirs,
    log: PathBuf,
    start: Content,
}

/// All mailboxes of both hosts, as they were.
pub(super) struct Before {
    master: Vec<Logged>,
    replica: Vec<Logged>,
    dir: PathBuf,
}

impl Before {
    /// Reads the mailboxes, and begins new logs in `dir`.
    pub fn remember(hosts: [&Host; 2], names: &[String], dir: &Path) -> Result<Self, LiveError> {
        fs::create_dir_all(dir).io_context("create directory", dir)?;
        let of = |host: &Host, side: &str| {
            let each = names.iter().enumerate().map(|(n, name)| {
                let dirs = host.place(name);
                let log = dir.join(format!("{side}-{n}.log"));
                fs::write(&log, "").io_context("write", &log)?;
                let start = Content::read(&dirs)
                    .map_err(|error| LiveError::io("read", &dirs.meta, error))?;
                let name = format!("{name} of the {side}");
                Ok::<_, LiveError>(Logged {
                    name,
                    dirs,
                    log,
                    start,
                })
            });
            each.collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            master: of(hosts[0], "master")?,
            replica: of(hosts[1], "replica")?,
            dir: dir.to_owned(),
        })
    }

    /// Writes the file that says to clients where their mailboxes are.
    pub fn of_clients(&self) -> Result<PathBuf, LiveError> {
        let lines = self.master.iter();
        let lines: String = lines.map(|m| spec_line(&m.dirs, &m.log, None)).collect();
        self.written("clients", &lines)
    }

    /// Writes the file that says what is replicated from where to where.
    pub fn of_replication(&self) -> Result<PathBuf, LiveError> {
        let pairs = self.master.iter().zip(&self.replica);
        let lines: String = pairs
            .map(|(m, r)| spec_line(&r.dirs, &r.log, Some((&m.log, &m.dirs.data))))
            .collect();
        self.written("replication", &lines)
    }

    fn written(&self, name: &str, text: &str) -> Result<PathBuf, LiveError> {
        let path = self.dir.join(name);
        fs::write(&path, text).io_context("write", &path)?;
        Ok(path)
    }

    /// Compares; afterwards the logs are gone.
    ///
    /// # Errors
    /// [`LiveError::Lost`] if something is not there, or something was seen that must not be.
    pub fn check(self) -> Result<(), LiveError> {
        let mut found = Vec::new();
        for mailbox in self.master.into_iter().chain(self.replica) {
            let Logged {
                name,
                dirs,
                log,
                start: mut want,
            } = mailbox;
            let text = fs::read_to_string(&log).io_context("read", &log)?;
            if let Err(why) = want.replay(&text) {
                return Err(LiveError::Log { mailbox: name, why });
            }
            let mut lines = want.violations.clone();
            match Content::read(&dirs) {
                Ok(disk) => lines.extend(want.lost_in(&disk)),
                Err(error) => lines.push(error.to_string()),
            }
            let strays = STRAYS.iter().filter(|stray| dirs.file(stray).exists());
            lines.extend(strays.map(|stray| format!("{stray} was left behind")));
            found.extend(lines.into_iter().map(|line| format!("{name}: {line}")));
            fs::remove_file(&log).io_context("remove", &log)?;
        }
        match found.first() {
            None => Ok(()),
            Some(first) => Err(LiveError::Lost {
                count: found.len(),
                first: first.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};

    use indexfile::exit::Exit;
    use stores::{Layout, StoreSpec, Variety};

    use super::super::client::{CLIENT, be_client};
    use super::*;

    /// A client's work of some tenths of a second, in this process: nobody else has a lock.
    fn client(spec: &Path) -> String {
        let spec = spec.display().to_string();
        let args = [CLIENT, &spec, "7", "2000", "300000"].map(str::to_owned);
        let mut out = Vec::new();
        be_client(&args, &mut "go\n".as_bytes(), &mut out).expect("works");
        String::from_utf8(out).expect("text")
    }

    fn store(dir: &Path) -> ([Host; 2], Vec<String>) {
        let hosts = [
            ("master", Layout::HASHED),
            ("replica", Layout::METAPARTITION),
        ]
        .map(|(side, layout)| Host::lay_out(&dir.join(side), layout).expect("laid out"));
        let spec = StoreSpec::new(2, 30).variety(Variety::Plain);
        spec.build(&[&hosts[0], &hosts[1]]).expect("built");
        (hosts, spec.names().collect())
    }

    #[test]
    fn what_a_client_stored_is_found_and_a_flag_that_was_lost_is_missed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (hosts, names) = store(dir.path());
        for lost in [false, true] {
            let logs = dir.path().join(format!("logs-{lost}"));
            let before = Before::remember([&hosts[0], &hosts[1]], &names, &logs).expect("read");
            let index = hosts[0].place(&names[1]).file("cyrus.index");
            let old = fs::read(&index).expect("read");
            let said = client(&before.of_clients().expect("written"));
            assert!(said.starts_with("ready\n{"), "{said}");
            assert!(!said.contains("\"total\":0"), "{said}");
            if lost {
                // As a tool does that puts its copy over what was written meanwhile.
                fs::write(&index, &old).expect("written");
            }
            match before.check() {
                Ok(()) => assert!(!lost),
                Err(error) => {
                    assert!(lost, "{error}");
                    assert_eq!(error.exit(), Exit::InDoubt);
                    assert!(
                        error
                            .to_string()
                            .contains(&format!("{} of the master", names[1]))
                    );
                }
            }
        }
    }

    #[test]
    fn a_client_that_nobody_wants_any_more_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (hosts, names) = store(dir.path());
        let before = Before::remember([&hosts[0], &hosts[1]], &names, dir.path()).expect("read");
        let spec = before.of_clients().expect("written").display().to_string();
        let args = [CLIENT, &spec, "7", "2000", "300000"].map(str::to_owned);
        let mut out = Vec::new();
        be_client(&args, &mut io::empty(), &mut out).expect("ends");
        out.write_all(b"end").expect("written");
        assert_eq!(out, b"ready\nend");
        before.check().expect("as before");
    }
}

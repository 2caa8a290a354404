//! Who is on the host: what Cyrus's services write into the directory `proc`, a file each, compared
//! with the processes that run.
//!
//! Cyrus 2.3 writes `client`, `user` and `mailbox`, later ones a service before and a command after
//! them, with tabs between; what is not known yet is empty or not there. A process that was killed
//! leaves its file, so each is looked for. A session counts unless it is certain that there is
//! none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexfile::dir::{OpenError, read_named};
use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext, IoError};

use super::unseen;
use crate::protocol::{HostDrain, SessionFacts};
use crate::served::proc::Process;

/// The programs that serve users or take mail. What is named otherwise has no session: a proc file
/// of that number is what another process left.
const SERVICES: [&str; 10] = [
    "imapd",
    "proxyd",
    "pop3d",
    "pop3proxyd",
    "lmtpd",
    "lmtpproxyd",
    "nntpd",
    "httpd",
    "timsieved",
    "sieved",
];
/// The longest proc file, in bytes.
const LIMIT: u64 = 16 << 10;

/// Where to look.
#[derive(Debug)]
pub(super) struct Proc {
    /// `/proc`, but in tests.
    pub(super) system: PathBuf,
    dir: Option<PathBuf>,
    admins: BTreeSet<String>,
    /// Where a service of this store has files open.
    roots: Vec<PathBuf>,
}

/// What is to be thought of a file there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A session, or a delivery, that has to end.
    User(SessionFacts),
    Admin,
    /// Not logged in: the next login is refused.
    Nobody,
}

impl Proc {
    pub(super) fn of(conf: &ImapdConf, roots: &[PathBuf]) -> Proc {
        let set = conf.setting("proc_path").map(PathBuf::from);
        let config = conf.config_directory();
        let mut all = roots.to_vec();
        all.extend(config.map(Path::to_path_buf));
        let words = conf.setting("admins").unwrap_or_default();
        Proc {
            system: PathBuf::from("/proc"),
            dir: set.or_else(|| config.map(|dir| dir.join("proc"))),
            admins: words.split_whitespace().map(str::to_owned).collect(),
            roots: all,
        }
    }

    /// Fills in who is there.
    pub(super) fn count(&self, into: &mut HostDrain) {
        match self.list() {
            Ok(all) => {
                for who in all {
                    match who {
                        Who::Admin => into.admins += 1,
                        Who::Nobody => into.nobodies += 1,
                        Who::User(facts) => {
                            into.users += 1;
                            if into.sessions.len() < HostDrain::MAX {
                                into.sessions.push(facts);
                            }
                        }
                    }
                }
            }
            Err(error) => into.unseen = Some(unseen(&error)),
        }
    }

    /// Everybody that is there, by process.
    pub(super) fn list(&self) -> Result<Vec<Who>, IoError> {
        let Some(dir) = &self.dir else {
            return Ok(Vec::new());
        };
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(IoError::new("list", dir, error)),
        };
        let mut pids = Vec::new();
        for entry in entries {
            let name = entry.io_context("list", dir)?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        pids.sort_unstable();
        let mut all = Vec::new();
        for pid in pids {
            all.extend(self.one(pid)?);
        }
        Ok(all)
    }

    /// Who has this process; none if it is no service that runs.
    pub(super) fn one(&self, pid: u32) -> Result<Option<Who>, IoError> {
        let Some(dir) = &self.dir else {
            return Ok(None);
        };
        let process = Process::of(&self.system, pid);
        let name = process.name();
        // One that has ended, and is waited for by its parent, has no command line.
        if !SERVICES.contains(&name.as_str()) || process.argv().is_empty() {
            return Ok(None);
        }
        let path = dir.join(pid.to_string());
        let text = match read_named(&path, LIMIT) {
            Ok(text) => text,
            // It is written anew, or the session has ended.
            Err(OpenError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(self.who(pid, &name, &String::from_utf8_lossy(&text))))
    }

    fn who(&self, pid: u32, program: &str, text: &str) -> Who {
        let (client, user, what) = parse(text);
        let delivers = program.starts_with("lmtp");
        if user.is_empty() && !delivers {
            Who::Nobody
        } else if self.admins.contains(&user) {
            Who::Admin
        } else {
            Who::User(SessionFacts {
                pid,
                program: program.to_owned(),
                user,
                client,
                what,
            })
        }
    }

    /// Whether a process has a file of this store open; `None` where the system does not tell.
    pub(super) fn is_of_this_store(&self, pid: u32) -> Option<bool> {
        crate::served::has_open(&Process::of(&self.system, pid), &self.roots)
    }
}

/// Client, user, and the mailbox and command.
fn parse(text: &str) -> (String, String, String) {
    let line = text.lines().next().unwrap_or_default();
    let mut fields: Vec<&str> = line.split('\t').collect();
    // "host [address]" or "[address]" is the client's. A service's name has neither.
    let is_client = |field: &str| field.contains('[') || field.contains(' ');
    let first = fields.first().copied().unwrap_or_default();
    let later = !is_client(first)
        && fields
            .get(1)
            .is_some_and(|f| is_client(f) || fields.len() > 3);
    if later {
        fields.remove(0);
    }
    let field = |at: usize| fields.get(at).copied().unwrap_or_default().to_owned();
    let rest = fields.get(2..).unwrap_or_default();
    let rest: Vec<&str> = rest.iter().copied().filter(|f| !f.is_empty()).collect();
    (field(0), field(1), rest.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proc_file_of_any_version_tells_client_user_and_what_is_done() {
        let is = |text: &str, client: &str, user: &str, what: &str| {
            let expected = (client.to_owned(), user.to_owned(), what.to_owned());
            assert_eq!(parse(text), expected, "{text:?}");
        };
        let host = "localhost [127.0.0.1]";
        is(
            "imap\tlocalhost [127.0.0.1]\tjoe\tuser.joe\tIdle\n",
            host,
            "joe",
            "user.joe Idle",
        );
        is("imap\tlocalhost [127.0.0.1]\t\t\t\n", host, "", "");
        is(
            "imap\t[unix socket]\tjoe\t\tNoop\n",
            "[unix socket]",
            "joe",
            "Noop",
        );
        is(
            "localhost [127.0.0.1]\tjoe\tuser.joe\n",
            host,
            "joe",
            "user.joe",
        );
        is("[10.0.0.1]\tjoe\n", "[10.0.0.1]", "joe", "");
        is("[10.0.0.1]\n", "[10.0.0.1]", "", "");
        is("", "", "", "");
    }
}

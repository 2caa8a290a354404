//! SIGHUP: what may change while slotd serves is read anew, and nothing that is under way ends.
//!
//! Certificates, keys, authorities and lists of `serve` by TLS; of the configuration the limits of
//! connections, the users of `--allow-user`, and how much is logged. What else was changed there is
//! named, and counts from the next start on. The certificates are taken whole or not at all, and so
//! is the configuration: what cannot be used leaves all as it was, and the log says why. Nothing is
//! written, so a crash leaves nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{ArgMatches, Command};
use indexfile::config::{Start, StartError};
use tokio::signal::unix::Signal;

use super::args::{Args, Serve, Verb};
use super::log::Verbosity;
use super::{Failure, options, trust};
use crate::host::Host;
use crate::server::Users;
use crate::tls;

/// Options that count at once.
const AT_ONCE: [&str; 6] = [
    "max-connections",
    "max-connections-peer",
    "max-transactions-peer",
    "allow-user",
    "verbose",
    "quiet",
];

/// Each option of `serve` that is given or has a default, with its values as they stand there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given(BTreeMap<String, Vec<OsString>>);

impl Given {
    /// What a command line asks for, with what file and environment give.
    pub(super) fn of(command: &Command, matches: &ArgMatches) -> Given {
        let mut given = BTreeMap::new();
        let mut level = Some((command, matches));
        while let Some((command, matches)) = level {
            for arg in command.get_arguments() {
                let values = matches.try_get_raw(arg.get_id().as_str());
                if let (Some(long), Ok(Some(values))) = (arg.get_long(), values) {
                    let values = values.map(OsString::from).collect();
                    given.insert(long.to_owned(), values);
                }
            }
            level = matches
                .subcommand()
                .and_then(|(name, below)| Some((command.find_subcommand(name)?, below)));
        }
        Given(given)
    }

    /// The options that differ, but for those that count at once.
    fn pending(&self, new: &Given) -> Vec<String> {
        let mut names: Vec<&String> = self.0.keys().chain(new.0.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let differs = |name: &&String| self.0.get(*name) != new.0.get(*name);
        let later = |name: &&String| !AT_ONCE.contains(&name.as_str());
        let names = names.into_iter().filter(differs).filter(later);
        names.map(|name| format!("--{name}")).collect()
    }
}

/// How the options are had once more.
pub(super) struct Again {
    /// Reads them.
    pub(super) read: Box<dyn Fn() -> Result<Start<Args>, StartError> + Send + Sync>,
    /// What they were at the start.
    pub(super) given: Given,
    pub(super) level: Verbosity,
}

/// What is to be changed at a SIGHUP.
pub(super) struct Reload {
    pub(super) again: Again,
    /// No more connections than this can be served without a new start.
    pub(super) most: usize,
    pub(super) users: Users,
    pub(super) tls: Option<Arc<tls::Server>>,
    pub(super) host: Arc<Host>,
}

impl Reload {
    /// Reads anew at each signal; the first is not before this is called.
    pub(super) async fn at_each(self: Arc<Self>, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            let this = Arc::clone(&self);
            // Files and names of users, which may be slow to come.
            let read = move || {
                // A list of revoked certificates counts, whatever the configuration says.
                this.certificates();
                this.configuration();
            };
            if let Err(error) = tokio::task::spawn_blocking(read).await {
                tracing::error!("SIGHUP: what counted before counts on: {error}");
            }
        }
    }

    fn certificates(&self) {
        let Some(tls) = &self.tls else {
            return;
        };
        match tls.reload() {
            Ok(()) => {
                let (own, now) = (tls.certificate(), SystemTime::now());
                if own.is_outside(now) {
                    tracing::error!(
                        "certificates were read anew, and the own one is not valid now: clients \
                         refuse it"
                    );
                }
                let days = own.days_left(now);
                eprintln!("slotd: certificates were read anew; the own one lasts {days} days");
            }
            Err(error) => tracing::error!("{error}; what counted before counts on"),
        }
    }

    fn configuration(&self) {
        let start = match (self.again.read)() {
            Ok(start) => start,
            Err(error) => return refused(&error.to_string()),
        };
        let Verb::Serve(serve) = &start.args.verb else {
            return;
        };
        if let Err(failure) = self.take(serve) {
            return refused(&failure.text);
        }
        self.again.level.change(&start.args);
        let limits = self.host.limits();
        eprintln!(
            "slotd: the configuration was read anew: {} connections, {} of one user or address, \
             which may have {} mailboxes locked",
            limits.connections, limits.connections_peer, limits.transactions_peer
        );
        let new = Given::of(&super::command(), &start.matches);
        let pending = self.again.given.pending(&new);
        if !pending.is_empty() {
            tracing::warn!(
                "changed in the configuration, and counts from the next start of slotd on: {}",
                pending.join(", ")
            );
        }
    }

    /// Changes all that counts at once, or nothing.
    fn take(&self, args: &Serve) -> Result<(), Failure> {
        let options = options::of(args)?;
        let users = trust::users(args)?;
        let mut places = options::places(&options)?;
        if places > self.most {
            tracing::warn!(
                "--max-connections {places}: more than {} need a new start of slotd",
                self.most
            );
            places = self.most;
        }
        self.host.offer_shares(places, options.shares());
        self.users.replace(&users);
        Ok(())
    }
}

fn refused(why: &str) {
    // The parser's errors have several lines, and a hint at --help.
    let why = why.lines().next().unwrap_or_default();
    let why = why.strip_prefix("error: ").unwrap_or(why);
    tracing::error!("the configuration cannot be used, and what counted before counts on: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Given {
        let own = ["slotd", "serve", "--imapd-conf", "/c", "--state", "/s"];
        let words = own.iter().chain(words).map(OsString::from).collect();
        let command = super::super::command();
        let start = Start::<Args>::of(command.clone(), words).unwrap();
        Given::of(&command, &start.matches)
    }

    #[test]
    fn what_cannot_change_while_it_serves_is_named_and_nothing_else() {
        let began = given(&["--listen", "unix:/a", "--max-lock", "5"]);
        let same = given(&["--max-lock=5", "--listen=unix:/a"]);
        assert_eq!(began.pending(&same), <[&str; 0]>::default());
        // All that counts at once.
        let at_once = given(&[
            "--listen=unix:/a",
            "--max-connections=9",
            "--max-connections-peer=8",
            "--max-transactions-peer=7",
            "--allow-user=joe",
            "-vv",
        ]);
        assert_eq!(began.pending(&at_once), <[&str; 0]>::default());
        let other = given(&[
            "--listen=unix:/b",
            "--max-lock=6",
            "--insecure-tcp",
            "--log-to=syslog",
        ]);
        let pending = began.pending(&other);
        let wanted = ["--insecure-tcp", "--listen", "--log-to", "--max-lock"];
        assert_eq!(pending, wanted);
        // Nor is it forgotten what was there and is there no more.
        assert_eq!(other.pending(&began), wanted);
    }
}

//! The messages of all hosts hashed ahead of a run, each host by its own slotd, and watched from
//! one place.
//!
//! # What it promises
//!
//! * Every host begins before any is waited for; one that is at work already goes on.
//! * No mailbox is locked, and nothing is changed but `cyrus.sha1s`.
//! * A host that does not answer is asked again for a while; the others go on.
//! * When it is stopped, it ends the pass of each host and waits for what that comes to. Should it
//!   just go away, the hosts go on by themselves.
//!
//! # What a crash leaves
//!
//! Passes that go on. The same command again watches them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use indicatif::{BinaryBytes, HumanCount};
use parking_lot::Mutex;
use serde::Serialize;
use slotd::protocol::{Command, PassLimits, PassProgress, PassState, Precompute, Reply};
use tokio::time::Instant;

use crate::error::RunError;
use crate::hosts::{Connect, Link, backoff, check_hosts};
use crate::stop::{Stop, StopSignal};
use crate::two_phase::Side;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(1);
/// First and longest pause before a host that did not answer is asked again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// What a host has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HostPass {
    /// `running`, `stopping`, `done`, `stopped`, `failed`; `idle` before it was asked.
    pub state: String,
    /// Mailboxes that were begun.
    pub mailboxes: u64,
    /// Messages that were finished.
    pub messages: u64,
    /// Messages that were hashed; known at the end.
    pub hashed: u64,
    /// Messages of which a SHA-1 was known; known at the end.
    pub cached: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Mailboxes and messages that could not be hashed.
    pub errors: u64,
    /// The first of them.
    pub first: Vec<String>,
    /// How long it worked.
    pub seconds: f64,
    /// It was at work when it was asked to begin, and kept its own limits.
    pub already: bool,
    /// Why nothing more is known of it, if so.
    pub failed: Option<String>,
    #[serde(skip)]
    exit: Option<Exit>,
}

/// What the hosts of a pair have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PairPass {
    /// Master and replica.
    pub hosts: BTreeMap<&'static str, HostPass>,
}

/// Where everybody who wants to know can look how far it is.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Mutex<PairPass>>);

impl Watched {
    /// How far it is now.
    #[must_use]
    pub fn now(&self) -> PairPass {
        self.0.lock().clone()
    }

    fn note(&self, side: Side, host: HostPass) {
        self.0.lock().hosts.insert(side.as_str(), host);
    }
}

/// What is asked of each host.
#[derive(Clone, Copy, Debug)]
pub struct Hashing {
    /// How much of the host it may take; `None` ends what is at work.
    pub start: Option<PassLimits>,
    /// How long a host may not answer.
    pub host_wait: Duration,
}

impl Hashing {
    /// Has the hosts of a pair do it, and waits for both.
    ///
    /// # Errors
    /// A host does not answer at the start, or both are the same one.
    pub async fn run(
        self,
        connect: &Arc<dyn Connect>,
        watched: &Watched,
        stop: &StopSignal,
    ) -> Result<PairPass, RunError> {
        check_hosts(connect).await?;
        let of = |side| async move {
            if connect.address(side).is_some() {
                watched.note(side, self.host(side, connect, watched, stop.clone()).await);
            }
        };
        tokio::join!(of(Side::Master), of(Side::Replica));
        Ok(watched.now())
    }

    /// One host, to the end of its pass.
    async fn host(
        self,
        side: Side,
        connect: &Arc<dyn Connect>,
        watched: &Watched,
        mut stop: StopSignal,
    ) -> HostPass {
        let mut link = Link::new(side, connect);
        let mut host = HostPass {
            state: PassState::Idle.to_string(),
            ..HostPass::default()
        };
        let mut what = self.start.map_or(Precompute::Stop, Precompute::Start);
        let (mut began, mut heard, mut silent) = (None, Instant::now(), 0);
        loop {
            let pause = match ask(&mut link, what).await {
                Ok(progress) => {
                    (heard, silent) = (Instant::now(), 0);
                    if matches!(what, Precompute::Start(_)) {
                        began = Some(progress.began);
                        host.already = progress.already;
                    }
                    // What another one began since is not what was waited for.
                    let replaced = began.is_some_and(|began| began != progress.began);
                    host.take(&progress);
                    if replaced {
                        let text = "its slotd was started anew meanwhile: the pass has ended, and \
                                    the same command goes on";
                        return host.fails(text, Exit::RolledBack);
                    }
                    watched.note(side, host.clone());
                    if !progress.state.is_at_work() {
                        return host;
                    }
                    what = Precompute::Ask;
                    EVERY
                }
                Err((text, Some(exit))) => return host.fails(&text, exit),
                Err((text, None)) => {
                    let given_up = heard.elapsed() >= self.host_wait;
                    if given_up || (began.is_none() && stop.level() != Stop::No) {
                        return host.fails(&text, Exit::Unavailable);
                    }
                    host.failed = Some(text);
                    watched.note(side, host.clone());
                    silent += 1;
                    backoff(PAUSES[0], silent, PAUSES[1])
                }
            };
            let wanted = stop.level() == Stop::No;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.reached(Stop::Finish), if wanted => {}
            }
            if wanted && stop.level() != Stop::No {
                what = Precompute::Stop;
            }
        }
    }
}

/// An answer; or why there is none, with the exit code if asking again would not help.
async fn ask(link: &mut Link, what: Precompute) -> Result<PassProgress, (String, Option<Exit>)> {
    match link.call_again(&Command::Precompute(what)).await {
        Ok(Reply::Ok(fields)) => PassProgress::from_fields(&fields)
            .map_err(|error| (error.to_string(), Some(Exit::Config))),
        Ok(Reply::No { code, text }) => {
            let exit = match code {
                slotd::protocol::Code::Draining | slotd::protocol::Code::Full => None,
                slotd::protocol::Code::Denied => Some(Exit::Denied),
                slotd::protocol::Code::Io => Some(Exit::Io),
                _ => Some(Exit::Config),
            };
            Err((text, exit))
        }
        Ok(Reply::Bad(_)) => {
            let text = "its slotd does not know PRECOMPUTE: use one release everywhere, or run \
                        `precompute run` there";
            Err((text.to_owned(), Some(Exit::Config)))
        }
        Err(error) => Err((error.to_string(), None)),
    }
}

impl HostPass {
    fn take(&mut self, progress: &PassProgress) {
        let PassProgress {
            state,
            mailboxes,
            messages,
            bytes,
            hashed,
            cached,
            errors,
            first,
            took_ms,
            why,
            ..
        } = progress.clone();
        *self = Self {
            state: state.to_string(),
            mailboxes,
            messages,
            hashed,
            cached,
            bytes,
            errors,
            first,
            seconds: Duration::from_millis(took_ms).as_secs_f64(),
            already: self.already,
            exit: (state == PassState::Failed).then_some(Exit::Io),
            failed: why,
        };
    }

    fn fails(mut self, text: &str, exit: Exit) -> Self {
        self.failed = Some(text.to_owned());
        self.exit = Some(exit);
        self
    }

    /// In a few words.
    #[must_use]
    pub fn words(&self) -> String {
        let rate = if self.seconds > 0.0 {
            Duration::from_secs_f64(self.seconds).as_millis().max(1)
        } else {
            1
        };
        let rate = u128::from(self.bytes) * 1000 / rate;
        let mut text = format!(
            "{}: {} mailboxes, {} messages, {} read ({}/s)",
            self.state,
            HumanCount(self.mailboxes),
            HumanCount(self.messages),
            BinaryBytes(self.bytes),
            BinaryBytes(u64::try_from(rate).unwrap_or(u64::MAX)),
        );
        // Writing to a String cannot fail.
        if self.errors > 0 {
            let _ = write!(text, ", {} ERRORS", HumanCount(self.errors));
        }
        if let Some(failed) = &self.failed {
            let _ = write!(text, "; {failed}");
        }
        text
    }

    fn exit(&self) -> Exit {
        match self.exit {
            Some(exit) => exit,
            None if self.errors > 0 => Exit::Data,
            None if self.state == "stopped" => Exit::RolledBack,
            None => Exit::Ok,
        }
    }
}

impl PairPass {
    /// The exit code of the contract: the worst of both hosts.
    #[must_use]
    pub fn exit(&self) -> Exit {
        crate::fleet::worst(self.hosts.values().map(HostPass::exit))
    }

    /// The same for who has asked to end it: that it was ended is what was wanted.
    #[must_use]
    pub fn exit_of_stop(&self) -> Exit {
        match self.exit() {
            Exit::RolledBack => Exit::Ok,
            exit => exit,
        }
    }
}

/// For a person.
impl fmt::Display for PairPass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, host) in &self.hosts {
            writeln!(out, "{side}: {}", host.words())?;
            if host.already {
                writeln!(
                    out,
                    "  it was at work already, with the limits it began with"
                )?;
            }
            if !PassState::is_at_work(host.state.parse().unwrap_or_default()) {
                writeln!(
                    out,
                    "  {} hashed, {} known before; {:.1} s",
                    HumanCount(host.hashed),
                    HumanCount(host.cached),
                    host.seconds
                )?;
            }
            for one in &host.first {
                writeln!(out, "  {one}")?;
            }
            let more = host.errors.saturating_sub(host.first.len() as u64);
            if more > 0 {
                writeln!(out, "  and {more} more; `precompute run` there names each")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_could_not_do_is_named_and_ends_in_its_own_code() {
        let host = |state: PassState, errors, why: Option<&str>| {
            let mut host = HostPass::default();
            host.take(&PassProgress {
                state,
                errors,
                first: vec!["user.a: no index".to_owned(); usize::from(errors > 0)],
                why: why.map(str::to_owned),
                ..PassProgress::default()
            });
            host
        };
        for (master, exit, said) in [
            (host(PassState::Done, 0, None), Exit::Ok, "done"),
            (host(PassState::Done, 3, None), Exit::Data, "and 2 more"),
            (
                host(PassState::Stopped, 0, None),
                Exit::RolledBack,
                "stopped",
            ),
            (
                host(PassState::Failed, 0, Some("no threads")),
                Exit::Io,
                "no threads",
            ),
            (
                HostPass::default().fails("connection refused", Exit::Unavailable),
                Exit::Unavailable,
                "connection refused",
            ),
        ] {
            let replica = host(PassState::Done, 0, None);
            let pair = PairPass {
                hosts: [("master", master), ("replica", replica)].into(),
            };
            assert_eq!(pair.exit(), exit, "{pair}");
            assert!(pair.to_string().contains(said), "{pair}");
        }
    }
}

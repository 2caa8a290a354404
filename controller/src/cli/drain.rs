//! `drain` and `undrain`: one host of a pair out of service for its users, and back.

use std::time::Duration;

use clap::{Args, ValueEnum};
use indexfile::exit::Exit;
use serde_json::{Value, json};

use super::args::UnusedState;
use super::pairs::Hosts;
use super::session::with_runtime;
use super::{Fail, signals, text};
use crate::drain::{self, Ended, Host, Job, Line, Wanted, look, sentence};
use crate::error::RunError;
use crate::two_phase::Side;

/// What users read where the operator does not say.
const DOWN: &str = "The server is down for maintenance, please try again later";

#[derive(Debug, Args)]
pub(super) struct Which {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    _state: UnusedState,
    /// The pair of the fleet file.
    #[arg(value_name = "PAIR")]
    pair: Option<String>,
    /// Which host of the pair.
    #[arg(long, value_name = "master|replica", value_enum)]
    side: Option<SideArg>,
    /// Do not compare both hosts: for stores that slotd cannot list, of Cyrus 2.4 and later.
    #[arg(long)]
    no_compare: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    which: Which,
    /// Tell users at each login what will be, by msg/motd.
    #[arg(long, value_name = "TEXT")]
    announce: Option<String>,
    /// Nothing but the announcement; drain the host later.
    #[arg(long, requires = "announce")]
    only_announce: bool,
    /// What users read when they are kept out, by msg/shutdown.
    #[arg(long, value_name = "TEXT", default_value = DOWN)]
    text: String,
    /// The longest of each wait: for sessions, for replication.
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = time)]
    wait: Duration,
    /// End the sessions that are left then, by SIGTERM.
    #[arg(long)]
    kick: bool,
    /// Hosts of other pairs that do not answer are not drained.
    #[arg(long)]
    despite_away: bool,
}

#[derive(Debug, Args)]
pub(super) struct UndrainArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SideArg {
    Master,
    Replica,
}

impl From<SideArg> for Side {
    fn from(side: SideArg) -> Self {
        match side {
            SideArg::Master => Self::Master,
            SideArg::Replica => Self::Replica,
        }
    }
}

/// `90s`, `1m 30s`, `2h`, or a number of seconds.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u32>().ok().map(u64::from);
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let parsed = parsed.and_then(|time| Duration::try_from(time).ok());
    let time = seconds.map(Duration::from_secs).or(parsed);
    let day = Duration::from_secs(86_400);
    time.filter(|time| *time <= day)
        .ok_or_else(|| "a time up to a day is expected, as 90s or 5m".to_owned())
}

pub(super) fn drain(args: &DrainArgs) -> Result<Exit, Fail> {
    let which = &args.which;
    let Some(side) = which.side else {
        return tell_all(which);
    };
    let mut job = which.job(side.into())?;
    job.announce.clone_from(&args.announce);
    job.shutdown.clone_from(&args.text);
    job.wanted.only_announce = args.only_announce;
    job.wanted.kick = args.kick;
    job.wanted.despite_away = args.despite_away;
    job.wanted.wait_ms = u64::try_from(args.wait.as_millis()).unwrap_or(u64::MAX);
    let drained = if args.only_announce {
        "is announced as about to be drained"
    } else {
        "is drained: it can be stopped, or worked on"
    };
    which.run(job, drained, async |job, tell| {
        drain::drain(job, tell).await
    })
}

pub(super) fn undrain(args: &UndrainArgs) -> Result<Exit, Fail> {
    let which = &args.which;
    let Some(side) = which.side else {
        let text = "undrain is about one host: give --side master or --side replica";
        return Err(Fail::new(Exit::Usage, text));
    };
    let job = which.job(side.into())?;
    which.run(job, "", async |job, tell| drain::undrain(job, tell).await)
}

/// Without `--side`: which hosts are out of service.
fn tell_all(which: &Which) -> Result<Exit, Fail> {
    which.check_choice()?;
    let pairs = which.hosts.pairs()?;
    let hosts: Vec<Host> = pairs
        .iter()
        .filter(|pair| which.pair.as_ref().is_none_or(|name| *name == pair.name))
        .flat_map(|pair| Host::of_pair(&pair.name, &pair.connect()))
        .collect();
    if hosts.is_empty() {
        return Err(which.no_such_pair());
    }
    let seen = with_runtime(async move { Ok(look(&hosts).await) })?;
    let away = seen
        .iter()
        .any(|(_, seen)| matches!(seen, drain::Seen::Away(_)));
    if which.json {
        text::json(
            &seen
                .iter()
                .map(|(name, seen)| super::out_of_service::json(name, seen))
                .collect(),
        )?;
    } else {
        for (name, seen) in &seen {
            let line = sentence(name, seen).unwrap_or_else(|| format!("{name} is in service"));
            text::say(&line)?;
        }
    }
    Ok(if away { Exit::Unavailable } else { Exit::Ok })
}

impl Which {
    fn no_such_pair(&self) -> Fail {
        let name = self.pair.as_deref().unwrap_or_default();
        Fail::new(Exit::Config, format!("the fleet file has no pair {name:?}"))
    }

    /// Refuses a PAIR that is not among `--pairs`.
    fn check_choice(&self) -> Result<(), Fail> {
        match &self.pair {
            Some(pair) if self.hosts.leaves_out(pair) => {
                let text =
                    format!("--pairs leaves out the pair {pair:?}: give the one or the other");
                Err(Fail::new(Exit::Usage, text))
            }
            _ => Ok(()),
        }
    }

    /// What is to be done to which host. A host of any pair of the file may be out of service
    /// already, so that all of them are looked at, whatever `--pairs` says.
    fn job(&self, side: Side) -> Result<Job, Fail> {
        let of_fleet = self.hosts.are_of_a_fleet();
        let fail = |text: &str| Err(Fail::new(Exit::Usage, text));
        let name = match (&self.pair, of_fleet) {
            (Some(name), true) => name.as_str(),
            (None, false) => "",
            (Some(_), false) => return fail("a PAIR is one of a fleet file: give --fleet FILE"),
            (None, true) => return fail("which PAIR of the fleet file?"),
        };
        self.check_choice()?;
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for pair in &self.hosts.whole_fleet()? {
            let hosts = Host::of_pair(&pair.name, &pair.connect());
            if pair.name == name {
                own.extend(hosts);
            } else {
                others.extend(hosts);
            }
        }
        if own.is_empty() {
            return Err(self.no_such_pair());
        }
        let (mut host, mut partner) = (None, None);
        for one in own {
            let slot = if one.side == side {
                &mut host
            } else {
                &mut partner
            };
            *slot = Some(one);
        }
        let Some(host) = host else {
            let text = format!("there is no {side}: give --replica ADDR");
            return Err(Fail::new(Exit::Usage, text));
        };
        let pair = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        let undo = format!(
            "controller undrain{pair} --side {side} {}",
            self.hosts.spelled_whole()
        );
        Ok(Job {
            wanted: Wanted {
                side,
                host: host.name.clone(),
                only_announce: false,
                kick: false,
                compare: !self.no_compare,
                despite_away: false,
                wait_ms: 0,
                undo,
            },
            by: who(),
            announce: None,
            shutdown: DOWN.to_owned(),
            stop: crate::stop::stop_pair().1,
            host,
            partner,
            others,
        })
    }

    fn run(
        &self,
        mut job: Job,
        good: &str,
        work: impl AsyncFnOnce(&Job, &mut dyn FnMut(&Line)) -> Result<Ended, RunError>,
    ) -> Result<Exit, Fail> {
        let json = self.json;
        with_runtime(async move {
            job.stop = signals::stop();
            let mut steps = Vec::new();
            let mut tell = |line: &Line| {
                let undo = line.undo.as_ref();
                let more = undo.map_or_else(String::new, |undo| format!(" (undo: {undo})"));
                text::note(&format!("{}: {}{more}", line.step, line.text));
                steps.push(step(line));
            };
            let ended = work(&job, &mut tell).await?;
            if json {
                text::json(&json!({
                    "host": job.host.name,
                    "side": job.wanted.side.as_str(),
                    "done": ended.end.exit == Exit::Ok,
                    "why": ended.end.why,
                    "sessions": ended.left,
                    "steps": steps,
                }))?;
            }
            if let Some(why) = &ended.end.why {
                return Err(Fail::new(ended.end.exit, why.clone()));
            }
            if !json && !good.is_empty() {
                text::say(&format!("{} {good}", job.host.name))?;
            }
            Ok(ended.end.exit)
        })
    }
}

fn step(line: &Line) -> Value {
    json!({ "step": line.step.to_string(), "text": line.text, "undo": line.undo })
}

/// Who gives the command, for others who wonder.
fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid());
    let user = user
        .ok()
        .flatten()
        .map_or_else(|| "somebody".to_owned(), |user| user.name);
    let host = nix::unistd::gethostname().unwrap_or_default();
    let plain = |text: &str| {
        text.chars()
            .filter(char::is_ascii_graphic)
            .collect::<String>()
    };
    let behind = std::env::var("SUDO_USER")
        .ok()
        .filter(|name| !plain(name).is_empty());
    let behind = behind.map_or_else(String::new, |name| format!(" ({})", plain(&name)));
    let who = format!(
        "{}{behind} on {}",
        plain(&user),
        plain(&host.to_string_lossy())
    );
    who.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_written_as_people_write_times() {
        let is = |text: &str| time(text).ok().map(|time| time.as_secs());
        assert_eq!(is("90s"), Some(90));
        assert_eq!(is("90"), Some(90));
        assert_eq!(is("1m 30s"), Some(90));
        assert_eq!(is("0"), Some(0));
        for bad in ["", "-1s", "soon", "25h", "1 fortnight"] {
            assert_eq!(is(bad), None, "{bad}");
        }
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        which: Which,
    }

    #[test]
    fn hosts_of_all_pairs_are_looked_at_whatever_pairs_are_chosen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fleet.toml");
        let pair = |name: &str| {
            let addr = |side: &str| format!("\"unix:/run/{name}-{side}\"");
            format!(
                "[pairs.{name}]\nmaster = {}\nreplica = {}\n",
                addr("m"),
                addr("r")
            )
        };
        std::fs::write(&file, pair("p1") + &pair("p2")).unwrap();
        let which = |words: &[&str]| {
            let file = file.to_str().unwrap();
            let words = ["drain", "--fleet", file]
                .into_iter()
                .chain(words.iter().copied());
            <Line as clap::Parser>::try_parse_from(words).unwrap().which
        };
        for words in [&["p1"][..], &["p1", "--pairs", "p1"]] {
            let job = which(words).job(Side::Master).unwrap();
            let others: Vec<&str> = job.others.iter().map(|host| host.name.as_str()).collect();
            assert_eq!(
                others,
                ["the master of p2", "the replica of p2"],
                "{words:?}"
            );
            assert_eq!(job.host.name, "the master of p1");
        }
        let refused = which(&["p1", "--pairs", "p2"])
            .job(Side::Master)
            .err()
            .unwrap();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(
            refused.text.contains("leaves out the pair \"p1\""),
            "{}",
            refused.text
        );
        let unknown = which(&["p3"]).job(Side::Master).err().unwrap();
        assert_eq!(unknown.exit, Exit::Config);
    }

    #[test]
    fn who_gives_the_command_can_go_over_the_wire() {
        let who = who();
        assert!(
            who.contains(" on ") && who.bytes().all(|b| (b' '..=b'~').contains(&b)),
            "{who}"
        );
    }
}

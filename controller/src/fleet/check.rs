//! The look at every host of a fleet before anything is done on any: are lines crossed?
//!
//! A fleet file is written by hand, and names forty addresses. What an address leads to says itself
//! which store it is, what its server is called, and which mailboxes it has: that is compared with
//! the file, and each host with all others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indexfile::exit::Exit;
use serde::Serialize;

use super::side_by_side::{AT_ONCE, at_most};
use super::summary::worst;
use crate::error::RunError;
use crate::hosts::Connect;
use crate::stop::StopSignal;
use crate::survey::{HostLook, LeaveOut, Preflight, Source, Weight, list};

/// A pair to be looked at.
#[derive(Clone)]
pub struct Named {
    /// Its name in the fleet file.
    pub name: String,
    /// What its master's server is to be called.
    pub servername: String,
    /// Partitions of its master that are left out.
    pub leave_out: LeaveOut,
    /// How its hosts are reached.
    pub connect: Arc<dyn Connect>,
}

/// What was found at one pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PairLook {
    /// What its hosts say of themselves and of a sample of the mailboxes; `None` if one did not
    /// answer.
    #[serde(flatten)]
    pub found: Option<Preflight>,
    /// Mailboxes of the master.
    pub mailboxes: u64,
    /// Why that is not known.
    pub error: Option<String>,
    #[serde(skip)]
    exit: Option<Exit>,
}

/// What was found at all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FleetLook {
    /// Each pair.
    pub pairs: BTreeMap<String, PairLook>,
    /// What does not fit between pairs, or between a pair and the file: one sentence each. Nothing
    /// may be done while there is any.
    pub crossed: Vec<String>,
}

/// Looks at every host of these pairs, and at a sample of their mailboxes; some pairs at
/// once.
pub async fn check(pairs: &[Named], stop: &StopSignal) -> FleetLook {
    let look = async |pair: Named, stop: StopSignal| {
        let mut mailboxes = 0;
        let looked = async {
            pair.leave_out.check(&pair.connect).await?;
            let count = |_: &_| mailboxes += 1;
            list(&pair.connect, vec![Source::Master], &stop, count).await
        };
        let looked = looked.await;
        let look = match looked {
            Ok((_, found)) => PairLook {
                found: Some(found),
                mailboxes,
                ..PairLook::default()
            },
            Err(error) => failed(&error),
        };
        (pair.name, look)
    };
    let looks = pairs.iter().map(|pair| look(pair.clone(), stop.clone()));
    let looks = at_most(AT_ONCE, looks).await.into_iter().collect();
    FleetLook::judge(pairs, looks)
}

fn failed(error: &RunError) -> PairLook {
    PairLook {
        error: Some(error.to_string()),
        exit: Some(error.exit()),
        ..PairLook::default()
    }
}

impl FleetLook {
    /// Compares what the hosts say with the file, and with each other.
    fn judge(pairs: &[Named], looks: BTreeMap<String, PairLook>) -> Self {
        let mut crossed = Vec::new();
        let mut stores: Vec<(&HostLook, String)> = Vec::new();
        for pair in pairs {
            let Some(found) = looks.get(&pair.name).and_then(|look| look.found.as_ref()) else {
                continue;
            };
            for (side, host) in &found.hosts {
                let here = format!("the {side} of {}", pair.name);
                let by = stores.iter().rev().find_map(|(other, name)| {
                    let named = !host.host_id.is_empty() && host.host_id == other.host_id;
                    let id = named.then_some(host.host_id.as_str());
                    Some((name, id.or_else(|| host.roots.shared_with(&other.roots))?))
                });
                if let Some((other, by)) = by {
                    crossed.push(format!("{here} is the same store as {other} ({by})"));
                }
                stores.push((host, here));
            }
            let master = found.hosts.get("master");
            let called = master.and_then(|master| master.servername.as_deref());
            if let Some(called) = called.filter(|called| *called != pair.servername) {
                crossed.push(format!(
                    "the master of {} is called {called}, and the fleet file says {}",
                    pair.name, pair.servername
                ));
            }
        }
        Self {
            pairs: looks,
            crossed,
        }
    }

    /// The exit code of the contract: the worst that was found.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let of_pair = |look: &PairLook| {
            let found = look.found.as_ref().map(Preflight::exit);
            look.exit.or(found).unwrap_or(Exit::Ok)
        };
        let crossed = (!self.crossed.is_empty()).then_some(Exit::Config);
        worst(self.pairs.values().map(of_pair).chain(crossed))
    }
}

/// For a person.
impl fmt::Display for FleetLook {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, look) in &self.pairs {
            let Some(found) = &look.found else {
                let error = look.error.as_deref().unwrap_or_default();
                writeln!(out, "{name}: {error}")?;
                continue;
            };
            let hosts = found.hosts.iter().map(|(side, host)| {
                let serves = match host.served.as_str() {
                    "" => String::new(),
                    served => format!(", served by {served}"),
                };
                format!("{side} {} (release {}{serves})", host.host_id, host.version)
            });
            let hosts: Vec<String> = hosts.collect();
            writeln!(
                out,
                "{name}: {} mailboxes, {} looked at on both hosts; {}",
                look.mailboxes,
                found.sampled,
                hosts.join(", ")
            )?;
            for trouble in &found.troubles {
                let weight = match trouble.weight {
                    Weight::Warning => "warning",
                    Weight::Some => "some mailboxes",
                    Weight::All => "refused",
                };
                writeln!(out, "  {weight}: {}", trouble.text)?;
            }
        }
        for line in &self.crossed {
            writeln!(out, "CROSSED: {line}")?;
        }
        if self.crossed.is_empty() {
            writeln!(
                out,
                "no lines are crossed between {} pairs",
                self.pairs.len()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use slotd::client::{Addr, Timeouts};
    use slotd::protocol::StoreRoots;

    use super::*;
    use crate::hosts::Slotds;

    fn named(name: &str, servername: &str) -> Named {
        Named {
            name: name.to_owned(),
            servername: servername.to_owned(),
            leave_out: LeaveOut::default(),
            connect: Arc::new(Slotds {
                credentials: None,
                master: Addr::Unix("/nonexistent".into()),
                replica: None,
                timeouts: Timeouts::default(),
            }),
        }
    }

    fn look(ids: [&str; 2], called: Option<&str>) -> PairLook {
        let host = |id: &str| HostLook {
            host_id: id.to_owned(),
            servername: called.map(str::to_owned),
            ..HostLook::default()
        };
        PairLook {
            found: Some(Preflight {
                hosts: [("master", host(ids[0])), ("replica", host(ids[1]))].into(),
                ..Preflight::default()
            }),
            ..PairLook::default()
        }
    }

    #[test]
    fn a_store_that_two_lines_lead_to_is_crossed_and_both_lines_are_named() {
        let pairs = [named("a", "a.org"), named("b", "b.org")];
        let looks = |b: PairLook| {
            let looks = [("a", look(["1", "2"], Some("a.org"))), ("b", b)];
            looks.map(|(name, look)| (name.to_owned(), look)).into()
        };
        let good = FleetLook::judge(&pairs, looks(look(["3", "4"], Some("b.org"))));
        assert_eq!((good.crossed.len(), good.exit()), (0, Exit::Ok));
        let twice = FleetLook::judge(&pairs, looks(look(["3", "2"], Some("b.org"))));
        assert_eq!(
            twice.crossed,
            ["the replica of b is the same store as the replica of a (2)"]
        );
        assert_eq!(twice.exit(), Exit::Config);
        // Two slotds of different names that see one spool.
        let seen = StoreRoots {
            boot: "kernel".to_owned(),
            roots: vec!["1-2:/spool".parse().unwrap()],
        };
        let mut pair = look(["3", "4"], Some("b.org"));
        let mut other = look(["1", "2"], Some("a.org"));
        for (look, side) in [(&mut pair, "master"), (&mut other, "replica")] {
            let hosts = &mut look.found.as_mut().unwrap().hosts;
            hosts.get_mut(side).unwrap().roots = seen.clone();
        }
        let both = [("a", other), ("b", pair)].map(|(name, look)| (name.to_owned(), look));
        assert_eq!(
            FleetLook::judge(&pairs, both.into()).crossed,
            ["the master of b is the same store as the replica of a (/spool)"]
        );
        let called = FleetLook::judge(&pairs, looks(look(["3", "4"], Some("c.org"))));
        assert_eq!(
            called.crossed,
            ["the master of b is called c.org, and the fleet file says b.org"]
        );
        // A release that does not say so is not blamed for it.
        let silent = FleetLook::judge(&pairs, looks(look(["3", "4"], None)));
        assert_eq!(silent.exit(), Exit::Ok);
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_named_and_the_others_are_looked_at() {
        let stop = crate::stop::stop_pair().1;
        let look = check(&[named("a", "a"), named("b", "b")], &stop).await;
        assert_eq!(look.exit(), Exit::Unavailable);
        let text = look.to_string();
        assert!(
            text.contains("a: master: ") && text.contains("b: master: "),
            "{text}"
        );
    }
}

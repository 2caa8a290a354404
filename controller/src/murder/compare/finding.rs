//! What the facts about a name amount to.

use std::fmt;

use indexfile::mailbox::MailboxName;
use serde::Serialize;

use super::code::{Action, Code};
use super::facts::{Facts, Place, Said};
use crate::murder::location::Location;
use crate::murder::wire::shown;

/// What is so with a name on one server. A name has one for each server that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The mailbox; one that can be none is escaped.
    pub name: String,
    /// What is so.
    pub code: Code,
    /// What a run does.
    pub action: Action,
    /// The server that this is about, if the master or a backend names one.
    pub server: Option<String>,
    /// The partition on which slotd found it there.
    pub partition: Option<String>,
    /// What the master says, escaped.
    pub master: Option<String>,
    /// The partition in the backend's own list.
    pub own: Option<String>,
    /// Of a duplicate, all places: `server!partition`.
    pub places: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.name, self.code, self.code.meaning())?;
        if !self.places.is_empty() {
            write!(f, "; found at {}", self.places.join(" and "))?;
        } else if let (Some(server), Some(partition)) = (&self.server, &self.partition) {
            write!(f, "; found at {server}!{partition}")?;
        }
        if let Some(master) = &self.master {
            write!(f, "; the master says {master}")?;
        }
        if let Some(own) = &self.own {
            write!(f, "; the backend's own list says partition {own}")?;
        }
        Ok(())
    }
}

/// What is known of a server that the master names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// A backend whose slotd gave its list.
    Asked(usize),
    /// One that did not.
    NotAsked(usize),
    /// None of the backends, and to be left out.
    Skipped,
    /// None that is known.
    Unknown,
}

/// What a comparison knows of the backends.
pub(super) trait Directory {
    /// What that server is.
    fn server(&self, name: &str) -> Server;
    /// `servername` of the backend with that number.
    fn name(&self, backend: usize) -> &str;
}

/// What the facts amount to.
pub(super) fn findings(facts: &Facts, directory: &impl Directory, out: &mut Vec<Finding>) {
    let case = Case { facts, directory };
    let said = facts.said.as_ref();
    let Ok(name) = MailboxName::from_bytes(&facts.name) else {
        let finding = case.finding(Code::BadName, Action::Skip, None);
        out.push(finding);
        return;
    };
    debug_assert_eq!(name.as_str().as_bytes(), facts.name);
    if facts.found.len() > 1 {
        out.extend(facts.found.iter().map(|place| case.duplicate(place)));
    } else if said.is_some_and(|said| said.reserved) {
        out.push(case.reserved());
    } else if let [place] = facts.found.as_slice() {
        out.push(case.found(place));
    }
    // And of the server to which the master points, if it is not the one where it was found.
    if let Some(said) = said.filter(|said| !said.reserved) {
        out.extend(case.pointed(said));
    }
}

struct Case<'a, D> {
    facts: &'a Facts,
    directory: &'a D,
}

impl<D: Directory> Case<'_, D> {
    fn finding(&self, code: Code, action: Action, server: Option<&str>) -> Finding {
        let name = match std::str::from_utf8(&self.facts.name) {
            Ok(name) if code != Code::BadName => name.to_owned(),
            _ => shown(&self.facts.name),
        };
        let said = self.facts.said.as_ref();
        Finding {
            name,
            code,
            action,
            server: server.map(str::to_owned),
            partition: None,
            master: said.map(|said| shown(&said.location)),
            own: None,
            places: Vec::new(),
        }
    }

    /// Of the backend where it was found.
    fn at(&self, code: Code, action: Action, place: &Place) -> Finding {
        let server = self.directory.name(place.backend);
        Finding {
            partition: Some(place.partition.clone()),
            own: self.own(place.backend).map(str::to_owned),
            ..self.finding(code, action, Some(server))
        }
    }

    fn own(&self, backend: usize) -> Option<&str> {
        let mut own = self.facts.own.iter();
        let place = own.find(|place| place.backend == backend);
        place.map(|place| place.partition.as_str())
    }

    fn duplicate(&self, place: &Place) -> Finding {
        let named = |p: &Place| format!("{}!{}", self.directory.name(p.backend), p.partition);
        Finding {
            places: self.facts.found.iter().map(named).collect(),
            ..self.at(Code::Duplicate, Action::Refuse, place)
        }
    }

    fn reserved(&self) -> Finding {
        let location = self.facts.said.as_ref().and_then(location);
        let server = location.map(|location| location.server);
        self.finding(Code::Reserved, Action::Skip, server.as_deref())
    }

    /// The one place where it was found.
    fn found(&self, place: &Place) -> Finding {
        let same = |partition: &str| partition.eq_ignore_ascii_case(&place.partition);
        let own = self.own(place.backend);
        // The server opens it where its own list says, and there are no files.
        if own.is_some_and(|own| !same(own)) {
            return self.at(Code::PartitionDiffers, Action::Refuse, place);
        }
        let says = self.facts.said.as_ref().and_then(location);
        let here = |says: &Location| says.server == self.directory.name(place.backend);
        let Some(says) = says.clone().filter(here) else {
            // It may be there as well: without that server's list nobody knows.
            let known = says
                .is_none_or(|says| matches!(self.directory.server(&says.server), Server::Asked(_)));
            let action = if known {
                Action::Migrate
            } else {
                Action::Refuse
            };
            return self.at(Code::Unpushed, action, place);
        };
        match says.partition {
            Some(partition) if !same(&partition) => {
                // Only the backend's own list can say that it is the master who is wrong.
                let action = if own.is_some() {
                    Action::Migrate
                } else {
                    Action::Refuse
                };
                self.at(Code::PartitionDiffers, action, place)
            }
            _ => self.at(Code::Normal, Action::Migrate, place),
        }
    }

    /// The server to which the master points.
    fn pointed(&self, said: &Said) -> Option<Finding> {
        let Some(location) = location(said) else {
            return Some(self.finding(Code::NoServer, Action::Skip, None));
        };
        let server = Some(location.server.as_str());
        match self.directory.server(&location.server) {
            Server::Asked(backend) => {
                let mut found = self.facts.found.iter();
                if found.any(|place| place.backend == backend) {
                    return None;
                }
                Some(Finding {
                    own: self.own(backend).map(str::to_owned),
                    ..self.finding(Code::Stale, Action::Skip, server)
                })
            }
            Server::NotAsked(_) => Some(self.finding(Code::NotAsked, Action::Skip, server)),
            Server::Skipped => Some(self.finding(Code::UnknownServer, Action::Skip, server)),
            Server::Unknown => Some(self.finding(Code::UnknownServer, Action::Refuse, server)),
        }
    }
}

fn location(said: &Said) -> Option<Location> {
    Location::from_bytes(&said.location)
}

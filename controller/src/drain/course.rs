//! The order of the steps by which a host is drained, without clock, socket or file.
//!
//! An [`Event`] says what an [`Action`] came to, and the next action follows. What the host says of
//! itself counts, and not what was done before: so a course that begins again after a crash, of
//! controller or slotd, goes through the same steps, and finds done what is done.

use indexfile::exit::Exit;
use slotd::protocol::{HostDrain, HostState, Kicked, SessionFacts};

use super::compare::Comparison;
use super::look::{Seen, sentence};
use crate::two_phase::Side;

/// What the operator wants.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent switches of the command line
pub struct Wanted {
    /// Which host of the pair.
    pub side: Side,
    /// As a person knows it: `the master of be1`.
    pub host: String,
    /// Nothing but the announcement.
    pub only_announce: bool,
    /// End the sessions that are left.
    pub kick: bool,
    /// Compare both hosts.
    pub compare: bool,
    /// Go on though hosts of other pairs do not answer, and may be drained.
    pub despite_away: bool,
    /// The longest of each wait, milliseconds.
    pub wait_ms: u64,
    /// The command that undoes it.
    pub undo: String,
}

/// A step, as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// Every other host was asked.
    Look,
    /// The host has a record, and perhaps a message of the day.
    Announce,
    /// Users get in no more.
    Shut,
    /// Sessions were waited for.
    Sessions,
    /// Those left were ended.
    Kick,
    /// Replication was waited for.
    Replication,
    /// Both hosts were compared.
    Compare,
    /// Users get in again.
    Open,
}

/// What a step did, and its undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub step: Step,
    /// One sentence.
    pub text: String,
    /// How it is undone; `None` if there is nothing to undo.
    pub undo: Option<String>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the other host of the pair, and those of other pairs.
    Look,
    /// `DRAIN` without `shutdown=`.
    Begin,
    /// `DRAIN` with it.
    Shut,
    /// `HOST` of this host, after a pause if it is not the first time.
    Ask {
        /// Whether somebody is waited for.
        pause: bool,
    },
    /// `KICK`
    Kick,
    /// `HOST` of the master, whose log replication works off.
    AskLog {
        /// As above.
        pause: bool,
    },
    /// Compare both hosts.
    Compare,
    /// `UNDRAIN`: another host was first.
    TakeBack,
    /// It is over.
    End(End),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit code.
    pub exit: Exit,
    /// Why, if it is not what was asked for.
    pub why: Option<String>,
}

/// What an action came to.
#[derive(Clone, Debug)]
pub enum Event {
    /// The hosts were asked: the other one of the pair, if it has one, and those of other pairs.
    Looked {
        /// The other host of the pair.
        partner: Option<(String, Seen)>,
        /// The others.
        others: Vec<(String, Seen)>,
    },
    /// A host's word, this long after the first question of this step, milliseconds.
    Said(Box<HostDrain>, u64),
    /// What came of `KICK`.
    Kicked(Kicked),
    /// What the comparison found.
    Compared(Comparison),
    /// `UNDRAIN` is done.
    TakenBack,
    /// The action failed or was refused.
    Failed(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Look,
    Begin,
    LookAgain,
    Shut,
    Sessions { kicked: bool },
    Kick,
    Log { quiet_since: Option<u64> },
    Compare,
    TakeBack,
    Over,
}

/// Where it is.
#[derive(Clone, Debug)]
pub struct Course {
    wanted: Wanted,
    at: At,
    /// The host was open when it was looked at first.
    was_open: bool,
    /// Why it is taken back.
    conflict: Option<String>,
    /// Who was there last.
    left: Vec<String>,
}

impl Course {
    /// The beginning, and its first action. `now`: what the host says before anything is done.
    #[must_use]
    pub fn new(wanted: Wanted, now: HostState) -> (Self, Action) {
        let course = Self {
            wanted,
            at: At::Look,
            was_open: now == HostState::Open,
            conflict: None,
            left: Vec::new(),
        };
        (course, Action::Look)
    }

    /// Sessions that are left, in words.
    #[must_use]
    pub fn left(&self) -> &[String] {
        &self.left
    }

    /// What follows, with what is to be said of it.
    pub fn step(&mut self, event: Event) -> (Vec<Line>, Action) {
        match (self.at, event) {
            (_, Event::Failed(end)) => {
                // What is taken back has its own reason.
                let why = self.conflict.take().map(|why| match &end.why {
                    Some(more) => format!("{why}; and taking it back failed: {more}"),
                    None => why,
                });
                self.over(
                    Vec::new(),
                    End {
                        why: why.or(end.why),
                        ..end
                    },
                )
            }
            (At::Look | At::LookAgain, Event::Looked { partner, others }) => {
                self.looked(partner.as_ref(), &others)
            }
            (At::Begin, Event::Said(said, _)) => self.begun(&said),
            (At::Shut, Event::Said(said, _)) => self.shut(&said),
            (At::Sessions { kicked }, Event::Said(said, waited)) => {
                self.sessions(&said, waited, kicked)
            }
            (At::Kick, Event::Kicked(kicked)) => self.kicked(&kicked),
            (At::Log { quiet_since }, Event::Said(said, waited)) => {
                self.log(&said, waited, quiet_since)
            }
            (At::Compare, Event::Compared(found)) => self.compared(&found),
            (At::TakeBack, Event::TakenBack) => {
                let why = self.conflict.take();
                self.over(Vec::new(), failed(Exit::Config, why.unwrap_or_default()))
            }
            (at, event) => {
                let why = format!("{event:?} does not follow {at:?}");
                self.over(Vec::new(), failed(Exit::Unavailable, why))
            }
        }
    }

    fn line(&self, step: Step, text: String) -> Line {
        Line {
            step,
            text,
            undo: Some(self.wanted.undo.clone()),
        }
    }

    fn over(&mut self, lines: Vec<Line>, end: End) -> (Vec<Line>, Action) {
        self.at = At::Over;
        (lines, Action::End(end))
    }

    fn looked(
        &mut self,
        partner: Option<&(String, Seen)>,
        others: &[(String, Seen)],
    ) -> (Vec<Line>, Action) {
        let again = self.at == At::LookAgain;
        if let Some(end) = self.refusal(partner, others) {
            if again && self.was_open {
                self.at = At::TakeBack;
                self.conflict = end.why;
                return (Vec::new(), Action::TakeBack);
            }
            return self.over(Vec::new(), end);
        }
        if !again {
            self.at = At::Begin;
            let count = others.len() + usize::from(partner.is_some());
            let text = format!("the other hosts ({count}) are in service");
            let undo = None;
            let step = Step::Look;
            return (vec![Line { step, text, undo }], Action::Begin);
        }
        if self.wanted.only_announce {
            return self.over(Vec::new(), done());
        }
        self.at = At::Shut;
        (Vec::new(), Action::Shut)
    }

    /// Why this host cannot be drained now.
    fn refusal(&self, partner: Option<&(String, Seen)>, others: &[(String, Seen)]) -> Option<End> {
        let Some((name, seen)) = partner else {
            let text = format!(
                "{} has no other host beside it: its mail would have nowhere to go",
                self.wanted.host
            );
            return Some(failed(Exit::Config, text));
        };
        if let Some(why) = sentence(name, seen) {
            let exit = match seen {
                Seen::Away(_) => Exit::Unavailable,
                Seen::There { .. } => Exit::Config,
            };
            let text = format!("{why}: one host at a time, and the other one has to answer");
            return Some(failed(exit, text));
        }
        others.iter().find_map(|(name, seen)| {
            let why = sentence(name, seen)?;
            match seen {
                Seen::Away(_) if self.wanted.despite_away => None,
                Seen::Away(_) => Some(failed(
                    Exit::Unavailable,
                    format!("{why}, so it may be drained: --despite-away says that it is not"),
                )),
                Seen::There { .. } => {
                    Some(failed(Exit::Config, format!("{why}: one host at a time")))
                }
            }
        })
    }

    fn begun(&mut self, said: &HostDrain) -> (Vec<Line>, Action) {
        let mut text = match said.state {
            HostState::Announced if said.text.is_some() => {
                format!(
                    "{} has msg/motd, which users see at their login",
                    self.wanted.host
                )
            }
            HostState::Announced => {
                format!("{} is recorded as about to be drained", self.wanted.host)
            }
            HostState::Drained => format!("{} is drained already", self.wanted.host),
            state => {
                let why = format!("{} is {state} after DRAIN", self.wanted.host);
                return self.over(Vec::new(), failed(Exit::Data, why));
            }
        };
        if let (false, Some(by)) = (self.was_open, &said.by) {
            text += ", begun by ";
            text += by;
        }
        self.at = At::LookAgain;
        (vec![self.line(Step::Announce, text)], Action::Look)
    }

    fn shut(&mut self, said: &HostDrain) -> (Vec<Line>, Action) {
        if said.state != HostState::Drained {
            let why = format!("{} is {} after DRAIN", self.wanted.host, said.state);
            return self.over(Vec::new(), failed(Exit::Data, why));
        }
        let text = format!(
            "{} has msg/shutdown: logins of users end at once, sessions within a minute or with \
             their next command, LMTP answers 421",
            self.wanted.host
        );
        self.at = At::Sessions { kicked: false };
        (
            vec![self.line(Step::Shut, text)],
            Action::Ask { pause: false },
        )
    }

    fn sessions(&mut self, said: &HostDrain, waited: u64, kicked: bool) -> (Vec<Line>, Action) {
        if let Some(why) = &said.unseen {
            let why = format!("{}: {why}; it stays drained", self.wanted.host);
            return self.over(Vec::new(), failed(Exit::Io, why));
        }
        // An operator may have opened it meanwhile: then sessions come and go.
        if said.state != HostState::Drained {
            let why = format!(
                "{} is {}: it was opened meanwhile",
                self.wanted.host, said.state
            );
            return self.over(Vec::new(), failed(Exit::RolledBack, why));
        }
        self.left = said.sessions.iter().map(SessionFacts::words).collect();
        if said.users == 0 {
            let text = format!(
                "no user and no delivery is left; {} administrator(s), {} not logged in",
                said.admins, said.nobodies
            );
            self.at = At::Log { quiet_since: None };
            let line = self.line(Step::Sessions, text);
            return (vec![line], Action::AskLog { pause: false });
        }
        if waited < self.wanted.wait_ms {
            return (Vec::new(), Action::Ask { pause: true });
        }
        let mut text = format!(
            "{} session(s) are left: {}",
            said.users,
            self.left.join(", ")
        );
        if said.users as usize > self.left.len() {
            text += ", ...";
        }
        if self.wanted.kick && !kicked {
            self.at = At::Kick;
            return (vec![self.line(Step::Sessions, text)], Action::Kick);
        }
        if !kicked {
            text += "; --kick ends them";
        }
        text += "; the host stays drained";
        self.over(Vec::new(), failed(Exit::RolledBack, text))
    }

    fn kicked(&mut self, kicked: &Kicked) -> (Vec<Line>, Action) {
        let mut text = format!("{} session(s) were sent SIGTERM", kicked.kicked.len());
        for left in &kicked.left {
            text += "; not ended: ";
            text += left;
        }
        let line = Line {
            step: Step::Kick,
            text,
            undo: None,
        };
        self.at = At::Sessions { kicked: true };
        (vec![line], Action::Ask { pause: true })
    }

    fn log(
        &mut self,
        said: &HostDrain,
        waited: u64,
        quiet_since: Option<u64>,
    ) -> (Vec<Line>, Action) {
        if !said.sync_log {
            let text = "sync_log is off in the master's imapd.conf: nothing is logged for \
                        replication, the comparison alone tells";
            return self.replicated(text.to_owned());
        }
        if let Some(log) = &said.sync_left {
            self.at = At::Log { quiet_since: None };
            if waited < self.wanted.wait_ms {
                return (Vec::new(), Action::AskLog { pause: true });
            }
            let why = format!(
                "replication has not worked off {log} on the master: does sync_client run there? \
                 The host stays drained"
            );
            return self.over(Vec::new(), failed(Exit::RolledBack, why));
        }
        // A log that was just renamed, or just begun, may be missed once.
        let quiet = quiet_since.unwrap_or(waited);
        if waited - quiet < 2 * said.sync_repeat_ms {
            self.at = At::Log {
                quiet_since: Some(quiet),
            };
            return (Vec::new(), Action::AskLog { pause: true });
        }
        let mut text = "replication has nothing left to send".to_owned();
        if self.wanted.side == Side::Replica {
            text += "; stop sync_client on the master before the replica, its log waits";
            if let Some(file) = &said.sync_shutdown {
                text += " (touch ";
                text += file;
                text += ")";
            }
        }
        self.replicated(text)
    }

    fn replicated(&mut self, text: String) -> (Vec<Line>, Action) {
        let line = Line {
            step: Step::Replication,
            text,
            undo: None,
        };
        if self.wanted.compare {
            self.at = At::Compare;
            return (vec![line], Action::Compare);
        }
        self.over(vec![line], done())
    }

    fn compared(&mut self, found: &Comparison) -> (Vec<Line>, Action) {
        match found.fault(self.wanted.side == Side::Master) {
            None => {
                let line = Line {
                    step: Step::Compare,
                    text: found.to_string(),
                    undo: None,
                };
                self.over(vec![line], done())
            }
            Some(why) => {
                let why = format!("{why}; the host stays drained");
                self.over(Vec::new(), failed(Exit::Data, why))
            }
        }
    }
}

/// As asked for.
pub(super) fn done() -> End {
    End {
        exit: Exit::Ok,
        why: None,
    }
}

/// Not as asked for.
pub(super) fn failed(exit: Exit, why: String) -> End {
    End {
        exit,
        why: Some(why),
    }
}

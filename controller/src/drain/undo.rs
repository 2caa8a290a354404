//! The way back: a host goes into service again once its mounts are there and both hosts are
//! alike. Without clock, socket or file, as [`super::Course`].

use indexfile::exit::Exit;
use slotd::protocol::{HostDrain, HostState};

use super::compare::Comparison;
use super::course::{Action, End, Event, Line, Step, Wanted, done, failed};
use crate::two_phase::Side;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Ask,
    Compare,
    Open,
    Over,
}

/// Where it is.
#[derive(Clone, Debug)]
pub struct Undo {
    wanted: Wanted,
    at: At,
}

impl Undo {
    /// The beginning, and its first action.
    #[must_use]
    pub fn new(wanted: Wanted) -> (Self, Action) {
        let at = At::Ask;
        (Self { wanted, at }, Action::Ask { pause: false })
    }

    /// What follows, with what is to be said of it.
    pub fn step(&mut self, event: Event) -> (Vec<Line>, Action) {
        match (self.at, event) {
            (_, Event::Failed(end)) => self.over(end),
            (At::Ask, Event::Said(said, _)) => self.said(&said),
            (At::Compare, Event::Compared(found)) => self.compared(&found),
            (At::Open, Event::TakenBack) => {
                self.at = At::Over;
                let text = format!("{} is in service: users get in again", self.wanted.host);
                (vec![line(Step::Open, text)], Action::End(done()))
            }
            (at, event) => {
                let why = format!("{event:?} does not follow {at:?}");
                self.over(failed(Exit::Unavailable, why))
            }
        }
    }

    fn over(&mut self, end: End) -> (Vec<Line>, Action) {
        self.at = At::Over;
        (Vec::new(), Action::End(end))
    }

    fn said(&mut self, said: &HostDrain) -> (Vec<Line>, Action) {
        let host = &self.wanted.host;
        match said.state {
            HostState::Open => {
                let text = format!("{host} is in service, and was not drained");
                self.at = At::Over;
                return (vec![line(Step::Open, text)], Action::End(done()));
            }
            HostState::Shut | HostState::Unknown => {
                let whose = said.shutdown_of.as_deref().unwrap_or("somebody else");
                let why = format!(
                    "{host} has a msg/shutdown that slotd did not write: it is of {whose}; it is \
                     left as it is"
                );
                return self.over(failed(Exit::Config, why));
            }
            // Users were never kept out.
            HostState::Announced => {
                self.at = At::Open;
                return (Vec::new(), Action::TakeBack);
            }
            HostState::Drained => {}
        }
        if let Some(why) = said.roots_refused.first() {
            let why = format!("{host}: {why}; it stays drained");
            return self.over(failed(Exit::Unavailable, why));
        }
        if self.wanted.compare {
            self.at = At::Compare;
            return (Vec::new(), Action::Compare);
        }
        self.at = At::Open;
        (Vec::new(), Action::TakeBack)
    }

    fn compared(&mut self, found: &Comparison) -> (Vec<Line>, Action) {
        let strict = self.wanted.side == Side::Master;
        if let Some(why) = found.fault(strict).or_else(|| found.change_over()) {
            let why = format!("{why}; the host stays drained (--no-compare opens it all the same)");
            return self.over(failed(Exit::Data, why));
        }
        self.at = At::Open;
        (
            vec![line(Step::Compare, found.to_string())],
            Action::TakeBack,
        )
    }
}

fn line(step: Step, text: String) -> Line {
    let undo = None;
    Line { step, text, undo }
}

//! What `plan` expects of a run: how long it takes and how long it locks, as the last rehearsal or
//! run measured it. Where none did, that is said, with the command that would.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::pairs::Hosts;
use super::state::{How, StateFile};
use super::text::duration;
use crate::journal::{JournalError, JournalStore};
use crate::report::Measured;
use crate::survey::Plan;

/// What a run may come to.
#[derive(Debug, Serialize)]
pub(super) struct Expected {
    /// The run or rehearsal that it is taken from; `None`: nothing was measured.
    measured: Option<Measured>,
    /// Seconds, by mailboxes; `None`: not known.
    seconds: Option<u64>,
    /// Seconds, by messages; `None`: not known.
    seconds_by_messages: Option<u64>,
    /// Why nothing was measured.
    unknown: Option<String>,
    /// The command that measures it.
    #[serde(skip)]
    measure: String,
}

/// A plan with what is expected.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    #[serde(flatten)]
    pub(super) plan: Plan,
    expected: Expected,
}

/// Where measurements are looked for.
pub(super) struct Past {
    store: Result<Box<dyn JournalStore>, String>,
    /// Where, for a person.
    place: String,
    measure: String,
    rate: Option<u32>,
}

impl Past {
    /// Looks for the journal. That there is none is no error of a plan.
    pub(super) fn of(state: &StateFile, hosts: &Hosts, rate: Option<u32>) -> Self {
        let place = state.shown();
        Self {
            store: state.open(How::Read).map_err(|fail| fail.text),
            measure: format!(
                "controller rehearse {} --state {place} --canary 100",
                hosts.spelled()
            ),
            place,
            rate,
        }
    }

    /// Adds to the plan of a pair what is expected.
    pub(super) fn expect(&self, pair: &str, plan: Plan) -> Planned {
        let measured = match &self.store {
            Ok(store) => self.measured(store.as_ref(), pair, plan.to),
            Err(why) => Err(why.clone()),
        };
        let (mailboxes, messages) = plan.to_do();
        let (measured, unknown) = match measured {
            Ok(measured) => (Some(measured), None),
            Err(why) => (None, Some(why)),
        };
        let rate = self.rate.map(f64::from);
        let rate = rate.or(measured.as_ref().map(|m| m.mailboxes_per_second));
        // Who gives a rate does not ask what was measured.
        let by_messages = measured.as_ref().filter(|_| self.rate.is_none());
        let by_messages = by_messages.map(|m| m.messages_per_second);
        let expected = Expected {
            seconds: rate.and_then(|rate| seconds(mailboxes, rate)),
            seconds_by_messages: messages
                .zip(by_messages)
                .and_then(|(messages, rate)| seconds(messages, rate)),
            measured,
            unknown,
            measure: self.measure.clone(),
        };
        Planned { plan, expected }
    }

    fn measured(&self, store: &dyn JournalStore, pair: &str, to: u32) -> Result<Measured, String> {
        let said = |error: JournalError| error.to_string();
        let journal = store.pair(pair).map_err(said)?;
        let last = Measured::last(journal.as_ref(), to).map_err(said)?;
        let none = || format!("{} has no rehearsal or run to version {to}", self.place);
        last.ok_or_else(none)
    }
}

/// How long so much takes at a rate.
#[allow(clippy::cast_precision_loss)] // an estimate
fn seconds(count: u64, rate: f64) -> Option<u64> {
    let time = Duration::try_from_secs_f64(count as f64 / rate).ok()?;
    Some(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

impl fmt::Display for Planned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(out)?;
        self.expected.fmt(out)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |seconds| duration(Duration::from_secs(seconds));
        if let Some(seconds) = self.seconds {
            write!(out, "expected time: {}", time(seconds))?;
            if let Some(seconds) = self.seconds_by_messages {
                write!(out, " by mailboxes, {} by messages", time(seconds))?;
            }
            writeln!(out, ", without waiting for limits or locks")?;
        }
        if let Some(measured) = &self.measured {
            let lock = measured.lock_ms;
            return writeln!(
                out,
                "expected locks: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms\n  \
                 as run {} ({}) measured at {} mailboxes: {:.1} of them and {:.0} messages a \
                 second",
                lock.p50,
                lock.p99,
                lock.max,
                measured.run,
                measured.command,
                measured.mailboxes,
                measured.mailboxes_per_second,
                measured.messages_per_second
            );
        }
        let what = match self.seconds {
            Some(_) => "expected locks",
            None => "expected time and locks",
        };
        let why = self.unknown.as_deref().unwrap_or_default();
        writeln!(
            out,
            "{what}: not known ({why}); this measures them, and changes nothing:\n  {}",
            self.measure
        )
    }
}

//! What a command found on each of its pairs: printed pair by pair, and one exit code for all.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use indexfile::exit::Exit;
use serde::Serialize;
use serde_json::Value;

use super::args::Mailboxes;
use super::of_murder::OfMurder;
use super::pairs::{Hosts, Pair};
use super::session::with_runtime;
use super::targets::Targets;
use super::{Fail, signals, text};
use crate::error::RunError;
use crate::fleet::{AT_ONCE, in_order, worst};
use crate::observer::Observer;
use crate::stop::StopSignal;

/// Sentences for a person about a pair; not with `--quiet`.
pub(super) struct Notes<'a> {
    pub(super) pair: &'a Pair,
    pub(super) quiet: bool,
}

impl<'a> Notes<'a> {
    /// For a command that has no `--quiet`.
    pub(super) fn of(pair: &'a Pair) -> Self {
        Self { pair, quiet: false }
    }
}

impl Observer for Notes<'_> {
    fn say(&self, text: &str) {
        if !self.quiet {
            text::note(&self.pair.line(text));
        }
    }
}

/// What was found so far.
pub(super) struct Each {
    json: bool,
    values: BTreeMap<String, Value>,
    murder: Option<Value>,
    exits: Vec<Exit>,
}

impl Each {
    /// Nothing yet. `json`: what is found is printed at the end, as JSON.
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            values: BTreeMap::new(),
            murder: None,
            exits: Vec::new(),
        }
    }

    /// What came of a pair. Of a fleet's, an error is printed, and the others go on.
    ///
    /// # Errors
    /// The only pair's is the command's.
    pub(super) fn take<T>(
        &mut self,
        pair: &Pair,
        result: Result<T, impl Into<Fail>>,
    ) -> Result<Option<T>, Fail> {
        match result.map_err(Into::into) {
            Ok(found) => Ok(Some(found)),
            Err(fail) if pair.is_named() => {
                text::complain(&pair.line(&fail.text));
                self.values
                    .insert(pair.name.clone(), serde_json::json!({ "error": fail.text }));
                self.exits.push(fail.exit);
                Ok(None)
            }
            Err(fail) => Err(fail),
        }
    }

    /// Prints what was found on a pair.
    pub(super) fn say(
        &mut self,
        pair: &Pair,
        found: &(impl Serialize + Display),
        exit: Exit,
    ) -> Result<(), Fail> {
        self.exits.push(exit);
        if self.json {
            let value = serde_json::to_value(found).map_err(std::io::Error::from)?;
            self.values.insert(pair.name.clone(), value);
            return Ok(());
        }
        text::say(&pair.heading(found.to_string().trim_end()))
    }

    /// Prints what the comparison with a Murder's list came to.
    pub(super) fn say_murder(&mut self, murder: &OfMurder) -> Result<(), Fail> {
        let refusal = murder.check();
        if let Err(fail) = &refusal {
            text::complain(&fail.text);
            self.exits.push(fail.exit);
        }
        if murder.tell_refused() {
            self.exits.push(Exit::Data);
        }
        if !self.json {
            return text::say(&format!(
                "Murder:\n  {}",
                murder.compared.lines().join("\n  ")
            ));
        }
        let summary = serde_json::to_value(murder.compared.summary());
        let mut value = summary.map_err(std::io::Error::from)?;
        value["outstanding"] = serde_json::json!(murder.compared.all_outstanding());
        value["refusal"] = serde_json::json!(refusal.err().map(|fail| fail.text));
        self.murder = Some(value);
        Ok(())
    }

    /// The end: the worst exit code of all pairs.
    pub(super) fn end(mut self) -> Result<Exit, Fail> {
        if self.json {
            // The only pair's has no name.
            let mut value = match self.values.remove("") {
                Some(only) => only,
                None => serde_json::json!({ "pairs": self.values }),
            };
            if let Some(murder) = self.murder {
                value["murder"] = murder;
            }
            text::json(&value)?;
        }
        Ok(worst(self.exits))
    }
}

/// Finds something out about the mailboxes of each pair, some pairs at once, and prints it in the
/// order of their names. The exit code is the worst of them.
///
/// # Errors
/// What was asked for is not there, or, without a fleet, it could not be found out.
pub(super) fn on_each<T, W>(
    hosts: &Hosts,
    mailboxes: &Mailboxes,
    json: bool,
    exit: impl Fn(&T) -> Exit,
    find: impl Fn(Arc<Targets>, usize, StopSignal) -> W + Send,
) -> Result<Exit, Fail>
where
    T: Serialize + Display + Send + 'static,
    W: Future<Output = Result<T, RunError>> + Send + 'static,
{
    with_runtime(async move {
        let stop = signals::stop();
        let targets = Arc::new(Targets::of(hosts, mailboxes, false, &stop).await?);
        let mut each = Each::new(json);
        if let Some(murder) = &targets.murder {
            each.say_murder(murder)?;
        }
        let work = (0..targets.pairs.len()).map(|at| {
            let found = find(Arc::clone(&targets), at, stop.clone());
            async move { (at, found.await) }
        });
        let done = in_order(AT_ONCE, work, |(at, found)| {
            let pair = &targets.pairs[at];
            match each.take(pair, found)? {
                Some(found) => each.say(pair, &found, exit(&found)),
                None => Ok(()),
            }
        });
        done.await?;
        Ok(signals::exit(&stop, each.end()?))
    })
}

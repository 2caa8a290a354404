//! What a command found on each of its pairs: printed pair by pair, and one exit code for all.

use std::collections::BTreeMap;
use std::fmt::Display;

use indexfile::exit::Exit;
use serde::Serialize;
use serde_json::Value;

use super::of_murder::OfMurder;
use super::pairs::Pair;
use super::{Fail, text};
use crate::fleet::worst;
use crate::observer::Observer;

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

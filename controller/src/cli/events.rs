//! What is said on standard error as JSON, for programs (`--progress json`): one object a line,
//! with the time, and with what kind of event it is.
//!
//! | event | what |
//! |---|---|
//! | `progress` | what `status --json` has under `running`, once a second |
//! | `mailbox` | an attempt that is over, with `-v` |
//! | `note`, `warning`, `alarm`, `error` | a text for a person |
//!
//! A reader that does not know an event, or a key, leaves it out.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::program::spelled;
use serde_json::Value;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// For a person: a bar on a terminal, lines elsewhere.
    #[default]
    Text,
    /// For a program.
    Json,
}

/// Whether this process speaks JSON on standard error.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on it does, if that was asked for.
pub(super) fn choose(form: Form) {
    JSON.store(form == Form::Json, Ordering::Relaxed);
}

/// Whether it does.
pub(super) fn are_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Says something about the whole, or, with a name, about one pair.
pub(super) fn say(event: &str, pair: &str, text: &str) {
    let mut value = serde_json::json!({ "text": spelled(text) });
    if !pair.is_empty() {
        value["pair"] = pair.into();
    }
    write(event, value);
}

/// Writes an event with these keys. If nobody reads it, nothing can be done about it.
pub(super) fn write(event: &str, keys: Value) {
    let line = line(&jiff::Timestamp::now().to_string(), event, keys);
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn line(time: &str, event: &str, keys: Value) -> Value {
    let mut line = serde_json::json!({ "time": time, "event": event });
    if let (Value::Object(line), Value::Object(keys)) = (&mut line, keys) {
        line.extend(keys);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_time_its_kind_and_what_belongs_to_it() {
        let keys = serde_json::json!({ "pair": "be1", "text": "a\nb" });
        let line = line("2026-11-27T20:00:00Z", "alarm", keys).to_string();
        assert!(!line.contains('\n'), "{line}");
        let back: Value = serde_json::from_str(&line).unwrap();
        for (key, value) in [
            ("time", "2026-11-27T20:00:00Z"),
            ("event", "alarm"),
            ("pair", "be1"),
            ("text", "a\nb"),
        ] {
            assert_eq!(back[key], value);
        }
    }
}

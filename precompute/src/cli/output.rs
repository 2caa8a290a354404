//! Findings and summaries, for people on standard error, for programs on standard output.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Write as _};

use indexfile::exit::Exit;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;

use indexfile::finding::{Code, Finding, worst};

/// How many findings a JSON summary lists; all are counted and printed as they come.
const LISTED: usize = 1000;

/// Says on standard error why a command cannot go on.
pub fn complain(why: &dyn Display) {
    // There is no other place to report a failure of this.
    let _ = writeln!(io::stderr(), "precompute: {why}");
}

/// Prints a line of results; a reader that went away (`| head`) is no error.
pub fn line(text: &dyn Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// The exit code of having written to standard output.
pub fn written(result: io::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            Exit::Io
        }
    }
}

/// Collects findings and prints each as it comes.
#[derive(Debug, Default)]
pub struct Findings {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    codes: BTreeSet<Code>,
    count: u64,
    first: Vec<Finding>,
}

impl Findings {
    /// Takes one; gives back the line to print.
    pub fn add(&self, finding: Finding) -> String {
        let mut inner = self.inner.lock();
        inner.codes.insert(finding.code);
        inner.count += 1;
        let (mailbox, code) = (&finding.mailbox, finding.code);
        let sentence = finding.sentence();
        let text = if sentence.starts_with(mailbox.as_str()) {
            // What has no name is called by its path.
            format!("{sentence} [{code}]")
        } else {
            format!("{mailbox}: {sentence} [{code}]")
        };
        if inner.first.len() < LISTED {
            inner.first.push(finding);
        }
        text
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.inner.lock().count
    }

    /// Prints the summary of a command: as JSON, with the first findings in it, or as `text`.
    pub fn print(
        &self,
        as_json: bool,
        summary: &impl Serialize,
        text: impl FnOnce() -> Option<String>,
    ) -> Exit {
        if !as_json {
            return text().map_or(Exit::Ok, |text| written(line(&text)));
        }
        let inner = self.inner.lock();
        let one = |finding: &Finding| {
            json!({
                "mailbox": finding.mailbox,
                "code": finding.code,
                "path": finding.path.to_string_lossy(),
                "text": finding.sentence(),
            })
        };
        let mut value = json!(summary);
        value["errors"] = inner.count.into();
        value["findings"] = inner.first.iter().map(one).collect();
        written(line(&value))
    }

    /// The exit code of a command that printed its summary with the result `printed`. That it found
    /// no mailbox at all is an error.
    pub fn exit(&self, printed: Exit, mailboxes: u64, stopped: bool) -> Exit {
        match worst(self.inner.lock().codes.iter().copied()) {
            Exit::Ok if stopped => Exit::RolledBack,
            Exit::Ok => concluded(printed, mailboxes),
            exit => exit,
        }
    }
}

/// Says that there is nothing to do, which is an error.
pub fn nothing(why: &str) -> Exit {
    complain(&format!("nothing to do: {why}"));
    Exit::Data
}

/// The exit code of a command that came to its end with this one; that it found no mailbox at all
/// is an error.
pub fn concluded(exit: Exit, mailboxes: u64) -> Exit {
    match (exit, mailboxes) {
        (Exit::Ok, 0) => nothing(
            "there is no mailbox; are the configuration and the directory the right ones, and \
             everything mounted?",
        ),
        (exit, _) => exit,
    }
}

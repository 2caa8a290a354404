//! Programs of the operator's that are run when something happens: files of one directory, each
//! named by its event.
//!
//! # What it promises
//!
//! A hook is started without a shell and reads one JSON object on its standard input. It has a time
//! limit, after which all that it started is killed; at most [`AT_ONCE`] of those that nothing
//! waits for run at once, and at most [`QUEUE`] are kept. No mailbox waits for one: `before-run`
//! and `before-pair` are waited for while nothing is locked, the others by nobody but the end of
//! the run. What is wrong with one is said once for each event.
//!
//! # What a crash leaves
//!
//! Programs that run until they end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::executable::Executable;
use crate::words::words;

/// How many that nothing waits for run at once.
pub const AT_ONCE: usize = 4;
/// How many of them are kept until they can run.
pub const QUEUE: usize = 100;
/// The end of a run waits for those that are left for this many times the limit of one.
const AT_THE_END: u32 = 2;

words! {
    /// What happens.
    Event {
        /// Nothing was begun on any pair; the hook may refuse the run.
        BeforeRun = "before-run",
        /// Nothing was begun on this pair; the hook may refuse it.
        BeforePair = "before-pair",
        /// A mailbox failed, and is as before on both hosts.
        AfterMailboxFailed = "after-mailbox-failed",
        /// A mailbox is in doubt: a human must look.
        InDoubt = "in-doubt",
        /// An operator paused a pair.
        Paused = "paused",
        /// An operator let it go on.
        Resumed = "resumed",
        /// The work on a pair has ended.
        AfterPair = "after-pair",
        /// The work on all pairs has ended.
        AfterRun = "after-run",
    }
}

/// Why a directory of hooks cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct HookError {
    /// The directory, or the hook.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// Says something for a person.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// The hooks of a run.
pub struct Hooks {
    programs: BTreeMap<Event, Executable>,
    limit: Duration,
    tell: Tell,
    places: Arc<Semaphore>,
    under_way: Mutex<JoinSet<()>>,
    warned: Arc<Mutex<BTreeSet<Event>>>,
}

impl Hooks {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::with(BTreeMap::new(), Duration::ZERO, Arc::new(|_| ()))
    }

    /// Those of a directory, each with this time limit. What is said of one goes to `tell`.
    ///
    /// # Errors
    /// The directory cannot be read, others may write to it or to a hook, a hook cannot be
    /// executed, or a file has the name of no event: then it would never run.
    pub fn of_directory(path: &Path, limit: Duration, tell: Tell) -> Result<Self, HookError> {
        let wrong = |path: &Path, what: String| HookError {
            path: path.to_owned(),
            what,
        };
        let io = |error: std::io::Error| wrong(path, error.to_string());
        check_writers(path)?;
        let mut programs = BTreeMap::new();
        for entry in std::fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let hook = entry.path();
            // What an editor or a package manager leaves.
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let event = name.to_str().and_then(Event::from_word).ok_or_else(|| {
                let words = Event::ALL.map(Event::as_str).join(", ");
                wrong(&hook, format!("no event has that name; hooks are {words}"))
            })?;
            let program = Executable::at(&hook).map_err(|what| wrong(&hook, what))?;
            check_writers(&hook)?;
            programs.insert(event, program);
        }
        Ok(Self::with(programs, limit, tell))
    }

    fn with(programs: BTreeMap<Event, Executable>, limit: Duration, tell: Tell) -> Self {
        Self {
            programs,
            limit,
            tell,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            under_way: Mutex::default(),
            warned: Arc::default(),
        }
    }

    /// Whether there is one for this event.
    #[must_use]
    pub fn has(&self, event: Event) -> bool {
        self.programs.contains_key(&event)
    }

    /// Runs the hook of an event and waits for it.
    ///
    /// # Errors
    /// It refuses: it could not be run, did not end in time, or did not end with 0. A sentence.
    pub async fn ask(&self, event: Event, keys: Value) -> Result<(), String> {
        match self.programs.get(&event) {
            Some(program) => call(program, event, keys, self.limit).await,
            None => Ok(()),
        }
    }

    /// Runs the hook of an event, and does not wait for it. Must be called on the runtime.
    pub fn tell(&self, event: Event, keys: Value) {
        let Some(program) = self.programs.get(&event).cloned() else {
            return;
        };
        let (limit, tell) = (self.limit, Arc::clone(&self.tell));
        let (places, warned) = (Arc::clone(&self.places), Arc::clone(&self.warned));
        let mut under_way = self.under_way.lock();
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= QUEUE + AT_ONCE {
            let text = format!(
                "the hook {event} is not run for all: {QUEUE} wait for it",
                event = event.as_str()
            );
            drop(under_way);
            warn(&warned, &tell, event, &text);
            return;
        }
        under_way.spawn(async move {
            let _place = places.acquire().await;
            if let Err(text) = call(&program, event, keys, limit).await {
                warn(&warned, &tell, event, &text);
            }
        });
    }

    /// Waits for those that nothing waited for, for a bounded time, and ends the others.
    pub async fn finish(&self) {
        let mut under_way = std::mem::take(&mut *self.under_way.lock());
        let all = async { while under_way.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limit * AT_THE_END, all)
            .await
            .is_err()
        {
            let left = under_way.len();
            (self.tell)(&format!(
                "WARNING: {left} hook(s) did not end in time, and are ended"
            ));
        }
    }
}

/// Who may change a hook can do all that the controller may.
fn check_writers(path: &Path) -> Result<(), HookError> {
    use std::os::unix::fs::PermissionsExt;
    let wrong = |what: String| HookError {
        path: path.to_owned(),
        what,
    };
    let meta = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if meta.permissions().mode() & 0o002 != 0 {
        return Err(wrong("everybody may write to it".to_owned()));
    }
    Ok(())
}

fn warn(warned: &Mutex<BTreeSet<Event>>, tell: &Tell, event: Event, text: &str) {
    if warned.lock().insert(event) {
        tell(&format!("WARNING: {text} (said once)"));
    }
}

async fn call(
    program: &Executable,
    event: Event,
    mut keys: Value,
    limit: Duration,
) -> Result<(), String> {
    let name = event.as_str();
    keys["event"] = name.into();
    keys["time"] = jiff::Timestamp::now().to_string().into();
    let input = format!("{keys}\n");
    let environment = [("REGUID_EVENT", name)];
    let ran = program.run_with(&environment, Some(input.as_bytes()), limit);
    let what = match ran.await {
        Ok(Some(status)) if status.success() => return Ok(()),
        Ok(Some(status)) => format!("ended with {status}"),
        Ok(None) => format!("did not end within {limit:?} and was killed"),
        Err(error) => format!("cannot be run: {error}"),
    };
    Err(format!("the hook {name} {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn hook(&self, name: &str, script: &str) {
            // Another process writes it: a fork of another test must not have it open for writing.
            let mut install = std::process::Command::new("install")
                .args(["-m", "700", "/dev/stdin"])
                .arg(self.0.path().join(name))
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let text = format!("#!/bin/sh\n{script}\n");
            install
                .stdin
                .take()
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            assert!(install.wait().unwrap().success());
        }

        fn hooks(&self, limit: Duration) -> (Hooks, Arc<Mutex<Vec<String>>>) {
            let told = Arc::new(Mutex::new(Vec::new()));
            let heard = Arc::clone(&told);
            let tell: Tell = Arc::new(move |text: &str| heard.lock().push(text.to_owned()));
            (
                Hooks::of_directory(self.0.path(), limit, tell).unwrap(),
                told,
            )
        }
    }

    #[tokio::test]
    async fn a_hook_reads_its_event_as_json_and_no_name_is_run_by_a_shell() {
        let directory = Directory::new();
        directory.hook("after-mailbox-failed", "cat >\"$0.seen\"");
        let (hooks, told) = directory.hooks(LIMIT);
        let mailbox = format!(
            "user.x$(touch {0});`touch {0}`",
            directory.0.path().join("made").display()
        );
        hooks.tell(
            Event::AfterMailboxFailed,
            serde_json::json!({ "mailbox": mailbox }),
        );
        hooks.tell(Event::Paused, Value::Null);
        hooks.finish().await;
        assert_eq!(*told.lock(), Vec::<String>::new());
        let seen = directory.0.path().join("after-mailbox-failed.seen");
        let seen: Value = serde_json::from_slice(&std::fs::read(seen).unwrap()).unwrap();
        assert_eq!(seen["event"], "after-mailbox-failed");
        assert_eq!(seen["mailbox"], mailbox);
        assert!(seen["time"].as_str().unwrap().ends_with('Z'));
        assert!(!directory.0.path().join("made").exists());
    }

    #[tokio::test]
    async fn a_hook_that_fails_or_hangs_refuses_what_waits_for_it_and_else_is_a_warning_once() {
        let directory = Directory::new();
        directory.hook("before-run", "exit 3");
        directory.hook("before-pair", "sleep 300");
        directory.hook("paused", "exit 4");
        directory.hook("resumed", ":");
        let (hooks, told) = directory.hooks(Duration::from_secs(1));
        let ask = |event| hooks.ask(event, serde_json::json!({}));
        let refused = ask(Event::BeforeRun).await.unwrap_err();
        assert_eq!(refused, "the hook before-run ended with exit status: 3");
        let hung = ask(Event::BeforePair).await.unwrap_err();
        assert_eq!(
            hung,
            "the hook before-pair did not end within 1s and was killed"
        );
        assert_eq!(ask(Event::AfterPair).await, Ok(()), "there is none");
        for event in [Event::Paused, Event::Resumed, Event::Paused] {
            hooks.tell(event, serde_json::json!({}));
        }
        hooks.finish().await;
        let once = "WARNING: the hook paused ended with exit status: 4 (said once)";
        assert_eq!(*told.lock(), [once]);
    }

    #[tokio::test]
    async fn so_many_failures_start_a_few_hooks_at_once_and_no_more_are_kept_than_can_be() {
        let directory = Directory::new();
        // Each waits for the file, so that all that may run at once do.
        let script = "echo x >>\"$0.begun\"; while ! [ -e \"$0.go\" ]; do sleep 0.05; done";
        directory.hook("in-doubt", script);
        let (hooks, told) = directory.hooks(LIMIT);
        for n in 0..QUEUE + AT_ONCE + 7 {
            hooks.tell(Event::InDoubt, serde_json::json!({ "mailbox": n }));
        }
        let begun = || {
            let text = std::fs::read_to_string(directory.0.path().join("in-doubt.begun"));
            text.unwrap_or_default().lines().count()
        };
        while begun() < AT_ONCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(begun(), AT_ONCE);
        assert_eq!(told.lock().len(), 1, "{told:?}");
        assert!(told.lock()[0].contains("is not run for all"), "{told:?}");
        std::fs::write(directory.0.path().join("in-doubt.go"), "").unwrap();
        hooks.finish().await;
        assert_eq!(begun(), QUEUE + AT_ONCE);
    }

    #[test]
    fn a_directory_with_what_is_no_hook_or_can_be_written_by_everybody_is_refused() {
        let refused = |directory: &Directory| {
            let found = Hooks::of_directory(directory.0.path(), LIMIT, Arc::new(|_| ()));
            found.map(drop).unwrap_err().to_string()
        };
        let mistyped = Directory::new();
        mistyped.hook("before_run", ":");
        let text = refused(&mistyped);
        assert!(
            text.contains("before_run: no event has that name; hooks are before-run"),
            "{text}"
        );
        let plain = Directory::new();
        std::fs::write(plain.0.path().join("paused"), "").unwrap();
        assert!(refused(&plain).ends_with("paused: it cannot be executed"));
        let open = Directory::new();
        open.hook("paused", ":");
        std::fs::write(open.0.path().join(".paused.swp"), "").unwrap();
        for (path, mode) in [
            (open.0.path().join("paused"), 0o777),
            (open.0.path().to_owned(), 0o1777),
        ] {
            assert!(Hooks::of_directory(open.0.path(), LIMIT, Arc::new(|_| ())).is_ok());
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(refused(&open).ends_with("everybody may write to it"));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let none = open.0.path().join("none");
        assert!(Hooks::of_directory(&none, LIMIT, Arc::new(|_| ())).is_err());
    }
}

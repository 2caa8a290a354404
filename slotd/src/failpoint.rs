//! Places where a test can make this process fail, by name and by the number of the hit.
//!
//! `REGUID_FAILPOINTS=name=K:what[,name=K:what...]` in the environment arms them: at the K-th hit
//! of `name`, or at every one if K is 0 (`*` counts the hits of all of them) `what` happens: `kill`
//! (SIGKILL to ourselves), `eio`, `enospc`, `eperm`, `enotsup` (that error from the call that was
//! to be made), or `sleep-MS`. `REGUID_FAILPOINTS_TRACE=FILE` appends the name of every hit to a
//! file, so that a sweep knows what there is to hit.
//!
//! Compiled out of release builds unless the feature `failpoints` is on: [`hit`] is then an empty
//! function.

#[cfg(not(any(debug_assertions, feature = "failpoints")))]
use std::io;

/// Fails here if a test asked for it.
///
/// # Errors
/// The error that was asked for; never without a test.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline]
pub fn hit(_name: &'static str) -> io::Result<()> {
    Ok(())
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
pub use armed::hit;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub use armed::{count, with};

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod armed {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::io::{self, Write};
    use std::sync::OnceLock;

    use parking_lot::Mutex;
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::sys::signal::{Signal, raise};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum What {
        Kill,
        Error(Errno),
        Sleep(Duration),
    }

    #[derive(Clone, Debug, Default)]
    struct Table {
        rules: Vec<(String, u64, What)>,
        hits: HashMap<&'static str, u64>,
        all: u64,
    }

    impl Table {
        /// What is not understood is left out: a test that misspells a rule fails by itself.
        fn parse(spec: &str) -> Table {
            let rule = |text: &str| {
                let (name, rest) = text.trim().split_once('=')?;
                let (nth, what) = rest.split_once(':')?;
                let what = match what {
                    "kill" => What::Kill,
                    "eio" => What::Error(Errno::EIO),
                    "enospc" => What::Error(Errno::ENOSPC),
                    "eperm" => What::Error(Errno::EPERM),
                    "enotsup" => What::Error(Errno::EOPNOTSUPP),
                    _ => What::Sleep(Duration::from_millis(
                        what.strip_prefix("sleep-")?.parse().ok()?,
                    )),
                };
                Some((name.to_owned(), nth.parse().ok()?, what))
            };
            Table {
                rules: spec.split(',').filter_map(rule).collect(),
                ..Table::default()
            }
        }

        fn hit(&mut self, name: &'static str) -> Option<What> {
            self.all += 1;
            let count = self.hits.entry(name).or_default();
            *count += 1;
            let (count, all) = (*count, self.all);
            let due = |(n, k, _): &&(String, u64, What)| {
                (n == name && (*k == count || *k == EVERY)) || (n == "*" && *k == all)
            };
            self.rules.iter().find(due).map(|(_, _, what)| *what)
        }
    }

    /// Instead of the number of a hit.
    const EVERY: u64 = 0;

    thread_local! {
        static LOCAL: RefCell<Option<Table>> = const { RefCell::new(None) };
    }

    fn global() -> Option<&'static Mutex<Table>> {
        static TABLE: OnceLock<Option<Mutex<Table>>> = OnceLock::new();
        TABLE
            .get_or_init(|| {
                Some(Mutex::new(Table::parse(
                    &std::env::var("REGUID_FAILPOINTS").ok()?,
                )))
            })
            .as_ref()
    }

    fn trace(name: &str) {
        static FILE: OnceLock<Option<std::fs::File>> = OnceLock::new();
        let open = || {
            let path = std::env::var_os("REGUID_FAILPOINTS_TRACE")?;
            std::fs::File::options()
                .append(true)
                .create(true)
                .open(path)
                .ok()
        };
        if let Some(mut file) = FILE.get_or_init(open).as_ref() {
            // A trace that cannot be written shows in the sweep that reads it.
            let _ = file.write_all(format!("{name}\n").as_bytes());
        }
    }

    /// Fails here if a test asked for it.
    ///
    /// # Errors
    /// The error that was asked for; never without a test.
    pub fn hit(name: &'static str) -> io::Result<()> {
        trace(name);
        let local = LOCAL.with_borrow_mut(|table| table.as_mut().map(|t| t.hit(name)));
        let what = match local {
            Some(what) => what,
            None => global().and_then(|table| table.lock().hit(name)),
        };
        match what {
            None => Ok(()),
            Some(What::Error(errno)) => Err(errno.into()),
            Some(What::Sleep(time)) => {
                std::thread::sleep(time);
                Ok(())
            }
            Some(What::Kill) => {
                raise(Signal::SIGKILL)?;
                Ok(())
            }
        }
    }

    /// Runs `f` with rules that hold for this thread only.
    pub fn with<T>(spec: &str, f: impl FnOnce() -> T) -> T {
        LOCAL.set(Some(Table::parse(spec)));
        let result = f();
        LOCAL.set(None);
        result
    }

    /// Runs `f` with rules that hold for this thread only, and counts the points that it passes.
    pub fn count<T>(spec: &str, f: impl FnOnce() -> T) -> (T, u64) {
        LOCAL.set(Some(Table::parse(spec)));
        let result = f();
        (result, LOCAL.take().map_or(0, |table| table.all))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_kth_hit_fails_and_no_other() {
            with("c=0:eio", || {
                assert!(hit("c").is_err() && hit("c").is_err());
            });
            with("a=2:eio,*=4:enospc", || {
                let errors: Vec<_> = ["a", "a", "b", "a", "a"]
                    .map(|n| hit(n).err().and_then(|e| e.raw_os_error()))
                    .into();
                assert_eq!(
                    errors,
                    [
                        None,
                        Some(Errno::EIO as i32),
                        None,
                        Some(Errno::ENOSPC as i32),
                        None
                    ]
                );
            });
            assert!(hit("a").is_ok());
        }
    }
}

//! Lines of the log about connections that came to nothing before it was known whose they are: the
//! first of a minute each, and then in one line how many more there were. Else anybody who reaches
//! the port fills the log.
//!
//! Promises that none is left out without being counted. A crash loses the count of a minute.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A time in which no more lines than [`LINES`] are written.
const WINDOW: Duration = Duration::from_secs(60);
const LINES: u32 = 10;

/// What was written and left out.
#[derive(Debug, Default)]
pub(crate) struct Sparing(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When the time began.
    began: Option<Instant>,
    written: u32,
    left_out: u64,
    /// The last that was left out.
    last: String,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Written,
    /// It is counted; if it is the first, the count is due after this time.
    Counted(Option<Duration>),
}

impl Inner {
    fn next(&mut self, now: Instant) -> Next {
        let age = self.began.map(|began| now.saturating_duration_since(began));
        let left = match age.and_then(|age| WINDOW.checked_sub(age)) {
            Some(left) if !left.is_zero() => left,
            // The count of the time before has a task that writes it.
            _ => {
                (self.began, self.written) = (Some(now), 0);
                WINDOW
            }
        };
        if self.written < LINES {
            self.written += 1;
            return Next::Written;
        }
        self.left_out += 1;
        Next::Counted((self.left_out == 1).then_some(left))
    }

    fn sentence(&mut self) -> Option<String> {
        let count = std::mem::take(&mut self.left_out);
        let last = std::mem::take(&mut self.last);
        (count > 0).then(|| {
            format!("{count} more connections came to nothing within a minute, the last: {last}")
        })
    }
}

impl Sparing {
    /// Has a line written, or counts it. `short` is what is said of it if it was the last.
    pub(crate) fn say(self: &Arc<Self>, short: impl FnOnce() -> String, write: impl FnOnce()) {
        let mut inner = self.0.lock();
        let due = match inner.next(Instant::now()) {
            Next::Written => {
                drop(inner);
                return write();
            }
            Next::Counted(due) => due,
        };
        inner.last = short();
        drop(inner);
        if let Some(due) = due {
            let all = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(due).await;
                all.sum_up();
            });
        }
    }

    fn sum_up(&self) {
        let sentence = self.0.lock().sentence();
        if let Some(sentence) = sentence {
            tracing::warn!("{sentence}");
        }
    }
}

impl Drop for Sparing {
    fn drop(&mut self) {
        self.sum_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_minute_are_written_and_the_rest_is_counted_in_one_line() {
        let mut it = Inner::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let written =
            |it: &mut Inner, now| (0..100).filter(|_| it.next(now) == Next::Written).count();
        assert_eq!(written(&mut it, at(0)), 10);
        assert_eq!(it.next(at(30)), Next::Counted(None));
        "1.2.3.4: no TLS".clone_into(&mut it.last);
        let said = it.sentence().unwrap();
        let wanted =
            "91 more connections came to nothing within a minute, the last: 1.2.3.4: no TLS";
        assert_eq!(said, wanted);
        assert_eq!(it.sentence(), None);
        // Once it was summed up, the next one is the first again.
        assert_eq!(
            it.next(at(45)),
            Next::Counted(Some(Duration::from_secs(15)))
        );
        assert_eq!(written(&mut it, at(61)), 10);
        assert_eq!(
            it.sentence().map(|said| said.starts_with("91 more")),
            Some(true)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_count_comes_by_itself_when_the_minute_is_over() {
        let it = Arc::new(Sparing::default());
        let mut written = 0;
        for n in 0..50 {
            it.say(|| n.to_string(), || written += 1);
        }
        assert_eq!((written, it.0.lock().left_out), (10, 40));
        tokio::time::sleep(WINDOW).await;
        tokio::task::yield_now().await;
        assert_eq!(it.0.lock().left_out, 0);
    }
}

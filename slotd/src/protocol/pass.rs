//! `PRECOMPUTE`: the pass that hashes messages ahead of a run, on the host itself.

use super::answer::{Value, answer, plain};
use super::{FieldError, Fields};

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precompute {
    /// How far is it?
    Ask,
    /// Begin one, if none is at work.
    Start(PassLimits),
    /// End it; what is hashed is kept.
    Stop,
}

/// How much of the host a pass may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassLimits {
    /// Threads, at most; `None`: as many as `precompute run` has.
    pub jobs: Option<u16>,
    /// Bytes read a second, at most.
    pub max_rate: Option<u64>,
    /// Hash also messages that have a SHA-1 in the index.
    pub all_messages: bool,
}

/// What becomes of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum PassState {
    /// There was none since this slotd began.
    #[default]
    Idle,
    /// It is at work.
    Running,
    /// It was asked to end, and has not yet.
    Stopping,
    /// It has looked at every mailbox.
    Done,
    /// It was ended before that.
    Stopped,
    /// It could not work.
    Failed,
}

impl PassState {
    /// Whether more is to come of it.
    #[must_use]
    pub fn is_at_work(self) -> bool {
        matches!(self, Self::Running | Self::Stopping)
    }
}
plain!(PassState);

answer! {
    /// `PRECOMPUTE`
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct PassProgress {
        /// What becomes of it.
        pub state: PassState = "state",
        /// When it began, milliseconds since 1970: tells it from others; 0 if there was none.
        pub began: u64 = "began",
        /// Mailboxes that were begun.
        pub mailboxes: u64 = "mailboxes",
        /// Messages that were finished: those with a new SHA-1, and those of which one was known.
        pub messages: u64 = "messages",
        /// Bytes of messages that were read.
        pub bytes: u64 = "bytes",
        /// How many messages were hashed; known at the end.
        pub hashed: u64 = "hashed",
        /// Of how many messages a SHA-1 was known; known at the end.
        pub cached: u64 = "cached",
        /// Findings: mailboxes and messages that could not be hashed.
        pub errors: u64 = "errors",
        /// The first of them, a sentence each.
        pub first: Vec<String> = "first" via or_default,
        /// How long it has worked, milliseconds.
        pub took_ms: u64 = "took_ms",
        /// Why it could not work.
        pub why: Option<String> = "why",
        /// The one that was at work already goes on, with its own limits.
        pub already: bool = "already" via or_default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pass_has_done_goes_over_the_wire_and_back() {
        let progress = PassProgress {
            state: PassState::Stopping,
            began: 7,
            messages: 1 << 40,
            errors: 2,
            first: vec!["user.a: gone, as if".to_owned(), "user.b%".to_owned()],
            why: Some("no threads".to_owned()),
            already: true,
            ..PassProgress::default()
        };
        let back = PassProgress::from_fields(&progress.to_fields()).unwrap();
        assert_eq!(back, progress);
        assert!(PassState::Running.is_at_work() && !PassState::Done.is_at_work());
    }
}

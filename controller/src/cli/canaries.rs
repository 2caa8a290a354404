//! The canaries of a run: every message of them is read on both hosts and compared, once the run is
//! over. That is what a person wants to know before the rest.

use std::sync::Arc;

use indexfile::exit::Exit;
use slotd::protocol::{Command, Named, Verify};

use super::session::{AtWork, Session};
use super::text;
use crate::error::RunError;
use crate::fleet::worst;
use crate::journal::{RunId, State, Totals, Verb};
use crate::stop::Stop;
use crate::survey::{Asking, VerifyReport, survey_rows};
use crate::two_phase::Side;

/// Verifies the canaries of these pairs, by their places, with the run of each. A pair that cannot
/// be verified adds its exit code to the others'.
pub(super) async fn verify(session: &Session, runs: &[(usize, i64)]) -> Exit {
    let mut exits = Vec::new();
    for (at, run) in runs {
        let at_work = &session.pairs[*at];
        let exit = match read(at_work, RunId(*run)).await {
            Ok(read) => {
                let (sentence, exit) = read.verdict(session.settings.verb);
                text::note(&at_work.pair.line(&sentence));
                exit
            }
            Err(error) => {
                let fail = session.common.fail(&error);
                let why = format!("the canaries are not verified: {}", fail.text);
                text::complain(&at_work.pair.line(&why));
                fail.exit
            }
        };
        exits.push(exit);
    }
    worst(exits)
}

async fn read(at_work: &AtWork, run: RunId) -> Result<Read, RunError> {
    let parts = at_work.parts();
    let of = parts.journal.totals(run)?;
    let mut report = VerifyReport::default();
    let asking = Asking {
        connect: &parts.connect,
        parallel: at_work.control().limits().parallel.without_locks(),
        stop: &parts.stop,
        question: Arc::new(|of: Named| Command::Verify(Verify { of, sample: None })),
        then: None,
    };
    let done = &[State::Upgraded, State::Unchanged];
    if of.upgraded + of.unchanged > 0 && parts.stop.level() == Stop::No {
        let journal = Arc::clone(&parts.journal);
        let sink = |answered| report.answered(&answered);
        survey_rows(&asking, journal, run, done, sink).await?;
    }
    Ok(Read {
        report,
        of,
        stopped: parts.stop.level() != Stop::No,
        both: parts.connect.address(Side::Replica).is_some(),
    })
}

/// What was read of the canaries of a pair.
struct Read {
    report: VerifyReport,
    /// What the run came to.
    of: Totals,
    /// A stop was asked for before all were read.
    stopped: bool,
    /// There are two hosts.
    both: bool,
}

impl Read {
    /// A sentence, and the exit code that it stands for.
    fn verdict(&self, verb: Verb) -> (String, Exit) {
        let Self { report, of, .. } = self;
        if !report.is_good() {
            let found = report.to_string();
            let text = format!(
                "the canaries are NOT as they should be:\n{}",
                found.trim_end()
            );
            return (text, Exit::Data);
        }
        let (read, done) = (report.mailboxes, of.upgraded + of.unchanged);
        if of.mailboxes == 0 {
            return ("the run has no canary here".to_owned(), Exit::Ok);
        }
        if read < done {
            let why = if self.stopped {
                "the run was stopped"
            } else {
                "not all were asked about"
            };
            let text =
                format!("the canaries are not verified: {why}, and {read} of {done} are read");
            return (text, Exit::RolledBack);
        }
        // What its owner deleted is no canary any more.
        let all = of.mailboxes - of.gone;
        let hosts = if self.both { "both hosts" } else { "its host" };
        if done == 0 {
            let text = format!("no canary is verified: none is {}", verb.done());
            (text, Exit::RolledBack)
        } else if done < all {
            let text = format!(
                "{done} of {all} canaries are verified, every message read on {hosts}; the others \
                 are not {}",
                verb.done()
            );
            (text, Exit::RolledBack)
        } else {
            let text = format!("the canaries are verified, every message read on {hosts}");
            (text, Exit::Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of these numbers of canaries that became what they should, failed, and were deleted, with
    /// `read` of them read.
    fn verdict(
        [upgraded, rolled_back, gone]: [u64; 3],
        read: u64,
        stopped: bool,
    ) -> (String, Exit) {
        let of = Totals {
            mailboxes: upgraded + rolled_back + gone,
            upgraded,
            rolled_back,
            gone,
            ..Totals::default()
        };
        let report = VerifyReport {
            mailboxes: read,
            alike: read,
            ..VerifyReport::default()
        };
        let both = true;
        let read = Read {
            report,
            of,
            stopped,
            both,
        };
        read.verdict(Verb::Upgrade)
    }

    #[test]
    fn canaries_are_called_verified_only_where_each_was_read() {
        let good = "the canaries are verified, every message read on both hosts";
        for (of, read, stopped, text, exit) in [
            ([6, 0, 0], 6, false, good, Exit::Ok),
            ([5, 0, 1], 5, false, good, Exit::Ok),
            // All were read before the stop.
            ([6, 0, 0], 6, true, good, Exit::Ok),
            (
                [6, 0, 0],
                2,
                true,
                "stopped, and 2 of 6 are read",
                Exit::RolledBack,
            ),
            (
                [6, 0, 0],
                0,
                true,
                "stopped, and 0 of 6 are read",
                Exit::RolledBack,
            ),
            (
                [6, 0, 0],
                5,
                false,
                "not all were asked about",
                Exit::RolledBack,
            ),
            (
                [0, 6, 0],
                0,
                false,
                "no canary is verified",
                Exit::RolledBack,
            ),
            (
                [0, 0, 6],
                0,
                false,
                "no canary is verified",
                Exit::RolledBack,
            ),
            (
                [4, 2, 0],
                4,
                false,
                "4 of 6 canaries are verified",
                Exit::RolledBack,
            ),
            ([0, 0, 0], 0, false, "no canary here", Exit::Ok),
        ] {
            let (sentence, code) = verdict(of, read, stopped);
            assert!(sentence.contains(text), "{sentence}");
            assert_eq!(code, exit, "{sentence}");
        }
    }
}

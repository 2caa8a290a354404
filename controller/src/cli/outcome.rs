//! What is printed once a run is over: of one pair, or of each pair of a fleet and all together.

use indexfile::exit::Exit;

use super::session::{AtWork, Session};
use super::text::Failures;
use super::{Fail, afterwards, hints, text};
use crate::error::RunError;
use crate::fleet::FleetSummary;
use crate::journal::RunId;
use crate::run::Summary;

impl Session {
    /// Prints what came of a run: of each pair, by its place.
    pub(super) fn finish(
        &self,
        done: Vec<(usize, Result<Summary, RunError>)>,
    ) -> Result<Exit, Fail> {
        self.end_progress();
        if self.is_fleet() {
            return self.finish_fleet(done);
        }
        let Some((at, result)) = done.into_iter().next() else {
            return Ok(Exit::Ok);
        };
        let summary = result.map_err(|error| self.common.fail(&error))?;
        self.report(&self.pairs[at], &summary)?;
        Ok(summary.exit())
    }

    fn finish_fleet(&self, done: Vec<(usize, Result<Summary, RunError>)>) -> Result<Exit, Fail> {
        let mut fleet = FleetSummary::default();
        let json = self.common.output.json;
        for (at, result) in done {
            let at_work = &self.pairs[at];
            match result {
                Ok(summary) => {
                    let (_, lines) = self.followed(at_work, &summary)?;
                    if !json {
                        let pair = text::summary(self.settings.verb, &summary);
                        text::say(&at_work.pair.line(&pair.replace('\n', "\n  ")))?;
                    }
                    for line in &lines {
                        text::note(&at_work.pair.line(line));
                    }
                    fleet.add(&at_work.pair.name, summary);
                }
                Err(error) => {
                    let fail = self.common.fail(&error);
                    text::complain(&at_work.pair.line(&fail.text));
                    fleet.add_failed(&at_work.pair.name, fail.exit, fail.text);
                }
            }
        }
        if json {
            text::json(&serde_json::to_value(&fleet).map_err(std::io::Error::from)?)?;
        } else {
            let pairs = fleet.pairs.len() + fleet.not_begun.len();
            let all = fleet.totals.sentence(self.settings.verb);
            text::say(&format!("all {pairs} pairs: {all}; {:.1} s", fleet.seconds))?;
        }
        if fleet.exit() == Exit::Ok && fleet.totals.mailboxes == 0 {
            let text = "nothing to do: no pair has a mailbox that is meant";
            return Err(Fail::new(Exit::Data, text));
        }
        Ok(fleet.exit())
    }

    /// What failed on a pair, by reason, a line each printed; and what has to be done about it.
    pub(super) fn followed(
        &self,
        at_work: &AtWork,
        summary: &Summary,
    ) -> Result<(Failures, Vec<String>), Fail> {
        let (parts, options) = (at_work.parts(), self.common.spelled());
        let (quiet, journal) = (self.common.output.quiet, parts.journal.as_ref());
        let verb = parts.settings.verb;
        let failures = text::failures(journal, RunId(summary.run), verb, !quiet)?;
        let mut lines = hints::reasons(summary, &options);
        if verb.crosses() {
            let run = journal.run(RunId(summary.run))?;
            let whole = run.is_some_and(|run| run.spec.is_whole());
            let to = parts.settings.to;
            lines.extend(afterwards::after(verb, to, whole, summary, &options));
        }
        if !quiet {
            lines.extend(hints::hints(verb, summary, &failures, &options));
        }
        Ok((failures, lines))
    }

    /// Prints a summary, what failed, and what to do about it.
    fn report(&self, at_work: &AtWork, summary: &Summary) -> Result<(), Fail> {
        let (failures, lines) = self.followed(at_work, summary)?;
        if self.common.output.json {
            text::json(&text::summary_json(summary, &failures)?)?;
        } else {
            text::say(&text::summary(self.settings.verb, summary))?;
        }
        for line in &lines {
            text::note(line);
        }
        Ok(())
    }
}

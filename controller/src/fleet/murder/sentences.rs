//! What a comparison came to, for a person and for the report of a run.

use super::compared::Compared;
use crate::journal::Disagreement;
use crate::murder::compare::Code;

/// Findings of a kind that are shown.
const NAMED: usize = 5;

impl Compared {
    /// For a person: how many mailboxes each server has, what is outstanding, and the counts of
    /// what is not as it should be with the first of each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let (summary, outstanding) = (self.summary.lock(), self.outstanding.lock());
        let pairs = summary.pairs.iter().map(|(server, pair)| {
            let found = match outstanding.get(server) {
                None => format!("its slotd found {}", pair.found),
                Some(why) => format!(
                    "the comparison with its slotd's list is outstanding: {why}; what the master \
                     has there is not worked on before"
                ),
            };
            format!("{server}: the master says {}, {found}", pair.said)
        });
        let mut lines: Vec<String> = pairs.collect();
        for (code, first) in &summary.first {
            lines.push(format!(
                "{code}: {}: {}",
                summary.count(*code),
                code.meaning()
            ));
            lines.extend(
                first
                    .iter()
                    .take(NAMED)
                    .map(|finding| format!("  {finding}")),
            );
        }
        lines
    }

    /// What is not as it should be, for the report of a run.
    #[must_use]
    pub fn disagreements(&self) -> Vec<Disagreement> {
        let summary = self.summary.lock();
        let all = Code::ALL.into_iter().filter(|code| *code != Code::Normal);
        all.map(|code| {
            let first = summary.first.get(&code).into_iter().flatten();
            Disagreement {
                code: code.as_str().to_owned(),
                findings: summary.count(code),
                first: first.map(ToString::to_string).collect(),
            }
        })
        .collect()
    }
}

//! What a Murder's list and its backends did not agree on when a run was started last.

use std::fmt;

use super::text::paragraph;
use crate::chart::visible;
use crate::journal::Disagreement;
use crate::murder::compare::Code;

/// What was found, by kind.
pub struct Disagreements(pub Vec<Disagreement>);

impl Disagreements {
    /// By code: how many findings, and the first of them.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let kinds = self.0.iter().map(|one| {
            let kind = serde_json::json!({ "findings": one.findings, "first": one.first });
            (one.code.clone(), kind)
        });
        kinds.collect::<serde_json::Map<_, _>>().into()
    }
}

/// For a person at a terminal of 80 columns.
impl fmt::Display for Disagreements {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "The Murder, when the run was started last:")?;
        for one in &self.0 {
            let meaning = Code::from_word(&one.code).map_or("", Code::meaning);
            let text = format!("{}: {}: {meaning}", visible(&one.code), one.findings);
            paragraph(out, "  ", &text)?;
            for line in &one.first {
                paragraph(out, "    ", &visible(line))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_count_its_meaning_and_the_first_of_it_in_eighty_columns() {
        let stale = Disagreement {
            code: "stale".to_owned(),
            findings: 7,
            first: vec![format!(
                "user.joe: stale: {}",
                "gone ".repeat(30).trim_end()
            )],
        };
        let all = Disagreements(vec![stale]);
        let text = all.to_string();
        assert!(
            text.contains("\n  stale: 7: the master has it on a backend"),
            "{text}"
        );
        assert!(text.contains("\n    user.joe: stale: gone gone"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(all.to_json()["stale"]["findings"], 7);
    }
}

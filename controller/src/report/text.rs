//! A story for a person at a terminal of 80 columns.

use std::collections::BTreeMap;
use std::fmt;

use crate::chart::visible;

use super::story::{POINTS, Story};
use super::time::utc;

/// Columns of a terminal that nobody has made wider.
const COLUMNS: usize = 80;
/// Columns of the longest bar.
const BAR: u64 = 40;

/// How a text is broken into lines of that width: between words alone.
pub(crate) fn whole_words(columns: usize) -> textwrap::Options<'static> {
    textwrap::Options::new(columns)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
}

/// Writes a paragraph in lines that fit, all but the first of them indented by two blanks more. A
/// word that is longer than a line is not broken: a name is there to be copied.
pub(super) fn paragraph(out: &mut fmt::Formatter<'_>, indent: &str, text: &str) -> fmt::Result {
    let further = format!("{indent}  ");
    let options = whole_words(COLUMNS)
        .initial_indent(indent)
        .subsequent_indent(&further);
    writeln!(out, "{}", textwrap::fill(text, options))
}

fn bar(count: u64, most: u64) -> String {
    "#".repeat(usize::try_from(count * BAR / most.max(1)).unwrap_or(0))
}

impl Story {
    fn write_rate(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.rate_slice_seconds * f64::from(POINTS);
        let text = format!(
            "Time from begin to the last mailbox: {seconds:.1} s, {:.0} mailboxes/s; finished in \
             each twentieth of it:",
            self.mailboxes_per_second
        );
        paragraph(out, "", &text)?;
        let most = self.rate.iter().copied().max().unwrap_or(0);
        // A short run has slices of milliseconds.
        let digits = if self.rate_slice_seconds < 0.1 { 3 } else { 1 };
        for (i, count) in (1u8..).zip(&self.rate) {
            let at = self.rate_slice_seconds * f64::from(i);
            writeln!(
                out,
                "  up to {at:>9.digits$} s {count:>9} {}",
                bar(*count, most)
            )?;
        }
        Ok(())
    }

    fn write_locks(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = self.lock_ms;
        let text = format!(
            "Locks held, both hosts: median {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            lock.p50, lock.p99, lock.max
        );
        paragraph(out, "", &text)?;
        // One line a doubling.
        let mut doublings: BTreeMap<u32, u64> = BTreeMap::new();
        for (upper, count) in &self.lock_histogram {
            *doublings
                .entry(u64::BITS - upper.leading_zeros())
                .or_default() += count;
        }
        let most = doublings.values().copied().max().unwrap_or(0);
        for (bits, count) in doublings {
            let upper = 2f64.powi(i32::try_from(bits).unwrap_or(0)) / 1000.0;
            writeln!(
                out,
                "  under {upper:>9.2} ms {count:>9} {}",
                bar(count, most)
            )?;
        }
        if !self.slowest.is_empty() {
            writeln!(out, "Longest locks:")?;
        }
        for slow in &self.slowest {
            let figures = format!("{:>10.2} ms {:>8} messages", slow.lock_ms, slow.messages);
            paragraph(out, "  ", &format!("{figures}  {}", slow.mailbox))?;
        }
        Ok(())
    }

    fn write_failures(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, class) in &self.failures {
            let text = format!(
                "Failed, {reason}: {} mailbox(es): {}",
                class.mailboxes, class.advice
            );
            paragraph(out, "", &text)?;
            let text = format!("for example {}: {}", class.example, class.detail);
            paragraph(out, "  ", &text)?;
        }
        Ok(())
    }
}

impl fmt::Display for Story {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.totals;
        paragraph(out, "", &format!("Run {}: {}", self.run, self.task))?;
        paragraph(out, "", &t.sentence(self.verb))?;
        let text = format!(
            "Messages: {}; GUIDs from cyrus.sha1s {}, computed {}; on one host only {}; attempts \
             {}",
            t.messages, t.cached, t.hashed, t.lag, self.attempts
        );
        paragraph(out, "", &text)?;
        let ended = self
            .finished_at
            .map_or("not finished".to_owned(), |at| format!("ended {}", utc(at)));
        writeln!(out, "Begun {}; {ended}", utc(self.started_at))?;
        if let Some(found) = &self.steered {
            paragraph(
                out,
                "",
                &format!(
                    "Mailboxes at once, at the end: {}",
                    visible(&found.to_string())
                ),
            )?;
        }
        self.write_rate(out)?;
        self.write_locks(out)?;
        self.write_failures(out)
    }
}

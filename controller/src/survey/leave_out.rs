//! Partitions on which nothing is done, whatever is asked for: `leave-out` of a fleet file.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::error::RunError;
use crate::hosts::{Connect, host_facts};
use crate::two_phase::Side;

/// Partitions of a master that are left out. As in `imapd.conf`, case means nothing in their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaveOut(BTreeSet<String>);

impl LeaveOut {
    /// These partitions.
    pub fn new<'a>(partitions: impl IntoIterator<Item = &'a String>) -> Self {
        let lower = |partition: &String| partition.to_ascii_lowercase();
        Self(partitions.into_iter().map(lower).collect())
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this partition is left out.
    #[must_use]
    pub fn has(&self, partition: &str) -> bool {
        self.0.contains(&partition.to_ascii_lowercase())
    }

    /// Whether a mailbox may be on such a partition: it is, or nobody knows where it is.
    #[must_use]
    pub fn may_have(&self, partition: Option<&str>) -> bool {
        !self.is_empty() && partition.is_none_or(|partition| self.has(partition))
    }

    /// Why these partitions cannot be left out of a master that has those of `known`.
    pub(crate) fn fault<'a>(&self, known: impl Iterator<Item = &'a str>) -> Option<String> {
        let known: BTreeSet<String> = known.map(str::to_ascii_lowercase).collect();
        let missing: Vec<&str> = self.0.difference(&known).map(String::as_str).collect();
        if missing.is_empty() {
            return None;
        }
        if known.is_empty() {
            let text = "the master's slotd does not say which partitions there are, so none can be \
                        left out: use the same release on all hosts";
            return Some(text.to_owned());
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        Some(format!(
            "leave-out has {}, and the master's partitions are {}",
            missing.join(", "),
            known.join(", ")
        ))
    }

    /// Asks the master whether it has these partitions.
    ///
    /// # Errors
    /// It has not, does not say so, or does not answer.
    pub async fn check(&self, connect: &Arc<dyn Connect>) -> Result<(), RunError> {
        if self.is_empty() {
            return Ok(());
        }
        let facts = host_facts(connect, Side::Master).await?.unwrap_or_default();
        let known = facts.index_roots.iter().map(|root| root.partition.as_str());
        self.fault(known)
            .map_or(Ok(()), |text| Err(RunError::Config(text)))
    }
}

/// The partitions, with commas between them.
impl fmt::Display for LeaveOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions: Vec<&str> = self.0.iter().map(String::as_str).collect();
        out.write_str(&partitions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_left_out_however_it_is_written_and_one_that_is_not_known_may_be() {
        let out = LeaveOut::new(&["Archive".to_owned()]);
        assert!(out.has("archive") && out.has("ARCHIVE") && !out.has("default"));
        assert!(out.may_have(None) && out.may_have(Some("archive")));
        assert!(!out.may_have(Some("default")) && !LeaveOut::default().may_have(None));
    }

    #[test]
    fn a_partition_that_the_master_has_not_got_cannot_be_left_out() {
        let out = LeaveOut::new(&["archiv".to_owned(), "Default".to_owned()]);
        let fault = out.fault(["default", "archive"].into_iter()).unwrap();
        let wanted = "leave-out has archiv, and the master's partitions are archive, default";
        assert_eq!(fault, wanted);
        assert_eq!(out.fault(["default", "archiv"].into_iter()), None);
        assert!(out.fault([].into_iter()).unwrap().contains("does not say"));
    }
}

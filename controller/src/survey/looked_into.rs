//! What a few mailboxes show that are looked into before a run: names that are none, damage, and a
//! replica that is another's.
//!
//! Changes nothing, so a crash leaves nothing.

use indexfile::exit::Exit;
use slotd::protocol::Status;

use super::damage::{code_of, is_damage};
use super::trouble::{Trouble, Weight};
use crate::two_phase::{Reason, Side};

/// This many, all strange, are no coincidence.
pub(super) const PROOF: u64 = 5;

/// One mailbox on both hosts; `None` for a host that was not asked, or could not answer just now.
pub(crate) struct Sampled {
    pub(crate) name: String,
    pub(crate) named: bool,
    pub(crate) said: [Option<Result<Status, (Reason, String)>>; 2],
}

impl Sampled {
    /// Why a host would refuse this mailbox. That it does not have it is another matter.
    fn refusal(&self, side: Side) -> Option<String> {
        match self.said[side.index()].as_ref()? {
            Err((Reason::NoMailbox, _)) => None,
            Err((reason, text)) => Some(format!("{}: {text}", reason.as_str())),
            Ok(status) => {
                let damage = |finding: &&String| is_damage(code_of(finding));
                status.findings.iter().find(damage).cloned()
            }
        }
    }
}

/// What a host would refuse of them.
pub(super) fn refusals(side: Side, sample: &[Sampled]) -> Option<Trouble> {
    let refused = |one: &Sampled| Some((one.name.clone(), one.refusal(side)?));
    let refused: Vec<(String, String)> = sample.iter().filter_map(refused).collect();
    let (name, why) = refused.first()?;
    let text = format!(
        "of {} mailboxes that were looked at, the {side} would refuse {}, for example {name}: \
         {why}",
        sample.len(),
        refused.len()
    );
    Some(Trouble::new("mailboxes", Weight::Some, Exit::Data, text))
}

/// Of the names that were given those that the master does not know, and a word about them.
pub(super) fn names(sample: &[Sampled]) -> (Vec<String>, Option<Trouble>) {
    let unknown = |s: &&Sampled| matches!(&s.said[0], Some(Err((Reason::NoMailbox, _)))) && s.named;
    let unknown: Vec<String> = sample
        .iter()
        .filter(unknown)
        .map(|s| s.name.clone())
        .collect();
    let trouble = unknown.first().map(|first| {
        let mut text = format!(
            "{} of {} names that were looked at are no mailboxes of the master, for example \
             {first}",
            unknown.len(),
            sample.len()
        );
        if std::path::Path::new(first).is_file() {
            text.push_str("; there is a file of that name: --mailboxes reads a list");
        }
        Trouble::new("names", Weight::Some, Exit::NoMailbox, text)
    });
    (unknown, trouble)
}

/// What differs between the hosts.
pub(super) fn compare(sample: &[Sampled]) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let (mut both, mut missing, mut other, mut ids) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut example = None;
    for one in sample {
        let [Some(Ok(master)), Some(replica)] = &one.said else {
            continue;
        };
        both += 1;
        match replica {
            Err((Reason::NoMailbox, _)) => missing += 1,
            Ok(status) if status.facts.uidvalidity != master.facts.uidvalidity => other += 1,
            Ok(status) => {
                ids += u64::from(status.facts.uniqueid != master.facts.uniqueid);
                continue;
            }
            Err(_) => continue,
        }
        example.get_or_insert(&one.name);
    }
    if let Some(example) = example {
        let all = missing + other == both && both >= PROOF;
        let weight = if all { Weight::All } else { Weight::Some };
        let what = if all {
            "that host is no replica of this master"
        } else {
            "those would be refused"
        };
        let text = format!(
            "of {both} mailboxes that were looked at, the replica does not have {missing} and \
             has {other} with another \
             uidvalidity, for example {example}: {what}"
        );
        troubles.push(Trouble::new("replica", weight, Exit::Config, text));
    }
    if ids > 0 {
        let text = format!(
            "{ids} of {both} mailboxes that were looked at have another unique id on the \
             replica"
        );
        let weight = Weight::Warning;
        troubles.push(Trouble::new("unique_id", weight, Exit::Config, text));
    }
    troubles
}

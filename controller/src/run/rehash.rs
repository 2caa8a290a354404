//! What `--rehash` finds: GUIDs that are not the SHA-1s of their messages.
//!
//! With `report` a mailbox that has such ends as one that is as before, for a reason that is in the
//! journal: so a report that was stopped goes on, and `report` and the exit code know of all of it.
//! Nothing was changed, so a crash leaves nothing.

use std::fmt::Write as _;

use slotd::protocol::{Rehash, Rehashed};

use crate::two_phase::{Failure, Outcome, Reason, Side};

/// What a transaction that changed nothing comes to, where it was only asked what is wrong.
pub(super) fn reported(
    outcome: Outcome,
    wanted: Option<Rehash>,
    found: &[Option<Rehashed>; 2],
) -> Outcome {
    match (&outcome, wanted, sentence(found)) {
        (Outcome::Unchanged, Some(Rehash::Report), Some(text)) => {
            Outcome::RolledBack(Failure::new(None, Reason::WrongGuid, text))
        }
        _ => outcome,
    }
}

/// All that is known of the wrong ones.
fn sentence(found: &[Option<Rehashed>; 2]) -> Option<String> {
    let mut text = String::new();
    for (side, found) in Side::ALL.iter().zip(found) {
        let Some(found) = found.as_ref().filter(|f| f.wrong > 0) else {
            continue;
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{side}: {} GUID(s) are not the SHA-1 of the message: ",
            found.wrong
        );
        for (n, wrong) in found.list.iter().enumerate() {
            let gap = if n > 0 { ", " } else { "" };
            let _ = write!(
                text,
                "{gap}UID {} has {} and its file {}",
                wrong.uid, wrong.has, wrong.is
            );
        }
        let more = u64::from(found.wrong) - (found.list.len() as u64).min(found.wrong.into());
        if more > 0 {
            let _ = write!(text, ", and {more} more");
        }
        text.push_str("; ");
    }
    (!text.is_empty())
        .then(|| text + "`controller upgrade --rehash=fix` sets them right on both hosts")
}

#[cfg(test)]
mod tests {
    use slotd::protocol::WrongGuid;

    use super::*;

    #[test]
    fn each_wrong_record_is_told_with_its_host_and_what_is_not_listed_is_counted() {
        let [has, is] = [[1; 20], [2; 20]].map(indexfile::Guid::from_bytes);
        let found = Rehashed {
            wrong: 3,
            gone: 0,
            list: vec![WrongGuid { uid: 7, has, is }, WrongGuid { uid: 9, has, is }],
        };
        let found = [Some(Rehashed::default()), Some(found)];
        let Outcome::RolledBack(failure) =
            reported(Outcome::Unchanged, Some(Rehash::Report), &found)
        else {
            panic!("it is no finding");
        };
        assert_eq!(failure.reason, Reason::WrongGuid);
        let expected = format!(
            "replica: 3 GUID(s) are not the SHA-1 of the message: UID 7 has {has} and its file \
             {is}, UID 9 has {has} and \
             its file {is}, and 1 more; `controller upgrade --rehash=fix` sets them right on both \
             hosts"
        );
        assert_eq!(failure.text, expected);
        // What is set right is no finding, and neither is what was not compared.
        let fix = reported(Outcome::Unchanged, Some(Rehash::Fix), &found);
        assert_eq!(fix, Outcome::Unchanged);
        let none = reported(Outcome::Unchanged, Some(Rehash::Report), &[None, None]);
        assert_eq!(none, Outcome::Unchanged);
    }
}

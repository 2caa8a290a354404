//! How many mailboxes at once can be served: by the connections of each slotd, and by the
//! descriptors of this process.
//!
//! More than that would only wait for each other, and end as if a host were away.

use rustix::process::{Resource, getrlimit};

use crate::two_phase::Side;

/// Connections of a host that are not a mailbox's: to ask whether it is back, how large mailboxes
/// are, and the like.
const APART: u32 = 3;
/// Descriptors for the journal, the control socket, terminals and the rest of the process.
const FILES_APART: u64 = 64;
/// Each mailbox has a connection to each host.
const FILES_EACH: u64 = 2;

/// Descriptors that this process may have open; `None` without a limit.
pub(super) fn descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many of those wanted can be served, and why not all, if they are fewer.
pub(super) fn fit(
    wanted: usize,
    capacities: [Option<u32>; 2],
    descriptors: Option<u64>,
) -> (usize, Option<String>) {
    let at_least_one = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    let mut limits: Vec<(usize, String)> = Vec::new();
    for side in Side::ALL {
        if let Some(capacity) = capacities[side.index()] {
            let most = at_least_one(capacity.saturating_sub(APART).into());
            let text = format!("the {side}'s slotd serves {capacity} connections at once");
            limits.push((most, text));
        }
    }
    if let Some(files) = descriptors {
        let most = at_least_one(files.saturating_sub(FILES_APART) / FILES_EACH);
        let text = format!("this process may have {files} files open (ulimit -n)");
        limits.push((most, text));
    }
    let tightest = limits.into_iter().min_by_key(|(most, _)| *most);
    match tightest {
        Some((most, why)) if most < wanted => {
            let text = format!(
                "--parallel {wanted} is more than there is room for: {why}; {most} are worked on \
                 at once"
            );
            (most, Some(text))
        }
        _ => (wanted, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_holds_and_is_told() {
        assert_eq!(fit(8, [None; 2], None), (8, None));
        assert_eq!(fit(8, [Some(1024), Some(11)], Some(1024)), (8, None));
        let (most, why) = fit(500, [Some(1024), Some(42)], Some(1_048_576));
        assert_eq!(most, 39);
        assert!(why.unwrap().contains("the replica's slotd serves 42"));
        let (most, why) = fit(500, [Some(1024); 2], Some(256));
        assert_eq!(most, 96);
        assert!(why.unwrap().contains("256 files open"));
        // One at a time always goes.
        assert_eq!(fit(4, [Some(1), None], Some(10)).0, 1);
    }
}

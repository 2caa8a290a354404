//! Another controller takes the pair over in the midst of a run: this one says so, and nothing
//! more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indexfile::exit::Exit;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{World, names};
use crate::control::Parallel;
use crate::error::RunError;
use crate::journal::memory::{Claimant, Clock, MemoryStore};
use crate::journal::{JournalStore, State};
use crate::observer::{Finished, Observer};
use crate::run::{Parts, recover, run};
use crate::survey::Source;

/// What the hosts have heard.
fn heard(world: &World) -> [Vec<String>; 2] {
    [0, 1].map(|side: usize| lock(&world.hosts[side]).log.clone())
}

#[tokio::test]
async fn a_run_that_is_fenced_ends_with_one_sentence_and_sends_nothing_more() {
    for (side, command, state) in [
        (0, "LOCK", State::Pending),
        (0, "UPGRADE", State::Pending),
        (1, "CONFIRM", State::Pending),
        (1, "COMMIT", State::Decided),
        (0, "COMMIT", State::Decided),
        (1, "RELEASE", State::Decided),
    ] {
        let mut world = World::new();
        world.settings.limits.parallel = Parallel::Fixed(1);
        world.fault(side, command, "user.b", 1, What::Refuse(Code::Fenced));
        let summary = world.run(&[Source::Master]).await;
        let what = format!("{command} on host {side}");
        let text = summary
            .taken_over
            .clone()
            .unwrap_or_else(|| panic!("{what}"));
        assert!(
            text.starts_with(["the master says ", "the replica says "][side]),
            "{text}"
        );
        assert_eq!(summary.exit(), Exit::RolledBack, "{what}");
        assert_eq!(world.row("user.b").state, state, "{what}");
        // The row is as it was; no attempt was written down.
        assert_eq!(world.row("user.b").reason, None, "{what}");
        assert!(world.witness.alarms.lock().unwrap().is_empty(), "{what}");
        let heard = heard(&world);
        let last = heard[side].last().unwrap();
        assert!(last.starts_with(command), "{what}: then {last}");
        for line in heard.iter().flatten() {
            let ends = ["ROLLBACK", "LEAVE"]
                .into_iter()
                .any(|end| line.starts_with(end));
            assert!(!ends, "{what}: {line}");
        }
    }
}

#[tokio::test]
async fn what_is_open_is_left_to_the_controller_that_took_over() {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.fault(1, "COMMIT", "user.b", 1, What::Refuse(Code::Fenced));
    world.run(&[names(&["user.b"])]).await;
    // Settling is refused as well, and changes no row.
    world.fault(0, "LOCK", "user.b", 1, What::Refuse(Code::Fenced));
    let error = recover(world.parts()).await.unwrap_err();
    assert!(matches!(error, RunError::TakenOver(_)), "{error}");
    assert_eq!(error.exit(), Exit::RolledBack);
    assert_eq!(world.row("user.b").state, State::Decided);
    // The other one: what was decided goes forward.
    let settled = recover(world.parts()).await.unwrap();
    assert_eq!((settled.settled, settled.in_doubt), (1, 0));
    assert_eq!(world.versions("user.b"), [10, 10]);
}

/// Once a mailbox is done another controller takes the pair over.
struct TakesOver(MemoryStore);

impl Observer for TakesOver {
    fn finished(&self, _: &Finished<'_>) {
        let journal = self.0.pair("").unwrap();
        assert!(journal.owner().unwrap().epoch > Some(1));
    }
    fn say(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn alarm(&self, text: &str) {
        panic!("{text}");
    }
}

#[tokio::test]
async fn a_journal_that_another_controller_has_claimed_ends_a_run_as_a_host_does_that_says_so() {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(1);
    let looks = AtomicU64::new(0);
    let clock: Clock = Arc::new(move || Duration::from_secs(looks.fetch_add(1, Ordering::Relaxed)));
    let controller = |name: &str| Claimant {
        name: name.to_owned(),
        // Each claim is over at once.
        lease: Duration::ZERO,
        clock: Arc::clone(&clock),
    };
    let tables = MemoryStore::new();
    let [own, other] = ["own", "other"].map(|name| tables.open(controller(name)));
    let journal = own.pair("").unwrap();
    let parts = Parts {
        journal: Arc::clone(&journal),
        observer: Arc::new(TakesOver(other)),
        ..world.parts()
    };
    let summary = run(parts, &[Source::Master]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (1, Exit::RolledBack));
    let text = summary.taken_over.unwrap();
    let said = "the journal says another controller has taken over the pair";
    assert!(text.starts_with(said), "{text}");
    // The second mailbox was staged on both, and the connections closed.
    let lines: Vec<String> = heard(&world).into_iter().flatten().collect();
    let staged = lines.iter().filter(|line| line.starts_with("CONFIRM"));
    assert_eq!(staged.count(), 4, "{lines:?}");
    assert_eq!(lines.iter().filter(|l| l.starts_with("COMMIT")).count(), 2);
    // It settles nothing, and says why.
    let error = recover(Parts {
        journal,
        ..world.parts()
    });
    let error = error.await.unwrap_err();
    assert!(matches!(error, RunError::TakenOver(_)), "{error}");
    assert_eq!(error.exit(), Exit::RolledBack);
    let lines: Vec<String> = heard(&world).into_iter().flatten().collect();
    let ends = |line: &&String| line.starts_with("ROLLBACK") || line.starts_with("LEAVE");
    assert_eq!(lines.iter().find(ends), None);
}

#[tokio::test]
async fn one_without_epochs_that_is_kept_out_is_not_told_that_it_was_replaced() {
    let world = World::new();
    world.fault(1, "REGISTER", "*", 9, What::Refuse(Code::Fenced));
    let error = recover(world.parts()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unavailable);
    assert!(!error.to_string().contains("taken over"), "{error}");
}

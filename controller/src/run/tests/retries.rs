//! What is tried again, and what is not.

use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{NAMES, World, names};
use crate::control::Parallel;
use crate::error::RunError;
use crate::journal::State;
use crate::run::{Retry, Summary, retry, run};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

#[tokio::test]
async fn a_locked_mailbox_comes_again_and_a_damaged_one_does_not() {
    let world = World::new();
    world.fault(1, "LOCK", "user.a", 2, What::Refuse(Code::Locked));
    world.fault(0, "UPGRADE", "user.b", 9, What::Refuse(Code::Damaged));
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.upgraded, summary.rolled_back, summary.exit()),
        (4, 1, Exit::RolledBack)
    );
    assert_eq!(world.row("user.a").attempts, 3);
    let row = world.row("user.b");
    assert_eq!(
        (row.state, row.attempts, row.reason),
        (State::RolledBack, 1, Some(Reason::Damaged))
    );
    assert_eq!(world.versions("user.b"), [9, 9]);
}

async fn again(world: &World, what: &Retry) -> Result<Summary, RunError> {
    retry(world.parts(), what, &world.control(2)).await
}

fn by_name(names: &[&str]) -> Retry {
    Retry::Names(
        names
            .iter()
            .map(|n| MailboxName::parse(n).unwrap())
            .collect(),
    )
}

#[tokio::test]
async fn what_stays_locked_is_rolled_back_and_retry_takes_it_up() {
    let world = World::new();
    world.fault(0, "LOCK", "user.a", 3, What::Refuse(Code::Locked));
    world.fault(0, "UPGRADE", "user.b", 1, What::Refuse(Code::Damaged));
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(summary.rolled_back, 2);
    let summary = again(&world, &Retry::MayPass).await.unwrap();
    assert_eq!(
        (summary.upgraded, summary.rolled_back),
        (4, 1),
        "damage is not retried by itself"
    );
    let summary = again(&world, &by_name(&["user.b"])).await.unwrap();
    assert_eq!(
        (summary.upgraded, summary.rolled_back, summary.exit()),
        (5, 0, Exit::Ok)
    );
}

#[tokio::test]
async fn an_unknown_name_is_an_error_and_then_nothing_is_retried() {
    let world = World::new();
    world.fault(0, "UPGRADE", "user.b", 1, What::Refuse(Code::Damaged));
    world.run(&[Source::Master]).await;
    let error = again(&world, &by_name(&["user.b", "user.nobody"]))
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::NoMailbox);
    assert!(error.to_string().ends_with(": user.nobody"), "{error}");
    assert_eq!(world.row("user.b").state, State::RolledBack);
    assert_eq!(world.versions("user.b"), [9, 9]);
}

#[tokio::test]
async fn a_reason_takes_up_its_own_failures_and_all_takes_up_every_one() {
    for (what, left) in [
        (Retry::Reasons(vec![Reason::Damaged]), 1),
        (Retry::Reasons(vec![Reason::Damaged, Reason::NoMessage]), 0),
        (Retry::All, 0),
        (Retry::MayPass, 2),
    ] {
        let world = World::new();
        world.fault(0, "UPGRADE", "user.b", 1, What::Refuse(Code::Damaged));
        world.fault(0, "UPGRADE", "user.a", 1, What::Refuse(Code::NoMessage));
        assert_eq!(world.run(&[Source::Master]).await.rolled_back, 2);
        let summary = again(&world, &what).await.unwrap();
        assert_eq!(summary.rolled_back, left, "{what:?}");
        assert_eq!(summary.upgraded, 5 - left);
    }
}

#[tokio::test]
async fn a_retry_by_name_leaves_the_rest_of_a_stopped_run_alone() {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.fault(0, "UPGRADE", "user.a", 1, What::Refuse(Code::Damaged));
    let (handle, stop) = stop_pair();
    world.witness = Arc::new(super::world::Witness {
        stop_after: Some((3, handle, Stop::Finish)),
        ..super::world::Witness::default()
    });
    let parts = world.parts_with(stop);
    let summary = run(parts, &[names(&["user.a", "user.b", NAMES[1], NAMES[3]])])
        .await
        .unwrap();
    assert_eq!((summary.rolled_back, summary.pending), (1, 1));
    world.witness = Arc::default();
    let summary = again(&world, &by_name(&["user.a", "user.b"]))
        .await
        .unwrap();
    assert_eq!(
        (summary.rolled_back, summary.pending, summary.upgraded),
        (0, 1, 3)
    );
    assert_eq!(lock(&world.hosts[0]).mailboxes[NAMES[3]].version, 9);
    let said = world.witness.said.lock().unwrap();
    assert!(
        said.iter()
            .any(|l| l == "user.b is not retried: it is upgraded"),
        "{said:?}"
    );
}

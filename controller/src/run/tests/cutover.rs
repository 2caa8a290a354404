//! What the run of a change-over promises: under the fence alone, on both hosts or on neither,
//! taken back by itself only.

use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{Code, FENCE_UP};

use super::fake::{What, lock};
use super::over_world::{asked, completed, proven, undo, world};
use super::world::{NAMES, Witness, World, names, spec_of};
use crate::control::Parallel;
use crate::hosts::Connect;
use crate::journal::{Candidate, Change, Journal, MailboxId, RunId, State, Verb};
use crate::run::{Retry, recover, retry, rollback, run, runs_since};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

#[tokio::test]
async fn all_is_changed_over_proven_and_taken_back() {
    let mut world = world();
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
    for name in NAMES {
        assert_eq!(world.versions(name), [16, 16], "{name}");
    }
    let warned = world.witness.warned.lock().unwrap().join("; ");
    assert!(warned.contains("no server may be started"), "{warned}");
    let (proof, failed) = proven(&world, vec![Source::Master]).await.unwrap();
    assert_eq!(failed, [""; 0]);
    assert_eq!(
        (
            proof.mailboxes,
            proof.good,
            proof.bad,
            proof.complete,
            proof.exit()
        ),
        (5, 5, 0, true, Exit::Ok)
    );
    assert_eq!(completed(&world), [Some((16, 5)); 2]);
    undo(&mut world);
    let back = world.run(&[Source::Master]).await;
    assert_eq!((back.upgraded, back.exit()), (5, Exit::Ok));
    for name in NAMES {
        assert_eq!(world.versions(name), [10, 10], "{name}");
    }
    // Again: there is nothing to take back, and nothing is asked to be written.
    let upgrades = asked(&world, "UPGRADE");
    let again = world.run(&[Source::Master]).await;
    assert_eq!((again.unchanged, again.exit()), (5, Exit::Ok));
    assert_eq!(asked(&world, "UPGRADE"), upgrades);
}

#[tokio::test]
async fn nothing_is_begun_without_the_fence_on_both_hosts() {
    for (side, fence, says) in [
        (
            0,
            Some("master (process 7) runs"),
            "on the master: master (process 7) runs",
        ),
        (
            1,
            Some("there is no msg/shutdown"),
            "on the replica: there is no msg/shutdown",
        ),
    ] {
        for way in [Verb::Cutover, Verb::Undo] {
            let mut world = world();
            if way == Verb::Undo {
                undo(&mut world);
            }
            lock(&world.hosts[side]).fence = fence;
            let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
            assert_eq!(error.exit(), Exit::Config, "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert!(world.journal.last_run().unwrap().is_none());
            assert_eq!(asked(&world, "LOCK"), 0);
        }
    }
}

#[tokio::test]
async fn a_fence_that_falls_stops_the_run_with_one_true_sentence_and_the_same_command_goes_on() {
    let mut world = world();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.fault(0, "UPGRADE", "user.b", 1, What::Refuse(Code::Unfenced));
    let summary = world.run(&[Source::Master]).await;
    let why = summary.fence.clone().unwrap();
    assert!(
        why.starts_with("the fence does not stand on the master: "),
        "{why}"
    );
    assert_eq!(summary.exit(), Exit::Config);
    assert_eq!(summary.rolled_back, 0);
    assert!(summary.pending > 0, "{summary:?}");
    let locks = asked(&world, "LOCK");
    assert!(locks < 10, "{locks} locks");
    for name in NAMES {
        let [master, replica] = world.versions(name);
        assert_eq!(master, replica, "{name}");
    }
    let again = world.run(&[Source::Master]).await;
    assert_eq!(
        (again.run, again.upgraded, again.fence.clone(), again.exit()),
        (summary.run, 5, None, Exit::Ok)
    );
}

#[tokio::test]
async fn retry_needs_the_fence_too_and_takes_up_what_was_refused() {
    let world = world();
    world.fault(1, "UPGRADE", "user.a", 1, What::Refuse(Code::NoMessage));
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.rolled_back, summary.exit()), (1, Exit::RolledBack));
    assert_eq!(world.versions("user.a"), [10, 10]);
    lock(&world.hosts[0]).fence = Some("a port is listened on");
    let control = world.control(2);
    let error = retry(world.parts(), &Retry::All, &control)
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    lock(&world.hosts[0]).fence = Some(FENCE_UP);
    let again = retry(world.parts(), &Retry::All, &control).await.unwrap();
    assert_eq!((again.upgraded, again.exit()), (5, Exit::Ok));
}

#[tokio::test]
async fn what_is_decided_waits_for_the_fence_and_no_old_file_goes() {
    let mut world = world();
    world.settings.drop_old = true;
    let spec = spec_of(&world);
    let run = world.journal.begin_run(&spec, 1).unwrap();
    let of = MailboxName::parse("user.a").unwrap();
    world
        .journal
        .add(run, &[Candidate::new(of, false)])
        .unwrap();
    world.journal.list_complete(run).unwrap();
    let mailbox = MailboxId(1);
    let before = [Some(10), Some(10)];
    world.submit(Change::Decide { mailbox, before }).await;
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.a")
        .unwrap()
        .version = 16;
    lock(&world.hosts[0]).fence = Some("it has fallen");
    // Whoever comes next, of whatever verb.
    let error = recover(world.parts()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert!(
        error.to_string().contains("decided and not settled"),
        "{error}"
    );
    assert!(!world.row("user.a").in_doubt);
    assert_eq!(asked(&world, "LOCK"), 0);
    let error = proven(&world, vec![Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    lock(&world.hosts[0]).fence = Some(FENCE_UP);
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(world.versions("user.a"), [16, 16]);
    assert_eq!(world.row("user.a").state, State::Upgraded);
    let log = lock(&world.hosts[0]).log.join("\n");
    assert!(log.contains("COMMIT") && !log.contains("drop_old"), "{log}");
}

#[tokio::test]
async fn only_undo_takes_a_change_over_back() {
    let mut world = world();
    let over = world.run(&[names(&["user.a"])]).await.run;
    world.settings.verb = Verb::Upgrade;
    world.settings.to = 10;
    let upgrade = world.run(&[Source::Master]).await;
    assert_eq!((upgrade.rolled_back, upgrade.unchanged), (1, 4));
    let row = world.row("user.a");
    assert_eq!(row.reason, Some(Reason::Unsupported));
    assert!(
        row.detail.contains("controller cutover --undo"),
        "{}",
        row.detail
    );
    assert_eq!(world.versions("user.a"), [16, 16]);

    world.settings.verb = Verb::Rollback;
    world.settings.to = 0;
    let control = world.control(2);
    let mut parts = world.parts();
    parts.settings.undoes = Some(RunId(over));
    let error = rollback(parts, &[], &control).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert!(
        error.to_string().contains("controller cutover --undo"),
        "{error}"
    );
    let all = rollback(world.parts(), &[], &control).await.unwrap();
    assert_eq!((all.left_alone, all.exit()), (1, Exit::RolledBack));
    assert_eq!(world.versions("user.a"), [16, 16]);
}

#[tokio::test]
async fn a_change_over_that_was_taken_back_hinders_no_rollback_of_what_came_before() {
    let mut world = World::new();
    for host in &world.hosts {
        lock(host).fence = Some(FENCE_UP);
    }
    let upgrade = world.run(&[Source::Master]).await.run;
    world.settings.verb = Verb::Cutover;
    world.settings.to = 16;
    world.run(&[Source::Master]).await;
    undo(&mut world);
    world.run(&[Source::Master]).await;
    let since = runs_since(world.journal.as_ref(), 0).unwrap();
    assert_eq!(since, [RunId(upgrade)]);
    world.settings.verb = Verb::Rollback;
    world.settings.to = 0;
    let mut parts = world.parts();
    parts.settings.undoes = Some(RunId(upgrade));
    let back = rollback(parts, &[], &world.control(2)).await.unwrap();
    assert_eq!(
        (back.upgraded, back.left_alone, back.exit()),
        (5, 0, Exit::Ok)
    );
    assert_eq!(world.versions("user.a"), [9, 9]);
}

#[tokio::test]
async fn an_undo_that_comes_too_late_leaves_the_mailbox_on_both_hosts() {
    let mut world = world();
    world.run(&[Source::Master]).await;
    lock(&world.hosts[0])
        .mailboxes
        .get_mut("user.b")
        .unwrap()
        .over
        .served = true;
    undo(&mut world);
    let back = world.run(&[Source::Master]).await;
    assert_eq!((back.upgraded, back.rolled_back), (4, 1));
    assert_eq!(back.exit(), Exit::RolledBack);
    assert_eq!(world.versions("user.b"), [16, 16]);
}

#[tokio::test]
async fn a_run_that_is_not_the_one_that_was_stopped_is_told_how_that_one_goes_on() {
    let mut world = world();
    world.settings.limits.parallel = Parallel::Fixed(1);
    let (handle, stop) = stop_pair();
    world.witness = Arc::new(Witness {
        stop_after: Some((2, handle, Stop::Finish)),
        ..Witness::default()
    });
    let first = run(world.parts_with(stop), &[Source::Master])
        .await
        .unwrap();
    assert_eq!((first.upgraded, first.pending), (2, 3));
    world.witness = Arc::default();
    undo(&mut world);
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    let text = error.to_string();
    assert!(text.contains("controller cutover --to 16 "), "{text}");
    world.settings.abandon = Some(RunId(first.run));
    let back = world.run(&[Source::Master]).await;
    assert_eq!(
        (back.upgraded, back.unchanged, back.exit()),
        (2, 3, Exit::Ok)
    );
    assert_eq!(
        world.journal.last_run().unwrap().unwrap().spec.task(),
        "undo of the change-over"
    );
}

#[tokio::test]
async fn a_slotd_that_knows_no_fence_makes_no_change_over() {
    let world = world();
    lock(&world.hosts[1]).fence = None;
    let parts = world.parts();
    let connect: &Arc<dyn Connect> = &parts.connect;
    assert!(crate::hosts::fallen_fence(connect).await.is_err());
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(asked(&world, "LOCK"), 0, "{error}");
}

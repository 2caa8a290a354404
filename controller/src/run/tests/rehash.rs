//! What `--rehash` promises: wrong GUIDs are found at version 10 too, reported or set right on both
//! hosts, and a controller that takes such a run up asks for the same.

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{Code, Rehash};

use super::fake::{What, lock};
use super::world::{NAMES, World, names, spec_of};
use crate::error::RunError;
use crate::journal::{Candidate, Change, Journal, MailboxId, RunSpec, State};
use crate::run::{Retry, recover, retry, run};
use crate::survey::Source;
use crate::two_phase::Reason;

/// All is at version 10, and one GUID of user.a is wrong on both hosts, one of user.b on the
/// replica.
fn world(rehash: Rehash) -> World {
    let mut world = World::new();
    world.settings.rehash = Some(rehash);
    for (side, host) in world.hosts.iter().enumerate() {
        let mut host = lock(host);
        for mailbox in host.mailboxes.values_mut() {
            mailbox.version = 10;
        }
        host.mailboxes.get_mut("user.a").unwrap().wrong = vec![2];
        if side == 1 {
            host.mailboxes.get_mut("user.b").unwrap().wrong = vec![7];
        }
    }
    world
}

const NONE: [Vec<u32>; 2] = [Vec::new(), Vec::new()];

fn wrong(world: &World, name: &str) -> [Vec<u32>; 2] {
    [0, 1].map(|i| lock(&world.hosts[i]).mailboxes[name].wrong.clone())
}

fn asked(world: &World, command: &str, word: &str) -> usize {
    let asked = |log: &[String]| {
        let is = |l: &&String| l.starts_with(command) && l.split(' ').any(|w| w == word);
        log.iter().filter(is).count()
    };
    world.hosts.iter().map(|h| asked(&lock(h).log)).sum()
}

#[tokio::test]
async fn a_report_changes_nothing_names_what_is_wrong_and_ends_with_65() {
    let world = world(Rehash::Report);
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.mailboxes, summary.unchanged, summary.wrong_guid),
        (5, 3, 2)
    );
    assert_eq!((summary.rolled_back, summary.exit()), (0, Exit::Data));
    assert_eq!(summary.warnings.wrong_guids, 3);
    let row = world.row("user.b");
    assert_eq!(
        (row.state, row.reason, row.side),
        (State::RolledBack, Some(Reason::WrongGuid), None)
    );
    let has = "ab".repeat(20);
    let expected =
        format!("replica: 1 GUID(s) are not the SHA-1 of the message: UID 7 has {has} and");
    assert!(row.detail.starts_with(&expected), "{}", row.detail);
    assert!(row.detail.contains("controller upgrade --rehash=fix"));
    assert_eq!(wrong(&world, "user.a"), [[2], [2]]);
    assert_eq!(asked(&world, "COMMIT", "COMMIT"), 0);
    assert_eq!(asked(&world, "PREPARE", "rehash=report"), 10);
    assert!(
        world
            .journal
            .last_run()
            .unwrap()
            .unwrap()
            .finished_ms
            .is_some()
    );
    // It is no failure that passes by itself, and when it is asked for it is asked the same.
    let mut parts = world.parts();
    parts.settings.rehash = None;
    let control = world.control(2);
    let again = retry(parts, &Retry::All, &control).await.unwrap();
    assert_eq!((again.wrong_guid, again.exit()), (2, Exit::Data));
    assert_eq!(asked(&world, "UPGRADE", "rehash=report"), 14);
}

#[tokio::test]
async fn a_mailbox_that_is_refused_is_not_hidden_by_what_is_found_and_is_no_finding() {
    let world = world(Rehash::Report);
    world.fault(0, "UPGRADE", "user.a", 1, What::Refuse(Code::NoMessage));
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.rolled_back, summary.wrong_guid), (1, 1));
    assert_eq!(world.row("user.a").reason, Some(Reason::NoMessage));
}

/// Many findings are what was asked for.
#[tokio::test]
async fn findings_do_not_stop_a_report() {
    let mut world = world(Rehash::Report);
    world.settings.max_failures = "0".parse().unwrap();
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.wrong_guid, summary.stopped), (2, None));
}

#[tokio::test]
async fn a_fix_sets_both_hosts_right_and_its_rollback_brings_back_what_was_there() {
    let world = world(Rehash::Fix);
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.upgraded, summary.unchanged, summary.exit()),
        (2, 3, Exit::Ok)
    );
    assert_eq!(wrong(&world, "user.a"), NONE);
    assert_eq!(wrong(&world, "user.b"), NONE);
    let summary = world.roll_back(None, &["user.a"]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (1, Exit::Ok));
    assert_eq!(wrong(&world, "user.a"), [[2], [2]]);
    assert_eq!(asked(&world, "UPGRADE", "uuids=old"), 2);
}

/// A run that has decided about user.a, and came no further.
async fn decide(world: &World, spec: &RunSpec, back: [Option<u8>; 2]) -> MailboxId {
    let run = world.journal.begin_run(spec, 1).unwrap();
    let name = MailboxName::parse("user.a").unwrap();
    let listed = Candidate {
        back,
        ..Candidate::new(name, true)
    };
    world.journal.add(run, &[listed]).unwrap();
    let mailbox = world.row("user.a").id;
    let before = [Some(10), Some(10)];
    world.submit(Change::Decide { mailbox, before }).await;
    mailbox
}

/// A recovery that was not asked for `--rehash` carries out what the run is.
async fn settles_as_a_fix(world: &World) {
    let mut parts = world.parts();
    parts.settings.rehash = None;
    let recovered = recover(parts).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(wrong(world, "user.a"), NONE);
}

/// The index has its version already: that it is left to do, only the run says.
#[tokio::test]
async fn what_a_fix_has_decided_is_carried_out_as_one_by_the_one_that_takes_it_up() {
    let world = world(Rehash::Fix);
    let mut spec = spec_of(&world);
    spec.selection = "all --rehash=fix".to_owned();
    decide(&world, &spec, [None; 2]).await;
    settles_as_a_fix(&world).await;
}

/// One host is right already, the other cannot be: then what was right is to be wrong again, as it
/// was.
#[tokio::test]
async fn a_fix_and_its_rollback_are_taken_back_by_what_they_are() {
    let world = world(Rehash::Fix);
    assert_eq!(world.run(&[names(&["user.a"])]).await.exit(), Exit::Ok);
    let fix = world.journal.last_run().unwrap().unwrap();
    // The rollback has brought the replica back, and the master not, and is to be taken back.
    let mut spec = spec_of(&world);
    (spec.verb, spec.to, spec.undoes) = (crate::journal::Verb::Rollback, 0, Some(fix.id));
    let mailbox = decide(&world, &spec, [Some(10), Some(10)]).await;
    world.submit(Change::Reverse { mailbox }).await;
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.a")
        .unwrap()
        .wrong = vec![2];
    settles_as_a_fix(&world).await;
}

#[tokio::test]
async fn a_run_with_it_is_another_run_than_one_without() {
    let world = world(Rehash::Fix);
    let mut spec = spec_of(&world);
    spec.selection = "all".to_owned();
    let first = world.journal.begin_run(&spec, 0).unwrap();
    let refused = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert!(matches!(refused, RunError::Other(_)), "{refused}");
    world.journal.finish_run(first, 1).unwrap();
    let words = world.run(&[Source::Master]).await.run;
    let run = world
        .journal
        .run(crate::journal::RunId(words))
        .unwrap()
        .unwrap();
    assert_eq!(run.spec.rehash(), Some(Rehash::Fix));
    assert_eq!(run.spec.of_what(), "--rehash=fix");
}

#[tokio::test]
async fn a_slotd_that_does_not_know_it_refuses_the_run_before_it_begins() {
    let world = world(Rehash::Report);
    lock(&world.hosts[1]).before_rehash = true;
    let refused = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(refused.exit(), Exit::Config);
    let text = refused.to_string();
    assert!(
        text.contains("the replica's slotd, of release 1, does not know --rehash"),
        "{text}"
    );
    assert_eq!(world.journal.last_run().unwrap(), None);
    // Who does not ask for it needs it not.
    let mut parts = world.parts();
    parts.settings.rehash = None;
    let summary = run(parts, &[Source::Master]).await.unwrap();
    assert_eq!(
        (summary.unchanged, summary.exit()),
        (NAMES.len() as u64, Exit::Ok)
    );
}

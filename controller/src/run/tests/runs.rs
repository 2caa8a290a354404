//! What a run promises, from list to summary.

mod rollback;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{Fault, Net, Shared, What, host, lock};
use crate::control::Control;
use crate::journal::memory::MemoryJournal;
use crate::journal::{Change, Durability, Filter, Journal, MailboxId, RunId, State};
use crate::run::{
    Alerts, Finished, Observer, Parts, RunError, Settings, Source, Stop, StopHandle, Summary,
    recover, retry, run, run_controlled, stop_pair,
};
use crate::two_phase::Reason;

const NAMES: [&str; 5] = [
    "user.a",
    "user.a.Sent Items",
    "user.b",
    "user.b.&AOk-",
    "ex.com!user.c",
];

/// What a run told its observer.
#[derive(Default)]
struct Witness {
    lines: Mutex<Vec<String>>,
    alarms: Mutex<Vec<String>>,
    said: Mutex<Vec<String>>,
    stop_after: Option<(usize, StopHandle, Stop)>,
}

impl Observer for Witness {
    fn finished(&self, what: &Finished<'_>) {
        let mut lines = self.lines.lock().unwrap();
        lines.push(format!("{} {}", what.name, what.ended.as_str()));
        if let Some((n, handle, how)) = &self.stop_after
            && lines.len() == *n
        {
            handle.stop(*how);
        }
    }
    fn say(&self, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }
    fn alarm(&self, text: &str) {
        self.alarms.lock().unwrap().push(text.to_owned());
    }
}

struct World {
    hosts: [Shared; 2],
    journal: Arc<MemoryJournal>,
    witness: Arc<Witness>,
    settings: Settings,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            parallel: 2,
            pass_pause: Duration::from_millis(1),
            settle_attempts: 2,
            settle_pause: Duration::from_millis(1),
            ..Settings::upgrade()
        };
        Self {
            hosts: [host(&NAMES), host(&NAMES)],
            journal: Arc::new(MemoryJournal::new()),
            witness: Arc::default(),
            settings,
        }
    }

    fn fault(
        &self,
        side: usize,
        command: &'static str,
        mailbox: &'static str,
        times: u32,
        what: What,
    ) {
        lock(&self.hosts[side]).faults.push(Fault {
            command,
            mailbox,
            times,
            what,
        });
    }

    fn parts(&self) -> Parts {
        let (handle, stop) = stop_pair();
        // The run would take a dropped handle for "never stopped", which is what is wanted here.
        drop(handle);
        self.parts_with(stop)
    }

    fn parts_with(&self, stop: crate::run::StopSignal) -> Parts {
        Parts {
            settings: self.settings.clone(),
            connect: Arc::new(Net {
                hosts: self.hosts.clone().map(Some),
            }),
            journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
            observer: Arc::clone(&self.witness) as Arc<dyn Observer>,
            alerts: Alerts::default(),
            stop,
        }
    }

    async fn run(&self, sources: &[Source]) -> Summary {
        run(self.parts(), sources).await.unwrap()
    }

    fn versions(&self, name: &str) -> [u32; 2] {
        [0, 1].map(|i| lock(&self.hosts[i]).mailboxes[name].version)
    }

    fn row(&self, name: &str) -> crate::journal::Row {
        let name = MailboxName::parse(name).unwrap();
        let run = self.journal.last_run().unwrap().unwrap().id;
        self.journal.find(run, &name).unwrap().unwrap()
    }
}

fn names(names: &[&str]) -> Source {
    Source::Names(
        names
            .iter()
            .map(|n| MailboxName::parse(n).unwrap())
            .collect(),
    )
}

#[tokio::test]
async fn every_mailbox_of_the_master_is_upgraded_on_both_hosts() {
    let world = World::new();
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.mailboxes, summary.upgraded, summary.exit()),
        (5, 5, Exit::Ok)
    );
    assert_eq!(
        (summary.messages, summary.hashed, summary.cached),
        (15, 20, 10)
    );
    assert!((summary.lock_ms.max - 1.5).abs() < 1e-9);
    for name in NAMES {
        assert_eq!(world.versions(name), [10, 10], "{name}");
    }
    // The partition that LIST told goes to the master and not to the replica.
    assert!(
        lock(&world.hosts[0])
            .log
            .iter()
            .any(|l| l.starts_with("LOCK user.a%20") || l.contains("partition=default"))
    );
    assert!(
        !lock(&world.hosts[1])
            .log
            .iter()
            .any(|l| l.contains("partition="))
    );
    // Again: nothing to do, and nothing is decided.
    let again = world.run(&[Source::Master]).await;
    assert_eq!(
        (again.unchanged, again.upgraded, again.run),
        (5, 0, summary.run + 1)
    );
}

#[tokio::test]
async fn the_replica_commits_first_and_is_held_until_the_master_has() {
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    let verbs = |i: usize| -> Vec<String> {
        let host = lock(&world.hosts[i]);
        host.log
            .iter()
            .map(|l| l.split(' ').next().unwrap_or("").to_owned())
            .collect()
    };
    assert_eq!(verbs(0), ["HELLO", "LOCK", "UPGRADE", "COMMIT"]);
    assert_eq!(verbs(1), ["HELLO", "LOCK", "UPGRADE", "COMMIT", "RELEASE"]);
    assert!(lock(&world.hosts[1]).log.iter().any(|l| l == "COMMIT hold"));
    assert!(lock(&world.hosts[0]).log.iter().any(|l| l == "COMMIT"));
}

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

#[tokio::test]
async fn what_stays_locked_is_rolled_back_and_retry_takes_it_up() {
    let world = World::new();
    world.fault(0, "LOCK", "user.a", 3, What::Refuse(Code::Locked));
    world.fault(0, "UPGRADE", "user.b", 1, What::Refuse(Code::Damaged));
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(summary.rolled_back, 2);
    let summary = retry(world.parts(), &[], false, &Arc::new(Control::new(2)))
        .await
        .unwrap();
    assert_eq!(
        (summary.upgraded, summary.rolled_back),
        (4, 1),
        "damage is not retried by itself"
    );
    let unknown = retry(
        world.parts(),
        &[MailboxName::parse("user.nobody").unwrap()],
        false,
        &Arc::new(Control::new(2)),
    )
    .await;
    assert!(matches!(unknown, Err(RunError::NoMailbox(_))));
    let summary = retry(
        world.parts(),
        &[MailboxName::parse("user.b").unwrap()],
        false,
        &Arc::new(Control::new(2)),
    )
    .await
    .unwrap();
    assert_eq!(
        (summary.upgraded, summary.rolled_back, summary.exit()),
        (5, 0, Exit::Ok)
    );
}

#[tokio::test]
async fn an_unknown_name_is_an_error_and_the_others_go_on() {
    let world = World::new();
    let summary = world.run(&[names(&["user.a", "user.nobody"])]).await;
    assert_eq!(
        (summary.upgraded, summary.unknown, summary.exit()),
        (1, 1, Exit::NoMailbox)
    );
    assert_eq!(world.versions("user.a"), [10, 10]);
    // On the replica alone it is a failure of that mailbox.
    lock(&world.hosts[1]).mailboxes.remove("user.b");
    let summary = world.run(&[names(&["user.b"])]).await;
    assert_eq!(
        (summary.rolled_back, summary.unknown, summary.exit()),
        (1, 0, Exit::RolledBack)
    );
    assert_eq!(lock(&world.hosts[0]).mailboxes["user.b"].version, 9);
}

#[tokio::test]
async fn no_slotd_is_said_before_anything_is_touched() {
    let world = World::new();
    lock(&world.hosts[1]).down = true;
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unavailable);
    assert!(error.to_string().starts_with("replica: "), "{error}");
    assert!(world.journal.last_run().unwrap().is_none());
}

#[tokio::test]
async fn a_differing_message_stops_its_mailbox_and_lag_does_not() {
    let world = World::new();
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.a")
        .unwrap()
        .messages[1]
        .1 = 99;
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.b")
        .unwrap()
        .messages
        .pop();
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.upgraded, summary.rolled_back, summary.lag),
        (4, 1, 1)
    );
    let row = world.row("user.a");
    assert_eq!((row.reason, row.side), (Some(Reason::Differs), None));
    assert!(row.detail.contains("UID 2 is 02"), "{}", row.detail);
    assert_eq!(world.versions("user.a"), [9, 9]);
}

#[tokio::test]
async fn a_commit_without_an_answer_is_settled_within_the_run() {
    for what in [What::CloseBefore, What::CloseAfter, What::Hang] {
        for side in [0, 1] {
            let world = World::new();
            world.fault(side, "COMMIT", "user.a", 1, what.clone());
            let summary = world.run(&[Source::Master]).await;
            // A hung session keeps its locks until the connection closes, which it did.
            assert_eq!(summary.exit(), Exit::Ok, "{what:?} at {side}: {summary:?}");
            assert_eq!(world.versions("user.a"), [10, 10]);
            assert!(world.witness.alarms.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_master_that_refuses_its_commit_leaves_both_as_before() {
    let world = World::new();
    world.fault(0, "COMMIT", "user.a", 9, What::Refuse(Code::Io));
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!((summary.rolled_back, summary.exit()), (1, Exit::RolledBack));
    assert_eq!(world.versions("user.a"), [9, 9]);
}

#[tokio::test]
async fn a_host_that_stays_away_after_the_decision_is_in_doubt_and_recovery_heals_it() {
    let world = World::new();
    world.fault(0, "COMMIT", "user.a", 1, What::CloseBefore);
    // From the COMMIT on, nobody answers there.
    let watcher = Arc::clone(&world.hosts[0]);
    let task = tokio::spawn(async move {
        loop {
            {
                let mut host = lock(&watcher);
                if host.log.iter().any(|l| l.starts_with("COMMIT")) {
                    host.down = true;
                    return;
                }
            }
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    });
    let summary = world.run(&[names(&["user.a"])]).await;
    task.await.unwrap();
    assert_eq!((summary.in_doubt, summary.exit()), (1, Exit::InDoubt));
    assert_eq!(world.versions("user.a"), [9, 10]);
    {
        let alarms = world.witness.alarms.lock().unwrap();
        assert_eq!(alarms.len(), 1);
        assert!(alarms[0].contains("IN DOUBT: user.a") && alarms[0].contains("controller recover"));
    }
    lock(&world.hosts[0]).down = false;
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(world.versions("user.a"), [10, 10]);
    assert_eq!(world.row("user.a").state, State::Upgraded);
}

#[tokio::test]
async fn a_run_that_was_stopped_goes_on_where_it_was() {
    for how in [Stop::Finish, Stop::Now] {
        let mut world = World::new();
        world.settings.parallel = 1;
        let (handle, stop) = stop_pair();
        world.witness = Arc::new(Witness {
            stop_after: Some((2, handle, how)),
            ..Witness::default()
        });
        let first = run(world.parts_with(stop), &[Source::Master])
            .await
            .unwrap();
        assert_eq!(
            (first.upgraded, first.pending, first.exit()),
            (2, 3, Exit::RolledBack)
        );
        for i in [0, 1] {
            assert_eq!(
                lock(&world.hosts[i])
                    .mailboxes
                    .values()
                    .filter(|m| m.version == 10)
                    .count(),
                2
            );
        }
        // A crash in between loses nothing either.
        world.journal = Arc::new(world.journal.after_crash());
        world.witness = Arc::default();
        let second = world.run(&[Source::Master]).await;
        assert_eq!(
            (second.run, second.upgraded, second.pending),
            (first.run, 5, 0)
        );
        assert_eq!(world.witness.lines.lock().unwrap().len(), 3, "none twice");
    }
}

#[tokio::test]
async fn the_second_signal_rolls_back_what_is_not_decided() {
    let mut world = World::new();
    world.settings.parallel = 1;
    world.fault(1, "UPGRADE", "user.a", 1, What::Hang);
    let (handle, stop) = stop_pair();
    assert_eq!(
        (handle.escalate(), handle.escalate()),
        (Stop::Finish, Stop::Now)
    );
    drop(handle);
    let (handle, live) = stop_pair();
    let parts = world.parts_with(live);
    drop(stop);
    let task = tokio::spawn(async move { run(parts, &[names(&["user.a"])]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    handle.stop(Stop::Now);
    let summary = tokio::time::timeout(Duration::from_millis(500), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((summary.pending, summary.upgraded), (1, 0));
    assert_eq!(world.versions("user.a"), [9, 9]);
    assert_eq!(world.row("user.a").reason, Some(Reason::Interrupted));
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_stops_the_run_before_any_commit() {
    let world = World::new();
    let journal = Arc::clone(&world.journal);
    let watcher = Arc::clone(&world.hosts[0]);
    let task = tokio::spawn(async move {
        while !lock(&watcher).log.iter().any(|l| l.starts_with("LOCK")) {
            tokio::time::sleep(Duration::from_micros(20)).await;
        }
        journal.break_down();
    });
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    task.await.unwrap();
    assert_eq!(error.exit(), Exit::Io);
    let committed = lock(&world.hosts[0])
        .mailboxes
        .values()
        .filter(|m| m.version == 10)
        .count();
    let decided = world
        .journal
        .page(RunId(1), Filter::All, MailboxId(0), 100)
        .unwrap();
    assert!(committed <= decided.iter().filter(|r| r.state != State::Pending).count());
}

#[tokio::test]
async fn master_and_replica_that_changed_places_are_refused() {
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    // The same two hosts, the other way round: their ids go with the side in this imitation, so
    // the journal is told of a run in which they were swapped.
    let mut spec = world.journal.last_run().unwrap().unwrap().spec;
    (spec.master_id, spec.replica_id) = ("host-replica".to_owned(), "host-master".to_owned());
    world.journal.begin_run(&spec, 0).unwrap();
    let error = run(world.parts(), &[names(&["user.a"])]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert!(error.to_string().contains("changed places"), "{error}");
}

#[tokio::test]
async fn one_host_alone_is_upgraded_without_a_replica() {
    let world = World::new();
    let mut parts = world.parts();
    parts.connect = Arc::new(Net {
        hosts: [Some(Arc::clone(&world.hosts[0])), None],
    });
    let summary = run(parts, &[Source::Master]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
    assert_eq!(world.versions("user.a"), [10, 9]);
    assert!(lock(&world.hosts[1]).log.is_empty());
}

#[tokio::test]
async fn an_idle_connection_that_ended_is_made_again_at_once() {
    let mut world = World::new();
    world.settings.parallel = 1;
    world.settings.passes = 1;
    // The slotd restarts between two mailboxes: the second LOCK finds the connection closed.
    world.fault(1, "LOCK", "user.a.Sent Items", 1, What::CloseBefore);
    let summary = world
        .run(&[names(&["user.a", "user.a.Sent Items", "user.b"])])
        .await;
    assert_eq!((summary.upgraded, summary.exit()), (3, Exit::Ok));
}

#[tokio::test]
async fn a_paused_run_holds_nothing_and_goes_on_when_resumed() {
    let world = World::new();
    let control = Arc::new(Control::new(2));
    control.turn(|knobs| knobs.paused = true);
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let live = control.live();
    assert_eq!((live.mailboxes, live.done, live.under_way), (5, 0, 0));
    assert!(
        !lock(&world.hosts[0])
            .log
            .iter()
            .any(|l| l.starts_with("LOCK"))
    );
    control.turn(|knobs| (knobs.paused, knobs.parallel) = (false, 5));
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.upgraded, control.live().done), (5, 5));
}

#[tokio::test]
async fn a_paused_run_can_be_stopped() {
    let world = World::new();
    let control = Arc::new(Control::new(2));
    control.turn(|knobs| knobs.waiting = Some("night".to_owned()));
    let (handle, stop) = stop_pair();
    let (parts, watched) = (world.parts_with(stop), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    handle.stop(Stop::Finish);
    let summary = tokio::time::timeout(Duration::from_secs(1), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((summary.pending, summary.upgraded), (5, 0));
}

#[tokio::test]
async fn a_way_back_that_slotd_cannot_go_is_never_taken_for_gone() {
    let world = World::new();
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.a")
        .unwrap()
        .version = 10;
    let run = world.journal.begin_run(&spec_of(&world), 0).unwrap();
    let name = MailboxName::parse("user.a").unwrap();
    let listed = crate::journal::Listed {
        name,
        partition: None,
        named: true,
        back: [None; 2],
    };
    world.journal.add(run, &[listed]).unwrap();
    let mailbox = world.row("user.a").id;
    // Padded GUIDs of version 10 were replaced on the replica; the master cannot follow.
    for change in [
        Change::Decide {
            mailbox,
            before: [Some(9), Some(10)],
        },
        Change::Reverse { mailbox },
    ] {
        world
            .journal
            .submit(change, Durability::Durable)
            .wait()
            .await
            .unwrap();
    }
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (0, 1));
    assert!(
        !lock(&world.hosts[1])
            .log
            .iter()
            .any(|l| l.starts_with("UPGRADE"))
    );
    assert!(world.witness.alarms.lock().unwrap()[0].contains(".OLD"));
}

fn spec_of(world: &World) -> crate::journal::RunSpec {
    crate::journal::RunSpec {
        verb: world.settings.verb,
        to: world.settings.to,
        undoes: None,
        master: "master".to_owned(),
        replica: Some("replica".to_owned()),
        master_id: String::new(),
        replica_id: String::new(),
    }
}

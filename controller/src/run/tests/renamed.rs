//! Mailboxes that were renamed, deleted or made anew between a run and its rollback.

use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;

use super::fake::{What, host, id_of, lock};
use super::world::{NAMES, Witness, World, names};
use crate::journal::{Change, RunId, State, Verb};
use crate::run::{Retry, retry};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::{Reason, Side};

impl World {
    /// On both hosts, as its owner does and replication carries over.
    fn rename(&self, from: &str, to: &str) {
        for shared in &self.hosts {
            let mut host = lock(shared);
            let mut mailbox = host.mailboxes.remove(from).unwrap();
            mailbox.uniqueid.get_or_insert_with(|| id_of(from));
            host.mailboxes.insert(to.to_owned(), mailbox);
        }
    }

    fn delete(&self, name: &str) {
        for shared in &self.hosts {
            lock(shared).mailboxes.remove(name).unwrap();
        }
    }

    /// Another one of that name, of this version.
    fn make_anew(&self, name: &str, version: u32) {
        for shared in &self.hosts {
            let mut mailbox = lock(&host(&[name])).mailboxes.remove(name).unwrap();
            mailbox.version = version;
            mailbox.uniqueid = Some("another".to_owned());
            lock(shared).mailboxes.insert(name.to_owned(), mailbox);
        }
    }
}

#[tokio::test]
async fn a_mailbox_made_anew_under_the_name_of_one_that_was_changed_is_left_as_it_is() {
    let world = World::new();
    world.run(&[Source::Master]).await;
    world.delete("user.a");
    world.make_anew("user.a", 10);
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.rolled_back), (4, 1));
    assert_eq!(summary.exit(), Exit::RolledBack);
    assert_eq!(world.versions("user.a"), [10, 10]);
    let row = world.row("user.a");
    assert_eq!(
        (row.reason, row.side),
        (Some(Reason::Superseded), Some(Side::Master))
    );
    assert!(row.detail.contains("another mailbox"), "{row:?}");
    // It does not go away by trying again.
    let mut parts = world.parts();
    parts.settings.verb = Verb::Rollback;
    parts.settings.to = 0;
    let all = [MailboxName::parse("user.a").unwrap()];
    let again = Retry::Names(all.to_vec());
    let summary = retry(parts, &again, &world.control(1)).await.unwrap();
    assert_eq!((summary.rolled_back, summary.upgraded), (1, 4));
    assert_eq!(world.versions("user.a"), [10, 10]);
    assert!(world.hosts.iter().all(|host| lock(host).locked() == 0));
}

#[tokio::test]
async fn a_mailbox_made_anew_on_the_replica_alone_is_not_taken_back_on_either() {
    let world = World::new();
    world.run(&[Source::Master]).await;
    let of_replica = &world.hosts[1];
    let made = |m: &mut super::fake::Mailbox| m.uniqueid = Some("another".to_owned());
    made(lock(of_replica).mailboxes.get_mut("user.a").unwrap());
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.rolled_back), (4, 1));
    assert_eq!(world.versions("user.a"), [10, 10]);
    assert_eq!(world.row("user.a").side, Some(Side::Replica));
}

#[tokio::test]
async fn a_renamed_mailbox_is_taken_back_under_its_new_name() {
    let world = World::new();
    world.run(&[Source::Master]).await;
    world.rename("user.a", "user.alice");
    world.rename("user.b", "DELETED.user.b.4AB00000");
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.gone), (5, 0));
    assert_eq!(summary.exit(), Exit::Ok);
    for name in ["user.alice", "DELETED.user.b.4AB00000", "user.b.&AOk-"] {
        assert_eq!(world.versions(name), [9, 9], "{name}");
    }
    let said = world.said();
    assert!(
        said.contains("user.a is user.alice on the master now"),
        "{said}"
    );
    assert_eq!(
        world.row("user.a").uniqueids,
        [0, 1].map(|_| Some(id_of("user.a")))
    );
    // It is not looked for a second time.
    let again = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!((again.mailboxes, again.left_alone), (0, 0));
}

#[tokio::test]
async fn a_mailbox_that_is_nowhere_any_more_is_gone() {
    let world = World::new();
    world.run(&[Source::Master]).await;
    world.delete("user.a");
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.gone), (4, 1));
    assert_eq!(summary.exit(), Exit::Ok);
    assert!(lock(&world.hosts[0]).was_asked("FIND", "uniqueid=id%20of%20user.a"));
}

#[tokio::test]
async fn a_mailbox_that_is_gone_is_not_taken_for_a_copy_with_its_unique_id() {
    let world = World::new();
    for shared in &world.hosts {
        let mut host = lock(shared);
        for name in ["user.a", "user.b"] {
            host.mailboxes.get_mut(name).unwrap().uniqueid = Some("copied".to_owned());
        }
    }
    world.run(&[Source::Master]).await;
    world.delete("user.a");
    let summary = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.rolled_back), (4, 1));
    let row = world.row("user.a");
    assert_eq!(row.reason, Some(Reason::Superseded));
    assert!(
        row.detail.contains("user.b has the same unique id"),
        "{row:?}"
    );
    assert_eq!(world.versions("user.b"), [9, 9]);
}

#[tokio::test]
async fn of_a_list_without_partitions_nothing_shows_that_a_mailbox_is_gone() {
    let world = World::new();
    world.run(&[names(&["user.a", "user.b"])]).await;
    world.delete("user.a");
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.gone), (1, 0));
    let row = world.row("user.a");
    assert_eq!(row.reason, Some(Reason::NoMailbox));
    let why = "on which partition it was is not known";
    assert!(row.detail.contains(why), "{row:?}");
}

#[tokio::test]
async fn where_it_cannot_be_looked_for_it_is_not_gone() {
    let world = World::new();
    world.run(&[Source::Master]).await;
    world.delete("user.a");
    let refused = What::Refuse(slotd::protocol::Code::Damaged);
    world.fault(0, "FIND", "*", 99, refused);
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.rolled_back, summary.gone), (1, 0));
    assert_eq!(world.row("user.a").reason, Some(Reason::Damaged));
}

#[tokio::test]
async fn of_two_mailboxes_that_changed_names_the_one_that_the_run_changed_is_taken_back() {
    let world = World::new();
    world.run(&[names(&["user.b"])]).await;
    world.run(&[names(&["user.a"])]).await;
    world.rename("user.a", "user.t");
    world.rename("user.b", "user.a");
    world.rename("user.t", "user.b");
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (1, Exit::Ok));
    assert_eq!(world.versions("user.b"), [9, 9]);
    assert_eq!(world.versions("user.a"), [10, 10]);
    let summary = world.roll_back_all(&[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.left_alone), (1, 0));
    assert_eq!(world.versions("user.a"), [9, 9]);
}

#[tokio::test]
async fn a_rollback_that_was_stopped_still_knows_which_mailboxes_it_takes_back() {
    let mut world = World::new();
    world.run(&[Source::Master]).await;
    let (handle, stop) = stop_pair();
    world.witness = Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let mut parts = world.parts_with(stop);
    parts.settings.verb = Verb::Rollback;
    parts.settings.to = 0;
    parts.settings.undoes = Some(RunId(1));
    let stopped = crate::run::rollback(parts, &[], &world.control(1)).await;
    assert!(stopped.unwrap().pending > 0);
    let pending = |name: &&&str| world.row(name).state == State::Pending;
    let late = *NAMES.iter().rfind(pending).unwrap();
    world.rename(late, "user.late");
    world.make_anew(late, 10);
    world.witness = Arc::default();
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
    assert_eq!(world.versions("user.late"), [9, 9]);
    assert_eq!(world.versions(late), [10, 10]);
}

#[tokio::test]
async fn a_name_that_two_mailboxes_had_is_taken_back_for_the_later_one_and_the_other_is_told() {
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    world.rename("user.a", "user.alice");
    world.make_anew("user.a", 8);
    world.run(&[names(&["user.a"])]).await;
    assert_eq!(world.versions("user.a"), [10, 10]);
    let summary = world.roll_back_all(&[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.left_alone), (1, 1));
    assert_eq!(world.versions("user.a"), [8, 8]);
    assert_eq!(world.versions("user.alice"), [10, 10]);
    let said = world.said();
    assert!(said.contains("`controller rollback 1 user.a`"), "{said}");
    let summary = world.roll_back(Some(1), &["user.a"]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (1, Exit::Ok));
    assert_eq!(world.versions("user.alice"), [9, 9]);
    assert_eq!(world.versions("user.a"), [8, 8]);
}

#[tokio::test]
async fn what_a_later_run_changed_again_under_another_name_is_left() {
    let mut world = World::new();
    world.run(&[names(&["user.a"])]).await;
    world.rename("user.a", "user.alice");
    world.settings.verb = Verb::Downgrade;
    world.settings.to = 8;
    world.run(&[names(&["user.alice"])]).await;
    let summary = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!((summary.rolled_back, summary.exit()), (1, Exit::RolledBack));
    assert_eq!(world.versions("user.alice"), [8, 8]);
    let row = world.row("user.a");
    assert!(
        row.detail
            .contains("user.alice now, and run 2 changed it again"),
        "{row:?}"
    );
    // Once the later one is taken back it is the first one's turn.
    world.roll_back(Some(2), &[]).await.unwrap();
    let summary = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!(summary.exit(), Exit::Ok);
    assert_eq!(world.versions("user.alice"), [9, 9]);
}

#[tokio::test]
async fn a_mailbox_of_a_journal_without_unique_ids_is_known_by_its_name() {
    let world = World::new();
    world.run(&[names(&["user.a", "user.b"])]).await;
    let mailbox = world.row("user.a").id;
    let uniqueids = [None, None];
    world.submit(Change::Identify { mailbox, uniqueids }).await;
    world.delete("user.a");
    world.make_anew("user.a", 10);
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!(summary.upgraded, 2);
    assert_eq!(world.versions("user.a"), [9, 9]);
    let said = world.said();
    assert!(
        said.contains("no unique id of 1 of these mailboxes"),
        "{said}"
    );
}

#[tokio::test]
async fn a_retry_of_an_upgrade_is_about_what_has_the_name_now() {
    let world = World::new();
    // Decided, taken back, and not tried again by itself.
    world.fault(
        0,
        "COMMIT",
        "user.a",
        1,
        What::Refuse(slotd::protocol::Code::Damaged),
    );
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!(summary.rolled_back, 1);
    world.delete("user.a");
    world.make_anew("user.a", 9);
    let summary = retry(world.parts(), &Retry::All, &world.control(1)).await;
    assert_eq!(summary.unwrap().upgraded, 1);
    assert_eq!(world.versions("user.a"), [10, 10]);
}

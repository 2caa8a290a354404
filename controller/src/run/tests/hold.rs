//! `--hold-commit-file`: nothing begins, and so nothing is committed, while the file is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fake::lock;
use super::world::{Witness, World};
use crate::control::{Control, watch_conditions};
use crate::run::run_controlled;
use crate::survey::Source;

fn held_by(world: &mut World, path: &std::path::Path) -> Arc<Control> {
    world.settings.limits.hold_commit_file = Some(path.to_owned());
    world.control(1)
}

/// Returns once the run says that it is postponed, with what it says.
async fn postponed(control: &Control) -> String {
    loop {
        if let Some(why) = control.live().waiting
            && why.starts_with("postponed")
            && control.live().mailboxes == 5
            && control.live().under_way == 0
        {
            return why;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn locks(world: &World) -> usize {
    let log = &lock(&world.hosts[0]).log;
    log.iter().filter(|line| line.starts_with("LOCK")).count()
}

#[tokio::test]
async fn a_run_is_postponed_while_the_file_is_there_and_goes_on_once_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hold");
    std::fs::write(&file, "").unwrap();
    let mut world = World::new();
    let control = held_by(&mut world, &file);
    tokio::spawn(watch_conditions(Arc::clone(&control)));
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    let why = postponed(&control).await;
    let ends = format!("{} exists (hold-commit-file)", file.display());
    assert!(why.ends_with(&ends), "{why}");
    assert_eq!(locks(&world), 0);
    // Since when stays what it was.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(postponed(&control).await, why);
    std::fs::remove_file(&file).unwrap();
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.upgraded, control.live().waiting), (5, None));
}

#[tokio::test]
async fn no_mailbox_begins_after_the_file_was_made_however_short_before() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hold");
    let mut world = World::new();
    let control = held_by(&mut world, &file);
    world.witness = Arc::new(Witness {
        make_after: Some((2, file.clone())),
        ..Witness::default()
    });
    // Nobody looks once a second: the look before each mailbox is enough.
    control.update(|state| state.waiting = None);
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    postponed(&control).await;
    assert_eq!((control.live().done, locks(&world)), (2, 2));
    assert!(world.hosts.iter().all(|host| lock(host).locked() == 0));
    tokio::spawn(watch_conditions(Arc::clone(&control)));
    std::fs::remove_file(&file).unwrap();
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.upgraded, summary.rolled_back), (5, 0));
}

#[tokio::test]
async fn a_file_that_cannot_be_looked_for_postpones_as_well_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let mut world = World::new();
    let control = held_by(&mut world, &plain.join("hold"));
    tokio::spawn(watch_conditions(Arc::clone(&control)));
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    let why = postponed(&control).await;
    assert!(why.contains("plain/hold exists cannot be told ("), "{why}");
    assert_eq!(locks(&world), 0);
    // The operator names another file.
    control.update(|state| state.limits.hold_commit_file = Some(PathBuf::from("/nonexistent/x")));
    assert_eq!(task.await.unwrap().unwrap().upgraded, 5);
}

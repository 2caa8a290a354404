//! Tables of a state directory, and roots that are there or not.

use super::*;

/// A state directory whose table says this of a root.
fn mounts(root: &Path, point: Option<&Path>) -> (tempfile::TempDir, Mounts) {
    let state = tempfile::tempdir().unwrap();
    let note = |table: &mut Table| table.note(root, point.map(Path::to_path_buf));
    Table::change(&state.path().join(table::FILE_NAME), note).unwrap();
    let mounts = Mounts::open(state.path()).unwrap();
    (state, mounts)
}

fn noted(state: &Path, root: &Path) -> Option<PathBuf> {
    let (table, _) = Table::load(&state.join(table::FILE_NAME)).unwrap();
    table.roots.get(root).cloned().flatten()
}

#[test]
fn a_root_whose_file_system_was_mounted_after_the_first_start_is_guarded_from_then_on() {
    // A directory on a mount point that every system has, noted as if it had lain on `/`.
    let root = Path::new("/proc/sys");
    let (state, mounts) = mounts(root, None);
    mounts.check(root).unwrap();
    assert_eq!(noted(state.path(), root), mount_point_of(root).unwrap());
    assert!(noted(state.path(), root).is_some());
}

#[test]
fn a_root_whose_mount_point_is_an_empty_directory_is_refused_until_the_operator_overrules() {
    let tmp = tempfile::tempdir().unwrap();
    let point = tmp.path().join("disk");
    let root = point.join("spool");
    std::fs::create_dir_all(&root).unwrap();
    let (state, mounts) = mounts(&root, Some(&point));
    assert_eq!(mounts.check(&root).unwrap_err().code, Code::Unmounted);
    let file = state.path().join(table::FILE_NAME);
    let set = |to| Table::change(&file, |t| t.set_state(&point, to).unwrap()).unwrap();
    set(MountState::Ignore);
    assert!(mounts.check(&root).is_ok());
    set(MountState::Offline);
    assert_eq!(mounts.check(&root).unwrap_err().code, Code::Unmounted);
}

/// Two directories of one file system, as long as the first of these lives.
fn two_roots() -> (tempfile::TempDir, [std::path::PathBuf; 2]) {
    let tmp = tempfile::tempdir().unwrap();
    let roots = ["one", "other"].map(|name| tmp.path().join(name));
    for root in &roots {
        std::fs::create_dir(root).unwrap();
    }
    (tmp, roots)
}

#[test]
fn what_is_said_of_a_root_that_has_no_mount_point_is_said_of_it_alone() {
    let (tmp, [root, other]) = two_roots();
    let (state, mounts) = mounts(&root, None);
    let file = state.path().join(table::FILE_NAME);
    let change = |f: &dyn Fn(&mut Table)| Table::change(&file, f).unwrap();
    change(&|t| t.note(&other, None));
    let set = |to| change(&|t| t.set_state(&root, to).unwrap());
    set(MountState::Offline);
    let refused = mounts.check(&root).unwrap_err();
    assert_eq!(refused.code, Code::Unmounted);
    let text = format!(
        "{0} is set offline, until `slotd mount --imapd-conf FILE --state DIR state {0} online`",
        root.display()
    );
    assert!(refused.text.contains(&text), "{refused}");
    mounts.check(&other).unwrap();
    // Another process reads it so too, also where the root is not there any more.
    std::fs::remove_dir(&root).unwrap();
    set(MountState::Ignore);
    Mounts::open(state.path()).unwrap().check(&root).unwrap();
    set(MountState::Online);
    assert_eq!(mounts.check(&root).unwrap_err().code, Code::Unmounted);
    std::fs::create_dir(&root).unwrap();
    mounts.check(&root).unwrap();
    let unknown = tmp.path().join("unknown");
    change(&|t| assert!(t.set_state(&unknown, MountState::Offline).is_err()));
}

#[test]
fn new_mounts_are_learned_at_a_start_and_one_that_is_missing_later_is_told() {
    let state = tempfile::tempdir().unwrap();
    let mounts = Mounts::open(state.path()).unwrap();
    let now = |points: &[&str]| -> Vec<SystemMount> {
        let mount = |point: &&str| SystemMount::of(Path::new(point), "ext4");
        points.iter().map(mount).collect()
    };
    let known = || {
        let (table, _) = Table::load(&state.path().join(table::FILE_NAME)).unwrap();
        table.mounts.into_keys().collect::<Vec<PathBuf>>()
    };
    let file = state.path().join(table::FILE_NAME);
    Table::change(&file, |t| {
        t.set_state(Path::new("/snap/*"), MountState::Ignore)
            .unwrap();
    })
    .unwrap();
    assert_eq!(
        mounts.learn_from(&now(&["/", "/home", "/snap/a"])).unwrap(),
        [""; 0]
    );
    assert_eq!(known(), [Path::new("/home")]);
    assert_eq!(
        mounts.learn_from(&now(&["/", "/home", "/srv"])).unwrap(),
        [""; 0]
    );
    let warnings = mounts.learn_from(&now(&["/", "/srv"])).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("/home was mounted at an earlier start"),
        "{warnings:?}"
    );
    let set = |to| Table::change(&file, |t| t.set_state(Path::new("/home"), to).unwrap());
    for quiet in [
        MountState::Offline,
        MountState::Failover,
        MountState::Ignore,
    ] {
        set(quiet).unwrap();
        assert_eq!(mounts.learn_from(&now(&["/srv"])).unwrap(), [""; 0]);
    }
    // What checks the partitions' reports them.
    let memory = [SystemMount::of(Path::new("/run"), "tmpfs")];
    mounts.learn_from(&memory).unwrap();
    assert!(!known().contains(&PathBuf::from("/run")));
}

#[test]
fn a_mount_in_failover_refuses_its_roots_and_is_named_until_it_is_cleared() {
    let (_tmp, [root, other]) = two_roots();
    let (state, mounts) = mounts(&root, None);
    let file = state.path().join(table::FILE_NAME);
    let set = |to| Table::change(&file, |t| t.set_state(&root, to).unwrap()).unwrap();
    set(MountState::Failover);
    let refused = mounts.check(&root).unwrap_err();
    assert!(
        refused.text.contains("the other host's mail is believed"),
        "{refused}"
    );
    mounts.check(&other).unwrap();
    assert_eq!(mounts.in_failover().unwrap(), std::slice::from_ref(&root));
    set(MountState::Online);
    mounts.check(&root).unwrap();
    assert!(mounts.in_failover().unwrap().is_empty());
}

#[test]
fn a_root_that_hangs_freezes_no_other_root() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let look = move |question: &Question| {
        if question.root == Path::new("/hung") {
            let _ = released.lock().recv();
        }
        probe::look(question)
    };
    let state = tempfile::tempdir().unwrap();
    let limit = std::time::Duration::from_millis(50);
    let prober = Prober::new(Arc::new(look), limit);
    let mounts = Mounts::open_with(state.path(), prober).unwrap();
    let healthy = tempfile::tempdir().unwrap();
    mounts.check(healthy.path()).unwrap();
    // Nothing that a hung root does ends before it is released, below.
    let hung = mounts.check(Path::new("/hung")).unwrap_err();
    assert_eq!(hung.code, Code::Unmounted);
    mounts.check(healthy.path()).unwrap();
    let roots = [Path::new("/hung"), healthy.path()];
    assert_eq!(mounts.note_roots(roots).unwrap(), [hung.text]);
    drop(release);
}

#[test]
fn a_root_that_is_not_there_is_refused_and_not_noted() {
    let state = tempfile::tempdir().unwrap();
    let mounts = Mounts::open(state.path()).unwrap();
    let root = Path::new("/nonexistent/spool");
    assert_eq!(mounts.check(root).unwrap_err().code, Code::Unmounted);
    assert_eq!(noted(state.path(), root), None);
    let plain = tempfile::tempdir().unwrap();
    mounts.check(plain.path()).unwrap();
    let expected = mount_point_of(&plain.path().canonicalize().unwrap()).unwrap();
    assert_eq!(noted(state.path(), plain.path()), expected);
}

#[test]
fn that_a_root_had_mailboxes_is_remembered_until_the_operator_says_otherwise() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path().join("spool");
    let (state, mounts) = mounts(&root, Some(tmp.path()));
    assert!(!mounts.has_held(&root));
    std::fs::create_dir(&root).unwrap();
    let dir = crate::fs::Dir::open_root(&root).unwrap();
    let is = Identity::of(&dir).unwrap();
    mounts.note_held(&root, is).unwrap();
    let again = Mounts::open(state.path()).unwrap();
    assert!(again.has_held(&root));
    assert_eq!(again.held_in(&root, &is), is.born.is_some());
    let unsure = Identity { born: None, ..is };
    assert!(!again.held_in(&root, &unsure));
    let file = state.path().join(table::FILE_NAME);
    Table::change(&file, |t| t.remove(tmp.path()).unwrap()).unwrap();
    assert!(!Mounts::open(state.path()).unwrap().has_held(&root));
}

//! An error at any point of a change-over or its way back leaves one complete set of files.

use super::*;

fn check(store: &Store, old: &BTreeMap<&str, Vec<u8>>, what: &str) -> u32 {
    for entry in std::fs::read_dir(store.meta(MAILBOX)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stray = name.contains(".NEW") || name.ends_with("reguid");
        assert!(!stray, "{what}: {name} is left");
    }
    let version = store.index(MAILBOX).minor_version();
    if version == 10 {
        assert_eq!(live(store), *old, "{what}");
    } else {
        assert_eq!(version, 16, "{what}");
        assert!(store.expunge(MAILBOX).is_none(), "{what}");
        store.index(MAILBOX).verify().unwrap();
        assert_eq!(store.index(MAILBOX).num_records(), records(old), "{what}");
    }
    version
}

fn records(files: &BTreeMap<&str, Vec<u8>>) -> u32 {
    let count = |(name, bytes): (&&str, &Vec<u8>)| {
        let kind = FileKind::of_path(name.as_ref());
        let file = IndexFile::from_bytes(bytes.clone(), name.as_ref(), kind);
        file.unwrap().num_records()
    };
    files.iter().map(count).sum()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    Over,
    PreparedOver,
    OverHeldAndBack,
    Back,
    BackHeldAndOver,
}

#[test]
fn an_error_at_any_point_of_a_change_over_leaves_one_complete_set() {
    errors_everywhere(&[Course::OverHeldAndBack], "eio");
}

#[test]
fn an_error_at_any_point_of_the_way_back_leaves_one_complete_set() {
    errors_everywhere(&[Course::BackHeldAndOver], "eio");
}

/// `cargo test -p slotd --test cutover -- --ignored`
#[test]
#[ignore = "minutes"]
fn every_error_at_every_point_of_every_course() {
    use Course as C;
    let all = [
        C::Over,
        C::PreparedOver,
        C::OverHeldAndBack,
        C::Back,
        C::BackHeldAndOver,
    ];
    errors_everywhere(&all, "eio");
    errors_everywhere(&all, "enospc");
}

fn errors_everywhere(courses: &[Course], error: &str) {
    use Course as C;
    for &course in courses {
        let commands = || {
            let to = match course {
                C::Back | C::BackHeldAndOver => 10,
                _ => 16,
            };
            let held = matches!(course, C::OverHeldAndBack | C::BackHeldAndOver);
            let mut commands = vec![
                Command::Lock(lock(MAILBOX)),
                Command::Upgrade(upgrade(to)),
                commit(held),
            ];
            commands.extend(held.then_some(Command::Rollback));
            if course == C::PreparedOver {
                commands.insert(0, prepare(16));
            }
            commands
        };
        let begin = || {
            let (store, host, mut session) = fenced();
            let old = live(&store);
            if matches!(course, C::Back | C::BackHeldAndOver) {
                change(&mut session, 16).unwrap();
            }
            (store, host, session, old)
        };
        let (store, host, mut session, _) = begin();
        let (good, points) = failpoint::count("", || run(&mut session, commands()));
        good.unwrap();
        drop((session, host, store));
        assert!(points > 10, "{course:?}: {points}");
        for k in 1..=points {
            let what = format!("{course:?}, error at {k} of {points}");
            let (store, host, mut session, old) = begin();
            let done = failpoint::with(&format!("*={k}:{error}"), || run(&mut session, commands()));
            drop((session, host));
            let host = store.host(Options::default());
            let report = recover(&host);
            assert!(report.failed.is_empty(), "{what}: {:?}", report.failed);
            let version = check(&store, &old, &what);
            if done.is_ok() {
                let over = matches!(course, C::Over | C::PreparedOver | C::BackHeldAndOver);
                assert_eq!(version, if over { 16 } else { 10 }, "{what}");
            }
            // And it can be changed over, and back.
            let mut session = Session::new(Arc::clone(&host));
            change(&mut session, 16).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(check(&store, &old, &what), 16);
            change(&mut session, 10).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(check(&store, &old, &what), 10);
        }
    }
}

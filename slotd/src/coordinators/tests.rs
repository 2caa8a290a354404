use super::*;

fn control() -> Arc<Control> {
    Arc::default()
}

/// Of a connection without an epoch.
fn register(all: &Coordinators, journal: &str) -> Result<(Seat, Option<String>), Refusal> {
    all.register(journal, None, &control())
}

#[test]
fn one_journal_at_a_time_and_the_other_by_name() {
    let tmp = tempfile::tempdir().unwrap();
    let all = Coordinators::open(tmp.path()).unwrap();
    let (first, left) = register(&all, "aa").unwrap();
    assert_eq!(left, None);
    let (second, _) = register(&all, "aa").unwrap();
    let refused = register(&all, "bb").unwrap_err();
    assert_eq!(refused.code, Code::Busy);
    assert!(refused.text.contains("journal aa"), "{refused}");
    assert_eq!(all.enter(&control()).unwrap_err().code, Code::Busy);
    all.end(first);
    assert_eq!(register(&all, "bb").unwrap_err().code, Code::Busy);
    all.end(second);
    // It went without a word: perhaps it has decided something.
    let (other, left) = register(&all, "bb").unwrap();
    assert_eq!(left, Some("aa".to_owned()));
    all.leave(Some(other)).unwrap();
    all.end(other);
    let again = Coordinators::open(tmp.path()).unwrap();
    let (third, left) = register(&again, "cc").unwrap();
    assert_eq!(left, Some("aa".to_owned()));
    again.leave(Some(third)).unwrap();
    again.end(third);
    let (first, _) = register(&again, "aa").unwrap();
    again.leave(Some(first)).unwrap();
    again.end(first);
    assert_eq!(register(&again, "cc").unwrap().1, None);
}

#[test]
fn a_person_without_a_journal_works_while_nobody_else_does() {
    let tmp = tempfile::tempdir().unwrap();
    let all = Coordinators::open(tmp.path()).unwrap();
    let seats = [(); 2].map(|()| all.enter(&control()).unwrap());
    all.end(seats[0]);
    assert_eq!(register(&all, "aa").unwrap_err().code, Code::Busy);
    all.end(seats[1]);
    assert_eq!(register(&all, "aa").unwrap().1, None);
}

#[test]
fn a_higher_epoch_ends_what_is_here_of_lower_ones_and_a_restart_remembers_it() {
    let tmp = tempfile::tempdir().unwrap();
    let all = Coordinators::open(tmp.path()).unwrap();
    let (old, new) = (control(), control());
    let (older, _) = all.register("aa", Some(3), &old).unwrap();
    // Another journal is refused as ever: that is no take-over.
    let other = all.register("bb", Some(9), &control()).unwrap_err();
    assert_eq!(other.code, Code::Busy);
    let (newer, left) = all.register("aa", Some(7), &new).unwrap();
    assert_eq!((old.fenced(), new.fenced(), left), (Some(7), None, None));
    assert_eq!(old.why(), Some(crate::control::CancelReason::Fenced));
    for refused in [
        all.begin_change(Some(older)).map(drop),
        all.leave(Some(older)),
        all.register("aa", Some(3), &control()).map(drop),
        all.register("aa", None, &control()).map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, Code::Fenced);
        assert!(refused.text.starts_with("epoch=7 "), "{refused}");
    }
    drop(all.begin_change(Some(newer)).unwrap());
    drop(all);

    let all = Coordinators::open(tmp.path()).unwrap();
    let refused = all.register("aa", Some(6), &control()).unwrap_err();
    assert_eq!(refused.code, Code::Fenced);
    // Neither a person nor another journal comes in before its owner has left.
    assert_eq!(all.enter(&control()).unwrap_err().code, Code::Fenced);
    assert_eq!(register(&all, "bb").unwrap_err().code, Code::Fenced);
    let (seat, _) = all.register("aa", Some(7), &control()).unwrap();
    all.leave(Some(seat)).unwrap();
    all.end(seat);
    drop(all);

    let all = Coordinators::open(tmp.path()).unwrap();
    let (seat, _) = register(&all, "bb").unwrap();
    all.end(seat);
    // An older one of the same journal stays out.
    let refused = all.register("aa", Some(6), &control()).unwrap_err();
    assert_eq!(refused.code, Code::Fenced);
    assert_eq!(register(&all, "aa").unwrap_err().code, Code::Fenced);
}

#[test]
fn a_connection_may_rise_and_ends_the_others_of_its_coordinator() {
    let tmp = tempfile::tempdir().unwrap();
    let all = Coordinators::open(tmp.path()).unwrap();
    let (old, new) = (control(), control());
    all.register("aa", None, &old).unwrap();
    let (seat, _) = all.register("aa", None, &new).unwrap();
    assert_eq!(all.raise(None, 1).unwrap_err().code, Code::State);
    all.raise(Some(seat), 2).unwrap();
    assert_eq!((old.fenced(), new.fenced()), (Some(2), None));
    all.raise(Some(seat), 2).unwrap();
    assert_eq!(all.raise(Some(seat), 1).unwrap_err().code, Code::Fenced);
    drop(all.begin_change(Some(seat)).unwrap());
}

#[test]
fn only_what_rises_is_written() {
    let tmp = tempfile::tempdir().unwrap();
    let all = Coordinators::open(tmp.path()).unwrap();
    let write = |over: &str, epoch| {
        crate::failpoint::with(over, || all.register("aa", Some(epoch), &control()))
    };
    write("none=1:eio", 4).unwrap();
    write("epoch.begin=1:eio", 4).unwrap();
    let refused = write("epoch.write=1:enospc", 5).unwrap_err();
    assert_eq!(refused.code, Code::NoSpace);
    // It was not raised, or is not known to be: the one before goes on.
    let (seat, _) = write("epoch.begin=1:eio", 4).unwrap();
    drop(all.begin_change(Some(seat)).unwrap());
    write("none=1:eio", 5).unwrap();
    assert_eq!(all.begin_change(Some(seat)).unwrap_err().code, Code::Fenced);
}

#[test]
fn a_newer_coordinator_waits_for_a_change_that_began_before_it_and_none_begins_after() {
    let tmp = tempfile::tempdir().unwrap();
    let all = Coordinators::open(tmp.path()).unwrap();
    let old = control();
    let (older, _) = all.register("aa", Some(1), &old).unwrap();
    let change = all.begin_change(Some(older)).unwrap();
    let answered = Mutex::new(false);
    std::thread::scope(|threads| {
        let newer = threads.spawn(|| {
            all.register("aa", Some(2), &control()).unwrap();
            *answered.lock() = true;
        });
        while old.fenced().is_none() {
            std::thread::yield_now();
        }
        assert!(!*answered.lock(), "a COMMIT is still at work");
        assert_eq!(
            all.begin_change(Some(older)).unwrap_err().code,
            Code::Fenced
        );
        drop(change);
        newer.join().unwrap();
    });
    assert!(*answered.lock());
}

#[test]
fn an_epoch_that_cannot_be_read_lets_nobody_in() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::write(tmp.path().join("epoch"), "seven\n").unwrap();
    let error = Coordinators::open(tmp.path()).unwrap_err().to_string();
    assert!(error.contains("epoch"), "{error}");
}

//! The course, step by step, against a host that is only described.

use indexfile::exit::Exit;
use slotd::protocol::{HostDrain, HostState, Kicked, SessionFacts};

use super::course::Wanted;
use super::*;
use crate::two_phase::Side;

fn wanted(side: Side) -> Wanted {
    Wanted {
        side,
        host: format!("the {side} of be1"),
        only_announce: false,
        kick: false,
        compare: true,
        despite_away: false,
        wait_ms: 10_000,
        undo: "undo".to_owned(),
    }
}

fn there(state: HostState) -> Seen {
    Seen::There {
        state,
        since: Some(1_795_791_600_000),
        by: Some("ann on imap9".to_owned()),
        failover: Vec::new(),
        served: "2.3".to_owned(),
    }
}

/// A pair, and what others say.
struct World {
    state: HostState,
    /// Users, who end one by one.
    users: u32,
    /// How many questions about its log replication needs.
    log: u32,
    sync_log: bool,
    partner: Option<Seen>,
    others: Vec<(String, Seen)>,
    /// The others, from the second look on.
    later: Option<Vec<(String, Seen)>>,
    found: Comparison,
    clock: u64,
    done: Vec<Action>,
}

impl World {
    fn new() -> Self {
        Self {
            state: HostState::Open,
            users: 2,
            log: 2,
            sync_log: true,
            partner: Some(there(HostState::Open)),
            others: vec![("the master of be2".to_owned(), there(HostState::Open))],
            later: None,
            found: Comparison {
                mailboxes: 3,
                alike: 3,
                ..Comparison::default()
            },
            clock: 0,
            done: Vec::new(),
        }
    }

    fn host(&self) -> HostDrain {
        let session = |n: u32| SessionFacts {
            pid: n,
            program: "imapd".to_owned(),
            user: format!("joe{n}"),
            ..SessionFacts::default()
        };
        HostDrain {
            state: self.state,
            by: Some("ann on imap9".to_owned()),
            users: self.users,
            sessions: (1..=self.users).map(session).collect(),
            sync_log: self.sync_log,
            sync_left: (self.log > 0).then(|| "/conf/sync/log".to_owned()),
            sync_repeat_ms: 1000,
            ..HostDrain::default()
        }
    }

    fn perform(&mut self, action: &Action) -> Event {
        self.done.push(action.clone());
        let mut wait = |pause: bool| {
            self.clock = if pause { self.clock + 1000 } else { 0 };
            self.clock
        };
        match action {
            Action::Look => {
                let looks = self.done.iter().filter(|a| **a == Action::Look).count();
                let others = match &self.later {
                    Some(later) if looks > 1 => later.clone(),
                    _ => self.others.clone(),
                };
                let partner = self.partner.clone();
                Event::Looked {
                    partner: partner.map(|seen| ("the other of be1".to_owned(), seen)),
                    others,
                }
            }
            Action::Begin => {
                if self.state == HostState::Open {
                    self.state = HostState::Announced;
                }
                Event::Said(Box::new(self.host()), 0)
            }
            Action::Shut => {
                self.state = HostState::Drained;
                Event::Said(Box::new(self.host()), 0)
            }
            Action::Ask { pause } => {
                let waited = wait(*pause);
                let said = self.host();
                // Once they are kept out, sessions end.
                self.users = self
                    .users
                    .saturating_sub(u32::from(self.state == HostState::Drained));
                Event::Said(Box::new(said), waited)
            }
            Action::AskLog { pause } => {
                let waited = wait(*pause);
                let said = self.host();
                self.log = self.log.saturating_sub(1);
                Event::Said(Box::new(said), waited)
            }
            Action::Kick => {
                let kicked = self.host().sessions;
                self.users = 0;
                self.clock = 0;
                Event::Kicked(Kicked {
                    kicked,
                    left: Vec::new(),
                })
            }
            Action::Compare => Event::Compared(self.found.clone()),
            Action::TakeBack => {
                self.state = HostState::Open;
                Event::TakenBack
            }
            Action::End(_) => panic!("it is over"),
        }
    }

    /// Runs the course, at most this number of actions of it.
    fn drain(&mut self, wanted: Wanted, most: usize) -> Option<(End, Vec<Line>)> {
        let (mut course, mut action) = Course::new(wanted, self.state);
        let mut lines = Vec::new();
        for _ in 0..most {
            if let Action::End(end) = action {
                return Some((end, lines));
            }
            let event = self.perform(&action);
            let (more, next) = course.step(event);
            lines.extend(more);
            action = next;
        }
        match action {
            Action::End(end) => Some((end, lines)),
            _ => None,
        }
    }

    fn undrain(&mut self, wanted: Wanted) -> End {
        let (mut course, mut action) = Undo::new(wanted);
        loop {
            if let Action::End(end) = action {
                return end;
            }
            let event = self.perform(&action);
            action = course.step(event).1;
        }
    }
}

const ALL: usize = 1000;

#[test]
fn a_host_is_drained_step_by_step_and_each_change_names_its_undo() {
    use Step::{Announce, Compare, Look, Replication, Sessions, Shut};
    let mut world = World::new();
    let (end, lines) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Drained));
    let steps: Vec<Step> = lines.iter().map(|line| line.step).collect();
    assert_eq!(
        steps,
        [Look, Announce, Shut, Sessions, Replication, Compare]
    );
    for line in &lines {
        let changes = matches!(line.step, Announce | Shut);
        assert!(!changes || line.undo.is_some(), "{line:?}");
    }
    // Nobody was waited for before users were kept out, and nothing compared before all was sent.
    let at = |action: Action| world.done.iter().position(|a| *a == action).unwrap();
    assert!(at(Action::Shut) < at(Action::Ask { pause: false }));
    assert!(at(Action::AskLog { pause: true }) < at(Action::Compare));
    let end = world.undrain(wanted(Side::Master));
    assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Open));
}

#[test]
fn a_crash_after_any_step_leaves_a_host_that_both_commands_go_on_with() {
    let mut crashes = 0;
    for most in 0..ALL {
        let mut again = World::new();
        if again.drain(wanted(Side::Master), most).is_some() {
            break;
        }
        crashes += 1;
        let mut back = World::new();
        let _ = back.drain(wanted(Side::Master), most);
        assert_eq!(back.state, again.state);
        let end = back.undrain(wanted(Side::Master));
        assert_eq!(
            (end.exit, back.state),
            (Exit::Ok, HostState::Open),
            "{most}: {end:?}"
        );
        let (end, _) = again.drain(wanted(Side::Master), ALL).unwrap();
        assert_eq!(
            (end.exit, again.state),
            (Exit::Ok, HostState::Drained),
            "{most}: {end:?}"
        );
    }
    assert!(crashes > 8, "{crashes}");
}

#[test]
fn a_second_host_is_refused_with_the_name_of_the_first_and_nothing_is_written() {
    let out = |state| ("the replica of be2".to_owned(), there(state));
    for state in [
        HostState::Announced,
        HostState::Drained,
        HostState::Shut,
        HostState::Unknown,
    ] {
        let mut world = World::new();
        world.others.push(out(state));
        let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
        assert_eq!((end.exit, world.state), (Exit::Config, HostState::Open));
        assert!(end.why.unwrap().contains("the replica of be2"), "{state}");
        // The other one of its own pair too.
        let mut world = World::new();
        world.partner = Some(there(state));
        let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
        assert_eq!((end.exit, world.state), (Exit::Config, HostState::Open));
    }
    let mut world = World::new();
    world.others.push(out(HostState::Drained));
    let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
    let why = end.why.unwrap();
    assert!(
        why.contains("since 2026-11-27") && why.contains("by ann on imap9"),
        "{why}"
    );
}

#[test]
fn the_host_whose_mail_is_believed_is_not_drained() {
    let mut world = World::new();
    let Seen::There {
        mut failover,
        state,
        since,
        by,
        served,
    } = there(HostState::Open)
    else {
        panic!("it is there");
    };
    failover.push("/mail".to_owned());
    world.partner = Some(Seen::There {
        state,
        since,
        by,
        failover,
        served,
    });
    let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Config, HostState::Open));
    assert!(end.why.unwrap().contains("is in failover (/mail)"));
}

#[test]
fn of_two_hosts_that_are_begun_at_once_the_one_that_sees_the_other_is_taken_back() {
    let mut world = World::new();
    let other = ("the master of be2".to_owned(), there(HostState::Announced));
    world.later = Some(vec![other]);
    let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Config, HostState::Open));
    assert!(end.why.unwrap().contains("the master of be2"));
    assert!(!world.done.contains(&Action::Shut));
}

#[test]
fn the_other_host_has_to_answer_and_hosts_that_do_not_may_be_drained() {
    let mut world = World::new();
    world.partner = Some(Seen::Away("refused".to_owned()));
    let mut despite = wanted(Side::Master);
    despite.despite_away = true;
    let (end, _) = world.drain(despite.clone(), ALL).unwrap();
    assert_eq!(
        (end.exit, world.state),
        (Exit::Unavailable, HostState::Open)
    );
    let mut world = World::new();
    world.partner = None;
    let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Config, HostState::Open));
    let mut world = World::new();
    world.others.push((
        "the master of be3".to_owned(),
        Seen::Away("refused".to_owned()),
    ));
    let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!(
        (end.exit, world.state),
        (Exit::Unavailable, HostState::Open)
    );
    assert!(end.why.unwrap().contains("the master of be3"));
    let (end, _) = world.drain(despite, ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Drained));
}

#[test]
fn sessions_that_do_not_end_are_named_and_ended_only_if_that_is_asked_for() {
    let mut world = World::new();
    world.users = 50;
    let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!(
        (end.exit, world.state),
        (Exit::RolledBack, HostState::Drained)
    );
    let why = end.why.unwrap();
    assert!(
        why.contains("40 session(s) are left: joe1 (imapd, process 1)"),
        "{why}"
    );
    assert!(why.contains("--kick"), "{why}");
    assert!(!world.done.contains(&Action::Kick));
    let mut kick = wanted(Side::Master);
    kick.kick = true;
    world.users = 50;
    let (end, lines) = world.drain(kick, ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Drained));
    assert!(
        lines
            .iter()
            .any(|line| line.text.starts_with("39 session(s) were sent SIGTERM"))
    );
}

#[test]
fn replication_is_waited_for_until_its_log_stays_away_and_not_for_ever() {
    let mut world = World::new();
    let (_, lines) = world.drain(wanted(Side::Master), ALL).unwrap();
    let asked = world
        .done
        .iter()
        .filter(|a| matches!(a, Action::AskLog { .. }))
        .count();
    // Twice it was there, then it was away for two seconds.
    assert_eq!(asked, 2 + 3);
    assert!(
        lines
            .iter()
            .any(|line| line.text.contains("nothing left to send"))
    );
    let mut world = World::new();
    world.log = 1000;
    let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!(
        (end.exit, world.state),
        (Exit::RolledBack, HostState::Drained)
    );
    assert!(end.why.unwrap().contains("/conf/sync/log"));
    let mut world = World::new();
    world.sync_log = false;
    let (end, lines) = world.drain(wanted(Side::Master), ALL).unwrap();
    assert_eq!(end.exit, Exit::Ok);
    assert!(
        lines
            .iter()
            .any(|line| line.text.contains("sync_log is off"))
    );
}

#[test]
fn hosts_that_are_not_alike_or_were_not_compared_are_no_success_and_undrain_leaves_them() {
    let found = |change: &dyn Fn(&mut Comparison)| {
        let mut world = World::new();
        change(&mut world.found);
        world
    };
    let lag = |c: &mut Comparison| c.lagging = (1, "user.joe".to_owned());
    let faults: [&dyn Fn(&mut Comparison); 4] = [
        &|c| c.differing = (1, "user.joe".to_owned()),
        &|c| c.refused = 1,
        &|c| c.impossible = Some("no list".to_owned()),
        &lag,
    ];
    for fault in faults {
        let mut world = found(fault);
        let (end, _) = world.drain(wanted(Side::Master), ALL).unwrap();
        assert_eq!((end.exit, world.state), (Exit::Data, HostState::Drained));
        let end = world.undrain(wanted(Side::Master));
        assert_eq!((end.exit, world.state), (Exit::Data, HostState::Drained));
        let mut without = wanted(Side::Master);
        without.compare = false;
        let (end, _) = world.drain(without.clone(), ALL).unwrap();
        assert_eq!(end.exit, Exit::Ok);
        let end = world.undrain(without);
        assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Open));
    }
    // While the master works, its replica lags now and then.
    let mut world = found(&lag);
    let (end, _) = world.drain(wanted(Side::Replica), ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Drained));
    // In the middle of a change-over no server may start.
    world.found.later = 3;
    let end = world.undrain(wanted(Side::Replica));
    assert_eq!((end.exit, world.state), (Exit::Data, HostState::Drained));
}

#[test]
fn an_announcement_alone_keeps_nobody_out_and_is_taken_back_without_a_look() {
    let mut world = World::new();
    let mut only = wanted(Side::Master);
    only.only_announce = true;
    let (end, _) = world.drain(only, ALL).unwrap();
    assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Announced));
    assert!(!world.done.contains(&Action::Shut));
    world.found.differing = (1, "user.joe".to_owned());
    let end = world.undrain(wanted(Side::Master));
    assert_eq!((end.exit, world.state), (Exit::Ok, HostState::Open));
}

#[test]
fn a_foreign_file_and_a_root_that_is_not_mounted_are_left_to_the_operator() {
    let mut world = World::new();
    world.state = HostState::Shut;
    let end = world.undrain(wanted(Side::Master));
    assert_eq!((end.exit, world.state), (Exit::Config, HostState::Shut));
    let (mut undo, _) = Undo::new(wanted(Side::Master));
    let said = HostDrain {
        state: HostState::Drained,
        roots_refused: vec!["/mail is not mounted".to_owned()],
        ..HostDrain::default()
    };
    let (_, action) = undo.step(Event::Said(Box::new(said), 0));
    let Action::End(end) = action else {
        panic!("{action:?}");
    };
    assert_eq!(end.exit, Exit::Unavailable);
    assert!(end.why.unwrap().contains("/mail is not mounted"));
}

#[test]
fn what_does_not_follow_and_what_fails_ends_the_course() {
    let (mut course, _) = Course::new(wanted(Side::Master), HostState::Open);
    let (_, action) = course.step(Event::TakenBack);
    assert!(matches!(
        action,
        Action::End(End {
            exit: Exit::Unavailable,
            ..
        })
    ));
    let (mut course, _) = Course::new(wanted(Side::Master), HostState::Open);
    let denied = End {
        exit: Exit::Denied,
        why: Some("no".to_owned()),
    };
    let (_, action) = course.step(Event::Failed(denied.clone()));
    assert_eq!(action, Action::End(denied));
}

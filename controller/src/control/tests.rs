//! What the controls promise.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::run::{Stop, stop_pair};

fn figures(us: u64) -> Figures {
    Figures {
        messages: 3,
        lock_us: [Some(us), None],
        ..Figures::default()
    }
}

#[test]
fn a_span_of_the_day_may_cross_midnight() {
    let night: Window = "22:00-06:00".parse().unwrap();
    for (minute, inside) in [
        (22 * 60, true),
        (0, true),
        (359, true),
        (360, false),
        (720, false),
    ] {
        assert_eq!(night.contains(minute), inside, "{minute}");
    }
    let day: Window = "08:30-17:00".parse().unwrap();
    assert!(day.contains(510) && !day.contains(509) && !day.contains(1020));
    assert_eq!(night.to_string(), "22:00-06:00");
    for bad in [
        "",
        "22-06",
        "24:00-06:00",
        "22:00",
        "22:00-22:00",
        "22:60-06:00",
        "+2:00-06:00",
    ] {
        assert!(bad.parse::<Window>().is_err(), "{bad}");
    }
}

#[test]
fn long_locks_halve_at_once_and_good_ones_bring_one_back() {
    let control = Control::new(8);
    control.turn(|knobs| knobs.target_lock = Some(Duration::from_millis(5)));
    assert_eq!(control.room(), 8);
    let finish = |us| control.finished("user.a", Ended::Upgraded, None, &figures(us));
    finish(6000);
    assert_eq!(control.room(), 4);
    finish(6000);
    finish(6000);
    finish(6000);
    assert_eq!(control.room(), 1, "never below one");
    (0..20).for_each(|_| finish(100));
    assert_eq!(control.room(), 2);
    control.turn(|knobs| knobs.target_lock = None);
    finish(60_000);
    assert_eq!(control.room(), 8);
}

#[test]
fn nothing_begins_while_paused_or_waiting_and_the_reason_is_named() {
    let control = Control::new(4);
    control.starts();
    assert_eq!(control.room(), 3);
    control.turn(|knobs| knobs.waiting = Some("load".to_owned()));
    assert_eq!(
        (control.room(), control.live().waiting.as_deref()),
        (0, Some("load"))
    );
    control.turn(|knobs| knobs.paused = true);
    assert_eq!(control.live().waiting.as_deref(), Some("paused"));
    control.turn(|knobs| (knobs.paused, knobs.waiting) = (false, None));
    control.turn(|knobs| knobs.parallel = 9);
    assert_eq!(control.room(), 8, "a limit that was raised counts at once");
    control.turn(|knobs| knobs.parallel = 4);
    control.ends();
    assert_eq!((control.room(), control.live().waiting), (4, None));
}

#[test]
fn what_is_live_adds_up() {
    let control = Control::new(4);
    control.begins(7, 100, 10);
    control.finished("user.a", Ended::Upgraded, None, &figures(5000));
    control.finished("user.b", Ended::Again, None, &figures(9000));
    control.finished("user.c", Ended::Unchanged, None, &figures(1000));
    let live = control.live();
    assert_eq!(
        (live.run, live.mailboxes, live.done, live.messages),
        (7, 100, 12, 6)
    );
    assert_eq!(live.slowest[0], ("user.b".to_owned(), 9.0));
    assert!(live.rate > 0.0 && live.eta_seconds.is_some());
}

#[tokio::test]
async fn conditions_name_the_first_reason() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("wait");
    let mut conditions = Conditions {
        flag_file: Some(flag.clone()),
        ..Conditions::default()
    };
    assert_eq!(conditions.reason().await, None);
    std::fs::write(&flag, "").unwrap();
    assert!(conditions.reason().await.unwrap().ends_with("wait exists"));
    conditions.flag_file = None;
    conditions.command = Some("exit 3".to_owned());
    assert!(
        conditions
            .reason()
            .await
            .unwrap()
            .contains("exit status: 3")
    );
    conditions.command = Some("true".to_owned());
    conditions.max_load = Some(1e9);
    assert_eq!(conditions.reason().await, None);
    conditions.max_load = Some(-1.0);
    assert!(
        conditions
            .reason()
            .await
            .unwrap()
            .starts_with("load average")
    );
    // The two halves of the day: one of them is now.
    let mut inside = 0;
    for window in ["00:00-12:00", "12:00-00:00"] {
        let conditions = Conditions {
            window: Some(window.parse().unwrap()),
            ..Conditions::default()
        };
        inside += u32::from(conditions.reason().await.is_none());
    }
    assert_eq!(inside, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_is_answered_over_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(&directory.path().join("state.db"));
    std::fs::write(&path, "a dead socket of an earlier run").unwrap();
    let control = Arc::new(Control::new(4));
    let (handle, stop) = stop_pair();
    let (socket, server) = serve(&path, Arc::clone(&control), handle).unwrap();
    let server = tokio::spawn(server);
    let at = path.clone();
    tokio::task::spawn_blocking(move || {
        let verb = |what: Ask| ask(&at, &what);
        let set = |key: &str, value: &str| {
            verb(Ask::Set {
                key: key.into(),
                value: value.into(),
            })
        };
        assert_eq!(verb(Ask::Status).unwrap()["parallel"], 4);
        assert_eq!(verb(Ask::Pause).unwrap()["waiting"], "paused");
        assert_eq!(verb(Ask::Resume).unwrap()["paused"], false);
        assert_eq!(set("parallel", "9").unwrap()["parallel"], 9);
        for (key, value) in [
            ("target-lock", "5"),
            ("max-load", "3.5"),
            ("max-io", "20"),
            ("window", "22:00-06:00"),
            ("window", "off"),
        ] {
            set(key, value).unwrap();
        }
        for (key, value) in [
            ("parallel", "0"),
            ("parallel", "off"),
            ("max-load", "x"),
            ("window", "x"),
            ("nonsense", "1"),
        ] {
            assert!(
                matches!(set(key, value), Err(ServeError::Refused(_))),
                "{key} {value}"
            );
        }
        verb(Ask::Stop).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(stop.level(), Stop::Finish);
    let knobs = control.knobs();
    assert_eq!(
        (knobs.conditions.max_load, knobs.conditions.window),
        (Some(3.5), None)
    );
    server.abort();
    let _ = server.await;
    drop(socket);
    assert!(!path.exists(), "the socket goes with the run");
    assert!(matches!(
        ask(&path, &Ask::Status),
        Err(ServeError::Nobody { .. })
    ));
}

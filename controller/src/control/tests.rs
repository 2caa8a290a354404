//! What the controls promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::conditions::{Gauges, watch_by};
use super::*;
use crate::stop::{Stop, stop_pair};

/// How long an attempt took.
const TOOK: Duration = Duration::from_millis(9);

fn figures(us: u64) -> Figures {
    Figures {
        messages: 3,
        lock_us: [Some(us), None],
        ..Figures::default()
    }
}

fn control(parallel: usize) -> Control {
    Control::new(Limits {
        parallel: parallel.into(),
        ..Limits::default()
    })
}

fn totals(mailboxes: u64, done: u64) -> Totals {
    Totals {
        mailboxes,
        pending: mailboxes - done,
        ..Totals::default()
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

/// Works in virtual time, with as many at once as are allowed, until this number is done; each
/// takes as long as its locks are held.
async fn work(control: &Control, mailboxes: usize, held: impl Fn(usize) -> u64) {
    for _ in 0..mailboxes {
        while control.free() > 0 {
            control.starts();
        }
        let at_once = control.live().under_way;
        let us = held(at_once);
        tokio::time::sleep(Duration::from_micros(us) / u32::try_from(at_once).unwrap()).await;
        control.finished("user.a", Ended::Upgraded, None, &figures(us), TOOK);
        control.ends();
    }
    let left = control.live().under_way;
    (0..left).for_each(|_| control.ends());
}

#[tokio::test(start_paused = true)]
async fn auto_rises_up_to_the_target_and_says_why_and_a_number_ends_that() {
    let control = Control::new(Limits {
        parallel: Parallel::Auto,
        ..Limits::default()
    });
    let live = control.live();
    assert_eq!((live.parallel, live.allowed), (64, 4));
    let steered = live.steered.unwrap();
    assert_eq!((steered.now.at_once, steered.now.of.as_str()), (4, "auto"));
    assert_eq!(
        (steered.lock_p99_ms, steered.target_lock_ms),
        (None, Some(10.0))
    );
    // A hundred times as slow as a real one: timers count milliseconds. 9 at once hold locks for
    // 0.94 s, 13 for 1.18 s, and more are always faster.
    let set_target = |target: &str| {
        control.update(|state| state.limits.set("target-lock", target).unwrap());
    };
    set_target("1s");
    let grows = |at_once: usize| u64::try_from(400_000 + at_once * 60_000).unwrap();
    work(&control, 30_000, grows).await;
    let steered = control.live().steered.unwrap();
    assert!((6..=9).contains(&steered.now.at_once), "{steered:?}");
    assert!(steered.now.why.starts_with("locks p99 "), "{steered:?}");
    assert!(steered.now.why.contains(" ms of 1000 ms, "), "{steered:?}");
    set_target("auto");

    let set = |key: &str, value: &str| {
        control.update(|state| state.limits.set(key, value).unwrap());
        let live = control.live();
        assert_eq!(control.free(), live.allowed);
        (
            live.parallel,
            live.allowed,
            live.steered.map(|steered| steered.now.of),
        )
    };
    assert_eq!(set("parallel", "40"), (40, 40, None));
    // With a target it is the most.
    let (most, allowed, of) = set("target-lock", "5ms");
    assert_eq!((most, allowed, of.as_deref()), (40, 4, Some("40")));
    work(&control, 2000, |at_once| {
        u64::try_from(at_once * 30_000).unwrap()
    })
    .await;
    assert!(control.live().allowed <= 2, "{:?}", control.live());
    assert_eq!(set("target-lock", "off"), (40, 40, None));
    assert_eq!(set("parallel", "auto").2.as_deref(), Some("auto"));
    // Nor is there more than can be served.
    control.update(|state| state.most = 2);
    assert_eq!((control.live().allowed, control.free()), (2, 2));
    control.update(|state| state.most = 1);
    work(&control, 1000, grows).await;
    assert_eq!((control.live().parallel, control.live().allowed), (1, 1));
}

#[test]
fn nothing_begins_while_paused_or_waiting_and_the_reason_is_named() {
    let control = control(4);
    control.starts();
    assert_eq!(control.free(), 3);
    control.update(|state| state.waiting = Some("load".to_owned()));
    assert_eq!(
        (control.free(), control.live().waiting.as_deref()),
        (0, Some("load"))
    );
    control.update(|state| state.paused = true);
    assert_eq!(control.live().waiting.as_deref(), Some("paused"));
    control.update(|state| (state.paused, state.waiting) = (false, None));
    control.update(|state| state.limits.parallel = Parallel::Fixed(9));
    assert_eq!(control.free(), 8, "a limit that was raised counts at once");
    control.update(|state| state.limits.parallel = Parallel::Fixed(4));
    control.ends();
    assert_eq!((control.free(), control.live().waiting), (4, None));
}

#[test]
fn what_is_live_adds_up() {
    let control = control(4);
    control.begins(7, &totals(100, 10));
    control.finished("user.a", Ended::Upgraded, None, &figures(5000), TOOK);
    control.finished("user.b", Ended::Again, None, &figures(9000), TOOK);
    control.finished("user.c", Ended::Unchanged, None, &figures(1000), TOOK);
    let live = control.live();
    assert_eq!(
        (live.run, live.mailboxes, live.done, live.messages),
        (7, 100, 12, 6)
    );
    assert_eq!(live.slowest[0], ("user.b".to_owned(), 9.0));
    assert!(live.rate > 0.0 && live.eta_seconds.is_some());
}

#[test]
fn each_host_has_its_own_locks_and_the_reason_of_the_run_is_named() {
    let control = control(4);
    control.begins(1, &totals(9, 0));
    let of = |lock_us| Figures {
        lock_us,
        ..Figures::default()
    };
    let finish = |figures| control.finished("user.a", Ended::Upgraded, None, &figures, TOOK);
    finish(of([Some(1000), Some(2000)]));
    finish(of([Some(3000), None]));
    let hosts = control.live().hosts;
    let locks: Vec<_> = hosts
        .iter()
        .map(|h| (h.side, h.mean_lock_ms, h.longest_lock_ms))
        .collect();
    assert_eq!(locks, [("master", 2.0, 3.0), ("replica", 2.0, 2.0)]);
    assert!((hosts[0].rate - 2.0 * hosts[1].rate).abs() < 1e-6);
    // What an operator asked for comes first, then what the run itself waits for.
    control.update(|state| state.waiting = Some("load".to_owned()));
    control.holds(Some("replica away".to_owned()));
    assert_eq!(control.live().waiting.as_deref(), Some("replica away"));
    control.update(|state| state.paused = true);
    assert_eq!(control.live().waiting.as_deref(), Some("paused"));
}

#[test]
fn a_place_that_rests_is_not_free() {
    let control = control(3);
    control.starts();
    control.rests(1);
    assert_eq!(control.free(), 1);
    control.rests(9);
    assert_eq!(control.free(), 0);
}

#[test]
#[allow(clippy::cast_precision_loss)] // small numbers
fn large_mailboxes_that_are_left_make_the_end_later() {
    let control = control(4);
    control.begins(1, &totals(100, 0));
    let sampled = |n: u64, messages, bytes| Sampled {
        name: format!("user.{n}"),
        messages,
        bytes,
    };
    // Half of the mailboxes have a message of 1 kB, half have 99 of 1 MB; the small ones come
    // first.
    let all: Vec<Sampled> = (0..100)
        .map(|n| {
            if n < 50 {
                sampled(n, 1, 1000)
            } else {
                sampled(n, 99, 99_000_000)
            }
        })
        .collect();
    control.expects(100, all);
    assert_eq!(control.live().eta_messages_seconds, None, "nothing moves");
    for n in 0..60 {
        let figures = Figures {
            messages: if n < 50 { 1 } else { 99 },
            ..Figures::default()
        };
        let name = format!("user.{n}");
        control.finished(&name, Ended::Upgraded, None, &figures, TOOK);
    }
    let live = control.live();
    let (by_mailbox, by_message, by_byte) = (
        40.0 / live.rate,
        3960.0 / live.messages_rate,
        live.eta_bytes_seconds.unwrap(),
    );
    assert!(by_message > 3.0 * by_mailbox, "{live:?}");
    let near = |eta: Option<u64>, seconds: f64| (eta.unwrap() as f64 - seconds).abs() <= 1.0;
    assert!(near(live.eta_seconds, by_mailbox), "{live:?}");
    assert!(near(live.eta_messages_seconds, by_message), "{live:?}");
    // Nearly all bytes are in the large ones: of fifty, forty are left.
    assert!(
        near(Some(by_byte), 4.0 * 1040.0 / live.messages_rate),
        "{live:?}"
    );
}

#[tokio::test]
async fn conditions_name_the_first_reason() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("wait");
    let mut conditions = Limits {
        flag_file: Some(flag.clone()),
        ..Limits::default()
    };
    assert_eq!(conditions.reason().await, None);
    std::fs::write(&flag, "").unwrap();
    assert!(conditions.reason().await.unwrap().ends_with("wait exists"));
    conditions.flag_file = None;
    conditions.wait_command = Some("sh -c 'exit 3'".to_owned());
    assert!(
        conditions
            .reason()
            .await
            .unwrap()
            .contains("exit status: 3")
    );
    conditions.wait_command = Some("true".to_owned());
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
        let conditions = Limits {
            window: Some(window.parse().unwrap()),
            ..Limits::default()
        };
        inside += u32::from(conditions.reason().await.is_none());
    }
    assert_eq!(inside, 1);
}

#[allow(clippy::too_many_lines)] // each verb and each limit, in one place
#[tokio::test(flavor = "multi_thread")]
async fn each_verb_is_answered_over_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(&directory.path().join("state.db"));
    // The dead socket of an earlier run.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let control = Arc::new(control(4));
    let kept = Arc::new(AtomicBool::new(false));
    let keeper = Arc::clone(&kept);
    control.keep_pause(Box::new(move |since| {
        keeper.store(since.is_some(), Ordering::Relaxed);
        Ok(())
    }));
    let (handle, stop) = stop_pair();
    let (socket, server) = serve(&path, Controls::only(Arc::clone(&control)), handle).unwrap();
    let server = tokio::spawn(server);
    let (at, stopped) = (path.clone(), stop.clone());
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
        assert!(kept.load(Ordering::Relaxed), "before it was answered");
        assert_eq!(verb(Ask::Resume).unwrap()["paused"], false);
        assert!(!kept.load(Ordering::Relaxed));
        assert_eq!(set("parallel", "9").unwrap()["parallel"], 9);
        for (key, value) in [
            ("target-lock", "off"),
            ("parallel", "auto"),
            ("target-lock", "5"),
            ("max-load", "3.5"),
            ("max-io", "20"),
            ("max-lag", "600"),
            ("window", "22:00-06:00"),
            ("window", "off"),
            ("parallel-partition", "3"),
            ("nice-ratio", "0.5"),
            ("lock-wait", "7"),
            ("host-wait", "30"),
            ("flag-file", "/run/slow"),
            ("hold-commit-file", "/run/hold"),
            ("wait-command", "true"),
        ] {
            set(key, value).unwrap();
        }
        for (key, value) in [
            ("parallel", "0"),
            ("parallel", "off"),
            ("target-lock", "x"),
            ("max-load", "x"),
            ("window", "x"),
            ("nonsense", "1"),
            ("parallel-partition", "0"),
            ("nice-ratio", "-1"),
            ("nice-ratio", "1001"),
            ("host-wait", "off"),
            ("lock-wait", "nan"),
        ] {
            assert!(
                matches!(set(key, value), Err(ServeError::Refused(_))),
                "{key} {value}"
            );
        }
        verb(Ask::Stop).unwrap();
        assert_eq!((stopped.level(), stopped.panic()), (Stop::Finish, None));
        let of_pair = ask_pair(&at, &Ask::Panic, Some(""));
        assert!(
            matches!(of_pair, Err(ServeError::Refused(_))),
            "{of_pair:?}"
        );
        verb(Ask::Panic).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(stop.level(), Stop::Now);
    assert_eq!(stop.panic().as_deref(), Some("`panic` was asked for"));
    let state = control.state();
    assert_eq!(
        (state.limits.max_load, state.limits.window),
        (Some(3.5), None)
    );
    assert_eq!(
        (state.limits.parallel_partition, state.limits.nice_ratio),
        (Some(3), 0.5)
    );
    let seconds = [state.limits.lock_wait, state.limits.host_wait].map(|wait| wait.as_secs());
    assert_eq!(seconds, [7, 30]);
    assert_eq!(state.limits.max_io, Some(20.0));
    assert_eq!(state.limits.max_lag, Some(600.0));
    assert_eq!(state.limits.flag_file, Some("/run/slow".into()));
    assert_eq!(state.limits.wait_command.as_deref(), Some("true"));
    let target = TargetLock::Of(Duration::from_millis(5));
    assert_eq!(state.limits.target_lock, target);
    server.abort();
    let _ = server.await;
    drop(socket);
    assert!(!path.exists(), "the socket goes with the run");
    assert!(matches!(
        ask(&path, &Ask::Status),
        Err(ServeError::Nobody { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_while_disks_or_processors_are_too_busy_and_goes_on_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let [load, io] = ["loadavg", "io"].map(|name| directory.path().join(name));
    let busy = |load_is: &str, io_is: &str| {
        std::fs::write(&load, format!("{load_is} 7.00 7.00 1/200 4711\n")).unwrap();
        let text = format!(
            "some avg10={io_is} avg60=99.00 avg300=99.00 total=1\nfull avg10=99.00 avg60=99.00 \
             avg300=99.00 total=1\n"
        );
        std::fs::write(&io, text).unwrap();
    };
    busy("1.50", "4.25");
    let control = Arc::new(control(4));
    let (watched, paths) = (Arc::clone(&control), [load.clone(), io.clone()]);
    let watcher = tokio::spawn(async move {
        let gauges = Gauges {
            load: &paths[0],
            io: &paths[1],
        };
        watch_by(watched, &gauges).await;
    });
    // As somebody who sets the limits while it runs, and looks three seconds later.
    let later = async || {
        tokio::time::sleep(Duration::from_secs(3)).await;
        (control.free(), control.live().waiting)
    };
    assert_eq!(later().await, (4, None));
    control.update(|state| state.limits.max_io = Some(20.0));
    assert_eq!(later().await, (4, None), "4.25 % is not too much");
    busy("1.50", "20.01");
    let why = "disk pressure 20.0 % above 20 %".to_owned();
    assert_eq!(later().await, (0, Some(why)));
    busy("1.50", "20.00");
    assert_eq!(later().await, (4, None));

    control.update(|state| state.limits.max_load = Some(2.0));
    assert_eq!(later().await, (4, None));
    busy("2.01", "0.00");
    let why = "load average 2.01 above 2".to_owned();
    assert_eq!(later().await, (0, Some(why)));

    // What cannot be looked at does not count as quiet.
    busy("1.00", "some other file");
    let (free, why) = later().await;
    assert_eq!(
        (free, why),
        (0, Some(format!("{} cannot be read", io.display())))
    );
    std::fs::remove_file(&io).unwrap();
    assert_eq!(later().await.0, 0);
    control.update(|state| state.limits.max_io = None);
    assert_eq!(later().await, (4, None));
    watcher.abort();
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_no_reason_to_wait_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "true\n").unwrap();
    let plain = plain.to_str().unwrap();
    for command in ["/nonexistent/may-i", "no-such-command-here --now", plain] {
        let why = unusable(command).await.unwrap();
        assert!(
            why.contains("cannot be run") && why.contains(command),
            "{why}"
        );
    }
    for command in ["true", "false", "sh -c 'exit 3'"] {
        assert_eq!(unusable(command).await, None, "{command}");
    }
    // One that stops to be there while it is waited for is noticed as well.
    let control = Arc::new(control(1));
    let watcher = tokio::spawn(watch_conditions(Arc::clone(&control)));
    let mut changed = control.subscribe();
    control.update(|state| state.limits.wait_command = Some("/nonexistent/may-i".to_owned()));
    let waits = |state: &ControlState| state.unusable.is_some();
    let seen = changed.wait_for(waits);
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .expect("it is looked at once a second")
        .unwrap();
    watcher.abort();
}

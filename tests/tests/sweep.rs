//! Every point of a run, cut in every way, heals without a person.
//!
//! Three sweeps, each over all points that a good run counts: the failpoints of either slotd
//! (killed there, EIO, ENOSPC), every line of the conversation (controller killed before and after
//! it, line lost, connection broken), and, as a test of its own because it needs strace, every
//! system call of the controller that writes, syncs or sends. A plain run takes every eighth point,
//! `.ci/run` every fourth; `REGUID_SWEEP_EVERY=1` takes them all.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::proxy::{Cut, Harm};
use tests::sweep::{Plan, cut_and_heal, failpoint, template};

fn every() -> usize {
    let given = std::env::var("REGUID_SWEEP_EVERY").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(8)
}

/// Runs all plans on two threads; a failing one is named, and the others still run.
fn sweep(what: &str, plans: Vec<(String, Plan)>) {
    let plans: Vec<_> = plans.into_iter().step_by(every()).collect();
    let dir = tempfile::tempdir().unwrap();
    let store = template(dir.path());
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let killed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, plan)) = plans.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let run = std::panic::AssertUnwindSafe(|| cut_and_heal(&store, plan));
                    match std::panic::catch_unwind(run) {
                        Ok(outcome) => {
                            let died = outcome.alive != [true; 2] || outcome.ended.code.is_none();
                            killed.fetch_add(usize::from(died), Ordering::SeqCst);
                        }
                        Err(_) => failed.lock().unwrap().push(name.clone()),
                    }
                }
            });
        }
    });
    let (failed, killed) = (failed.into_inner().unwrap(), killed.into_inner());
    println!(
        "{what}: {} points, a process died in {killed}, {} failed",
        plans.len(),
        failed.len()
    );
    assert!(
        plans.len() >= 5,
        "{what}: only {} points; is the trace on?",
        plans.len()
    );
    assert!(
        failed.is_empty(),
        "{what}: these points do not heal:\n{}",
        failed.join("\n")
    );
}

/// The names of the failpoints that one side's slotd hits in a good run, in order.
fn points_of(side: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let env = vec![(
        "REGUID_FAILPOINTS_TRACE".to_owned(),
        trace.display().to_string(),
    )];
    let mut plan = Plan::default();
    match side {
        "master" => plan.master = env,
        _ => plan.replica = env,
    }
    let outcome = cut_and_heal(&template(dir.path()), &plan);
    assert_eq!(outcome.ended.code, Some(0), "{:?}", outcome.ended);
    fs::read_to_string(trace)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn failpoints(side: &str, what: &str) {
    let points = points_of(side);
    let plans = points.iter().enumerate().map(|(n, point)| {
        let rule = failpoint(&format!("*={}:{what}", n + 1));
        let mut plan = Plan::default();
        match side {
            "master" => plan.master = rule,
            _ => plan.replica = rule,
        }
        (format!("{side}: {what} at hit {} ({point})", n + 1), plan)
    });
    sweep(&format!("{what} in the {side}'s slotd"), plans.collect());
}

#[test]
fn the_masters_slotd_may_be_killed_at_any_point() {
    failpoints("master", "kill");
}

#[test]
fn the_replicas_slotd_may_be_killed_at_any_point() {
    failpoints("replica", "kill");
}

#[test]
fn any_write_of_the_masters_slotd_may_fail() {
    failpoints("master", "eio");
    failpoints("master", "enospc");
}

#[test]
fn any_write_of_the_replicas_slotd_may_fail() {
    failpoints("replica", "eio");
    failpoints("replica", "enospc");
}

/// The conversation of a good run.
fn lines_of_a_run() -> Vec<String> {
    let cut = Cut::new(Harm::None, 0);
    let plan = Plan {
        cut: Some(cut.clone()),
        ..Plan::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let outcome = cut_and_heal(&template(dir.path()), &plan);
    assert_eq!(outcome.ended.code, Some(0), "{:?}", outcome.ended);
    cut.lines()
}

fn conversation(harms: &[Harm]) {
    let lines = lines_of_a_run().len();
    let mut plans = Vec::new();
    for harm in harms {
        for at in 1..=lines {
            let plan = Plan {
                cut: Some(Cut::new(*harm, at)),
                ..Plan::default()
            };
            plans.push((format!("{harm:?} at line {at}"), plan));
        }
    }
    sweep(&format!("{harms:?} over {lines} lines"), plans);
}

#[test]
fn the_controller_may_be_killed_before_or_after_any_line_of_the_conversation() {
    conversation(&[Harm::KillBefore, Harm::KillAfter]);
}

#[test]
fn the_connection_may_break_at_any_line_of_the_conversation() {
    conversation(&[Harm::LoseAndBreak, Harm::PassAndBreak]);
}

/// The original's one danger point: the replica is upgraded, and the master is about to be.
#[test]
fn step_six_cut_in_every_way_heals_without_a_person() {
    let at = |points: &[String], name: &str| {
        let found = points.iter().position(|p| p.contains(name));
        found.unwrap_or_else(|| panic!("no {name} in {points:?}"))
    };
    let mut plans = Vec::new();
    let [master, replica] = ["master", "replica"].map(points_of);
    for what in ["kill", "eio", "enospc"] {
        for (n, name) in master.iter().enumerate().skip(at(&master, "intent.write")) {
            let plan = Plan {
                master: failpoint(&format!("*={}:{what}", n + 1)),
                ..Plan::default()
            };
            plans.push((format!("master: {what} at hit {} ({name})", n + 1), plan));
        }
        // The replica fails, or dies, while it holds what it has renamed.
        for (n, name) in replica.iter().enumerate().skip(at(&replica, "commit.done")) {
            let plan = Plan {
                replica: failpoint(&format!("*={}:{what}", n + 1)),
                ..Plan::default()
            };
            plans.push((format!("replica: {what} at hit {} ({name})", n + 1), plan));
        }
    }
    let lines = lines_of_a_run();
    for harm in [
        Harm::KillBefore,
        Harm::KillAfter,
        Harm::LoseAndBreak,
        Harm::PassAndBreak,
    ] {
        for (n, line) in lines
            .iter()
            .enumerate()
            .skip(at(&lines, "master -> COMMIT"))
        {
            let plan = Plan {
                cut: Some(Cut::new(harm, n + 1)),
                ..Plan::default()
            };
            plans.push((format!("{harm:?} at line {}: {line}", n + 1), plan));
        }
    }
    assert!(plans.len() >= 100, "only {} cuts", plans.len());
    sweep("step (6), the master's COMMIT", plans);
}

/// Ignored in a plain run: needs strace, and the right to trace.
#[test]
#[ignore = "needs strace"]
fn the_controller_may_be_killed_at_any_system_call_that_writes_syncs_or_sends() {
    let calls = "write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,ftruncate,unlink,rename";
    let dir = tempfile::tempdir().unwrap();
    let store = template(dir.path());
    let mut k = 1;
    loop {
        let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e"].map(str::to_owned);
        let mut wrapper = wrapper.to_vec();
        wrapper.push(format!("inject={calls}:signal=SIGKILL:when={k}"));
        let outcome = cut_and_heal(
            &store,
            &Plan {
                wrapper,
                ..Plan::default()
            },
        );
        if outcome.ended.code == Some(0) {
            break; // no thread of the controller makes a k-th call any more
        }
        k += every();
    }
    println!(
        "controller killed at each of its first {} system calls per thread",
        k - 1
    );
    assert!(k > 20, "only {k}");
}

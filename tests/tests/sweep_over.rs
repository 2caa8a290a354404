//! Every failpoint of either slotd in a change-over and its way back: killed there, EIO, ENOSPC.
//! Healed by the way that was cut, or by the other one.
//!
//! A plain run takes every 24th point, `.ci/run` every twelfth; `REGUID_SWEEP_EVERY=1` takes them
//! all, both ways. The lines of the conversation are in `cutover.rs`, power cuts in `power_cut.rs`.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::over::{Template, Way, cut};
use tests::sweep::failpoint;

const SIDES: [&str; 2] = ["master", "replica"];

fn every() -> usize {
    let given = std::env::var("REGUID_SWEEP_EVERY").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(24)
}

/// The names of the failpoints that one side's slotd hits in a good run, in order.
fn points_of(template: &Template, way: Way, side: usize) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let name = "REGUID_FAILPOINTS_TRACE".to_owned();
    let env = [(name, trace.display().to_string())];
    let mut fleet = template.fleet(way, dir.path());
    let ended = cut(template, &mut fleet, way, (side, &env));
    assert!(ended.iter().all(|e| e.code == Some(0)), "{ended:?}");
    let hits = fs::read_to_string(trace).unwrap();
    hits.lines().map(str::to_owned).collect()
}

fn sweep(way: Way) {
    let dir = tempfile::tempdir().unwrap();
    let template = Template::make(dir.path());
    let mut plans = Vec::new();
    for side in [0, 1] {
        let points = points_of(&template, way, side);
        assert!(points.len() > 30, "{way:?}: {points:?}");
        for what in ["kill", "eio", "enospc"] {
            for (n, point) in points.iter().enumerate() {
                for heal in [
                    way,
                    if way == Way::Over {
                        Way::Back
                    } else {
                        Way::Over
                    },
                ] {
                    plans.push((side, n + 1, what, point.clone(), heal));
                }
            }
        }
    }
    // So that both ways of healing have their turn whatever the step is.
    let plans: Vec<_> = plans.into_iter().step_by(every() * 2 - 1).collect();
    let next = AtomicUsize::new(0);
    let (failed, cuts) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let (side, n, what, point, heal) = plan;
                    let name = format!(
                        "{way:?}, {what} in the {}'s slotd at hit {n} ({point}), healed {heal:?}",
                        SIDES[*side]
                    );
                    let run = std::panic::AssertUnwindSafe(|| {
                        let mut fleet = template.fleet(way, &std::env::temp_dir());
                        let rule = failpoint(&format!("*={n}:{what}"));
                        let ended = cut(&template, &mut fleet, way, (*side, &rule));
                        template.heal(&mut fleet, *heal, &format!("{name}: {ended:?}"));
                        ended.last().is_none_or(|last| last.code != Some(0))
                    });
                    match std::panic::catch_unwind(run) {
                        Ok(was_cut) => drop(cuts.fetch_add(usize::from(was_cut), Ordering::SeqCst)),
                        Err(_) => failed.lock().unwrap().push(name),
                    }
                }
            });
        }
    });
    let (failed, cuts) = (failed.into_inner().unwrap(), cuts.into_inner());
    println!(
        "{way:?}: {} points, a run was cut in {cuts}, {} failed",
        plans.len(),
        failed.len()
    );
    assert!(cuts > 0, "nothing was cut");
    assert!(
        failed.is_empty(),
        "these points do not heal:\n{}",
        failed.join("\n")
    );
}

#[test]
fn a_change_over_cut_at_any_point_of_a_slotd_ends_all_new_or_all_old() {
    sweep(Way::Over);
}

#[test]
fn the_way_back_cut_at_any_point_of_a_slotd_ends_all_new_or_all_old() {
    sweep(Way::Back);
}

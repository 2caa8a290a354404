//! One run, cut at one point, then healed: the body of every sweep.
//!
//! The store is two mailboxes of the 2.3.9 store, one of them with a cyrus.expunge, so that a run
//! is short and still does everything. After the cut: no set is torn and no lock is left; after
//! both slotds were started again and the job was run again: everything is new, alike and clean.

use std::path::Path;
use std::process::Command;

use crate::fleet::{Fleet, program};
use crate::process::{Ended, Guard, Slotd};
use crate::proxy::{Cut, Proxy};
use stores::Host;
use stores::genuine::{copy_mailboxes, unpack_239};
use stores::judge::{State, When};

/// The mailboxes that stay in the small store.
pub const MAILBOXES: [&str; 2] = ["user.alice.condstore", "user.bob"];

/// Makes the small store in `dir`.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn template(dir: &Path) -> Host {
    let all = unpack_239(&dir.join("all")).unwrap();
    copy_mailboxes(&all, &dir.join("template"), &MAILBOXES).unwrap()
}

/// What is done to a run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Environment of the master's slotd (failpoints).
    pub master: Vec<(String, String)>,
    /// Environment of the replica's slotd.
    pub replica: Vec<(String, String)>,
    /// Environment of the controller.
    pub controller: Vec<(String, String)>,
    /// A cut of the conversation, and whether the controller is its victim.
    pub cut: Option<Cut>,
    /// Words before the controller's command line, such as strace.
    pub wrapper: Vec<String>,
}

/// What a cut run left.
pub struct Outcome {
    /// How the controller ended.
    pub ended: Ended,
    /// Whether each slotd was still alive.
    pub alive: [bool; 2],
}

/// Environment that arms one failpoint of a program.
#[must_use]
pub fn failpoint(rule: &str) -> Vec<(String, String)> {
    vec![("REGUID_FAILPOINTS".to_owned(), rule.to_owned())]
}

/// Starts a slotd with that environment; none if it does not come up.
#[must_use]
pub fn start_with(env: &[(String, String)], host: &Host) -> Option<Slotd> {
    let mut wrapper = vec!["env".to_owned()];
    wrapper.extend(env.iter().map(|(k, v)| format!("{k}={v}")));
    Slotd::try_start(&wrapper, &program("slotd"), host, &[]).ok()
}

/// Runs the job under `plan`, checks what must hold right after, then heals and checks all.
///
/// # Panics
/// If an invariant is broken, with what the controller said.
#[must_use]
pub fn cut_and_heal(template: &Host, plan: &Plan) -> Outcome {
    let mut fleet = Fleet::copies_of(template, &std::env::temp_dir());
    for (n, (host, env)) in [
        (&fleet.master.clone(), &plan.master),
        (&fleet.replica.clone(), &plan.replica),
    ]
    .into_iter()
    .enumerate()
    {
        if let Some(slotd) = start_with(env, host) {
            fleet.put_slotd(n, slotd);
        }
    }
    let ended = run_controller(&fleet, &["upgrade"], plan);
    let alive = [0, 1].map(|n| {
        let mut slotd = fleet.take_slotd(n);
        let alive = slotd.as_mut().is_some_and(Slotd::alive);
        drop(slotd); // killed: what a power cut of the process leaves
        alive
    });
    let said = format!("controller: {ended:?}\nslotds alive: {alive:?}");
    let torn: Vec<_> = fleet
        .check(When::Cut)
        .into_iter()
        .flat_map(|r| r.violations)
        .collect();
    assert!(
        torn.is_empty(),
        "right after the cut:\n{}\n{said}",
        torn.join("\n")
    );

    fleet.start();
    let again = fleet.controller("upgrade", &[]);
    let reports = fleet.check(When::Settled);
    let broken: Vec<_> = reports.iter().flat_map(|r| r.violations.clone()).collect();
    assert!(
        again.code == Some(0) && broken.is_empty(),
        "after healing:\n{}\nfirst {said}\nagain {again:?}",
        broken.join("\n")
    );
    for report in reports {
        assert_eq!(
            report.count(State::New),
            MAILBOXES.len(),
            "not all new\n{said}\n{again:?}"
        );
    }
    assert_eq!(
        fleet.open_transactions(),
        Vec::<String>::new(),
        "{said}\n{again:?}"
    );
    Outcome { ended, alive }
}

/// Runs a controller command under `plan`, between proxies if its conversation is cut.
///
/// # Panics
/// If it is stuck.
#[must_use]
pub fn run_controller(fleet: &Fleet, job: &[&str], plan: &Plan) -> Ended {
    let sockets = [0, 1].map(|n| fleet.addr(n).trim_start_matches("unix:").to_owned());
    let proxies: Vec<Proxy> = plan
        .cut
        .iter()
        .flat_map(|cut| {
            [("master", 0), ("replica", 1)].map(|(label, n)| {
                let target = std::path::Path::new(&sockets[n]);
                Proxy::start(label, &target.with_extension("proxy"), target, cut)
            })
        })
        .collect();
    let addr = |n: usize| proxies.get(n).map_or_else(|| fleet.addr(n), Proxy::addr);
    let mut words = plan.wrapper.clone();
    words.push(program("controller"));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(job);
    command.args(["--master", &addr(0), "--replica", &addr(1)]);
    command.arg("--state").arg(fleet.journal());
    // What cannot be reached any more is not tried for long: the next run is what heals.
    command.args([
        "--attempts",
        "1",
        "--settle-attempts",
        "1",
        "--host-wait",
        "0",
        "--work-timeout",
        "20",
    ]);
    command.envs(plan.controller.iter().cloned());
    let child = Guard::spawn(&mut command);
    if let Some(cut) = &plan.cut {
        cut.aim(child.0.id());
    }
    child.finish()
}

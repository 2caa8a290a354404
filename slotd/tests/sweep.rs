//! A crash or an error at every point of a transaction: afterwards the mailbox is one complete set,
//! old or new, and nothing is lost, left or locked.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{Store, lock, recover, sha1_of};
use indexfile::{FileKind, IndexFile, RecordGuid};
use slotd::client::{Addr, Client, ClientError, Timeouts};
use slotd::failpoint;
use slotd::host::{Host, Options};
use slotd::protocol::{self, Commit, Prepare, Reply, Upgrade, Write};
use slotd::session::Session;

const MAILBOX: &str = "user.alice.expunged";

/// What a transaction does before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Commit,
    HoldRelease,
    HoldRollback,
    PrepareCommit,
    DropOld,
    /// Where a file cannot be made without a name.
    NamedCommit,
    NamedPrepareCommit,
}

const COURSES: [Course; 7] = [
    Course::NamedCommit,
    Course::NamedPrepareCommit,
    Course::Commit,
    Course::HoldRelease,
    Course::HoldRollback,
    Course::PrepareCommit,
    Course::DropOld,
];

impl Course {
    fn prepares(self) -> bool {
        matches!(self, Course::PrepareCommit | Course::NamedPrepareCommit)
    }

    /// The failpoints of a run in which nothing goes wrong, after others.
    fn and_always(self, other: &str) -> String {
        match self {
            Course::NamedCommit | Course::NamedPrepareCommit => {
                format!("{other},fs.nameless=0:enotsup")
            }
            _ => other.to_owned(),
        }
    }
}

fn commands(course: Course) -> Vec<protocol::Command> {
    use protocol::Command as C;
    let commit = |hold, drop_old| C::Commit(Commit { hold, drop_old });
    let start = [C::Lock(lock(MAILBOX)), C::Upgrade(Upgrade::default())];
    let of = protocol::Named::new(common::name(MAILBOX));
    let end = match course {
        Course::Commit
        | Course::PrepareCommit
        | Course::NamedCommit
        | Course::NamedPrepareCommit => vec![commit(false, false)],
        Course::HoldRelease => vec![commit(true, false), C::Release { drop_old: false }],
        Course::HoldRollback => vec![commit(true, false), C::Rollback],
        Course::DropOld => vec![commit(false, true)],
    };
    let prepare = C::Prepare(Prepare {
        of,
        upgrade: Upgrade::default(),
        write: Write::Always,
        epoch: None,
    });
    let prepare = course.prepares().then_some(prepare);
    prepare.into_iter().chain(start).chain(end).collect()
}

/// The one checker: `before` are the files as they were, `changed` what happened to them since.
#[track_caller]
fn check(store: &Store, before: &BTreeMap<PathBuf, Vec<u8>>, flag_set: bool, what: &str) -> u32 {
    let meta = store.meta(MAILBOX);
    for entry in std::fs::read_dir(&meta).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stray = name.contains(".NEW") || name.contains("reguid");
        assert!(!stray, "{what}: {name} is left");
    }
    let index = store.index(MAILBOX);
    let expunge = store.expunge(MAILBOX).unwrap();
    let version = index.minor_version();
    assert_eq!(version, expunge.minor_version(), "{what}: not in step");
    for (file, name) in [(&index, "cyrus.index"), (&expunge, "cyrus.expunge")] {
        let old = IndexFile::from_bytes(
            before[Path::new(name)].clone(),
            Path::new(name),
            file.kind(),
        )
        .unwrap();
        if version == 9 {
            assert_eq!(
                file.to_bytes().unwrap(),
                old.to_bytes().unwrap(),
                "{what}: {name} is neither old nor new"
            );
            continue;
        }
        assert_eq!(version, 10, "{what}");
        assert!(
            slotd::stage::carries(&old, file).unwrap(),
            "{what}: {name} lost something"
        );
        for record in file.records().map(Result::unwrap) {
            let message = store.spool(MAILBOX).join(format!("{}.", record.uid()));
            assert_eq!(
                record.guid(),
                RecordGuid::Guid(sha1_of(&message)),
                "{what}: UID {}",
                record.uid()
            );
        }
    }
    if flag_set {
        assert_eq!(
            index.record(1).unwrap().unwrap().system_flags() & 8,
            8,
            "{what}: a flag was lost"
        );
    }
    version
}

fn files(store: &Store) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = ["cyrus.index", "cyrus.expunge"].map(PathBuf::from);
    names
        .map(|n| {
            (
                n.clone(),
                std::fs::read(store.meta(MAILBOX).join(n)).unwrap(),
            )
        })
        .into()
}

fn reply_of(session: &mut Session, course: Course) -> Result<(), Reply> {
    for command in commands(course) {
        let reply = session.handle(command);
        if !matches!(reply, Reply::Ok(_)) {
            // What a controller does then.
            let _ = session.handle(protocol::Command::Rollback);
            return Err(reply);
        }
    }
    Ok(())
}

fn open(store: &Store) -> std::sync::Arc<Host> {
    store.host(Options::default())
}

/// An error at any point is answered with NO, and nothing is left that a later transaction would
/// trip over.
#[test]
fn an_error_at_any_point_leaves_one_complete_set_and_nothing_else() {
    let courses = [
        Course::HoldRollback,
        Course::PrepareCommit,
        Course::NamedPrepareCommit,
    ];
    errors_everywhere(&courses, &["eio"]);
}

/// The same for every course and error: `cargo test -p slotd --test sweep -- --ignored
/// --nocapture`.
#[test]
#[ignore = "minutes; its counts are in docs/recovery.md"]
fn every_error_at_every_point_of_every_course() {
    errors_everywhere(&COURSES, &["eio", "enospc"]);
}

fn errors_everywhere(courses: &[Course], errors: &[&str]) {
    let mut points = 0;
    for &course in courses {
        for error in errors {
            for k in 1..=points_of(course) {
                let store = Store::small(&[MAILBOX]);
                let before = files(&store);
                let host = open(&store);
                let what = format!("{course:?} {error} at {k}");
                let mut session = Session::new(std::sync::Arc::clone(&host));
                let spec = course.and_always(&format!("*={k}:{error}"));
                let result = failpoint::with(&spec, || reply_of(&mut session, course));
                drop(session);
                drop(host);
                // The log may have failed; a restart reads it anew and settles what is open.
                let host = open(&store);
                let report = recover(&host);
                assert!(report.failed.is_empty(), "{what}: {:?}", report.failed);
                let version = check(&store, &before, false, &what);
                let rolled_back = course == Course::HoldRollback;
                if result.is_ok() {
                    assert_eq!(version, if rolled_back { 9 } else { 10 }, "{what}");
                }
                // And the mailbox can be upgraded.
                let mut session = Session::new(std::sync::Arc::clone(&host));
                reply_of(&mut session, Course::Commit).unwrap_or_else(|r| panic!("{what}: {r:?}"));
                assert_eq!(check(&store, &before, false, &what), 10);
                points += 1;
            }
        }
    }
    eprintln!("{points} points with errors");
}

/// How many points a good run of a course passes.
fn points_of(course: Course) -> u64 {
    let store = Store::small(&[MAILBOX]);
    let mut session = Session::new(open(&store));
    let spec = course.and_always("");
    let (result, points) = failpoint::count(&spec, || reply_of(&mut session, course));
    result.unwrap();
    points
}

struct Server {
    child: std::process::Child,
    addr: Addr,
}

fn slotd(store: &Store, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slotd"));
    command
        .arg(verb)
        .arg("--imapd-conf")
        .arg(store.root().join("imapd.conf"))
        .arg("--state")
        .arg(store.state());
    command
        // Root's copy of the store belongs to its Cyrus.
        .env("REGUID_SLOTD_ALLOW_ROOT", "yes")
        .env_remove("REGUID_FAILPOINTS")
        .env_remove("REGUID_FAILPOINTS_TRACE");
    command
}

impl Server {
    fn start(store: &Store, env: &[(&str, String)]) -> Option<Server> {
        let addr = Addr::Unix(store.tmp.path().join("s"));
        let mut command = slotd(store, "serve");
        command
            .arg("--listen")
            .arg(addr.to_string())
            .stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::null());
        command.envs(env.iter().map(|(k, v)| (k, v)));
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        if line != format!("slotd: listening on {addr}\n") {
            // Killed before it could serve: that is a point too.
            child.wait().unwrap();
            return None;
        }
        Some(Server { child, addr })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, which is what many tests are about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn converse(addr: &Addr, course: Course) -> Result<(), ClientError> {
    let mut client = Client::connect(addr, Timeouts::default()).await?;
    for command in commands(course) {
        client.ask(&command).await?;
    }
    Ok(())
}

fn trace(course: Course) -> usize {
    let store = Store::small(&[MAILBOX]);
    let path = store.tmp.path().join("trace");
    let server = Server::start(
        &store,
        &[
            ("REGUID_FAILPOINTS_TRACE", path.display().to_string()),
            ("REGUID_FAILPOINTS", course.and_always("")),
        ],
    )
    .unwrap();
    runtime().block_on(converse(&server.addr, course)).unwrap();
    std::fs::read_to_string(path).unwrap().lines().count()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// SIGKILL at every point. `meddle`: a Cyrus server sets a flag in place before anybody recovers.
fn kill_everywhere(course: Course, meddle: bool) -> usize {
    let points = trace(course);
    assert!(points > 10, "{points}");
    for k in 1..=points {
        let what = format!("{course:?} killed at {k} of {points}, meddled {meddle}");
        let store = Store::small(&[MAILBOX]);
        let mut before = files(&store);
        let spec = course.and_always(&format!("*={k}:kill"));
        let server = Server::start(&store, &[("REGUID_FAILPOINTS", spec)]);
        if let Some(server) = server {
            let result = runtime().block_on(converse(&server.addr, course));
            drop(server);
            // The very last points may come after the last answer.
            assert!(result.is_err() || k + 3 > points, "{what}: was not killed");
        }
        if meddle {
            set_flag(&store, &mut before);
        }
        let done = slotd(&store, "recover").output().unwrap();
        assert!(
            done.status.success(),
            "{what}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        check(&store, &before, meddle, &what);
        let log = &open(&store).log;
        assert!(
            log.open_intents().is_empty() && log.touched().is_empty(),
            "{what}"
        );
    }
    points
}

/// Sets \Draft on the second message, in place, in whatever version the live index is.
fn set_flag(store: &Store, before: &mut BTreeMap<PathBuf, Vec<u8>>) {
    use std::os::unix::fs::FileExt;
    let path = store.meta(MAILBOX).join("cyrus.index");
    let index = IndexFile::open(&path, FileKind::Index).unwrap();
    let at = index.header().start_offset() + index.header().record_size() + 35;
    let value = index.record(1).unwrap().unwrap().bytes()[35] | 8;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[value], u64::from(at)).unwrap();
    before.get_mut(Path::new("cyrus.index")).unwrap()[96 + 80 + 35] |= 8;
}

#[test]
fn a_kill_at_any_point_heals() {
    kill_everywhere(Course::HoldRollback, false);
    kill_everywhere(Course::NamedCommit, false);
}

#[test]
fn a_kill_at_any_point_loses_no_flag_that_was_set_before_recovery() {
    kill_everywhere(Course::Commit, true);
}

/// Every course, undisturbed and meddled with: `cargo test -p slotd --test sweep -- --ignored
/// --nocapture`.
#[test]
#[ignore = "minutes; its counts are in docs/recovery.md"]
fn a_kill_at_every_point_of_every_course_heals() {
    let started = Instant::now();
    let points: usize = COURSES
        .iter()
        .flat_map(|c| [false, true].map(|meddle| kill_everywhere(*c, meddle)))
        .sum();
    eprintln!("{points} points killed at, {:?}", started.elapsed());
}

/// The UUIDs of a mailbox, index and expunge file, at version 9.
fn uuids(store: &Store) -> BTreeMap<u32, RecordGuid> {
    let (index, expunge) = (store.index(MAILBOX), store.expunge(MAILBOX).unwrap());
    let all = index.records().chain(expunge.records());
    all.map(|r| r.map(|r| (r.uid(), r.guid())).unwrap())
        .collect()
}

fn upgrade(version: u32, run: u64) -> [protocol::Command; 3] {
    let want = Upgrade {
        version,
        run,
        ..Upgrade::default()
    };
    [
        protocol::Command::Lock(lock(MAILBOX)),
        protocol::Command::Upgrade(want),
        protocol::Command::Commit(Commit::default()),
    ]
}

fn all_ok(session: &mut Session, commands: [protocol::Command; 3]) -> Result<(), Reply> {
    for command in commands {
        match session.handle(command) {
            Reply::Ok(_) => {}
            other => {
                let _ = session.handle(protocol::Command::Rollback);
                return Err(other);
            }
        }
    }
    Ok(())
}

/// A store that was upgraded once, and has got a message without a GUID since; and the UUIDs it
/// had.
fn upgraded_once() -> (Store, BTreeMap<u32, RecordGuid>) {
    let store = Store::small(&[MAILBOX]);
    let mut first = uuids(&store);
    all_ok(&mut Session::new(open(&store)), upgrade(10, 1)).unwrap();
    let new = common::append_with_null_guid(&store, MAILBOX);
    first.insert(new, RecordGuid::Uuid(indexfile::Uuid::NULL));
    (store, first)
}

#[track_caller]
fn comes_back(store: &Store, first: &BTreeMap<u32, RecordGuid>, what: &str) {
    let host = open(store);
    let report = recover(&host);
    assert!(report.failed.is_empty(), "{what}: {:?}", report.failed);
    let mut session = Session::new(host);
    all_ok(&mut session, upgrade(9, 9)).unwrap_or_else(|r| panic!("{what}: {r:?}"));
    assert_eq!(uuids(store), *first, "{what}");
    for entry in std::fs::read_dir(store.meta(MAILBOX)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stray = name.contains(".NEW") || name.contains("reguid");
        assert!(!stray, "{what}: {name} is left");
    }
}

/// A second run needs the first one's `.OLD` for its own: what that alone has is kept, whatever
/// goes wrong.
#[test]
fn an_error_at_any_point_of_a_second_run_loses_no_identifier_that_the_first_replaced() {
    let (store, _) = upgraded_once();
    let mut session = Session::new(open(&store));
    let (result, points) = failpoint::count("", || all_ok(&mut session, upgrade(10, 2)));
    result.unwrap();
    assert!(points > 20, "{points}");
    for k in 1..=points {
        let (store, first) = upgraded_once();
        let mut session = Session::new(open(&store));
        let spec = format!("*={k}:eio");
        let _ = failpoint::with(&spec, || all_ok(&mut session, upgrade(10, 2)));
        drop(session);
        comes_back(&store, &first, &format!("eio at {k} of {points}"));
    }
}

#[test]
fn a_kill_at_any_point_of_a_second_run_loses_no_identifier_that_the_first_replaced() {
    let second = |addr: &Addr| {
        runtime().block_on(async {
            let mut client = Client::connect(addr, Timeouts::default()).await?;
            for command in upgrade(10, 2) {
                client.ask(&command).await?;
            }
            Ok::<(), ClientError>(())
        })
    };
    let (store, _) = upgraded_once();
    let path = store.tmp.path().join("trace");
    let trace = ("REGUID_FAILPOINTS_TRACE", path.display().to_string());
    let server = Server::start(&store, &[trace]).unwrap();
    second(&server.addr).unwrap();
    drop(server);
    let points = std::fs::read_to_string(path).unwrap().lines().count();
    assert!(points > 20, "{points}");
    for k in 1..=points {
        let (store, first) = upgraded_once();
        let spec = ("REGUID_FAILPOINTS", format!("*={k}:kill"));
        if let Some(server) = Server::start(&store, &[spec]) {
            let result = second(&server.addr);
            assert!(
                result.is_err() || k + 3 > points,
                "{k} of {points}: was not killed"
            );
        }
        comes_back(&store, &first, &format!("killed at {k} of {points}"));
    }
}

//! Several controllers with one journal: what a newer one's epoch ends, that nothing an older one
//! says takes effect afterwards, and that no restart and no kill forgets it.

mod common;

use std::io::BufRead;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::{Store, lock, named};
use slotd::client::{Addr, Client, ClientError, Timeouts};
use slotd::coordinators::Coordinators;
use slotd::failpoint;
use slotd::host::Options;
use slotd::protocol::{Code, Command, Commit, Lock, Prepare, Reply, Upgrade, Write, fencing_epoch};
use slotd::session::Session;

const MAILBOX: &str = "user.alice.expunged";
const JOURNAL: &str = "0123456789abcdef";

const HOLD: Commit = Commit {
    hold: true,
    drop_old: false,
};

fn register(epoch: u64) -> Command {
    Command::Register {
        journal: JOURNAL.to_owned(),
        epoch: Some(epoch),
    }
}

/// The number in a refusal with FENCED.
fn fenced<T>(result: Result<T, ClientError>) -> u64 {
    match result {
        Err(ClientError::Refused {
            code: Code::Fenced,
            text,
        }) => fencing_epoch(&text).unwrap_or_else(|| panic!("no number: {text}")),
        Err(error) => panic!("not fenced: {error}"),
        Ok(_) => panic!("not fenced"),
    }
}

/// A transaction of the coordinator with the first epoch, ready to be committed.
async fn stage_as_first(client: &mut Client) {
    client.register(JOURNAL, Some(1)).await.unwrap();
    client.lock(lock(MAILBOX)).await.unwrap();
    client.upgrade(Upgrade::default()).await.unwrap();
}

/// All that could change something, said once more by one that was ended.
async fn nothing_is_taken(older: &mut Client, epoch: u64) {
    assert_eq!(fenced(older.commit(Commit::default()).await), epoch);
    assert_eq!(fenced(older.release(false).await), epoch);
    assert_eq!(fenced(older.rollback().await), epoch);
    assert_eq!(fenced(older.confirm().await), epoch);
    assert_eq!(fenced(older.upgrade(Upgrade::default()).await), epoch);
    assert_eq!(fenced(older.lock(lock(MAILBOX)).await), epoch);
    assert_eq!(fenced(older.ask(&Command::Leave).await), epoch);
    assert_eq!(fenced(older.register(JOURNAL, Some(9)).await), epoch);
    // It may look.
    older.status(named(MAILBOX)).await.unwrap();
}

#[tokio::test]
async fn a_staged_transaction_of_an_older_coordinator_ends_and_its_commit_has_no_effect() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let (mut older, mut newer) = (served.client().await, served.client().await);
    stage_as_first(&mut older).await;
    newer.register(JOURNAL, Some(2)).await.unwrap();
    newer.lock(lock(MAILBOX)).await.unwrap();
    nothing_is_taken(&mut older, 2).await;
    assert_eq!(store.index(MAILBOX).minor_version(), 9);
    newer.upgrade(Upgrade::default()).await.unwrap();
    newer.commit(Commit::default()).await.unwrap();
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
    assert_eq!(served.host.log.open_intents(), []);
    let mut again = served.client().await;
    assert_eq!(fenced(again.register(JOURNAL, Some(1)).await), 2);
    assert_eq!(fenced(again.register(JOURNAL, None).await), 2);
    served.stop().await;
}

#[tokio::test]
async fn a_held_commit_of_an_older_coordinator_stands_and_cannot_be_taken_back() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let (mut older, mut newer) = (served.client().await, served.client().await);
    stage_as_first(&mut older).await;
    older.commit(HOLD).await.unwrap();
    // It was decided, and a closed connection would have released it, too.
    newer.register(JOURNAL, Some(2)).await.unwrap();
    let facts = newer.lock(lock(MAILBOX)).await.unwrap();
    assert_eq!(facts.index, 10);
    nothing_is_taken(&mut older, 2).await;
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
    drop(newer);
    served.stop().await;
}

#[tokio::test]
async fn an_epoch_that_comes_with_lock_or_prepare_ends_the_other_connections_of_its_coordinator() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let (mut older, mut newer) = (served.client().await, served.client().await);
    let prepare = |epoch| Prepare {
        of: named(MAILBOX),
        upgrade: Upgrade::default(),
        write: Write::Always,
        epoch,
    };
    older.register(JOURNAL, Some(1)).await.unwrap();
    newer.register(JOURNAL, Some(1)).await.unwrap();
    older.prepare(prepare(Some(1))).await.unwrap();
    newer.prepare(prepare(Some(5))).await.unwrap();
    assert_eq!(fenced(older.lock(lock(MAILBOX)).await), 5);
    let at = |epoch| Lock {
        epoch: Some(epoch),
        ..lock(MAILBOX)
    };
    assert_eq!(fenced(newer.lock(at(4)).await), 5);
    newer.lock(at(6)).await.unwrap();
    newer.rollback().await.unwrap();
    // Nothing that it had prepared is left.
    assert_eq!(served.host.log.touched(), []);
    assert_eq!(served.host.log.open_intents(), []);
    let mut unnamed = served.client().await;
    match unnamed.lock(at(7)).await {
        Err(ClientError::Refused { code, .. }) => assert_eq!(code, Code::State),
        other => panic!("{other:?}"),
    }
    served.stop().await;
}

#[test]
fn a_restart_remembers_the_epoch_and_leave_opens_the_store_to_other_journals() {
    let store = Store::small(&[MAILBOX]);
    let refusal = |session: &mut Session, command: Command| match session.handle(command) {
        Reply::No { code, .. } => code,
        reply => panic!("{reply:?}"),
    };
    let other = || Command::Register {
        journal: "other".to_owned(),
        epoch: None,
    };
    let mut session = Session::new(store.host(Options::default()));
    assert!(matches!(session.handle(register(7)), Reply::Ok(_)));
    drop(session);
    let host = store.host(Options::default());
    let session = || Session::new(host.clone());
    assert_eq!(refusal(&mut session(), register(6)), Code::Fenced);
    assert_eq!(refusal(&mut session(), other()), Code::Fenced);
    assert_eq!(
        refusal(&mut session(), Command::Lock(lock(MAILBOX))),
        Code::Fenced
    );
    let mut owner = session();
    assert!(matches!(owner.handle(register(7)), Reply::Ok(_)));
    assert!(matches!(owner.handle(Command::Leave), Reply::Ok(_)));
    drop(owner);
    assert!(matches!(session().handle(other()), Reply::Ok(_)));
    assert_eq!(refusal(&mut session(), register(6)), Code::Fenced);
}

/// A `COMMIT` of an older coordinator and the newer one's `REGISTER`, the one in the midst of the
/// other: once `REGISTER` is answered nothing changes any more.
#[test]
fn no_rename_of_an_older_commit_comes_after_the_newer_coordinator_was_answered() {
    for at in ["fs.rename=1:sleep-700", "fs.sync_dir=1:sleep-700"] {
        let store = Store::small(&[MAILBOX]);
        let host = store.host(Options::default());
        let mut older = Session::new(host.clone());
        for command in [
            register(1),
            Command::Lock(lock(MAILBOX)),
            Command::Upgrade(Upgrade::default()),
        ] {
            assert!(matches!(older.handle(command), Reply::Ok(_)));
        }
        let control = older.control();
        let (began, begins) = mpsc::channel();
        let commit = std::thread::spawn(move || {
            failpoint::with(at, || {
                began.send(()).unwrap();
                older.handle(Command::Commit(Commit::default()))
            })
        });
        begins.recv().unwrap();
        // Long enough, as a rule, for it to come to where it sleeps. Either order must do.
        std::thread::sleep(Duration::from_millis(200));
        let mut newer = Session::new(host);
        let reply = newer.handle(register(2));
        assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
        assert_eq!(control.fenced(), Some(2));
        let index = store.index(MAILBOX).minor_version();
        let said = commit.join().unwrap();
        // Whichever came first: its answer is true, and nothing has changed since.
        let done = matches!(said, Reply::Ok(_));
        assert_eq!(
            (index == 10, store.index(MAILBOX).minor_version()),
            (done, index),
            "{said:?}"
        );
        let refused = matches!(
            said,
            Reply::No {
                code: Code::Fenced,
                ..
            }
        );
        assert!(done || refused, "{said:?}");
        assert!(matches!(
            newer.handle(Command::Lock(lock(MAILBOX))),
            Reply::Ok(_)
        ));
    }
}

#[test]
fn a_kill_while_the_epoch_rises_leaves_the_number_before_or_the_one_after() {
    let mut seen = Vec::new();
    for at in ["epoch.begin", "epoch.write", "epoch.durable"] {
        let store = Store::small(&[MAILBOX]);
        assert!(converse(&store, None, &[register(4)]).is_ok());
        let died = converse(
            &store,
            Some(&format!("{at}=1:kill")),
            &[register(4), register(5)],
        );
        assert!(died.is_err(), "{at}: it was answered");
        let text = std::fs::read_to_string(store.state().join("epoch")).unwrap();
        let number: u64 = text.split(' ').next().unwrap().parse().unwrap();
        seen.push(number);
        let all = Coordinators::open(&store.state()).unwrap();
        let code = |epoch| match all.register(JOURNAL, Some(epoch), &std::sync::Arc::default()) {
            Ok((seat, _)) => {
                all.end(seat);
                None
            }
            Err(refusal) => Some(refusal.code),
        };
        assert_eq!(code(3), Some(Code::Fenced), "{at}");
        let expected = (number == 5).then_some(Code::Fenced);
        assert_eq!((code(4), code(5)), (expected, None), "{at}");
        assert_eq!(code(4), Some(Code::Fenced), "{at}");
    }
    assert_eq!(seen, [4, 4, 5]);
}

/// Each command on a connection of its own, to a slotd that may be killed on the way.
fn converse(store: &Store, over: Option<&str>, commands: &[Command]) -> Result<(), ClientError> {
    let addr = Addr::Unix(store.tmp.path().join("s"));
    let mut process = Process::new(env!("CARGO_BIN_EXE_slotd"));
    process
        .arg("serve")
        .arg("--imapd-conf")
        .arg(store.root().join("imapd.conf"));
    process
        .arg("--state")
        .arg(store.state())
        .arg("--listen")
        .arg(addr.to_string());
    process.stdout(Stdio::piped()).stderr(Stdio::null());
    process.env("REGUID_SLOTD_ALLOW_ROOT", "yes");
    process.env_remove("REGUID_FAILPOINTS");
    if let Some(over) = over {
        process.env("REGUID_FAILPOINTS", over);
    }
    let mut child = process.spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("slotd: listening"), "{line}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(async {
        let mut clients = Vec::new();
        for command in commands {
            let mut client = Client::connect(&addr, Timeouts::default()).await?;
            client.ask(command).await?;
            clients.push(client);
        }
        Ok(())
    });
    // It may be gone already, which is what this is about.
    let _ = child.kill();
    child.wait().unwrap();
    done
}

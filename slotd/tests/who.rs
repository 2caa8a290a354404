//! Who serves the store, who has it, and who may order: each is known before anything is locked.

mod common;

use std::fs;
use std::io::Read;

use common::{Store, lock, name, named};
use slotd::client::{Client, ClientError};
use slotd::host::{Host, HostError, Options};
use slotd::lease::LeaseError;
use slotd::protocol::{
    Clean, Code, Command, Commit, Find, Found, ListRange, Prepare, Reply, Upgrade,
};
use slotd::served::NotFenced;

const MAILBOX: &str = "user.alice.big";

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Code {
    result.unwrap_err().code().unwrap()
}

async fn refused_everywhere(client: &mut Client) {
    let text = client.lock(lock(MAILBOX)).await.unwrap_err().to_string();
    assert!(text.starts_with("[SERVED]"), "{text}");
    assert!(text.contains("--server-stopped"), "{text}");
    let prepare = Prepare {
        write: slotd::protocol::Write::Always,
        of: named(MAILBOX),
        upgrade: Upgrade::default(),
        epoch: None,
    };
    assert_eq!(code(client.prepare(prepare).await), Code::Served);
    let clean = Clean {
        of: named(MAILBOX),
        dry_run: false,
    };
    assert_eq!(code(client.clean(clean).await), Code::Served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_name_locks_is_not_locked_whatever_its_indexes_are() {
    let store = Store::small(&[MAILBOX]);
    let locks = store.root().join("conf/lock/user/alice");
    fs::create_dir_all(&locks).unwrap();
    fs::write(locks.join("big.lock"), "").unwrap();
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    assert_eq!(client.hello().await.unwrap().served, "2.4+");
    refused_everywhere(&mut client).await;
    assert_eq!(store.meta_files(), before);
    drop(client);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_header_of_a_later_server_is_enough_also_when_it_comes_while_we_serve() {
    let store = Store::small(&[MAILBOX, "user.bob"]);
    let served = store.serve().await;
    let mut client = served.client().await;
    assert_eq!(client.hello().await.unwrap().served, "2.3");
    client.lock(lock(MAILBOX)).await.unwrap();
    client.rollback().await.unwrap();
    // Each header is replaced when a keyword is set.
    let path = store.meta("user.bob").join("cyrus.header");
    let old = fs::read(&path).unwrap();
    let mut new = old[..115].to_vec();
    new.extend_from_slice(b"%(N user.bob I vf7oni7wtvd7bb23dp1rewlg U ())\n");
    fs::write(&path, new).unwrap();
    assert_eq!(code(client.lock(lock("user.bob")).await), Code::Served);
    refused_everywhere(&mut client).await;
    assert_eq!(client.hello().await.unwrap().served, "2.4+");
    // It stays known when the file is gone.
    fs::write(&path, old).unwrap();
    drop(client);
    served.stop().await;
    let again = store.serve().await;
    refused_everywhere(&mut again.client().await).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_s_mailboxes_are_worked_on_until_a_process_opens_one() {
    let store = Store::small(&[MAILBOX]);
    fs::create_dir_all(store.root().join("conf/lock/user")).unwrap();
    fs::write(store.root().join("conf/lock/user/alice.lock"), "").unwrap();
    let options = Options {
        server_stopped: true,
        ..Options::default()
    };
    let index = fs::File::open(store.meta(MAILBOX).join("cyrus.index")).unwrap();
    let sleep = || {
        let index = index.try_clone().unwrap();
        let mut command = std::process::Command::new("sleep");
        command.arg("60").stdin(index).spawn().unwrap()
    };
    let mut server = sleep();
    let error = Host::open(store.conf.clone(), &store.state(), options.clone()).unwrap_err();
    assert!(matches!(error, HostError::StillRunning(_)), "{error}");
    assert!(error.to_string().contains("cyrus.index open"), "{error}");
    server.kill().unwrap();
    server.wait().unwrap();
    let served = store.serve_with(options).await;
    let mut client = served.client().await;
    assert!(client.hello().await.unwrap().stopped);
    client.lock(lock(MAILBOX)).await.unwrap();
    client.upgrade(Upgrade::default()).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let mut server = sleep();
    let text = client.lock(lock(MAILBOX)).await.unwrap_err().to_string();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(
        text.starts_with("[SERVED]") && text.contains("sleep"),
        "{text}"
    );
    drop(client);
    served.stop().await;
}

/// Why the fence does not stand; empty if it does. A child that another test has just forked holds,
/// until its exec, what is open in this process.
fn why_not_fenced(host: &Host) -> String {
    let me = fs::read_to_string("/proc/self/comm").unwrap();
    let forked = |why: &NotFenced| matches!(why, NotFenced::Open(h) if h.name == me.trim_end());
    for _ in 0..500 {
        match host.served.fence() {
            Err(why) if forked(&why) => std::thread::sleep(std::time::Duration::from_millis(10)),
            result => return result.err().map_or(String::new(), |why| why.to_string()),
        }
    }
    panic!("a forked child stays");
}

#[test]
fn the_fence_stands_on_a_real_machine_while_nothing_serves_the_store_and_only_then() {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    let shutdown = store.root().join("conf/msg/shutdown");
    assert!(why_not_fenced(&host).contains("msg/shutdown is not there"));
    fs::create_dir_all(shutdown.parent().unwrap()).unwrap();
    fs::write(&shutdown, "moved\n").unwrap();
    assert_eq!(why_not_fenced(&host), "");
    // What was proven is believed for a while, but not when somebody has said it anew.
    let anew = || fs::write(&shutdown, "moved on\n").unwrap();

    let index = fs::File::open(store.meta(MAILBOX).join("cyrus.index")).unwrap();
    let mut command = std::process::Command::new("sleep");
    let mut server = command.arg("60").stdin(index).spawn().unwrap();
    anew();
    let said = why_not_fenced(&host);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(
        said.contains("sleep") && said.contains("cyrus.index open"),
        "{said}"
    );

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = port.local_addr().unwrap();
    let services = format!("SERVICES {{\n  imap cmd=\"imapd\" listen=\"{at}\"\n}}\n");
    fs::write(store.root().join("cyrus.conf"), services).unwrap();
    anew();
    let said = why_not_fenced(&host);
    assert!(said.contains(&format!("{at} is listened on")), "{said}");
    drop(port);
    assert_eq!(why_not_fenced(&host), "");

    // A master, which has nothing of the store open, and another store's.
    let other = Store::small(&[MAILBOX]);
    for (of, why) in [
        (&store, "is a Cyrus master that serves this store"),
        (&other, ""),
    ] {
        let script = "printf master > /proc/self/comm; echo up; read end";
        let mut master = std::process::Command::new("sh")
            .args(["-c", script, "-C"])
            .arg(of.root().join("imapd.conf"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        master.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        anew();
        let said = why_not_fenced(&host);
        drop(master.stdin.take());
        master.wait().unwrap();
        assert!(
            said.contains(why) && said.is_empty() == why.is_empty(),
            "{said}"
        );
    }
    fs::remove_file(&shutdown).unwrap();
    assert!(why_not_fenced(&host).contains("msg/shutdown is not there"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_server_nobody_knows_is_worked_on_while_the_fence_stands() {
    let store = Store::small(&[MAILBOX]);
    // Made for a later server, which has not come yet.
    fs::create_dir_all(store.root().join("conf/lock")).unwrap();
    let served = store.serve().await;
    let mut client = served.client().await;
    assert_eq!(client.hello().await.unwrap().served, "unknown");
    refused_everywhere(&mut client).await;
    let shutdown = store.root().join("conf/msg/shutdown");
    fs::create_dir_all(shutdown.parent().unwrap()).unwrap();
    fs::write(&shutdown, "moved\n").unwrap();
    assert_eq!(why_not_fenced(&served.host), "");
    let fence = client.preflight().await.unwrap().fence;
    assert_eq!(fence.as_deref(), Some("up"));
    client.lock(lock(MAILBOX)).await.unwrap();
    client.rollback().await.unwrap();
    fs::remove_file(&shutdown).unwrap();
    let why = client.preflight().await.unwrap().fence.unwrap();
    assert!(why.contains("conf/msg/shutdown is not there"), "{why}");
    refused_everywhere(&mut client).await;
    drop(client);
    served.stop().await;
}

#[test]
fn two_slotds_with_states_of_their_own_do_not_serve_one_store() {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    let other = store.tmp.path().join("other-state");
    let error = Host::open(store.conf.clone(), &other, Options::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, HostError::Lease(LeaseError::Held { .. })),
        "{text}"
    );
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    assert!(text.contains(store.state().to_str().unwrap()), "{text}");
    let id = host.host_id.clone();
    drop(host);
    // The id is the store's, whatever state directory it is served with.
    for _ in 0..500 {
        match Host::open(store.conf.clone(), &other, Options::default()) {
            Err(HostError::Lease(LeaseError::Held { .. })) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            host => {
                assert_eq!(host.unwrap().host_id, id);
                return;
            }
        }
    }
    panic!("the lease stays held");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coordinator_at_a_time_and_the_second_is_refused_by_name() {
    let store = Store::small(&[MAILBOX, "user.bob"]);
    let served = store.serve().await;
    let mut first = served.client().await;
    assert_eq!(first.register("a1", None).await.unwrap().left, None);
    let mut second = served.client().await;
    let text = second.register("b2", None).await.unwrap_err().to_string();
    assert!(
        text.starts_with("[BUSY]") && text.contains("journal a1"),
        "{text}"
    );
    // Nor does a person get between.
    assert_eq!(code(second.lock(lock(MAILBOX)).await), Code::Busy);
    let clean = Clean {
        of: named(MAILBOX),
        dry_run: false,
    };
    assert_eq!(code(second.clean(clean).await), Code::Busy);
    first.lock(lock(MAILBOX)).await.unwrap();
    drop(first);
    let left = loop {
        match second.register("b2", None).await {
            Ok(greeting) => break greeting.left,
            Err(error) => assert_eq!(error.code(), Some(Code::Busy)),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(left.as_deref(), Some("a1"), "it may have decided something");
    second.lock(lock(MAILBOX)).await.unwrap();
    drop(second);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_types_the_four_commands_and_nobody_comes_between() {
    let store = Store::small(&[MAILBOX, "user.bob"]);
    let served = store.serve().await;
    let mut person = served.client().await;
    person.lock(lock(MAILBOX)).await.unwrap();
    let mut controller = served.client().await;
    assert_eq!(code(controller.register("a1", None).await), Code::Busy);
    person.upgrade(Upgrade::default()).await.unwrap();
    person.commit(Commit::default()).await.unwrap();
    controller.register("a1", None).await.unwrap();
    assert_eq!(code(person.lock(lock("user.bob")).await), Code::Busy);
    assert!(matches!(
        controller.call(&Command::Leave).await,
        Ok(Reply::Ok(_))
    ));
    drop((person, controller));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_found_by_its_unique_id_wherever_its_owner_moved_it() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    let uniqueid = client.lock(lock(MAILBOX)).await.unwrap().uniqueid;
    client.rollback().await.unwrap();
    for half in ["meta", "spool"] {
        let half = store.root().join(half).join("user");
        fs::rename(half.join("alice/big"), half.join("bob/renamed")).unwrap();
    }
    let find = |uniqueid: &str| {
        Command::Find(Find {
            uniqueid: uniqueid.to_owned(),
            after: None,
        })
    };
    let fields = client.ask(&find(&uniqueid)).await.unwrap();
    match Found::from_fields(&fields).unwrap() {
        Found::At(at) => assert_eq!(at.mailbox, name("user.bob.renamed")),
        other => panic!("{other:?}"),
    }
    let fields = client.ask(&find("0000000000000000")).await.unwrap();
    assert_eq!(Found::from_fields(&fields).unwrap(), Found::Nowhere);
    // A place that cannot be looked into may hide it.
    let users = store.root().join("meta/user");
    std::os::unix::fs::symlink("/elsewhere", users.join("dead")).unwrap();
    std::os::unix::fs::symlink(&users, store.root().join("meta/moved")).unwrap();
    let refused = client.ask(&find("0000000000000000")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Damaged), "{refused}");
    assert!(refused.to_string().contains("meta/moved"), "{refused}");
    // A walk of the same connection's LIST is not disturbed for ever.
    assert!(
        !client
            .list(ListRange::default())
            .await
            .unwrap()
            .names
            .is_empty()
    );
    drop(client);
    served.stop().await;
}

/// A client that goes silent without closing, as when its host is switched off or its process is
/// stopped.
#[derive(Clone, Copy, Debug)]
enum Silent {
    /// It says nothing any more.
    Idle,
    /// It has a mailbox locked, and says nothing any more.
    Locked,
    /// It has a mailbox locked, goes on sending, and reads nothing.
    Deaf,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_goes_silent_without_closing_is_gone_after_a_while_and_holds_nothing() {
    use std::io::{BufRead, BufReader, Write};
    for silent in [Silent::Idle, Silent::Locked, Silent::Deaf] {
        let store = Store::small(&[MAILBOX]);
        let options = Options {
            max_lock: std::time::Duration::from_millis(400),
            max_idle: std::time::Duration::from_millis(400),
            ..Options::default()
        };
        let served = store.serve_with(options).await;
        let path = store.tmp.path().join("s");
        let gone = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            let mut answers = BufReader::new(stream.try_clone().unwrap());
            let mut say = |line: &str| {
                stream.write_all(line.as_bytes()).unwrap();
                let mut answer = String::new();
                answers.read_line(&mut answer).unwrap();
                assert!(answer.starts_with("OK"), "{line}: {answer}");
            };
            say("REGISTER journal=aaaaaaaaaaaaaaaa\n");
            if !matches!(silent, Silent::Idle) {
                say(&format!("LOCK {MAILBOX}\n"));
            }
            if matches!(silent, Silent::Deaf) {
                stream.set_nonblocking(true).unwrap();
                // Until neither side's buffer takes any more.
                let full = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
                let mut refused = 0;
                while refused < 20 {
                    match stream.write_all(b"HELLO\n") {
                        Ok(()) => refused = 0,
                        Err(e) if full(&e) => {
                            refused += 1;
                            std::thread::sleep(std::time::Duration::from_millis(2));
                        }
                        // It was closed already.
                        Err(_) => break,
                    }
                }
            }
            stream
        });
        let open = gone.await.unwrap();
        let mut client = served.client().await;
        let register = Command::Register {
            journal: "bbbbbbbbbbbbbbbb".to_owned(),
            epoch: None,
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
        loop {
            match client.call(&register).await.unwrap() {
                Reply::Ok(_) => break,
                reply => {
                    let now = std::time::Instant::now();
                    assert!(now < deadline, "{silent:?}: {reply:?}");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
        client.lock(lock(MAILBOX)).await.unwrap();
        drop((client, open));
        served.stop().await;
    }
}

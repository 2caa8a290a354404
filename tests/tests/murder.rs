//! A real Cyrus Murder 3.6.1 on loopback, asked by `controller::murder`: its master and its
//! frontend list what there is, and each kind of disagreement is named.
//!
//! The backends are 3.6.1, whose mailboxes slotd does not list: what each backend itself says that
//! it has stands in place of slotd's list. Where a fleet is migrated, its stores are of 2.3, with
//! the names that the master has.
//!
//! Ignored in a plain run: they need root and the Debian packages cyrus-imapd,
//! cyrus-murder, sasl2-bin and openssl. `.ci/run` installs the packages and requires these tests:
//! `cargo test -p tests --test murder -- --ignored`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use controller::login::{Password, Security};
use controller::murder::client::{Client, Locator, Patience, Settings, connect_patiently};
use controller::murder::compare::{Action, Code, Finding, Found, Lists};
use controller::murder::wire::{Entry, shown};
use controller::murder::{read_cache, read_server};
use controller::observer::Silent;
use controller::stop::stop_pair;
use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use indexfile::mailbox::list::{Item, Reader, Skip};
use tests::attack::peak;
use tests::disagreements::Disagreements;
use tests::murder::{ADMIN, Host, Murder, PASSWORD, Writer};

fn settings(murder: &Murder, host: &Host, password: &str, security: &Security) -> Settings {
    let password = Password::from_file(&murder.password_file(password)).unwrap();
    let address = format!("mupdate://{}:3905", host.address).parse().unwrap();
    Settings::new(address, ADMIN, password, security).unwrap()
}

fn plain(murder: &Murder, host: &Host) -> Settings {
    settings(murder, host, PASSWORD, &Security::default())
}

/// The frontend offers TLS.
fn by_tls(murder: &Murder) -> Settings {
    let security = Security {
        ca_file: Some(murder.ca_file.clone()),
        demanded: true,
        ..Security::default()
    };
    settings(murder, &murder.frontend, PASSWORD, &security)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(future)
}

async fn all(client: &mut Client, server: Option<&str>) -> Vec<Entry> {
    let mut list = client.list(server).await.unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = list.next().await.unwrap() {
        entries.push(entry);
    }
    entries
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

/// A hundred mailboxes on each backend, and one of each kind that is not in order.
fn fill(murder: &Murder) {
    for (backend, first) in murder.backends.iter().zip([0, 100]) {
        let mut imap = backend.imap();
        for n in first..first + 100 {
            imap.ask(&format!("CREATE user.u{n:03}"));
        }
    }
    let [be1, be2] = &murder.backends;
    let mut quiet = be1.quiet_imap();
    quiet.ask("SETACL user.u001 cyrus lrswipkxtecda");
    quiet.ask("DELETE user.u001");
    quiet.ask("CREATE user.quiet");
    let mut quiet = be2.quiet_imap();
    quiet.ask("CREATE user.u000");
    quiet.ask("RENAME user.u101 user.u101 p2");
    let mut writer = Writer::login(&murder.master);
    writer.reserve("user.soon", "be1.test!default");
    writer.activate(&[
        ("user.far".to_owned(), "be9.test!default"),
        ("user.lone".to_owned(), "default"),
        ("user.evil\x1b[2J".to_owned(), "be1.test!default"),
    ]);
}

fn add_backend(lists: &mut Lists, host: &Host) {
    let backend = lists.backend(&host.name).unwrap();
    let own = host.own_list();
    let found = Reader::new(own.as_bytes()).filter_map(|item| match item.unwrap() {
        Item::ByUniqueId {
            name: text,
            partition,
            ..
        } => Some(Found {
            name: name(&text),
            partition: partition.unwrap(),
        }),
        // What was deleted leaves a tombstone.
        Item::Skipped(Skip::Deleted) => None,
        item => panic!("{item:?}"),
    });
    let found: Vec<Found> = found.collect();
    lists.add_found(backend, &found).unwrap();
    lists.found_is_whole(backend);
    lists.add_own(backend, Reader::new(own.as_bytes())).unwrap();
}

fn findings(lists: &Lists) -> BTreeMap<Code, Vec<Finding>> {
    let summary = lists.compare().unwrap();
    let (mut after, mut all) = (None, BTreeMap::<_, Vec<_>>::new());
    loop {
        let page = lists.page(&summary, &mut after, 50).unwrap();
        if page.is_empty() {
            break;
        }
        for finding in page {
            all.entry(finding.code).or_default().push(finding);
        }
    }
    for code in Code::ALL {
        let found = all.get(&code).map_or(0, Vec::len) as u64;
        assert_eq!(summary.count(code), found, "{code}");
    }
    all
}

/// What has to be found, by whatever way the list came.
fn assert_each_kind_is_named(murder: &Murder, lists: &mut Lists) {
    for host in &murder.backends {
        add_backend(lists, host);
    }
    let found = findings(lists);
    let named = |code| {
        let findings: &Vec<Finding> = &found[&code];
        findings
            .iter()
            .map(|f| (f.name.as_str(), f.action))
            .collect::<Vec<_>>()
    };
    assert_eq!(found[&Code::Normal].len(), 197);
    let both = [("user.u000", Action::Refuse); 2];
    assert_eq!(named(Code::Duplicate), both);
    let places = ["be1.test!default", "be2.test!default"];
    assert_eq!(found[&Code::Duplicate][0].places, places);
    assert_eq!(named(Code::Stale), [("user.u001", Action::Skip)]);
    assert_eq!(named(Code::Unpushed), [("user.quiet", Action::Migrate)]);
    assert_eq!(
        named(Code::PartitionDiffers),
        [("user.u101", Action::Migrate)]
    );
    assert_eq!(named(Code::Reserved), [("user.soon", Action::Skip)]);
    assert_eq!(named(Code::UnknownServer), [("user.far", Action::Refuse)]);
    assert_eq!(named(Code::NoServer), [("user.lone", Action::Skip)]);
    assert_eq!(named(Code::BadName), [("user.evil\\x1b[2J", Action::Skip)]);
}

fn lists() -> Lists {
    Lists::new(["be1.test", "be2.test"], []).unwrap()
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1 with cyrus-murder, its user and root"]
fn master_and_frontend_are_listed_and_each_kind_of_disagreement_is_named() {
    let mut murder = Murder::start();
    fill(&murder);
    let kept = tempfile::tempdir().unwrap();
    let kept = kept.path().join("list");
    run(async {
        let mut master = Client::connect(&plain(&murder, &murder.master))
            .await
            .unwrap();
        assert!(master.banner().is_master() && !master.is_tls());
        let before = all(&mut master, None).await;
        assert_eq!(before.len(), 204);
        let of_be2 = all(&mut master, Some("be2.test")).await;
        assert_eq!(of_be2.len(), 100);
        let mut of_master = lists();
        let count = read_server(&mut master, &mut of_master, Some(&kept))
            .await
            .unwrap();
        assert_eq!(count, 204);
        assert_each_kind_is_named(&murder, &mut of_master);
        for finding in findings(&of_master).values().flatten() {
            if finding.code != Code::Normal {
                println!("{finding} -> {}", finding.action);
            }
        }

        // The frontend is up to 5 s behind.
        let mut frontend = Client::connect(&by_tls(&murder)).await.unwrap();
        assert!(!frontend.banner().is_master() && frontend.is_tls());
        let deadline = Instant::now() + Duration::from_secs(60);
        while all(&mut frontend, None).await != before {
            assert!(Instant::now() < deadline, "the frontend does not follow");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut of_frontend = lists();
        read_server(&mut frontend, &mut of_frontend, None)
            .await
            .unwrap();
        assert_each_kind_is_named(&murder, &mut of_frontend);
        frontend.logout().await.unwrap();

        // Nothing of this changed anything.
        assert_eq!(all(&mut master, None).await, before);
        master.logout().await.unwrap();
    });
    murder.master.stop();
    run(async {
        let twice = Patience {
            tries: 2,
            pause: Duration::from_millis(10),
        };
        let (_handle, stop) = stop_pair();
        let away = plain(&murder, &murder.master);
        let error = connect_patiently(&away, twice, &Silent, &stop)
            .await
            .unwrap_err();
        assert_eq!(error.exit(), Exit::Unavailable, "{error}");
    });
    let mut of_file = lists();
    let (origin, count) = read_cache(&kept, &mut of_file).unwrap();
    assert_eq!(count, 204);
    assert!(
        origin.source.contains("mupdate.test, Cyrus IMAP 3.6.1"),
        "{}",
        origin.source
    );
    assert_each_kind_is_named(&murder, &mut of_file);
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1 with cyrus-murder, its user and root"]
fn passwords_certificates_changes_moves_and_twenty_thousand_names() {
    let mut murder = Murder::start();
    let mut writer = Writer::login(&murder.master);
    writer.activate(&[("user.joe".to_owned(), "be1.test!default")]);
    run(async {
        let wrong = settings(&murder, &murder.master, "wrong", &Security::default());
        let error = Client::connect(&wrong).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Denied);
        let text = error.to_string();
        assert!(
            text.contains(": the mupdate master refuses user mupdateadmin"),
            "{text}"
        );

        // The system knows no authority that signed the frontend's certificate; the master has no
        // TLS at all.
        let unknown = plain(&murder, &murder.frontend);
        let error = Client::connect(&unknown).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Config, "{error}");
        let mut demanded = by_tls(&murder);
        demanded
            .address
            .place
            .host
            .clone_from(&murder.master.address);
        let error = Client::connect(&demanded).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Config, "{error}");

        let master = Client::connect(&plain(&murder, &murder.master))
            .await
            .unwrap();
        let mut updates = master.update().await.unwrap();
        let first = updates.next().await.unwrap().unwrap();
        assert_eq!(first.name(), b"user.joe");
        assert_eq!(updates.next().await.unwrap(), None);
        let settings = plain(&murder, &murder.master);
        let mut locator = Locator::new(settings, Patience::default(), Arc::new(Silent));
        let joe = name("user.joe");
        for location in ["be2.test!p2", "be1.test!default"] {
            writer.activate(&[("user.joe".to_owned(), location)]);
            let mut changes = Vec::new();
            updates
                .changes(|e| changes.push((shown(e.name()), e.location().map(shown))))
                .await
                .unwrap();
            // It may say what is so now more than once.
            changes.dedup();
            assert_eq!(
                changes,
                [("user.joe".to_owned(), Some(location.to_owned()))]
            );
            let placed = locator.locate(&joe).await.unwrap();
            assert_eq!(placed.location.unwrap().to_string(), location);
        }
        assert_eq!(locator.locate(&name("user.nobody")).await, None);
        updates.logout().await.unwrap();
    });
    let names: Vec<_> = (0..20_000)
        .map(|n| {
            (
                format!("user.n{n:05}.a folder with a longer name"),
                "be3.test!default",
            )
        })
        .collect();
    let begun = Instant::now();
    writer.activate(&names);
    println!("{} names made active in {:?}", names.len(), begun.elapsed());
    run(async {
        let mut master = Client::connect(&plain(&murder, &murder.master))
            .await
            .unwrap();
        let (before, begun) = (peak(std::process::id()), Instant::now());
        let mut list = master.list(None).await.unwrap();
        let (mut count, mut bytes) = (0, 0);
        while let Some(entry) = list.next().await.unwrap() {
            count += 1;
            bytes += entry.name().len();
        }
        let (took, after) = (begun.elapsed(), peak(std::process::id()));
        assert_eq!((count, bytes), (20_001, 20_000 * names[0].0.len() + 8));
        println!("{count} names read in {took:?}; {before} KiB resident before, {after} KiB after");
        let mut lists = Lists::new(["be3.test"], []).unwrap();
        let begun = Instant::now();
        read_server(&mut master, &mut lists, None).await.unwrap();
        let summary = lists.compare().unwrap();
        assert_eq!(summary.count(Code::NotAsked), 20_000);
        println!(
            "kept and compared in {:?}; {} KiB resident",
            begun.elapsed(),
            peak(std::process::id())
        );
        master.logout().await.unwrap();
    });
    // A DELETE of a name that is not there would have ended it.
    let deaths: Vec<&String> = murder
        .master
        .log()
        .iter()
        .filter(|line| line.contains("signaled to death"))
        .collect();
    assert!(deaths.is_empty(), "{deaths:?}");
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1 with cyrus-murder, its user and root"]
fn a_fleet_is_migrated_by_the_list_of_a_real_murder_and_each_disagreement_is_named() {
    let murder = Murder::start();
    // The stores of 2.3 stand for what be1.test and be2.test of the real Murder would have.
    let all = Disagreements::new();
    let mut writer = Writer::login(&murder.master);
    let (reserved, active): (Vec<_>, Vec<_>) =
        all.entries().into_iter().partition(|entry| entry.reserved);
    for entry in reserved {
        writer.reserve(&entry.name, entry.location);
    }
    let active: Vec<_> = active
        .into_iter()
        .map(|entry| (entry.name, entry.location))
        .collect();
    writer.activate(&active);
    let options = |host: &Host| {
        let address = format!("{}:3905", host.address);
        tests::murder::options(&address, &murder.password_file(PASSWORD))
    };
    let of_master = options(&murder.master);
    let arguments: Vec<&str> = of_master.iter().map(String::as_str).collect();
    let by_master = all.pairs.json("plan", &arguments, 78);
    // A frontend says the same, by TLS, once it has followed.
    let ca = murder.ca_file.display().to_string();
    let of_frontend = [
        options(&murder.frontend),
        vec!["--murder-ca-file".to_owned(), ca],
    ]
    .concat();
    let arguments: Vec<&str> = of_frontend.iter().map(String::as_str).collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    let by_frontend = loop {
        let ended = all
            .pairs
            .controller("plan", &[&arguments[..], &["--json"]].concat());
        let plan = ended.json();
        if plan["murder"] == by_master["murder"] || Instant::now() > deadline {
            break ended.expect_code(78).json();
        }
        // Before it has followed it has no list at all, by which nothing may be begun; while it
        // follows it has a part of one.
        if let Some(refusal) = plan["murder"]["refusal"].as_str() {
            let known = ["a frontend that has not followed it yet", "be9.test"];
            assert!(known.iter().any(|k| refusal.contains(k)), "{refusal}");
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    assert_eq!(by_frontend["murder"], by_master["murder"]);
    all.assert_each_is_named_and_the_good_ones_migrated(&of_master);
    // A wrong password is refused, and said.
    let _ = murder.password_file("wrong");
    let arguments: Vec<&str> = of_master.iter().map(String::as_str).collect();
    let refused = all.pairs.controller("plan", &arguments).expect_code(77);
    refused.assert_one_sentence("refuses user mupdateadmin");
}

//! The wire's promises: what one end formats the other end reads, and no line brings a parser down.

use std::time::Duration;

use indexfile::mailbox::MailboxName;
use proptest::prelude::*;
use slotd::protocol::{
    Clean, Code, Command, CommandError, Commit, Complete, DigestRange, DrainRequest, FileState,
    GuidRange, HostFacts, HostStatus, ListRange, Lock, MAX_COMMAND, Named, PassLimits, Precompute,
    Prepare, Prepared, Rehash, Repair, Reply, Sha1sRange, SyncLogAge, Upgrade, Upgraded,
    UuidSource, Verify, Write,
};

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn named() -> impl Strategy<Value = Named> {
    let part = prop::option::of("[a-z0-9]{1,8}");
    (
        "user\\.[a-z&^ =%,+-]{1,20}[a-z](\\.[A-Za-z0-9=&]{1,9}){0,3}",
        part,
    )
        .prop_map(|(n, partition)| Named {
            mailbox: name(&n),
            partition,
        })
}

fn upgrades() -> impl Strategy<Value = Upgrade> {
    let uuids = prop_oneof![
        Just(UuidSource::Auto),
        Just(UuidSource::Old),
        Just(UuidSource::Cut)
    ];
    let rehash = prop::sample::select(&[None, Some(Rehash::Report), Some(Rehash::Fix)][..]);
    let rest = (any::<bool>(), any::<u64>(), any::<bool>(), rehash);
    (any::<u32>(), uuids, rest).prop_map(|(version, uuids, (repair, run, by_content, rehash))| {
        Upgrade {
            version,
            uuids,
            repair: repair.then_some(Repair::Expunge),
            run,
            by_content,
            rehash: rehash.filter(|_| version >= 10 && uuids == UuidSource::Auto),
        }
    })
}

fn epochs() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(1..=u64::MAX)
}

#[allow(clippy::type_complexity)] // what the strategy gives
fn lock_of(
    (of, ms, (now, ahead), epoch): (Named, Option<u64>, (bool, bool), Option<u64>),
) -> Command {
    Command::Lock(Lock {
        of,
        wait: ms.map(Duration::from_millis),
        now,
        ahead,
        epoch,
    })
}

/// What Cyrus can say to a client.
fn texts() -> impl Strategy<Value = String> {
    "[!-~]([ -~]{0,60}[!-~])?"
}

fn passes() -> impl Strategy<Value = Precompute> {
    let jobs = prop::option::of(1..=1024_u16);
    let limits = (jobs, prop::option::of(1..=u64::MAX), any::<bool>());
    prop_oneof![
        Just(Precompute::Ask),
        Just(Precompute::Stop),
        limits.prop_map(|(jobs, max_rate, all_messages)| {
            Precompute::Start(PassLimits {
                jobs,
                max_rate,
                all_messages,
            })
        }),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    let flags = (any::<bool>(), any::<bool>());
    prop_oneof![
        Just(Command::Hello),
        Just(Command::Preflight),
        Just(Command::HostStatus),
        Just(Command::Leave),
        ("[a-z0-9-]{1,40}", epochs())
            .prop_map(|(journal, epoch)| Command::Register { journal, epoch }),
        Just(Command::Rollback),
        Just(Command::Confirm),
        Just(Command::Quit),
        (named(), prop::option::of(0..=u64::MAX), flags, epochs()).prop_map(lock_of),
        upgrades().prop_map(Command::Upgrade),
        any::<(u32, u32, u32)>().prop_map(|(a, b, parts)| {
            Command::Digests(DigestRange {
                from: a.min(b),
                to: a.max(b),
                parts: 1 + parts % DigestRange::MAX_PARTS,
            })
        }),
        any::<(u32, Option<u32>, Option<u32>)>()
            .prop_map(|(from, to, max)| Command::Guids(GuidRange { from, to, max })),
        flags.prop_map(|(hold, drop_old)| Command::Commit(Commit { hold, drop_old })),
        any::<bool>().prop_map(|drop_old| Command::Release { drop_old }),
        passes().prop_map(Command::Precompute),
        (named(), upgrades(), 0..3_usize, epochs()).prop_map(|(of, upgrade, write, epoch)| {
            let write = [Write::Always, Write::Auto, Write::Never][write];
            Command::Prepare(Prepare {
                of,
                upgrade,
                write,
                epoch,
            })
        }),
        (
            prop::option::of(named()),
            prop::option::of("[a-z0-9]{1,8}"),
            any::<Option<u32>>()
        )
            .prop_map(|(after, only, max)| Command::List(ListRange { after, only, max })),
        (named(), any::<u64>()).prop_map(|(of, offset)| Command::Sha1s(Sha1sRange { of, offset })),
        named().prop_map(Command::Status),
        any::<(u32, u32, bool)>().prop_map(|(version, mailboxes, dry_run)| {
            Command::Complete(Complete {
                version,
                mailboxes,
                dry_run,
            })
        }),
        Just(Command::Revoke),
        Just(Command::Host),
        Just(Command::Kick),
        Just(Command::Undrain),
        (
            texts(),
            prop::option::of(texts()),
            prop::option::of(texts())
        )
            .prop_map(|(by, announce, shutdown)| {
                Command::Drain(DrainRequest {
                    by,
                    announce,
                    shutdown,
                })
            }),
        (named(), any::<Option<u32>>())
            .prop_map(|(of, sample)| Command::Verify(Verify { of, sample })),
        (named(), any::<bool>()).prop_map(|(of, dry_run)| Command::Clean(Clean { of, dry_run })),
    ]
}

#[test]
fn the_commands_of_the_contract_are_what_a_person_types() {
    let lock = |mailbox| {
        Command::Lock(Lock {
            of: Named::new(name(mailbox)),
            wait: None,
            now: false,
            ahead: true,
            epoch: None,
        })
    };
    let is = |line: &str, command: Command| {
        assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line:?}");
    };
    is(
        "LOCK user.name.URI%20Escaped.MailboxName\r\n",
        lock("user.name.URI Escaped.MailboxName"),
    );
    is("lock user.joe\n", lock("user.joe"));
    is("UPGRADE", Command::Upgrade(Upgrade::default()));
    is(
        "UPGRADE 9\n",
        Command::Upgrade(Upgrade {
            version: 9,
            ..Upgrade::default()
        }),
    );
    is(
        "upgrade rehash=report",
        Command::Upgrade(Upgrade {
            rehash: Some(Rehash::Report),
            ..Upgrade::default()
        }),
    );
    for bad in [
        "UPGRADE 9 rehash=fix",
        "UPGRADE uuids=old rehash=fix",
        "UPGRADE rehash=1",
    ] {
        assert!(Command::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    is("COMMIT\r\n", Command::Commit(Commit::default()));
    is(
        "COMMIT hold drop_old=1",
        Command::Commit(Commit {
            hold: true,
            drop_old: true,
        }),
    );
    is("ROLLBACK", Command::Rollback);
    is("CONFIRM", Command::Confirm);
    let complete = |dry_run| {
        Command::Complete(Complete {
            version: 16,
            mailboxes: 301,
            dry_run,
        })
    };
    is("complete 16 mailboxes=301\r\n", complete(false));
    is("COMPLETE 16 mailboxes=301 dry_run=1", complete(true));
    is("revoke", Command::Revoke);
    is("host", Command::Host);
    let drain = |announce: Option<&str>, shutdown: Option<&str>| {
        Command::Drain(DrainRequest {
            by: "ann".to_owned(),
            announce: announce.map(str::to_owned),
            shutdown: shutdown.map(str::to_owned),
        })
    };
    is("DRAIN by=ann", drain(None, None));
    is(
        "drain by=ann shutdown=Back%20at%2023:00 announce=soon",
        drain(Some("soon"), Some("Back at 23:00")),
    );
    is("KICK", Command::Kick);
    is("UNDRAIN", Command::Undrain);
    is("DIGESTS", Command::Digests(DigestRange::default()));
    is(
        "STATUS user.joe",
        Command::Status(Named::new(name("user.joe"))),
    );
    is("status\r\n", Command::HostStatus);
}

#[test]
fn what_a_host_does_goes_over_the_wire_and_what_is_not_known_is_absent() {
    let busy = HostStatus {
        version: "0.1".to_owned(),
        servername: "mail1.example.com".to_owned(),
        load: Some(14.25),
        io: Some(0.0),
        lock_waits: 17,
        lock_wait_p99_ms: Some(0.125),
        lock_wait_max_ms: Some(5000.0),
        sync_log: Some(SyncLogAge::Seconds(731)),
        sync_log_file: Some("/var/lib/cyrus/sync/off site/log-run".to_owned()),
        ..HostStatus::default()
    };
    let blind = HostStatus {
        load_error: Some("/proc/loadavg: Permission denied".to_owned()),
        io_error: Some("/proc/pressure/io is not understood".to_owned()),
        sync_log_error: Some("read /var/lib/cyrus/sync: Permission denied".to_owned()),
        ..HostStatus::default()
    };
    let none = HostStatus {
        sync_log: Some(SyncLogAge::NoLog),
        ..HostStatus::default()
    };
    for status in [busy, blind, none] {
        let line = Reply::Ok(status.to_fields()).to_line();
        let Ok(Reply::Ok(fields)) = Reply::parse(line.as_bytes()) else {
            panic!("{line}");
        };
        assert_eq!(HostStatus::from_fields(&fields).unwrap(), status);
        assert_eq!(fields.word("io").is_some(), status.io.is_some(), "{line}");
    }
}

#[test]
fn an_expunge_file_that_only_leaves_its_name_is_something_to_commit() {
    let reply = b"OK index=unchanged expunge=removed from=16 to=16 messages=40 altered=0 cached=0 \
        hashed=0 restored=0 prepared=1 lost_modseqs=0 \
        digest=0000000000000000000000000000000000000001";
    let Ok(Reply::Ok(fields)) = Reply::parse(reply) else {
        panic!("no reply");
    };
    let upgraded = Upgraded::from_fields(&fields).unwrap();
    assert_eq!(upgraded.expunge, FileState::Removed);
    assert!(upgraded.is_staged());
}

#[test]
fn what_older_servers_do_not_say_of_a_change_over_is_absent() {
    let reply = b"OK prepared=1 messages=40 cached=40 hashed=0";
    let Ok(Reply::Ok(fields)) = Reply::parse(reply) else {
        panic!("no reply");
    };
    assert!(!Prepared::from_fields(&fields).unwrap().unchanged);
    let reply = b"OK slotd=0.1 nofile=1024 chown=1 roots=";
    let Ok(Reply::Ok(fields)) = Reply::parse(reply) else {
        panic!("no reply");
    };
    assert_eq!(HostFacts::from_fields(&fields).unwrap().fence, None);
}

#[test]
fn a_name_that_leads_out_of_the_store_is_no_mailbox() {
    for word in [
        "%2e%2e%2f",
        "user.a%00b",
        "user..joe",
        "/etc/passwd",
        "..",
        ".user",
        "user.",
        "user.%2e%2e",
        "user.a%2fb",
        "%zz",
    ] {
        let line = format!("LOCK {word}\n");
        let error = Command::parse(line.as_bytes()).unwrap_err();
        assert!(
            matches!(error, CommandError::Mailbox(_)),
            "{word}: {error:?}"
        );
        assert!(
            matches!(
                error.to_reply(),
                Reply::No {
                    code: Code::NoMailbox,
                    ..
                }
            ),
            "{word}"
        );
    }
}

#[test]
fn what_is_not_understood_is_bad() {
    let long = [b"DRAIN by=ann shutdown=".as_slice(), &[b'x'; 401]].concat();
    let lines: [&[u8]; 24] = [
        b"",
        b"\n",
        b"FETCH 1",
        b"LOCK",
        b"UPGRADE ten",
        b"UPGRADE 10 9",
        b"COMMIT keep",
        b"LOCK user.a wait_ms=x",
        b"LOCK user.a\rb",
        b"ROLLBACK now",
        b"LOCK user.\xff",
        b"LIST partition=a",
        b"CLEAN user.a dry_run=yes",
        b"LOCK user.a partition=%00",
        b"COMPLETE",
        b"COMPLETE 16",
        b"COMPLETE sixteen mailboxes=1",
        b"COMPLETE 16 mailboxes=1 dry_run=2",
        b"REVOKE 16",
        b"DRAIN",
        b"DRAIN by=ann shutdown=",
        b"DRAIN by=ann shutdown=a%0d%0aOK",
        b"DRAIN by=ann announce=caf%c3%a9",
        &long,
    ];
    for line in lines {
        assert!(
            matches!(Command::parse(line), Err(CommandError::Bad(_))),
            "{:?}",
            String::from_utf8_lossy(line)
        );
    }
}

#[test]
fn a_line_over_the_limit_is_bad() {
    let line = format!("LOCK user.{}\n", "a".repeat(MAX_COMMAND));
    assert!(matches!(
        Command::parse(line.as_bytes()),
        Err(CommandError::Bad(_))
    ));
}

proptest! {
    #[test]
    fn a_command_survives_the_wire(command in commands(), crlf in any::<bool>()) {
        let mut line = command.to_line();
        if crlf {
            line.insert(line.len() - 1, '\r');
        }
        prop_assert!(line.len() < MAX_COMMAND);
        prop_assert_eq!(Command::parse(line.as_bytes()), Ok(command));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Command::parse(&line).map_err(|e| e.to_reply().to_line());
    }

    #[test]
    fn no_near_command_makes_the_parser_panic(
        line in "(LOCK|UPGRADE|GUIDS|COMMIT|LIST|SHA1S|STATUS|VERIFY|CLEAN|PREPARE)( [a-z.%0-9=&_]{0,20}){0,4}\r?\n?"
    ) {
        if let Ok(command) = Command::parse(line.as_bytes()) {
            prop_assert_eq!(Command::parse(command.to_line().as_bytes()), Ok(command));
        }
    }
}

//! Slotds in this process for more mailboxes than a disk should have: they answer what is asked
//! without locks (`HELLO`, `PREFLIGHT`, `LIST`, `STATUS`), by the protocol's own types.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use indexfile::Guid;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{
    Code, Command, Greeting, HostFacts, Listed, MailboxFacts, Named, PROTOCOL_VERSION, Reply,
    RootFacts, Status,
};

/// Names in a page, as a slotd has it.
const PAGE: usize = 1000;
/// The partition of all of them.
const PARTITION: &str = "default";

/// The mailboxes of a store, in the order of its walk.
pub trait Mailboxes: Send + Sync + 'static {
    /// The one at this place, counted from 0; `None` behind the last.
    fn at(&self, place: usize) -> Option<String>;
    /// The place of one of them.
    fn place(&self, name: &str) -> Option<usize>;
}

/// Serves a store at a socket, for as long as this process lives.
///
/// # Panics
/// If there can be no socket.
pub fn serve(socket: &Path, host_id: &str, mailboxes: impl Mailboxes) {
    let listener = UnixListener::bind(socket).unwrap();
    let (host_id, mailboxes) = (host_id.to_owned(), Arc::new(mailboxes));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (host_id, mailboxes) = (host_id.clone(), Arc::clone(&mailboxes));
            thread::spawn(move || answer(&stream, &host_id, mailboxes.as_ref()));
        }
    });
}

/// One connection, to its end.
fn answer(stream: &UnixStream, host_id: &str, mailboxes: &impl Mailboxes) {
    let mut out = BufWriter::new(stream);
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        let reply = match Command::parse(&line) {
            Ok(command) => reply(&command, host_id, mailboxes),
            Err(error) => Reply::Bad(error.to_string()),
        };
        let sent = out.write_all(reply.to_line().as_bytes());
        if sent.and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn reply(command: &Command, host_id: &str, mailboxes: &impl Mailboxes) -> Reply {
    let fields = match command {
        Command::Hello => Greeting {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL_VERSION,
            host_id: host_id.to_owned(),
            served: "2.3".to_owned(),
            ..Greeting::default()
        }
        .to_fields(),
        Command::Preflight => HostFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nofile: 1 << 16,
            chown: true,
            roots: vec![RootFacts {
                path: "/spool".to_owned(),
                device: 1,
                free: 1 << 40,
                written: true,
                trouble: None,
            }],
            ..HostFacts::default()
        }
        .to_fields(),
        Command::List(range) => {
            let after = range.after.as_ref().map(|after| after.mailbox.as_str());
            let first = after.map_or(Some(0), |name| mailboxes.place(name).map(|n| n + 1));
            let Some(first) = first else {
                return Reply::no(Code::NoMailbox, "there is no such mailbox to begin after");
            };
            let names = (first..first + PAGE).map_while(|place| mailboxes.at(place));
            let names: Vec<MailboxName> = names.map(|name| parsed(&name)).collect();
            let last = (names.len() == PAGE)
                .then(|| names.last().cloned())
                .flatten();
            Listed {
                partition: PARTITION.to_owned(),
                next: last.map(Named::new),
                names,
                ..Listed::default()
            }
            .to_fields()
        }
        Command::Status(of) if mailboxes.place(of.mailbox.as_str()).is_some() => {
            status(of).to_fields()
        }
        Command::Status(of) => {
            return Reply::no(Code::NoMailbox, format!("no mailbox {}", of.mailbox));
        }
        _ => return Reply::Bad("only what needs no lock is answered".to_owned()),
    };
    Reply::Ok(fields)
}

fn parsed(name: &str) -> MailboxName {
    MailboxName::parse(name).unwrap()
}

fn status(of: &Named) -> Status {
    Status {
        facts: MailboxFacts {
            mailbox: of.mailbox.clone(),
            partition: PARTITION.to_owned(),
            uniqueid: "0123456789abcdef".to_owned(),
            uidvalidity: 1,
            index: 9,
            expunge: None,
            exists: 3,
            expunged: 0,
            old: Some(3),
        },
        cached: 0,
        bytes: 3000,
        hash_bytes: 3000,
        index_bytes: 500,
        last_uid: 3,
        has_old: false,
        keeps_owner: true,
        findings: Vec::new(),
        digest: Guid::from_bytes([0; 20]),
    }
}

//! What a slotd in memory answers of a change-over.

use indexfile::Guid;
use slotd::protocol::{
    Code, Command, Completed, FENCE_UP, HostFacts, MailboxFacts, Named, Prepared, Reply, Revoked,
    RootFacts, Status, Verified,
};

use super::fake::{Host, Mailbox, id_of};

/// What `COMPLETE` makes.
const FILE: &str = "/var/imap/cutover-complete";

/// What is kept of a mailbox.
#[derive(Clone, Debug, Default)]
pub struct Over {
    /// A new index lies beside it.
    pub prepared: bool,
    /// A later server has written to it.
    pub served: bool,
    /// Records with old-style GUIDs.
    pub old: u32,
    /// The version of a cyrus.expunge that is not the index's.
    pub expunge: Option<u32>,
    /// What `VERIFY` finds, as `FILE:CODE`.
    pub findings: Vec<String>,
    /// What modseqs and times of change amount to.
    pub sync_crc: u32,
    /// What flags, seen state and dates amount to.
    pub flags: u8,
    /// What expunged messages amount to.
    pub expunged: u8,
}

/// Why `UPGRADE` to this version is refused, if it is.
pub fn refuses(fence: Option<&str>, mailbox: &Mailbox, version: u32) -> Option<Reply> {
    let crosses = (mailbox.version >= 12) != (version >= 12);
    if !crosses {
        return None;
    }
    if fence != Some(FENCE_UP) {
        let why = fence.unwrap_or("nobody knows");
        let text = format!("the change-over needs the fence, and it does not stand: {why}");
        return Some(Reply::no(Code::Unfenced, text));
    }
    if mailbox.over.served {
        return Some(Reply::no(Code::TooLate, "a server has written to it since"));
    }
    (mailbox.version != 10 && version >= 12)
        .then(|| Reply::no(Code::Unsupported, "upgrade it to version 10 first"))
}

fn digest(mailbox: &Mailbox) -> Guid {
    sum_of(mailbox, mailbox.over.expunged)
}

fn sum_of(mailbox: &Mailbox, more: u8) -> Guid {
    let mut sum = [more; 20];
    for (uid, message) in &mailbox.messages {
        sum[(*uid % 20) as usize] ^= message.wrapping_mul(31) ^ 1;
    }
    Guid::from_bytes(sum)
}

fn missing(name: &str) -> Reply {
    Reply::no(Code::NoMailbox, format!("no mailbox {name}"))
}

pub fn status(host: &Host, of: &Named) -> Reply {
    let name = of.mailbox.as_str();
    let Some(mailbox) = host.mailboxes.get(name) else {
        return missing(name);
    };
    let uniqueid = mailbox.uniqueid.clone();
    let status = Status {
        facts: MailboxFacts {
            mailbox: of.mailbox.clone(),
            partition: host.partition(name).to_owned(),
            uniqueid: uniqueid.unwrap_or_else(|| id_of(name)),
            uidvalidity: 1,
            index: mailbox.version,
            expunge: mailbox.over.expunge,
            exists: count(mailbox),
            expunged: 0,
            old: Some(mailbox.over.old),
        },
        cached: 0,
        bytes: 15,
        hash_bytes: 0,
        index_bytes: 100,
        last_uid: 7,
        has_old: false,
        keeps_owner: true,
        findings: Vec::new(),
        digest: digest(mailbox),
    };
    Reply::Ok(status.to_fields())
}

fn count(mailbox: &Mailbox) -> u32 {
    u32::try_from(mailbox.messages.len()).unwrap_or(0)
}

pub fn execute(host: &mut Host, command: &Command) -> Reply {
    match command {
        Command::Preflight => {
            let facts = HostFacts {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                nofile: 1024,
                chown: true,
                roots: vec![RootFacts {
                    path: "/spool".to_owned(),
                    device: 1,
                    free: 1 << 30,
                    written: true,
                    trouble: None,
                }],
                fence: host.fence.map(str::to_owned),
                ..HostFacts::default()
            };
            Reply::Ok(facts.to_fields())
        }
        Command::Prepare(prepare) => {
            let name = prepare.of.mailbox.as_str();
            let Some(mailbox) = host.mailboxes.get_mut(name) else {
                return missing(name);
            };
            let written = mailbox.version != prepare.upgrade.version;
            let unchanged = std::mem::replace(&mut mailbox.over.prepared, written);
            let prepared = Prepared {
                prepared: written,
                messages: count(mailbox),
                cached: 3,
                hashed: 0,
                unchanged,
            };
            Reply::Ok(prepared.to_fields())
        }
        Command::Verify(verify) => {
            let name = verify.of.mailbox.as_str();
            let Some(mailbox) = host.mailboxes.get(name) else {
                return missing(name);
            };
            let uniqueid = mailbox.uniqueid.clone();
            let verified = Verified {
                index: mailbox.version,
                expunge: mailbox.over.expunge,
                messages: count(mailbox),
                checked: verify.sample.unwrap_or(3),
                old: mailbox.over.old,
                bad: 0,
                list: Vec::new(),
                findings: mailbox.over.findings.clone(),
                digest: digest(mailbox),
                uniqueid: uniqueid.unwrap_or_else(|| id_of(name)),
                sync_crc: (mailbox.version >= 12).then_some(mailbox.over.sync_crc),
                live: (mailbox.version >= 12).then(|| sum_of(mailbox, mailbox.over.flags)),
            };
            Reply::Ok(verified.to_fields())
        }
        Command::Complete(complete) => {
            let all = host.mailboxes.len();
            if host.fence != Some(FENCE_UP) {
                return Reply::no(Code::Unfenced, "the fence does not stand");
            }
            if all != complete.mailboxes as usize {
                let text = format!("this store has {all} mailboxes, not {}", complete.mailboxes);
                return Reply::no(Code::State, text);
            }
            if !complete.dry_run {
                host.complete = Some((complete.version, complete.mailboxes));
            }
            let done = Completed {
                mailboxes: complete.mailboxes,
                file: (!complete.dry_run).then(|| FILE.to_owned()),
            };
            Reply::Ok(done.to_fields())
        }
        Command::Revoke => {
            let revoked = Revoked {
                removed: host.complete.take().is_some(),
                file: FILE.to_owned(),
            };
            Reply::Ok(revoked.to_fields())
        }
        _ => Reply::no(Code::State, "not now"),
    }
}

//! What a slotd in memory answers to each command.

use super::*;
use crate::run::tests::over;

fn guid(message: u8, version: u32) -> Guid {
    let mut bytes = [0; 20];
    bytes[0] = message;
    if version >= 10 {
        bytes[19] = message;
    }
    Guid::from_bytes(bytes)
}

fn by_uniqueid(host: &Host, uniqueid: &str) -> Reply {
    let is = |(name, mailbox): &(&String, &Mailbox)| {
        let id = mailbox.uniqueid.clone().unwrap_or_else(|| id_of(name));
        id == uniqueid
    };
    let found = host.mailboxes.iter().find(is);
    let found = found.map(|(name, _)| Named {
        mailbox: MailboxName::parse(name).expect("a name"),
        partition: Some(host.partition(name).to_owned()),
    });
    let found = found.map_or(Found::Nowhere, Found::At);
    Reply::Ok(found.to_fields())
}

#[allow(clippy::too_many_lines)] // one arm a command
pub(super) fn execute(
    host: &mut Host,
    session: &mut Session,
    side: Side,
    command: &Command,
) -> Reply {
    let state = || Reply::no(Code::State, "not now");
    match command {
        Command::Hello | Command::Register { .. } => Reply::Ok(
            Greeting {
                version: "1".to_owned(),
                protocol: slotd::protocol::PROTOCOL_VERSION,
                host_id: host.id.clone().unwrap_or_else(|| format!("host-{side}")),
                draining: host.draining,
                capacity: host.capacity,
                rehash: !host.before_rehash,
                ..Greeting::default()
            }
            .to_fields(),
        ),
        Command::List(range) => {
            let after = range
                .after
                .as_ref()
                .map(|n| n.mailbox.to_string())
                .unwrap_or_default();
            let on = |n: &str| {
                let only = range.only.as_deref();
                only.is_none_or(|only| only == host.partition(n))
            };
            let names = host.mailboxes.keys();
            let rest: Vec<&String> = names.filter(|n| **n > after && on(n)).collect();
            let partition = rest.first().map_or("default", |n| host.partition(n));
            let names = rest.into_iter().take(2);
            let names: Vec<_> = names
                .take_while(|n| host.partition(n) == partition)
                .map(|n| MailboxName::parse(n).expect("a name"))
                .collect();
            let next = names.last().cloned().map(Named::new);
            let odd = std::mem::take(&mut host.odd);
            Reply::Ok(
                Listed {
                    names,
                    partition: partition.to_owned(),
                    next,
                    odd: odd.len() as u64,
                    odd_list: odd,
                    ..Listed::default()
                }
                .to_fields(),
            )
        }
        Command::Lock(lock) => {
            let name = lock.of.mailbox.to_string();
            if let Some(refusal) = host.refuses(&name) {
                return refusal;
            }
            let on = host.partition(&name);
            let asked = lock.of.partition.as_deref();
            if host.mailboxes.contains_key(&name) && asked.is_some_and(|asked| asked != on) {
                return Reply::no(Code::Elsewhere, format!("it is on partition {on}"));
            }
            let locked = host.locked();
            let lease = host.lease.unwrap_or(Duration::from_secs(5));
            let Some(mailbox) = host.mailboxes.get_mut(&name) else {
                return Reply::no(Code::NoMailbox, format!("no mailbox {name}"));
            };
            if mailbox.locked {
                return Reply::no(Code::Locked, "another session");
            }
            mailbox.locked = true;
            host.most_locked = host.most_locked.max(locked + 1);
            let uniqueid = mailbox.uniqueid.clone();
            let uniqueid = uniqueid.unwrap_or_else(|| id_of(&name));
            session.mailbox = Some(name);
            Reply::Ok(
                MailboxFacts {
                    mailbox: lock.of.mailbox.clone(),
                    partition: "default".to_owned(),
                    uniqueid,
                    uidvalidity: 1,
                    index: mailbox.version,
                    expunge: None,
                    exists: u32::try_from(mailbox.messages.len()).unwrap_or(0),
                    expunged: 0,
                    old: Some(0),
                }
                .to_fields()
                .with("max_lock_ms", lease.as_millis()),
            )
        }
        Command::Preflight
        | Command::Verify(_)
        | Command::Complete(_)
        | Command::Revoke
        | Command::Prepare(_)
            if host.fence.is_some() =>
        {
            over::execute(host, command)
        }
        Command::Status(of) if host.fence.is_some() => over::status(host, of),
        Command::Status(of) => {
            let name = of.mailbox.as_str();
            let there = host.mailboxes.contains_key(name);
            let answer = || {
                if there {
                    Reply::Ok(slotd::protocol::Fields::new())
                } else {
                    Reply::no(Code::NoMailbox, format!("no mailbox {name}"))
                }
            };
            host.refuses(name).unwrap_or_else(answer)
        }
        Command::HostStatus => match &host.status {
            Some(status) => Reply::Ok(status.to_fields()),
            None => Reply::Bad("STATUS needs a mailbox name".to_owned()),
        },
        Command::Find(find) => by_uniqueid(host, &find.uniqueid),
        Command::Quit | Command::Leave => Reply::Ok(slotd::protocol::Fields::new()),
        _ => match session.mailbox.clone() {
            Some(name) if host.mailboxes.contains_key(&name) => {
                in_session(host, session, &name, command)
            }
            _ => state(),
        },
    }
}

#[allow(clippy::too_many_lines)] // one arm a command
fn in_session(host: &mut Host, session: &mut Session, name: &str, command: &Command) -> Reply {
    let locked = u32::try_from(host.locked()).unwrap_or(0);
    let Some(mailbox) = host.mailboxes.get_mut(name) else {
        return Reply::no(Code::NoMailbox, "gone");
    };
    let target = session.staged.unwrap_or(mailbox.version);
    let count = u32::try_from(mailbox.messages.len()).unwrap_or(0);
    let committed = Committed {
        held: host.held + host.held_each * locked,
        waited: Duration::ZERO,
    }
    .to_fields();
    match command {
        Command::Upgrade(upgrade)
            if let Some(refusal) = over::refuses(host.fence, mailbox, upgrade.version) =>
        {
            refusal
        }
        Command::Upgrade(upgrade) => {
            let report = upgrade.rehash == Some(Rehash::Report);
            let to = if report {
                mailbox.version
            } else {
                upgrade.version
            };
            let mut wrong = mailbox.wrong.clone();
            if upgrade.rehash == Some(Rehash::Fix) {
                wrong.clear();
            } else if upgrade.uuids == UuidSource::Old && to >= 10 {
                let of_run = mailbox.replaced.iter().filter(|(r, _)| *r == upgrade.run);
                wrong = of_run.map(|(_, uid)| *uid).collect();
            }
            let changed = to != mailbox.version || wrong != mailbox.wrong;
            let found = upgrade.rehash.map(|_| Rehashed {
                wrong: u32::try_from(mailbox.wrong.len()).unwrap_or(0),
                gone: 0,
                list: mailbox
                    .wrong
                    .iter()
                    .map(|uid| WrongGuid {
                        uid: *uid,
                        has: Guid::from_bytes([0xab; 20]),
                        is: guid(1, 10),
                    })
                    .collect(),
            });
            session.staged = Some(to);
            session.wrong = Some((wrong, upgrade.run));
            let mut sum = [0u8; 20];
            for (uid, message) in &mailbox.messages {
                sum[(*uid % 20) as usize] ^= message.wrapping_mul(31) ^ 1;
            }
            session.digest = Some(Guid::from_bytes(sum));
            Reply::Ok(
                Upgraded {
                    index: if changed {
                        FileState::Staged
                    } else {
                        FileState::Unchanged
                    },
                    expunge: FileState::None,
                    from: mailbox.version,
                    to: upgrade.version,
                    messages: count,
                    altered: if changed { count } else { 0 },
                    cached: u32::from(changed),
                    hashed: if changed { count - 1 } else { 0 },
                    restored: 0,
                    cut: 0,
                    prepared: false,
                    lost_modseqs: 0,
                    left_group: None,
                    digest: Guid::from_bytes(sum),
                    rehash: found,
                }
                .to_fields(),
            )
        }
        Command::Guids(range) => {
            let rest = mailbox
                .messages
                .iter()
                .filter(|(uid, _)| *uid >= range.from && *uid <= range.to.unwrap_or(u32::MAX));
            let entries: Vec<_> = rest
                .take(2)
                .map(|(uid, message)| GuidEntry {
                    uid: *uid,
                    guid: guid(*message, target),
                    size: 5,
                })
                .collect();
            let last = entries.last().map_or(0, |e| e.uid);
            let next = mailbox
                .messages
                .iter()
                .map(|(uid, _)| *uid)
                .find(|uid| *uid > last && *uid <= range.to.unwrap_or(u32::MAX));
            Reply::Ok(GuidPage { entries, next }.to_fields())
        }
        Command::Digests(range) => {
            let part = |(from, to)| {
                let within = mailbox
                    .messages
                    .iter()
                    .filter(|(uid, _)| (from..=to).contains(uid));
                let mut sum = [0u8; 20];
                for (uid, message) in within.clone() {
                    sum[(*uid % 20) as usize] ^= message.wrapping_mul(31) ^ 1;
                }
                PartDigest {
                    count: u32::try_from(within.count()).unwrap_or(0),
                    digest: Guid::from_bytes(sum),
                }
            };
            let parts = range.pieces().map(part).collect();
            Reply::Ok(Digests { parts }.to_fields())
        }
        Command::Confirm => {
            let digest = session.digest;
            let state = match (session.held.as_ref(), digest) {
                (Some(_), _) => Standing::Held,
                (None, Some(_)) => Standing::Staged,
                (None, None) => Standing::Locked,
            };
            Reply::Ok(Confirmed { state, digest }.to_fields())
        }
        Command::Commit(commit) => {
            let before = (mailbox.version, mailbox.wrong.clone());
            mailbox.version = target;
            if let Some((wrong, run)) = session.wrong.take() {
                let right = mailbox.wrong.iter().filter(|uid| !wrong.contains(uid));
                mailbox.replaced.extend(right.map(|uid| (run, *uid)));
                mailbox.wrong = wrong;
            }
            if commit.hold {
                session.held = Some(before);
            } else {
                session.unlock(host);
            }
            Reply::Ok(committed)
        }
        Command::Release { .. } if session.held.is_some() => {
            session.unlock(host);
            Reply::Ok(committed)
        }
        Command::Rollback => {
            if let Some((version, wrong)) = session.held.take() {
                mailbox.version = version;
                mailbox.wrong = wrong;
            }
            session.unlock(host);
            Reply::Ok(committed)
        }
        _ => Reply::no(Code::State, "not now"),
    }
}

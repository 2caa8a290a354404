//! What a slotd of the simulation answers, from what lies on its disk.

use std::collections::BTreeMap;

use indexfile::Guid;
use sha1::{Digest, Sha1};
use slotd::protocol::{
    Code, Command, Committed, Confirmed, DigestRange, Digests, FENCE_UP, FileState, GuidEntry,
    GuidPage, GuidRange, HostFacts, Listed, MailboxFacts, PartDigest, Reply, RootFacts, Standing,
    Upgraded, Verified,
};
use slotd::transaction::{Answer, State};

use super::connection::MAX_LOCK;
use super::disk::{Name, Role, Which};
use super::image::Image;
use super::intent::is_over;
use super::mail::{Mail, Record};
use super::site::{Fault, LIVE, Site, Wanted};
use super::world::name_of;

/// Records by UID.
pub(super) type Records = BTreeMap<u32, Record>;

/// What `COMPLETE` makes.
pub(super) const COMPLETE: &str = "/var/imap/cutover-complete";

fn uniqueid(m: usize) -> String {
    format!("{m:016x}")
}

/// The answer of the machine to a command about mailbox number `m`.
pub(super) fn reply(
    site: &Site<Mail>,
    m: usize,
    id: u8,
    (answer, asked): (Answer, Option<&Command>),
) -> Reply {
    let session = site.session(id);
    match (answer, asked) {
        (Answer::Ok, Some(Command::Lock(lock))) => {
            let [index, expunge] = LIVE.map(|name| site.disk.read(name));
            let count =
                |f: Option<&Mail>| f.map_or(0, |f| u32::try_from(f.records.len()).unwrap_or(0));
            let facts = MailboxFacts {
                mailbox: lock.of.mailbox.clone(),
                partition: "default".to_owned(),
                uniqueid: uniqueid(m),
                uidvalidity: 7,
                index: index.map_or(0, |i| i.version.into()),
                expunge: expunge.map(|e| e.version.into()),
                exists: count(index),
                expunged: count(expunge),
                old: None,
            };
            let lease = MAX_LOCK.as_millis();
            Reply::Ok(facts.to_fields().with("max_lock_ms", lease))
        }
        (Answer::Ok, Some(Command::Confirm)) => Reply::Ok(confirmed(site, id).to_fields()),
        (Answer::Ok, Some(Command::Upgrade(_))) => {
            let wanted = session.map_or(
                Wanted {
                    to: 10,
                    uuids_old: false,
                },
                |s| s.wanted,
            );
            Reply::Ok(upgraded(site, wanted).to_fields())
        }
        (Answer::Ok | Answer::Already, _) => Reply::Ok(Committed::default().to_fields()),
        (Answer::Failed, _) => match session.and_then(|s| s.fault) {
            Some(Fault::Locked) => Reply::no(Code::Locked, "somebody has it"),
            Some(Fault::Damaged) => Reply::no(Code::Damaged, "damaged"),
            Some(Fault::Unfenced) => Reply::no(Code::Unfenced, "the fence does not stand"),
            Some(Fault::Differs) => Reply::no(Code::Differs, "the peer says otherwise"),
            _ => Reply::no(Code::Io, "injected"),
        },
        (Answer::Expired, _) => Reply::no(Code::Expired, "too long"),
        (Answer::State, _) => Reply::no(Code::State, "no"),
        (Answer::TooLate, _) => Reply::no(Code::TooLate, "committed"),
    }
}

/// The digest of these records.
fn digest(records: Records) -> Guid {
    let part = Mail {
        version: 10,
        records,
        expunged: None,
    };
    Guid::from_bytes(part.digest())
}

/// `DIGESTS`.
pub(super) fn digests(records: &Records, range: DigestRange) -> Reply {
    let part = |(from, to)| {
        let records: Records = records
            .range(from..=to)
            .map(|(uid, r)| (*uid, *r))
            .collect();
        PartDigest {
            count: count(&records),
            digest: digest(records),
        }
    };
    let parts = range.pieces().map(part).collect();
    Reply::Ok(Digests { parts }.to_fields())
}

fn count(records: &Records) -> u32 {
    u32::try_from(records.len()).unwrap_or(0)
}

/// `GUIDS`, two a page, so that there are pages.
pub(super) fn guids(records: &Records, range: GuidRange) -> Reply {
    let to = range.to.unwrap_or(u32::MAX);
    let mut rest = records.range(range.from..=to.max(range.from));
    let page: Vec<_> = rest.by_ref().take(2).collect();
    let entry = |(uid, r): &(&u32, &Record)| GuidEntry {
        uid: **uid,
        guid: r.guid(),
        size: 1,
    };
    let page = GuidPage {
        entries: page.iter().map(entry).collect(),
        next: rest.next().map(|(uid, _)| *uid),
    };
    Reply::Ok(page.to_fields())
}

/// `PREFLIGHT`.
pub(super) fn preflight(fence: bool) -> HostFacts {
    let up = if fence { FENCE_UP } else { "it was lowered" };
    HostFacts {
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
        fence: Some(up.to_owned()),
        ..HostFacts::default()
    }
}

/// `LIST`, all in a page.
pub(super) fn listed(mailboxes: usize) -> Listed {
    Listed {
        names: (0..mailboxes).map(name_of).collect(),
        partition: "default".to_owned(),
        ..Listed::default()
    }
}

/// `VERIFY` of mailbox number `m`.
pub(super) fn verified(site: &Site<Mail>, m: usize) -> Verified {
    let [index, expunge] = LIVE.map(|name| site.disk.read(name));
    let version = index.map_or(0, Mail::version);
    let all: Records = index
        .into_iter()
        .chain(expunge)
        .flat_map(records_of)
        .collect();
    let live = index.filter(|_| is_over(version)).map(|index| {
        let flags = index.records.values().map(|r| r.flags.to_be_bytes());
        let seen: Vec<u8> = flags.flatten().chain(index.digest()).collect();
        Guid::from_bytes(Sha1::digest(&seen).into())
    });
    Verified {
        index: version.into(),
        expunge: expunge.map(|e| e.version.into()),
        messages: count(&all),
        checked: 1,
        old: count(
            &all.iter()
                .filter(|(_, r)| !r.sha1)
                .map(|(u, r)| (*u, *r))
                .collect(),
        ),
        bad: 0,
        list: Vec::new(),
        findings: Vec::new(),
        digest: digest(all),
        uniqueid: uniqueid(m),
        sync_crc: is_over(version).then_some(0),
        live,
    }
}

/// The records of a file, those in it that are expunged too.
fn records_of(mail: &Mail) -> Records {
    let expunged = mail.expunged.iter().flatten();
    let all = mail.records.iter().chain(expunged);
    all.map(|(uid, record)| (*uid, *record)).collect()
}

/// The records of both files as they are after the upgrade.
pub(super) fn merged(site: &Site<Mail>, wanted: Wanted) -> Records {
    let files = Which::ALL.into_iter();
    let files = files.filter_map(|file| site.rewritten(file, wanted));
    files.flat_map(|mail| records_of(&mail)).collect()
}

/// Whether a message that both hosts have is not the same on both.
#[must_use]
pub fn peer_differs(sites: &[Site<Mail>; 2]) -> bool {
    let [one, other] = [&sites[0], &sites[1]].map(|site| site.disk.read(LIVE[0]));
    one.zip(other).is_some_and(|(one, other)| {
        let both = one
            .records
            .iter()
            .filter_map(|(uid, r)| Some((r, other.records.get(uid)?)));
        both.into_iter().any(|(a, b)| a.body != b.body)
    })
}

/// How the transaction stands.
fn confirmed(site: &Site<Mail>, id: u8) -> Confirmed {
    let session = site.session(id);
    let state = session.map_or(State::Idle, |s| s.tx.state());
    let standing = match state {
        State::Staged { changed: true } => Standing::Staged,
        State::Staged { changed: false } => Standing::Unchanged,
        State::Held { .. } => Standing::Held,
        State::Refused => Standing::Refused,
        _ => Standing::Locked,
    };
    let staged = session.filter(|_| matches!(state, State::Staged { .. }));
    Confirmed {
        state: standing,
        digest: staged.map(|s| upgraded(site, s.wanted).digest),
    }
}

fn upgraded(site: &Site<Mail>, wanted: Wanted) -> Upgraded {
    let over = is_over(wanted.to);
    let state = |file| {
        if over && file == Which::Expunge && site.disk.has(LIVE[1]) {
            FileState::Removed
        } else if site.disk.has(Name::new(file, Role::New)) {
            FileState::Staged
        } else if site.disk.has(Name::new(file, Role::Live)) {
            FileState::Unchanged
        } else {
            FileState::None
        }
    };
    let records = merged(site, wanted);
    let whole = Mail {
        version: wanted.to,
        records,
        expunged: None,
    };
    Upgraded {
        index: state(Which::Index),
        expunge: state(Which::Expunge),
        from: site.disk.read(LIVE[0]).map_or(0, |i| i.version.into()),
        to: wanted.to.into(),
        messages: u32::try_from(whole.records.len()).unwrap_or(0),
        altered: 0,
        cached: 0,
        hashed: 0,
        restored: 0,
        cut: 0,
        prepared: false,
        lost_modseqs: 0,
        left_group: None,
        digest: Guid::from_bytes(whole.digest()),
        rehash: None,
    }
}

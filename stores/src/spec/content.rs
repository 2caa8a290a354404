//! All files of one mailbox as bytes, before they are written anywhere.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{FileKind, Guid, HeaderField, RecordGuid, Uuid, flags};
use sha1::{Digest, Sha1};

use super::message::{Draft, Message, u32_of};
use super::shape::{Entry, Ids, Shape};
use super::{Built, StoreError, StoreSpec, header_file};

/// 15 November 2004, when the first messages arrive.
const FIRST_DATE: u32 = 1_100_500_000;
/// 5 December 2007: the store is as it was then.
const TODAY: u32 = 1_196_870_820;
/// Messages that the first mailbox of a group keeps ready for others.
const LENT: usize = 8;

/// Where the bytes of a message file come from.
pub(super) enum Source {
    /// They are its own.
    Own(Message),
    /// It is a hard link to this UID of the first mailbox of the group.
    Lent(u32),
    /// It is a hard link to this UID of the same mailbox.
    Copy(u32),
}

/// A mailbox whose messages others of its group link to.
pub(super) struct Donor {
    /// Its name.
    pub name: String,
    messages: Vec<(u32, Uuid, Message)>,
}

/// One mailbox.
pub(super) struct Content {
    /// cyrus.header
    pub header: Vec<u8>,
    /// cyrus.index
    pub index: Vec<u8>,
    /// cyrus.cache
    pub cache: Vec<u8>,
    /// cyrus.expunge
    pub expunge: Option<Vec<u8>>,
    /// Message files, by UID, those of expunged messages too; with their mtimes, seconds since
    /// 1970.
    pub messages: Vec<(u32, Source, u32)>,
    lent: Vec<(u32, Uuid, Message)>,
    counts: Built,
}

/// Draws the parts of one mailbox in order.
struct Maker<'a> {
    spec: &'a StoreSpec,
    entry: &'a Entry,
    rng: &'a mut fastrand::Rng,
    cache: Vec<u8>,
    records: Vec<BuildRecord>,
    messages: Vec<(u32, Source, u32)>,
    lent: Vec<(u32, Uuid, Message)>,
    bytes: u64,
    modseq: u64,
}

impl Content {
    /// Draws a mailbox from the random stream.
    pub fn make(
        spec: &StoreSpec,
        entry: &Entry,
        donor: Option<&Donor>,
        rng: &mut fastrand::Rng,
    ) -> Result<Self, StoreError> {
        let shape = entry.shape;
        let uidvalidity = TODAY - rng.u32(0..100_000_000);
        let generation = rng.u32(0..40);
        let uniqueid = format!("{:08x}{uidvalidity:08x}", rng.u32(..));
        let total = match entry.count {
            Some(count) => count,
            None if shape.many == 0 => 0,
            None => (spec.messages * shape.many).div_ceil(100).max(1),
        };

        let mut maker = Maker {
            spec,
            entry,
            rng,
            cache: generation.to_be_bytes().to_vec(),
            records: Vec::with_capacity(total as usize),
            messages: Vec::with_capacity(total as usize),
            lent: Vec::new(),
            bytes: 0,
            modseq: 1,
        };
        maker.draw(total, donor);
        let (live, expunged) = maker.split(total);
        let files = Files {
            shape,
            uidvalidity,
            generation,
            highest: maker.modseq,
            last_uid: maker.messages.last().map_or(0, |m| m.0) + maker.rng.u32(0..3),
        };
        let counts = Built {
            mailboxes: 1,
            live: live.len() as u64,
            expunged: expunged.len() as u64,
            linked: maker
                .messages
                .iter()
                .filter(|m| !matches!(m.1, Source::Own(_)))
                .count() as u64,
            bytes: maker.bytes,
        };
        let index = files.index(live, u32_of(expunged.len()), maker.rng)?;
        let expunge = shape
            .expunge
            .map(|version| files.expunge(version, expunged, maker.rng))
            .transpose()?;
        let flag_names: Vec<String> = (0..shape.flags).map(header_file::flag_name).collect();
        let quota_root = match entry.owner.as_str() {
            "" | "bob" => String::new(),
            owner => format!("user.{}", owner.replace('.', "^")),
        };
        Ok(Self {
            header: header_file::bytes(&quota_root, &uniqueid, &flag_names, &entry.acl),
            index,
            cache: maker.cache,
            expunge,
            messages: maker.messages,
            lent: maker.lent,
            counts,
        })
    }

    /// What it adds to the store.
    pub fn counts(&self) -> Built {
        self.counts
    }

    /// Keeps what others may link to.
    pub fn into_donor(self, name: String) -> Donor {
        Donor {
            name,
            messages: self.lent,
        }
    }
}

impl Maker<'_> {
    /// Draws `total` messages with ascending UIDs.
    fn draw(&mut self, total: u32, donor: Option<&Donor>) {
        let shape = self.entry.shape;
        let mut uid = 0;
        let mut date = FIRST_DATE;
        let step = (TODAY - FIRST_DATE - 1_000_000) / (total + 1);
        for n in 0..total {
            uid += if self.rng.u32(0..6) == 0 {
                self.rng.u32(2..9)
            } else {
                1
            };
            date += self.rng.u32(1..=step.max(1));
            let lent = donor
                .filter(|d| !d.messages.is_empty() && self.rng.u32(0..100) < shape.shared)
                .map(|d| &d.messages[self.rng.usize(0..d.messages.len())]);
            let (source, uuid, message) = if let Some((from, uuid, message)) = lent {
                (Source::Lent(*from), *uuid, message.clone())
            } else if shape.copies
                && self.rng.u32(0..4) == 0
                && let Some((from, uuid, message)) = self.lent.last().cloned()
            {
                (Source::Copy(from), uuid, message)
            } else {
                let message = self.message(uid, date);
                let uuid = self.uuid(n);
                self.bytes += u64::from(message.size());
                if self.lent.len() < LENT {
                    self.lent.push((uid, uuid, message.clone()));
                }
                (Source::Own(message.clone()), uuid, message)
            };
            self.add(uid, self.guid(n, total, uuid, &message), &message);
            self.messages.push((uid, source, message.internaldate));
        }
    }

    /// A new message; small ones are far more frequent than large ones.
    fn message(&mut self, uid: u32, date: u32) -> Message {
        let (min, max) = (
            *self.spec.message_bytes.start(),
            *self.spec.message_bytes.end(),
        );
        let r = self.rng.f64();
        let share = f64::from(max.saturating_sub(min)) * r * r * r * r;
        // In range: `share` lies between 0 and max - min.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let size = min + share as u32;
        let to = if self.entry.owner.is_empty() {
            "anyone"
        } else {
            &self.entry.owner
        };
        let number = self.rng.u64(0..1_000_000) * 1000 + u64::from(uid % 1000);
        Message::make(
            &Draft {
                to,
                number,
                date,
                size: size as usize,
            },
            self.rng,
        )
    }

    /// The identifier of the n-th of `total` messages.
    fn guid(&self, n: u32, total: u32, uuid: Uuid, message: &Message) -> Guid {
        match self.entry.shape.ids {
            Ids::Null => Guid::NULL,
            Ids::Mixed if n.is_multiple_of(2) => Guid::NULL,
            Ids::HalfSha1 if n < total / 2 => Guid::padded(uuid),
            Ids::Sha1 | Ids::HalfSha1 => {
                Guid::from_bytes(<[u8; 20]>::from(Sha1::digest(&message.bytes)))
            }
            Ids::Uuid | Ids::Patched | Ids::Mixed => Guid::padded(uuid),
        }
    }

    /// Adds the record and the cache record of one message.
    fn add(&mut self, uid: u32, guid: Guid, message: &Message) {
        if self.entry.shape.modseqs {
            self.modseq += self.rng.u64(1..50);
        }
        let (system_flags, user_flags) = (self.system_flags(), self.user_flags());
        let last_updated = message.internaldate + self.rng.u32(0..900_000);
        self.records.push(BuildRecord {
            uid,
            internaldate: message.internaldate,
            sentdate: message.sentdate,
            size: message.size(),
            header_size: message.header_size,
            cache_offset: u32_of(self.cache.len()),
            last_updated,
            system_flags,
            user_flags,
            content_lines: message.lines,
            cache_version: 2,
            guid: RecordGuid::Guid(guid),
            modseq: self.modseq,
        });
        self.cache.extend_from_slice(&message.cache);
    }

    /// A UUID as stock 2.3 makes them: schema 1, machine 7, timestamp generation, start of master,
    /// counter of the process, counter of the message. The patched kind has first byte 02.
    fn uuid(&mut self, n: u32) -> Uuid {
        let mut bytes = [0; 12];
        if self.entry.shape.ids == Ids::Patched {
            for byte in &mut bytes {
                *byte = self.rng.u8(..);
            }
            bytes[0] = 2;
        } else {
            bytes[..3].copy_from_slice(&[1, 7, 0]);
            bytes[3..7].copy_from_slice(&(TODAY - 500_000).to_be_bytes());
            bytes[7..9].copy_from_slice(&self.rng.u16(..).to_be_bytes());
            bytes[9..].copy_from_slice(&n.to_be_bytes()[1..]);
        }
        Uuid::from_bytes(bytes)
    }

    fn system_flags(&mut self) -> u32 {
        let mut set = 0;
        for (flag, one_in) in [
            (flags::ANSWERED, 4),
            (flags::FLAGGED, 9),
            (flags::DELETED, 14),
            (flags::DRAFT, 30),
        ] {
            if self.rng.u32(0..one_in) == 0 {
                set |= flag;
            }
        }
        set
    }

    /// Four words, big-endian; bit k of word k/32 is flag k.
    fn user_flags(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for k in 0..self.entry.shape.flags {
            if self.rng.u32(0..5) == 0 {
                bytes[k / 32 * 4 + 3 - k % 32 / 8] |= 1 << (k % 8);
            }
        }
        bytes
    }

    /// Divides the records into live ones, ascending, and expunged ones in the order in which they
    /// were expunged: in batches, so not by UID.
    fn split(&mut self, total: u32) -> (Vec<BuildRecord>, Vec<BuildRecord>) {
        let gone = (total * self.entry.shape.gone).div_ceil(100) as usize;
        let mut picked = vec![false; self.records.len()];
        for flag in picked.iter_mut().take(gone) {
            *flag = true;
        }
        self.rng.shuffle(&mut picked);
        let (mut live, mut expunged) = (Vec::new(), Vec::new());
        for (record, gone) in std::mem::take(&mut self.records).into_iter().zip(picked) {
            if gone {
                expunged.push(record);
            } else {
                live.push(record);
            }
        }
        let half = expunged.len() / 2;
        expunged.rotate_left(half);
        for (n, record) in expunged.iter_mut().enumerate() {
            record.last_updated = TODAY - 400_000 + u32_of(n / 4) * 60;
            record.system_flags |= flags::DELETED;
        }
        (live, expunged)
    }
}

/// What index and expunge have in common.
struct Files {
    shape: Shape,
    uidvalidity: u32,
    generation: u32,
    highest: u64,
    last_uid: u32,
}

impl Files {
    fn builder(&self, version: u32, kind: FileKind) -> IndexBuilder {
        let builder = IndexBuilder::new(version, kind)
            .uidvalidity(self.uidvalidity)
            .generation_no(self.generation);
        if version >= 8 && self.shape.modseqs {
            // Bit 0: POP3_NEW_UIDL, bit 1: CONDSTORE.
            builder.set(HeaderField::Options, 3)
        } else {
            builder.set(HeaderField::Options, 1)
        }
    }

    fn index(
        &self,
        live: Vec<BuildRecord>,
        leaked: u32,
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<u8>, StoreError> {
        let version = self.shape.version;
        let mut builder = self
            .builder(version, FileKind::Index)
            .last_uid(self.last_uid)
            .set(
                HeaderField::LastAppenddate,
                u64::from(TODAY - rng.u32(0..400_000)),
            )
            .set(HeaderField::LeakedCache, u64::from(leaked));
        if rng.u32(0..4) == 0 {
            builder = builder.set(HeaderField::Pop3LastLogin, u64::from(TODAY - 3600));
        }
        if version >= 8 {
            builder = builder.set(HeaderField::Highestmodseq, self.highest);
        }
        let mut bytes = builder.records(live).to_bytes()?;
        for _ in 0..self.shape.trailing {
            bytes.push(rng.u8(..));
        }
        Ok(bytes)
    }

    /// Most of its header is as the index's was when the first message was expunged.
    fn expunge(
        &self,
        version: u32,
        expunged: Vec<BuildRecord>,
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<u8>, StoreError> {
        let last = expunged.iter().map(|r| r.uid).max().unwrap_or(1);
        let mut builder = self.builder(version, FileKind::Expunge).last_uid(last).set(
            HeaderField::LastAppenddate,
            u64::from(TODAY - rng.u32(0..300_000)),
        );
        if version >= 8 {
            builder = builder.set(HeaderField::Highestmodseq, self.highest / 2 + 1);
        }
        Ok(builder.records(expunged).to_bytes()?)
    }
}

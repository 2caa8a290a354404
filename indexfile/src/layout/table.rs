//! The table itself: one row a field, place and range of versions.
//!
//! Source: the headers `imap/mailbox.h` of the Cyrus releases; `docs/formats.md` is checked against
//! this table by a test.

use super::{HeaderSlots, Layout, RecordSlots, Slot};

macro_rules! fields {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }
        impl $name {
            /// Every field, in the order of this enum.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The field's name in Cyrus's terms.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

fields! {
    /// The fields of a file header. Widths and places differ by version; see [`super::of`].
    HeaderField {
        /// Goes up when `cyrus.cache` is rewritten; equals its first four bytes.
        GenerationNo = "generation_no",
        /// 0 normal, 1 netnews (obsolete).
        Format = "format",
        /// The version.
        MinorVersion = "minor_version",
        /// Bytes before the first record.
        StartOffset = "start_offset",
        /// Bytes a record.
        RecordSize = "record_size",
        /// Version 12 and later: all records, expunged ones included.
        NumRecords = "num_records",
        /// Messages that are not expunged; up to version 10 the number of records.
        Exists = "exists",
        /// Time of the last append (of the last expunge in `cyrus.expunge`).
        LastAppenddate = "last_appenddate",
        /// Largest UID ever given; UIDNEXT - 1.
        LastUid = "last_uid",
        /// Sum of the sizes of the messages, bytes.
        QuotaMailboxUsed = "quota_mailbox_used",
        /// Time of the last POP3 login.
        Pop3LastLogin = "pop3_last_login",
        /// UIDVALIDITY.
        Uidvalidity = "uidvalidity",
        /// Messages with `\Deleted`.
        Deleted = "deleted",
        /// Messages with `\Answered`.
        Answered = "answered",
        /// Messages with `\Flagged`.
        Flagged = "flagged",
        /// Option bits from version 8 on; before that `pop3_new_uidl`, 0 or 1.
        Options = "options",
        /// Cache records that no index record points to.
        LeakedCache = "leaked_cache",
        /// HIGHESTMODSEQ.
        Highestmodseq = "highestmodseq",
        /// Largest modseq of a message that was removed for good.
        Deletedmodseq = "deletedmodseq",
        /// Time of the oldest expunge whose message is still kept.
        FirstExpunged = "first_expunged",
        /// Time of the last repack.
        LastRepackTime = "last_repack_time",
        /// CRC-32 of the whole file `cyrus.header`; 0 unchecked.
        HeaderFileCrc = "header_file_crc",
        /// XOR of the synchronisation CRCs of the messages.
        SyncCrc = "sync_crc",
        /// Largest UID that the owner has seen as recent.
        Recentuid = "recentuid",
        /// When that was.
        Recenttime = "recenttime",
        /// POP3 shows messages that arrived after this time.
        Pop3ShowAfter = "pop3_show_after",
        /// Bytes used by annotations.
        QuotaAnnotUsed = "quota_annot_used",
        /// XOR of the synchronisation CRCs of the annotations.
        SyncCrcAnnot = "sync_crc_annot",
        /// Messages without `\Seen`.
        Unseen = "unseen",
        /// Modseq at which the mailbox was made.
        Createdmodseq = "createdmodseq",
        /// Since when changes are known.
        ChangesEpoch = "changes_epoch",
        /// Bytes of messages with `\Deleted`.
        QuotaDeletedUsed = "quota_deleted_used",
        /// Bytes of expunged messages.
        QuotaExpungedUsed = "quota_expunged_used",
        /// CRC-32 of the header bytes before this field.
        HeaderCrc = "header_crc",
    }
}

fields! {
    /// The fields of a record. Widths and places differ by version; see [`super::of`].
    RecordField {
        /// UID, at least 1.
        Uid = "uid",
        /// INTERNALDATE.
        Internaldate = "internaldate",
        /// Day of the `Date:` header; its clock part differs between releases.
        Sentdate = "sentdate",
        /// Size of the message, bytes.
        Size = "size",
        /// Size of its header, bytes.
        HeaderSize = "header_size",
        /// Offset of the body in the message file; equals `header_size`.
        ContentOffset = "content_offset",
        /// The `Date:` header as a point in time.
        Gmtime = "gmtime",
        /// Offset of the record in `cyrus.cache`.
        CacheOffset = "cache_offset",
        /// Time of the last change.
        LastUpdated = "last_updated",
        /// System flag bits; see [`crate::flags`].
        SystemFlags = "system_flags",
        /// 128 user flag bits in four words; bit k of word k/32 is flag k of `cyrus.header`.
        UserFlags = "user_flags",
        /// Lines of the body; 0xFFFFFFFF not computed.
        ContentLines = "content_lines",
        /// Time of saving into this mailbox.
        Savedate = "savedate",
        /// Which headers the cache record holds (from 3.2 on the upper half extends
        /// `cache_offset`).
        CacheVersion = "cache_version",
        /// UUID of 12 bytes, or GUID of 20.
        Guid = "guid",
        /// MODSEQ.
        Modseq = "modseq",
        /// Conversation id.
        Cid = "cid",
        /// Modseq at which the message appeared.
        Createdmodseq = "createdmodseq",
        /// Base conversation id.
        Basecid = "basecid",
        /// CRC-32 of the record in `cyrus.cache`; 0 unknown.
        CacheCrc = "cache_crc",
        /// CRC-32 of the record bytes before this field.
        RecordCrc = "record_crc",
    }
}

impl HeaderField {
    /// The field's name in a file of this version: `options` is `pop3_new_uidl` before version 8.
    #[must_use]
    pub const fn name_in(self, minor_version: u32) -> &'static str {
        match self {
            Self::Options if minor_version < 8 => "pop3_new_uidl",
            _ => self.name(),
        }
    }
}

impl RecordField {
    /// The field's name in a file of this version: `guid` is `uuid` before version 10.
    #[must_use]
    pub const fn name_in(self, minor_version: u32) -> &'static str {
        match self {
            Self::Guid if minor_version < 10 => "uuid",
            _ => self.name(),
        }
    }
}

/// Field, offset, width, first version, last version.
type Row<F> = (F, u16, u8, u32, u32);

#[rustfmt::skip]
const HEADER: &[Row<HeaderField>] = {
    use HeaderField as H;
    &[
        (H::GenerationNo,        0, 4,  2, 20),
        (H::Format,              4, 4,  2, 20),
        (H::MinorVersion,        8, 4,  2, 20),
        (H::StartOffset,        12, 4,  2, 20),
        (H::RecordSize,         16, 4,  2, 20),
        (H::Exists,             20, 4,  2, 10),
        (H::NumRecords,         20, 4, 12, 20),
        (H::LastAppenddate,     24, 4,  2, 19), (H::LastAppenddate,    24, 8, 20, 20),
        (H::LastUid,            28, 4,  2, 19), (H::LastUid,           88, 4, 20, 20),
        (H::QuotaMailboxUsed,   32, 4,  2,  5), (H::QuotaMailboxUsed,  32, 8,  6, 20),
        (H::Pop3LastLogin,      36, 4,  2,  5), (H::Pop3LastLogin,     40, 4,  6, 19),
        (H::Pop3LastLogin, 40, 8, 20, 20),
        (H::Uidvalidity,        40, 4,  2,  5), (H::Uidvalidity,       44, 4,  6, 19),
        (H::Uidvalidity,   92, 4, 20, 20),
        (H::Deleted,            44, 4,  3,  5), (H::Deleted,           48, 4,  6, 20),
        (H::Answered,           48, 4,  3,  5), (H::Answered,          52, 4,  6, 20),
        (H::Flagged,            52, 4,  3,  5), (H::Flagged,           56, 4,  6, 20),
        (H::Options,            56, 4,  4,  5), (H::Options,           60, 4,  6, 18),
        (H::Options,       64, 4, 19, 20),
        (H::LeakedCache,        60, 4,  5,  5), (H::LeakedCache,       64, 4,  6, 18),
        (H::LeakedCache,   68, 4, 19, 20),
        (H::Highestmodseq,      68, 8,  8, 18), (H::Highestmodseq,     72, 8, 19, 20),
        (H::Deletedmodseq,      76, 8, 12, 18), (H::Deletedmodseq,     80, 8, 19, 20),
        (H::Exists,             84, 4, 12, 18), (H::Exists,            60, 4, 19, 20),
        (H::FirstExpunged,      88, 4, 12, 19), (H::FirstExpunged,    168, 8, 20, 20),
        (H::LastRepackTime,     92, 4, 12, 19), (H::LastRepackTime,   176, 8, 20, 20),
        (H::HeaderFileCrc,      96, 4, 12, 20),
        (H::SyncCrc,           100, 4, 12, 20),
        (H::Recentuid,         104, 4, 12, 19), (H::Recentuid,        184, 4, 20, 20),
        (H::Recenttime,        108, 4, 12, 19), (H::Recenttime,       104, 8, 20, 20),
        (H::Pop3ShowAfter,     112, 4, 13, 19), (H::Pop3ShowAfter,    112, 8, 20, 20),
        (H::QuotaAnnotUsed,    116, 4, 13, 19), (H::QuotaAnnotUsed,   152, 8, 20, 20),
        (H::SyncCrcAnnot,      120, 4, 13, 20),
        (H::Unseen,            124, 4, 14, 20),
        (H::Createdmodseq,     128, 8, 16, 20),
        (H::ChangesEpoch,      136, 4, 17, 18), (H::ChangesEpoch,     152, 4, 19, 19),
        (H::ChangesEpoch, 160, 8, 20, 20),
        (H::QuotaDeletedUsed,  140, 8, 18, 18), (H::QuotaDeletedUsed, 136, 8, 19, 20),
        (H::QuotaExpungedUsed, 148, 8, 18, 18), (H::QuotaExpungedUsed, 144, 8, 19, 20),
        (H::HeaderCrc,         124, 4, 12, 13), (H::HeaderCrc,        156, 4, 14, 19),
        (H::HeaderCrc,    188, 4, 20, 20),
    ]
};

#[rustfmt::skip]
const RECORD: &[Row<RecordField>] = {
    use RecordField as R;
    &[
        (R::Uid,             0,  4,  2, 20),
        (R::Internaldate,    4,  4,  2, 19), (R::Internaldate,    8,  8, 20, 20),
        (R::Sentdate,        8,  4,  2, 19), (R::Sentdate,       16,  8, 20, 20),
        (R::Size,           12,  4,  2, 19), (R::Size,           24,  8, 20, 20),
        (R::HeaderSize,     16,  4,  2, 19), (R::HeaderSize,     32,  4, 20, 20),
        (R::ContentOffset,  20,  4,  2, 10),
        (R::Gmtime,         20,  4, 12, 19), (R::Gmtime,        104,  8, 20, 20),
        (R::CacheOffset,    24,  4,  2, 19), (R::CacheOffset,     4,  4, 20, 20),
        (R::LastUpdated,    28,  4,  2, 19), (R::LastUpdated,   112,  8, 20, 20),
        (R::SystemFlags,    32,  4,  2, 19), (R::SystemFlags,    36,  4, 20, 20),
        (R::UserFlags,      36, 16,  2, 19), (R::UserFlags,      40, 16, 20, 20),
        (R::ContentLines,   52,  4,  5, 14),
        (R::Savedate,       52,  4, 15, 19), (R::Savedate,      120,  8, 20, 20),
        (R::CacheVersion,   56,  4,  6, 20),
        (R::Guid,           60, 12,  7,  9), (R::Guid,           60, 20, 10, 20),
        (R::Modseq,         72,  8,  8,  9), (R::Modseq,         80,  8, 10, 20),
        (R::Cid,            88,  8, 13, 20),
        (R::Createdmodseq,  96,  8, 16, 20),
        (R::Basecid,       128,  8, 20, 20),
        (R::CacheCrc,       88,  4, 12, 12), (R::CacheCrc,       96,  4, 13, 15),
        (R::CacheCrc,  104, 4, 16, 19), (R::CacheCrc,  136, 4, 20, 20),
        (R::RecordCrc,      92,  4, 12, 12), (R::RecordCrc,     100,  4, 13, 15),
        (R::RecordCrc, 108, 4, 16, 19), (R::RecordCrc, 140, 4, 20, 20),
    ]
};

/// Header size and record size of a version.
const fn sizes(minor_version: u32) -> (u32, u32) {
    match minor_version {
        2 => (44, 52),
        3 => (56, 52),
        4 => (76, 52),
        5 => (76, 56),
        6 => (76, 60),
        7 => (76, 72),
        8 => (92, 80),
        9 => (96, 80),
        10 => (96, 88),
        12 => (128, 96),
        13 => (128, 104),
        14 | 15 => (160, 104),
        16..=19 => (160, 112),
        _ => (192, 144),
    }
}

/// Gathers one version's rows; runs at compile time.
pub(super) const fn layout(minor_version: u32) -> Layout {
    let (header_size, record_size) = sizes(minor_version);
    let mut header = HeaderSlots([None; HeaderField::COUNT]);
    let mut record = RecordSlots([None; RecordField::COUNT]);
    let mut i = 0;
    while i < HEADER.len() {
        let (field, offset, width, from, to) = HEADER[i];
        if from <= minor_version && minor_version <= to {
            header.0[field as usize] = Some(Slot { offset, width });
        }
        i += 1;
    }
    let mut i = 0;
    while i < RECORD.len() {
        let (field, offset, width, from, to) = RECORD[i];
        if from <= minor_version && minor_version <= to {
            record.0[field as usize] = Some(Slot { offset, width });
        }
        i += 1;
    }
    Layout {
        minor_version,
        header_size,
        record_size,
        header,
        record,
    }
}

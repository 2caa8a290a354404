//! The codes of findings: stable names, how bad each is, what it means and what to do.

use crate::exit::Exit;
use serde::{Serialize, Serializer};
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Normal, or harmless; good to know.
    Note,
    /// Should not be so; servers live with it.
    Warning,
    /// Damage, or a state in which a server shows or destroys the wrong thing.
    Error,
}

impl Severity {
    /// In lower case, as it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $group:ident {
        $($variant:ident $text:literal $severity:ident $meaning:literal $remedy:literal,)*
    })*) => {
        /// What is found; each has a stable name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[doc = $meaning] #[allow(clippy::doc_markdown)] $variant,)*)* }
        impl Code {
            $($(#[doc = $doc])* pub const $group: &'static [Self] = &[$(Self::$variant,)*];)*
            /// Its stable name; scripts may rely on it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $text,)*)* }
            }
            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $($(Self::$variant => Severity::$severity,)*)* }
            }
            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $($(Self::$variant => $meaning,)*)* }
            }
            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $($(Self::$variant => $remedy,)*)* }
            }
        }
    };
}

codes! {
    /// What `indexfile check` reports; the first two are reported by `precompute` as well.
    CHECK {
        Io "io" Error
            "The system could not read a file."
            "See what the system says; look at the disk and the permissions.",
        NotRegular "not-regular" Error
            "A file of the mailbox is a symbolic link, a fifo, a socket, a device or a directory, \
             or is far longer than such a file can be."
            "Put the file itself in its place; the disk of a kind of file is chosen in imapd.conf \
             (metapartition_files), not by a link.",
        UnreadableDirectory "unreadable-directory" Error
            "A directory could not be read, so what is in it and below it was not checked."
            "Check again as the owner of the mail store; see what the system says.",
        LostAndFound "lost-and-found" Note
            "lost+found, the file system's own, was not looked into: only root may."
            "None needed, unless a file system check has put mailboxes there.",
        DirectoryMissing "directory-missing" Error
            "A directory that imapd.conf names for a file of the mailbox does not exist, or \
             cannot be reached."
            "Mount its partition or restore it; if the mailbox never had a file there, make the \
             directory. A file that cannot be looked for is not absent.",
        TwoPartitions "two-partitions" Warning
            "A mailbox of this name is on two partitions; one may be left from a rename that was \
             cut short."
            "Ask Cyrus which is right (mbpath, ctl_mboxlist -d) and move the other away.",
        SharedRoots "shared-roots" Warning
            "Roots of partitions coincide or lie within each other, so that one directory could \
             be taken for two mailboxes."
            "Give each partition a tree of its own in imapd.conf.",
        PartitionEmpty "partition-empty" Warning
            "No mailbox was found on a partition, and a root of it holds nothing at all, as a \
             directory does whose disk is not mounted."
            "Mount it. A new partition is found like this until something is in its root, if it is \
             the lost+found of its file system.",
        PartitionUnused "partition-unused" Note
            "No mailbox was found on a partition; its roots hold other things."
            "None needed, if it is to have none. Cyrus knows better (ctl_mboxlist -d).",
        DirectoryLink "directory-link" Warning
            "A symbolic link to a directory was not followed: a mailbox may lie behind it."
            "Give the partition its disk in imapd.conf, or check the place behind the link by \
             itself.",
        NotIndex "not-index" Error
            "The file is not an index or expunge file of any version."
            "Find out what it is; restore the right file from a backup or reconstruct the mailbox.",
        ZeroLength "zero-length" Error
            "The file has no byte at all; Cyrus 2.3.16 crashes on such an expunge file."
            "For cyrus.expunge: remove it while the mailbox is locked (the messages it listed \
             stay on disk). For cyrus.index: restore or reconstruct.",
        UnknownVersion "unknown-version" Error
            "The header is plausible, its version is not one of 2 to 10 and 12 to 20."
            "A newer Cyrus may have written it; use that Cyrus, or restore.",
        Version11 "version-11" Error
            "Version 11 was never released and its layout is not known."
            "Restore or reconstruct with the server that wrote it.",
        Truncated "truncated" Error
            "The file is shorter than its header says; Cyrus 2.3.16 would invent the missing \
             records."
            "Restore from a backup or a replica, or reconstruct the mailbox; do not let a 2.3 \
             server upgrade it.",
        Changed "changed" Error
            "The file became shorter while it was read: something that takes no lock truncates it \
             in place, as cp does."
            "Find out what writes there, and check again when it is done; put files into a live \
             mailbox by rename.",
        Hybrid "hybrid-9-88" Error
            "Version 9 or older with the record size of version 10: a server before 2.3.10 wrote \
             into a version 10 file."
            "Restore from a backup or a replica; GUIDs and modseqs of changed records are \
             overwritten.",
        BadHeader "bad-header" Error
            "The version is known, but the sizes in the header are ones it cannot have."
            "Restore from a backup or a replica, or reconstruct the mailbox.",
        ZeroUid "zero-uid" Error
            "A record has UID 0."
            "Restore from a backup or a replica, or reconstruct the mailbox.",
        UidOrder "uid-order" Error
            "The UIDs of an index do not ascend."
            "Restore from a backup or a replica, or reconstruct the mailbox.",
        HeaderCrc "header-crc" Error
            "The header's checksum is wrong (version 12 and later)."
            "Restore from a backup or a replica, or run Cyrus's reconstruct.",
        RecordCrc "record-crc" Error
            "A record's checksum is wrong (version 12 and later)."
            "Restore from a backup or a replica, or run Cyrus's reconstruct.",
        TrailingBytes "trailing-bytes" Note
            "There are bytes after the last record, as a crashed append leaves them."
            "None needed: Cyrus ignores them and the next rewrite drops them.",
        OddSizes "odd-sizes" Note
            "Header or record size is not the usual one of the version; the sizes in the file \
             count."
            "None needed: Cyrus reads it the same way.",
        ExistsCount "exists-count" Error
            "exists is not the number of records that are not expunged (version 12 and later)."
            "Run Cyrus's reconstruct.",
        DeletedCount "deleted-count" Warning
            "The count of deleted messages does not agree with the records."
            "Reconstruct the mailbox when convenient.",
        AnsweredCount "answered-count" Warning
            "The count of answered messages does not agree with the records."
            "Reconstruct the mailbox when convenient.",
        FlaggedCount "flagged-count" Warning
            "The count of flagged messages does not agree with the records."
            "Reconstruct the mailbox when convenient.",
        UnseenCount "unseen-count" Warning
            "The count of unseen messages does not agree with the records (version 14 and later)."
            "Run Cyrus's reconstruct when convenient.",
        QuotaSum "quota-sum" Warning
            "quota_mailbox_used is not the sum of the sizes of the messages."
            "Reconstruct the mailbox, then run quota -f.",
        LastUid "last-uid" Error
            "last_uid is below a UID that was given already, so UIDs would be given twice."
            "Reconstruct the mailbox before the next delivery.",
        Highestmodseq "highestmodseq" Warning
            "highestmodseq is below the modseq of a record, so CONDSTORE clients miss changes."
            "Reconstruct the mailbox when convenient.",
        ZeroModseq "zero-modseq" Note
            "A record has modseq 0, as 2.3.4 and 2.3.5 could write it."
            "None needed: an upgrade to version 10 makes it 1.",
        ExpungedInside "expunged-inside" Warning
            "A file of version 10 or older holds records marked expunged, as Cyrus 3.x makes \
             them: a 2.x server shows them as live messages."
            "Before a 2.x server opens it, move them out; a 3.x server may go on using it.",
        OldStyleGuids "old-style-guids" Note
            "Records whose identifier is no whole SHA-1."
            "controller upgrade, or indexfile convert --to 10 with --messages, replaces them.",
        DuplicateUid "duplicate-uid" Error
            "A UID is in the expunge file twice, or in index and expunge both: cleaning up would \
             unlink a live message."
            "Do not run cyr_expire on this mailbox; restore, or reconstruct -k.",
        ExpungeOlder "expunge-older" Error
            "The expunge file has a lower version than the index, as a 2.3 server killed between \
             its two renames leaves it; Cyrus reads wrong UIDs from it and can unlink live \
             messages."
            "indexfile check --repair-to FILE writes the right expunge file, of the version of the \
             index; controller upgrade can put it in place under the locks. Keep cyr_expire away \
             until then.",
        ExpungeNewer "expunge-newer" Warning
            "The expunge file has a higher version than the index: an upgrade was interrupted at \
             its safe point."
            "Run the upgrade again, or let Cyrus 2.3.10 or later open the mailbox; both finish it.",
        ExpungeBeside12 "expunge-beside-12" Error
            "There is a cyrus.expunge beside an index of version 12 or later, which no longer \
             uses it; the reconstruct of 2.5 and later, with -n too, unlinks the messages in it."
            "Let no reconstruct run. See that the index has its messages (indexfile dump, \
             unexpunge -l), then move it out of its name.",
        OldStyleExpunged "old-style-expunged" Error
            "An expunged message of version 12 or later whose GUID is no whole SHA-1: whenever \
             Cyrus reads the messages again (reconstruct -G or -V), it unlinks its file."
            "Let no reconstruct run before it has expired or was restored (unexpunge); if the \
             index was made by convert, go back and upgrade the mailbox to version 10 first.",
        ReconstructUnfit "reconstruct-unfit" Error
            "Cyrus's own reconstruct would lose mail or fail here (only with \
             --before-reconstruct)."
            "Do not run it on this mailbox before what is said here is set right, and this check \
             has nothing to say.",
        ExpungeUidvalidity "expunge-uidvalidity" Note
            "The expunge file has another uidvalidity than the index; unexpunge -u leaves it like \
             this."
            "None needed.",
        NewLeftBehind "new-left-behind" Warning
            "A .NEW file lies about: a server or a tool was killed while it wrote it."
            "If nothing holds the mailbox locked, it can be removed; slotd recover removes its \
             own.",
        CacheMissing "cache-missing" Error
            "There is no cyrus.cache; 2.x and 2.3 refuse to open such a mailbox."
            "Reconstruct the mailbox.",
        CacheDamaged "cache-damaged" Error
            "cyrus.cache cannot be read as a cache at the place a record points to."
            "Reconstruct the mailbox.",
        CacheGeneration "cache-generation" Error
            "cyrus.cache has another generation than the index; a 2.3 server waits a minute and \
             then fails."
            "Reconstruct the mailbox.",
        CacheOffset "cache-offset" Error
            "A record points outside of cyrus.cache."
            "Reconstruct the mailbox.",
        CacheCrc "cache-crc" Error
            "A record of cyrus.cache does not have the checksum that the index has for it."
            "Run Cyrus's reconstruct.",
        CacheArchived "cache-archived" Note
            "The cache records of archived messages lie in a file of their own on the archive \
             partition, which is not checked."
            "None needed.",
        HeaderMissing "header-missing" Error
            "There is no cyrus.header."
            "Restore it, or reconstruct the mailbox.",
        HeaderDamaged "header-damaged" Error
            "cyrus.header cannot be read."
            "Restore it, or reconstruct the mailbox.",
        HeaderForm "header-form" Warning
            "cyrus.header has the list form of 3.6 beside an index of version 10 or older: 2.x to \
             3.4 cannot open the mailbox."
            "Use a 3.6 or later server, or write the header in text form before going back.",
        HeaderFileCrc "header-file-crc" Warning
            "cyrus.header does not have the checksum that the index has for it."
            "Run Cyrus's reconstruct; 2.4 refuses the mailbox until then.",
        SyncCrc "sync-crc" Warning
            "sync_crc is not the checksum of the messages that replication compares (version 12 \
             to 19)."
            "Run Cyrus's reconstruct; until then replication finds this mailbox different each \
             time.",
        UnnamedFlag "unnamed-flag" Warning
            "A record has a user flag set for which cyrus.header has no name."
            "Reconstruct the mailbox; the flag's name is lost.",
        MessageMissing "message-missing" Error
            "A message file is missing."
            "Restore it; a mailbox with a missing message is not upgraded.",
        MessageUnreadable "message-unreadable" Error
            "A message file cannot be read or is not a regular file."
            "See what the system says.",
        MessageSize "message-size" Error
            "A message file has another size than the record."
            "Restore it, or reconstruct the mailbox.",
        MessageGuid "message-guid" Error
            "The SHA-1 of a message file is not the record's GUID."
            "Find out which of the two is right before anything is replicated; restore the \
             message if it was changed.",
        Sha1sDamaged "sha1s-damaged" Warning
            "cyrus.sha1s is damaged; it is ignored."
            "precompute run makes it anew.",
        Sha1sForeign "sha1s-foreign" Note
            "cyrus.sha1s is of another incarnation of the mailbox; it is ignored."
            "precompute run makes it anew.",
    }
    /// What `precompute` alone reports.
    MESSAGES {
        NoMailbox "no-mailbox" Error
            "No mailbox of that name."
            "Correct the name.",
        NoSpool "no-spool" Error
            "A directory of the mailbox, or a partition's root, is not there."
            "Mount it; if it is mounted, restore the directory.",
        NoIndex "no-index" Error
            "Messages or a `cyrus.header`, but no `cyrus.index`."
            "Restore it, or reconstruct the mailbox.",
        Index "index" Error
            "`cyrus.index` is missing, damaged or unknown (`run`, `verify`, `import`)."
            "`indexfile check` says more.",
        Expunge "expunge" Error
            "`cyrus.expunge` is damaged or unknown (`run`, `verify`, `import`)."
            "`indexfile check` says more.",
        Header "header" Error
            "`cyrus.header` is missing or damaged (`run`, `verify`, `import`)."
            "`indexfile check` says more.",
        BitRot "bit-rot" Error
            "The SHA-1 of the file is not the GUID in its record, though the size is right."
            "Restore the message from a backup or the replica before anything is replicated; look \
             at the disk. If it is the GUID that is wrong, at version 10, `controller upgrade \
             --rehash=fix` sets it right.",
        Size "size" Error
            "The file has another size than its record. The text says if the SHA-1 is right all \
             the same: then the record is wrong."
            "Restore the message, or reconstruct the mailbox if the record is wrong.",
        Missing "missing" Error
            "A record without its message file. The text says if the file lies in the other \
             partition."
            "Restore the message.",
        Unlisted "unlisted" Error
            "A message file without a record."
            "Reconstruct the mailbox, or remove the file if it is a leftover.",
        Duplicate "duplicate" Error
            "A second copy of a message, in the partition where its record says it is not."
            "Cyrus 3.x's reconstruct removes it.",
        ReadError "read-error" Error
            "The disk cannot read the message."
            "Restore the message; replace the disk.",
        Unstable "unstable" Error
            "The file reads differently each time though it did not change (memory, cable, disk), \
             or it keeps being changed."
            "Check the machine before you trust anything it computes.",
        Unreadable "unreadable" Error
            "Not permitted to look; nothing is known to be wrong."
            "Run it as the user of Cyrus.",
        Denied "denied" Error
            "Not permitted to open a directory or an index, or to write a cache (`run`, `verify`, \
             `import`, `clean`)."
            "Run it as the user of Cyrus.",
        Link "link" Error
            "A symbolic link to a directory, which walking does not follow."
            "Name the mailboxes behind it.",
        WrongEntry "wrong-entry" Error
            "An entry of `cyrus.sha1s`, or a line of an import, is not the SHA-1 of its unchanged \
             file."
            "Find out whether the cache or the message has changed; `precompute clean` removes \
             the cache.",
        Cache "cache" Error
            "`cyrus.sha1s` could not be written or removed."
            "See what the system says.",
    }
}

impl Code {
    /// The exit code of a `precompute` command for which this is the worst finding.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::NoMailbox => Exit::NoMailbox,
            Self::Denied | Self::Unreadable => Exit::Denied,
            Self::NoSpool | Self::Cache | Self::Io => Exit::Io,
            // Nothing is known to be wrong, and the next run may succeed.
            Self::Unstable => Exit::RolledBack,
            _ => Exit::Data,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Code::CHECK
            .iter()
            .chain(Code::MESSAGES)
            .map(|c| c.name())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

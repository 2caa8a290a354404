//! Looking at one message against its record, and looking again: what is damage, and what is merely
//! a mailbox that lives.
//!
//! Nothing is locked, so between reading a record and reading its file anything may have happened:
//! expunged, moved to the archive, delivered, replaced by replication, the whole mailbox renamed.
//! Therefore nothing is reported at first sight. A [`Suspect`] is looked at again from a freshly
//! opened index; [`judge`] says whether that settles it. It is settled at once if the record is
//! gone or agrees now, or if all that could be in motion has been still for a while; otherwise it
//! waits and is looked at again, until two looks in a row saw the same.

use indexfile::Guid;
use indexfile::finding::Code;

use super::row::Row;
use crate::message::Stamp;
use crate::store::Place;

/// After this many looks what is seen is reported, still or not.
pub(super) const MAX_OBSERVATIONS: u32 = 8;
/// The same for a file without a record: a large expunge unlinks files long after their records.
pub(super) const MAX_OBSERVATIONS_UNLISTED: u32 = 30;

/// What one look at a message saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) uid: u32,
    /// Where the file lies that no record accounts for; `None` if it is about a record.
    pub(super) unlisted: Option<Place>,
    /// The record; `None` if there is none.
    pub(super) row: Option<Row>,
    /// Size and stamp of the file; `None` if there is none.
    pub(super) file: Option<(u64, Stamp)>,
    /// Its SHA-1, if it was read.
    pub(super) guid: Option<Guid>,
    /// When the directory changed, ns since 1970; only where a file coming or going matters.
    pub(super) dir_changed: Option<i64>,
    /// What is wrong; `None`: the file agrees with its record.
    pub(super) code: Option<Code>,
    /// In words; only for errors of the system.
    pub(super) text: Option<String>,
}

/// Something that looked wrong.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    /// How often it was looked at.
    pub(super) observations: u32,
    /// The last look.
    pub(super) seen: Observation,
}

/// What a look settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was a race.
    Race,
    /// Observation again later.
    Again,
    /// It is damage; the suspect says which.
    Damage,
}

/// Judges `suspect` by what is there `now`, and remembers it. Without a look the record is gone, or
/// expects no file any more, or the unlisted file is gone or has a record. `still`: nothing that
/// matters has changed for a while.
pub(super) fn judge(suspect: &mut Suspect, now: Option<Observation>, still: bool) -> Verdict {
    let Some(mut now) = now else {
        return Verdict::Race;
    };
    let before = &suspect.seen;
    if now.code.is_none() {
        let unchanged = before.row == now.row && before.file == now.file;
        if unchanged && before.guid.is_some() && before.guid != now.row.and_then(|row| row.guid) {
            // The same file by all signs, and another SHA-1: no race does that.
            suspect.seen.code = Some(Code::Unstable);
            return Verdict::Damage;
        }
        return Verdict::Race;
    }
    suspect.observations += 1;
    let same = before.row == now.row
        && before.file == now.file
        && before.dir_changed == now.dir_changed
        && before.code == now.code;
    if same && now.guid != before.guid {
        now.code = Some(Code::Unstable);
    }
    let most = match now.row {
        None => MAX_OBSERVATIONS_UNLISTED,
        Some(_) => MAX_OBSERVATIONS,
    };
    suspect.seen = now;
    // The second look comes at once: agreeing with the first proves little unless all is still.
    if same && (still || suspect.observations > 2) || suspect.observations >= most {
        Verdict::Damage
    } else {
        Verdict::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::FileKind;

    fn guid(byte: u8) -> Guid {
        Guid::from_bytes([byte; 20])
    }

    fn row() -> Row {
        Row {
            uid: 7,
            size: 10,
            guid: Some(guid(1)),
            archived: false,
            unlinked: false,
            cleanup: false,
            kind: FileKind::Index,
        }
    }

    fn file(ctime_ns: i64) -> (u64, Stamp) {
        let stamp = Stamp {
            mtime_ns: 1,
            ctime_ns,
            inode: 9,
        };
        (10, stamp)
    }

    fn differs(by: u8) -> Observation {
        Observation {
            uid: 7,
            unlisted: None,
            row: Some(row()),
            file: Some(file(5)),
            guid: Some(guid(by)),
            dir_changed: None,
            code: Some(Code::BitRot),
            text: None,
        }
    }

    fn missing(dir_changed: i64) -> Observation {
        Observation {
            file: None,
            guid: None,
            dir_changed: Some(dir_changed),
            code: Some(Code::Missing),
            ..differs(0)
        }
    }

    fn agrees(row: Row, ctime_ns: i64) -> Observation {
        Observation {
            row: Some(row),
            file: Some(file(ctime_ns)),
            code: None,
            ..differs(1)
        }
    }

    fn suspect(seen: Observation) -> Suspect {
        Suspect {
            observations: 1,
            seen,
        }
    }

    #[test]
    fn an_old_file_that_differs_twice_is_damage_at_once() {
        let mut s = suspect(differs(2));
        assert_eq!(judge(&mut s, Some(differs(2)), true), Verdict::Damage);
        assert_eq!(s.seen.code, Some(Code::BitRot));
    }

    #[test]
    fn a_fresh_file_is_looked_at_once_more_after_the_wait() {
        let mut s = suspect(differs(2));
        assert_eq!(judge(&mut s, Some(differs(2)), false), Verdict::Again);
        assert_eq!(judge(&mut s, Some(differs(2)), false), Verdict::Damage);
    }

    #[test]
    fn a_record_that_went_or_agrees_now_was_a_race() {
        let other = Row {
            guid: Some(guid(2)),
            ..row()
        };
        for (seen, now, what) in [
            (missing(1), None, "the record went"),
            (missing(1), Some(agrees(row(), 5)), "it agrees"),
            (differs(2), Some(agrees(row(), 6)), "the file was replaced"),
            (
                differs(2),
                Some(agrees(other, 5)),
                "the record was replaced",
            ),
        ] {
            assert_eq!(
                judge(&mut suspect(seen), now, false),
                Verdict::Race,
                "{what}"
            );
        }
    }

    #[test]
    fn the_same_file_with_two_sha1s_is_reported_even_if_one_is_right() {
        for now in [agrees(row(), 5), differs(3)] {
            let mut s = suspect(differs(2));
            assert_eq!(judge(&mut s, Some(now), true), Verdict::Damage);
            assert_eq!(s.seen.code, Some(Code::Unstable));
        }
    }

    #[test]
    fn a_directory_in_motion_delays_the_verdict_but_not_for_ever() {
        let mut s = suspect(missing(0));
        let mut looks = 0;
        loop {
            looks += 1;
            if judge(&mut s, Some(missing(looks)), false) == Verdict::Damage {
                break;
            }
        }
        assert_eq!(i64::from(MAX_OBSERVATIONS), looks + 1);
        let mut s = suspect(missing(0));
        assert_eq!(judge(&mut s, Some(missing(1)), false), Verdict::Again);
        assert_eq!(judge(&mut s, Some(missing(1)), false), Verdict::Damage);
    }
}

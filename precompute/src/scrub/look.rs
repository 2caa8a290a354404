//! Looking at one message against its record, and looking again: what is damage, and what is merely
//! a mailbox that lives.
//!
//! Nothing is locked, so between reading a record and reading its file anything may have happened:
//! expunged, moved to the archive, delivered, replaced by replication, the whole mailbox renamed.
//! Therefore nothing is reported at first sight. A [`Suspect`] is looked at again from a freshly
//! opened index; [`decide`] says whether that settles it. It is settled at once if the record is
//! gone or agrees now, or if all that could be in motion has been still for a while; otherwise it
//! waits and is looked at again, until two looks in a row saw the same.

use std::time::Duration;

use indexfile::Guid;

use super::row::Row;
use crate::message::Stamp;
use crate::store::Place;
use indexfile::finding::Code;

/// After this many looks what is seen is reported, still or not.
pub(super) const MAX_LOOKS: u32 = 8;
/// The same for a file without a record: a large expunge unlinks files long after their records.
pub(super) const MAX_LOOKS_UNLISTED: u32 = 30;

/// What is wrong at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: Code,
    /// SHA-1 and size of the file, where it was read.
    pub(super) file_guid: Option<Guid>,
    pub(super) file_size: Option<u64>,
    /// In words; only for errors of the system.
    pub(super) text: Option<String>,
}

impl Problem {
    pub(super) fn new(code: Code) -> Self {
        Self {
            code,
            file_guid: None,
            file_size: None,
            text: None,
        }
    }
}

/// What one look saw, as far as a later look must see the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The record; `None` if there is none.
    pub(super) row: Option<Row>,
    /// The file; `None` if there is none.
    pub(super) file: Option<(u64, Stamp)>,
    /// When the directory changed, ns since 1970; only where a file coming or going matters.
    pub(super) dir_changed: Option<i64>,
    pub(super) problem: Problem,
}

/// Something that looked wrong.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) uid: u32,
    /// Where the file lies that no record accounts for; `None` if it is about a record.
    pub(super) stray: Option<Place>,
    /// How often it was looked at.
    pub(super) looks: u32,
    pub(super) seen: Seen,
}

/// What is there now.
#[derive(Clone, Debug)]
pub(super) enum Now {
    /// The record is gone, or expects no file any more; or the stray file is gone or has a record.
    Gone,
    /// The file agrees with its record.
    Agrees { row: Row, file: (u64, Stamp) },
    /// Still wrong; and for how long all that matters has not changed (`None`: not known).
    Wrong {
        seen: Seen,
        still_for: Option<Duration>,
    },
}

/// What a look settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was a race.
    Race,
    /// Look again later.
    Again,
    /// It is damage; the suspect says which.
    Damage,
}

/// Judges `suspect` by what is there `now`, and remembers it.
pub(super) fn decide(suspect: &mut Suspect, now: Now, settle: Duration) -> Verdict {
    let before = &suspect.seen;
    let (mut seen, still_for) = match now {
        Now::Gone => return Verdict::Race,
        Now::Agrees { row, file } => {
            let unchanged = before.row == Some(row) && before.file == Some(file);
            if unchanged
                && before
                    .problem
                    .file_guid
                    .is_some_and(|guid| Some(guid) != row.guid)
            {
                // The same file by all signs, and another SHA-1: no race does that.
                suspect.seen.problem.code = Code::Unstable;
                return Verdict::Damage;
            }
            return Verdict::Race;
        }
        Now::Wrong { seen, still_for } => (seen, still_for),
    };
    suspect.looks += 1;
    let same = before.row == seen.row
        && before.file == seen.file
        && before.dir_changed == seen.dir_changed
        && before.problem.code == seen.problem.code;
    if same && seen.problem.file_guid != before.problem.file_guid {
        seen.problem.code = Code::Unstable;
    }
    let most = if seen.row.is_none() {
        MAX_LOOKS_UNLISTED
    } else {
        MAX_LOOKS
    };
    suspect.seen = seen;
    // The second look comes at once: agreeing with the first proves little unless all is still.
    let still = still_for.is_some_and(|still| still >= settle);
    if same && (still || suspect.looks > 2) || suspect.looks >= most {
        Verdict::Damage
    } else {
        Verdict::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::FileKind;

    const SETTLE: Duration = Duration::from_secs(2);
    const LONG: Option<Duration> = Some(Duration::from_secs(3600));
    const JUST_NOW: Option<Duration> = Some(Duration::from_millis(3));

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

    fn differs(by: u8) -> Seen {
        Seen {
            row: Some(row()),
            file: Some(file(5)),
            dir_changed: None,
            problem: Problem {
                file_guid: Some(guid(by)),
                ..Problem::new(Code::BitRot)
            },
        }
    }

    fn missing(dir_changed: i64) -> Seen {
        Seen {
            row: Some(row()),
            file: None,
            dir_changed: Some(dir_changed),
            problem: Problem::new(Code::Missing),
        }
    }

    fn suspect(seen: Seen) -> Suspect {
        Suspect {
            uid: 7,
            stray: None,
            looks: 1,
            seen,
        }
    }

    fn wrong(seen: Seen, still_for: Option<Duration>) -> Now {
        Now::Wrong { seen, still_for }
    }

    #[test]
    fn an_old_file_that_differs_twice_is_damage_at_once() {
        let mut s = suspect(differs(2));
        assert_eq!(
            decide(&mut s, wrong(differs(2), LONG), SETTLE),
            Verdict::Damage
        );
        assert_eq!(s.seen.problem.code, Code::BitRot);
    }

    #[test]
    fn a_fresh_file_is_looked_at_once_more_after_the_wait() {
        let mut s = suspect(differs(2));
        for still_for in [JUST_NOW, None] {
            let mut s = s.clone();
            assert_eq!(
                decide(&mut s, wrong(differs(2), still_for), SETTLE),
                Verdict::Again
            );
        }
        assert_eq!(
            decide(&mut s, wrong(differs(2), JUST_NOW), SETTLE),
            Verdict::Again
        );
        assert_eq!(
            decide(&mut s, wrong(differs(2), JUST_NOW), SETTLE),
            Verdict::Damage
        );
    }

    #[test]
    fn a_record_that_went_or_agrees_now_was_a_race() {
        assert_eq!(
            decide(&mut suspect(missing(1)), Now::Gone, SETTLE),
            Verdict::Race
        );
        let agrees = Now::Agrees {
            row: row(),
            file: file(5),
        };
        assert_eq!(
            decide(&mut suspect(missing(1)), agrees, SETTLE),
            Verdict::Race
        );
        let replaced = Now::Agrees {
            row: row(),
            file: file(6),
        };
        assert_eq!(
            decide(&mut suspect(differs(2)), replaced, SETTLE),
            Verdict::Race,
            "the file was replaced"
        );
        let other = Row {
            guid: Some(guid(2)),
            ..row()
        };
        let updated = Now::Agrees {
            row: other,
            file: file(5),
        };
        assert_eq!(
            decide(&mut suspect(differs(2)), updated, SETTLE),
            Verdict::Race,
            "the record was replaced"
        );
    }

    #[test]
    fn the_same_file_with_two_sha1s_is_reported_even_if_one_is_right() {
        let mut s = suspect(differs(2));
        let agrees = Now::Agrees {
            row: row(),
            file: file(5),
        };
        assert_eq!(decide(&mut s, agrees, SETTLE), Verdict::Damage);
        assert_eq!(s.seen.problem.code, Code::Unstable);
        let mut s = suspect(differs(2));
        assert_eq!(
            decide(&mut s, wrong(differs(3), LONG), SETTLE),
            Verdict::Damage
        );
        assert_eq!(s.seen.problem.code, Code::Unstable);
    }

    #[test]
    fn a_directory_in_motion_delays_the_verdict_but_not_for_ever() {
        let mut s = suspect(missing(0));
        let mut looks = 0;
        loop {
            looks += 1;
            if decide(&mut s, wrong(missing(looks), JUST_NOW), SETTLE) == Verdict::Damage {
                break;
            }
        }
        assert_eq!(i64::from(MAX_LOOKS), looks + 1);
        let mut s = suspect(missing(0));
        assert_eq!(
            decide(&mut s, wrong(missing(1), JUST_NOW), SETTLE),
            Verdict::Again
        );
        assert_eq!(
            decide(&mut s, wrong(missing(1), JUST_NOW), SETTLE),
            Verdict::Damage
        );
    }
}

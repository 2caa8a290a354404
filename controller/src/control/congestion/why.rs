//! Why it is this number of mailboxes at once now, for a person.

use std::fmt;

/// Why. Times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Why {
    /// Nothing was measured yet.
    Begins,
    /// It is compared with this number.
    Tries { than: usize },
    /// It is better than this number was.
    Better { than: usize },
    /// With this number locks were held for too long.
    Long { at_once: usize, us: f64 },
    /// Locks were held for too long, and fewer at once did not shorten them enough.
    NotOurs,
    /// With this number it was no faster.
    NoFaster { at_once: usize },
    /// It is the most.
    Most,
    /// Not all of them are in use.
    Unused,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins => f.write_str("nothing measured yet"),
            Self::Tries { than } => write!(f, "compared with {than}"),
            Self::Better { than } => write!(f, "better than {than}"),
            Self::Long { at_once, us } => write!(f, "{at_once} held them for {}", ms(*us)),
            Self::NotOurs => f.write_str("fewer at once were not worth it"),
            Self::NoFaster { at_once } => write!(f, "{at_once} were no faster"),
            Self::Most => f.write_str("no more are allowed"),
            Self::Unused => f.write_str("not all of them in use"),
        }
    }
}

/// Milliseconds, with as many digits as a person reads.
pub(super) fn ms(us: f64) -> String {
    let ms = us / 1000.0;
    if ms >= 100.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

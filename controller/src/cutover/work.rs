//! What the work before a change-over and the proof after it need, and which mailboxes they are of.

use std::sync::Arc;

use crate::hosts::Connect;
use crate::journal::Journal;
use crate::observer::Observer;
use crate::stop::StopSignal;
use crate::survey::Source;
use crate::two_phase::Side;

/// What both need.
pub struct Work<'a> {
    /// How to reach the hosts.
    pub connect: &'a Arc<dyn Connect>,
    /// By which the hosts know this coordinator.
    pub journal: &'a dyn Journal,
    /// For what is not as it should be.
    pub observer: &'a dyn Observer,
    /// When to end early.
    pub stop: &'a StopSignal,
    /// Mailboxes at once.
    pub parallel: usize,
    /// The index version wanted.
    pub to: u8,
}

/// Every mailbox of every host, where no others are named: one that the replica alone has would
/// else be forgotten.
pub(super) fn of_every_host(connect: &dyn Connect, sources: Vec<Source>) -> Vec<Source> {
    let replica = connect.address(Side::Replica).is_some();
    if is_whole(&sources) && replica {
        vec![Source::Master, Source::Replica]
    } else {
        sources
    }
}

/// Whether it is everything that there is.
pub(super) fn is_whole(sources: &[Source]) -> bool {
    sources == [Source::Master]
}

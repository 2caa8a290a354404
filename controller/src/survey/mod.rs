//! Questions about many mailboxes that change nothing: where their names come from, what the hosts
//! say about each, and what follows from all of it.
//!
//! # What it promises
//!
//! No lock is taken and nothing is written. Memory does not grow with the number of mailboxes.
//!
//! # What a crash leaves
//!
//! Nothing.

mod ask;
mod assign;
mod counts;
mod damage;
mod excluded;
mod keep;
mod leave_out;
mod looked;
mod looked_into;
mod plan;
mod preflight;
mod sample;
mod source;
mod sources;
mod space;
mod spool;
mod trouble;
mod typed;
mod verify_report;

pub use ask::{Answered, Asking, list, survey, survey_and_look, survey_rows};
pub use assign::{Assignment, Few, Written, assign, each_listed};
pub use counts::{Census, Count, Refused, Versions};
pub(crate) use counts::{UNLIKE_UNIQUEID, each_host, is_unknown, versions};
pub use excluded::{Excluded, LeftOut, Odd};
pub use keep::{Keep, Pattern, User};
pub use leave_out::LeaveOut;
pub use looked::Looked;
pub use plan::Plan;
pub(crate) use plan::duration;
pub(crate) use preflight::ends_soon;
pub use preflight::{Preflight, SERVERS_BEFORE_2_3_10};
pub(crate) use preflight::{SAMPLE, Work, preflight};
pub(crate) use sample::sample;
pub use source::Source;
pub(crate) use sources::BATCH;
pub use space::Space;
pub(crate) use spool::{Spool, Spooled};
pub use trouble::{HostLook, Room, Trouble, Weight};
pub(crate) use typed::needs_naming;
pub use typed::{naming, resolve};
pub use verify_report::VerifyReport;
#[cfg(test)]
pub(crate) use {looked_into::Sampled, preflight::HostAnswers};

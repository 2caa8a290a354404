//! The coordinator: mailbox lists, journal, two-phase commit, bulk runs, reports.

pub mod audit;
pub mod bench;
pub mod cli;
pub mod control;
pub mod count;
pub mod demo;
pub mod journal;
pub mod listing;
pub mod plan;
pub mod report;
pub mod run;
mod shell;
pub mod two_phase;

//! The coordinator: mailbox lists, journal, two-phase commit, bulk runs, reports.

pub mod bench;
pub mod certs;
pub mod chart;
pub mod cli;
mod clock;
pub mod control;
pub mod cutover;
pub mod demo;
pub mod drain;
pub mod error;
mod executable;
pub mod fleet;
pub mod hooks;
pub mod hosts;
pub mod imap;
pub mod journal;
pub mod login;
mod longest;
pub mod murder;
pub mod observer;
pub mod report;
pub mod run;
pub mod stop;
pub mod survey;
pub mod two_phase;
mod whole_file;
mod words;

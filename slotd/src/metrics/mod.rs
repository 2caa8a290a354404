//! Numbers for Prometheus: what a page of them is, and how it reaches a Prometheus.
//!
//! A program has one table of [`Metric`]s, from which its page has names, kinds and help, and with
//! which the documentation, the alert rules and the dashboard are compared. A page is made anew
//! each time from numbers that are kept anyway; nothing is counted here.
//!
//! # What it promises
//!
//! * Names begin with `reguid_`; times are seconds, sizes bytes. No label has a mailbox's name.
//! * A client is answered or cut off within a bound, and costs no more than a bound.
//!
//! # What a crash leaves
//!
//! The file of `--metrics-file`, whole, with the numbers of the last time.

mod file;
mod http;
mod of_slotd;
mod page;

pub use file::write_file;
pub use http::{MetricsAddr, MetricsAddrError, serve};
pub use of_slotd::{METRICS, page};
pub use page::{Kind, Metric, Page};

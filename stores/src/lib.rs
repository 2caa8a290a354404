//! Mail stores, for the demo, the benches and the tests: built as a Cyrus 2.3.9 leaves them
//! ([`spec`]), copied from one that a genuine server wrote ([`genuine`]), changed as a running
//! server changes them ([`cyrus23`]), and judged after a migration ([`judge`]).
//!
//! The judge believes nothing of the code that did the work: it finds mailboxes ([`host`]) and
//! reads index files with a few lines of its own. The builder uses `indexfile::build`; what it
//! makes is therefore read by the judge's parser too, before a run.

pub mod cyrus23;
pub mod genuine;
pub mod host;
pub mod judge;
pub mod spec;

pub use host::{Dirs, Host, Layout};
pub use spec::{Built, Counts, POINTS, StoreError, StoreSpec, Variety};

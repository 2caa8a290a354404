//! Whole runs against slotds that live in memory and speak the real wire.

mod asked;
mod away;
mod ends;
mod failures;
mod fake;
mod limits;
mod pair;
mod preflight;
mod rehash;
mod retries;
mod rollback;
mod runs;
mod stops;
mod world;

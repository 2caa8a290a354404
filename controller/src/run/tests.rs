//! Whole runs against slotds that live in memory and speak the real wire.

mod asked;
mod away;
mod cutover;
mod ends;
mod failures;
mod fake;
mod fenced;
mod hold;
mod left_out;
mod limits;
mod lost_rows;
mod newcomers;
mod options;
mod over;
mod over_world;
mod pair;
mod preflight;
mod proof;
mod rehash;
mod rehearse;
mod retries;
mod rollback;
mod runs;
mod stops;
mod world;

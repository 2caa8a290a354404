//! Whole runs against slotds that live in memory and speak the real wire.

mod fake;
mod runs;

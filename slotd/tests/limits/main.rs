//! What slotd lets its clients have, and that who has it keeps nobody out without a word. Most of
//! the time passes in waiting, so it is one program.

#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod of_a_peer;
mod of_all;

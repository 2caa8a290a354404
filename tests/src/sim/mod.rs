//! The world around the state machines: disks that forget, processes that die, networks that lose.
//!
//! [`site`] is one mailbox on one host: the real participant machine, its actions done step by step
//! on a [`disk`] that forgets. The model drives it one step at a time; [`run`] puts it behind the
//! real wire and the real controller, in a network and on a clock that a seed decides; [`operator`]
//! gives the commands. A failing seed is repeated with `SEED=n`.

mod across;
mod answers;
mod connection;
pub mod disk;
pub mod epochs;
pub mod host;
pub mod image;
pub mod intent;
mod judge;
pub mod mail;
mod net;
pub mod op;
mod operator;
pub mod recover;
pub mod run;
pub mod several;
pub mod site;
mod steps;
mod storm;
mod world;

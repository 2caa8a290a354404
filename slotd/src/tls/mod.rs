//! TLS between a controller and a slotd, and between two slotds: certificates of a private
//! authority on both ends, and nothing else.
//!
//! # What it promises
//!
//! * TLS 1.3 alone, both ends with a certificate that the other one's authority signed.
//! * What the other end may do is what its certificate says ([`crate::protocol::Role`]).
//! * Every handshake has a bound.
//!
//! # What a crash leaves
//!
//! Connections that close.

mod alpn;
mod bounded;
mod certificate;
mod client;
mod cut;
mod files;
mod refused;
mod server;
mod sparing;

pub use certificate::{Certificate, Unreadable};
pub(crate) use client::ConnectError;
pub use client::Credentials;
pub(crate) use cut::Cut;
pub use files::{Files, FilesError};
pub use refused::Refused;
pub use server::Server;
pub(crate) use server::{Accepted, MAX_CHAIN, NoHandshake};
#[cfg(test)]
pub(crate) use server::{BUFFERED, MAX_RECORD};

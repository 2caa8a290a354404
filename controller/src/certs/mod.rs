//! A private authority in a directory, and the certificates that slotds, controllers and viewers
//! know one another by: docs/security.md.
//!
//! # What it promises
//!
//! * A key is its owner's alone from the first instant, and goes nowhere but into its file.
//! * No file that is there is overwritten, but for the revocation list, which only grows and is
//!   replaced whole.
//! * A directory that others may look into is refused.
//!
//! # What a crash leaves
//!
//! Of `init` an authority without all of its files, which is refused afterwards: remove the
//! directory. Of `issue` a key without a certificate: of no use to anybody. Of `revoke` the list
//! before, or the one after.

mod authority;
mod error;
mod issue;
mod revoke;
mod show;
#[cfg(test)]
mod tests;

pub use authority::{Authority, DAYS as AUTHORITY_DAYS};
pub use error::CertsError;
pub use issue::{DAYS, Issued, Wanted};
pub use revoke::Revocation;
pub use show::{Shown, Standing, show};

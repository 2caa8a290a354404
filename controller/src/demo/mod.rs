//! A whole migration on stores that the demo makes itself, for people who meet reguid for the first time.
//!
//! [`store`] builds mail stores as a Cyrus 2.3.9 leaves them (tests and benches use it too), [`verify`]
//! checks afterwards what the run did, with eyes of its own.

pub mod store;
pub mod verify;

//! What it takes to log in at another server over the network: its place, a connection, TLS, and a
//! password.
//!
//! # What it promises
//!
//! * Every wait has a bound.
//! * A password goes nowhere in clear, but to loopback or where that is allowed
//!   ([`Security::insecure`]), and it is in no message.
//!
//! # What a crash leaves
//!
//! A connection that closes.

mod error;
mod host_port;
mod password;
mod tcp;
mod tls;

pub use error::{LinkError, SetupError};
pub use host_port::HostPort;
pub use password::Password;
pub(crate) use tcp::{Stream, connect};
pub use tls::Security;
pub(crate) use tls::{Tls, handshake};

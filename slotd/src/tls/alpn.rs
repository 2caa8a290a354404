//! The name of the protocol, in the handshake.

/// What both ends say that they speak: a port of another service is known by that.
pub(super) const ALPN: &[u8] = b"reguid/1";

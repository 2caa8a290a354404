//! Connections by TLS: who gets in, what each may order, and what becomes of open connections when
//! files are replaced.

#[path = "../common/mod.rs"]
mod common;
mod refused;
mod replaced;
mod roles;
mod setup;
mod strangers;

//! A mupdate server that says what a test wants, and a client that must live with it.

mod fake;
mod hostile;
mod secure;
mod session;
mod waiting;

//! The per-host agent: protocol, locks, staging, commit, recovery, and its client.

//! What the options of `serve` say of times and limits, at the start and at each SIGHUP.

use std::num::NonZeroUsize;
use std::time::Duration;

use indexfile::exit::Exit;

use super::Failure;
use super::args::Serve;
use crate::host::Options;
use crate::server;

/// What the options say of times and limits.
pub(super) fn of(args: &Serve) -> Result<Options, Failure> {
    Ok(Options {
        max_lock: seconds("--max-lock", args.max_lock)?,
        max_stage: seconds("--max-stage", args.max_stage)?,
        max_wait: seconds("--max-wait", args.max_wait)?,
        sha1s_from: args.sha1s_from.clone(),
        max_idle: seconds("--max-idle", args.limits.max_idle)?,
        first_command: seconds("--first-command", args.limits.first_command)?,
        max_connections: args.limits.max_connections.get(),
        max_connections_peer: args.limits.max_connections_peer.map(NonZeroUsize::get),
        max_transactions_peer: args.limits.max_transactions_peer.map(NonZeroUsize::get),
        server_stopped: args.server_stopped,
        cyrus_conf: args.cyrus_conf.clone(),
        ..Options::default()
    })
}

/// How many of the connections that are wanted can be served.
pub(super) fn places(options: &Options) -> Result<usize, Failure> {
    server::capacity(options.max_connections)
        .map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

pub(super) fn seconds(option: &str, value: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|d| !d.is_zero() && *d <= Duration::from_secs(86_400))
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("{option} {value}: expected seconds, more than 0, at most a day"),
            )
        })
}

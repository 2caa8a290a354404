//! Whom a slotd trusts: what its options say of certificates and users.

use std::sync::Arc;

use indexfile::exit::Exit;
use nix::unistd::{Group, User};

use super::Failure;
use super::args::Serve;
use crate::client::Addr;
use crate::server::{Access, Users};
use crate::tls::{Credentials, FilesError, Server};

/// What a slotd shows, and whom it lets in.
pub(super) struct Trust {
    pub(super) access: Access,
    pub(super) credentials: Option<Arc<Credentials>>,
}

impl From<FilesError> for Failure {
    fn from(error: FilesError) -> Failure {
        Failure::new(error.exit(), error.to_string())
    }
}

/// What the options say.
pub(super) fn of(args: &Serve) -> Result<Trust, Failure> {
    let files = args.tls.files();
    let needs = |what: &str| {
        let text = format!("{what} needs --tls-cert, --tls-key and --tls-ca (docs/security.md)");
        Failure::new(Exit::Config, text)
    };
    let tls = match (&args.listen, &files) {
        (Addr::Tls { .. }, Some(files)) => Some(Arc::new(Server::open(files.clone())?)),
        (Addr::Tls { .. }, None) => return Err(needs("--listen tls://")),
        _ => None,
    };
    let credentials = match (&args.sha1s_from, files) {
        (Some(Addr::Tls { .. }), Some(files)) => Some(Arc::new(Credentials::open(files)?)),
        (Some(Addr::Tls { .. }), None) => return Err(needs("--sha1s-from tls://")),
        _ => None,
    };
    let group = args.socket_group.as_deref().map(group).transpose()?;
    let users = Users::new(&users(args)?);
    Ok(Trust {
        access: Access {
            insecure_tcp: args.insecure_tcp,
            tls,
            socket_group: group,
            users,
        },
        credentials,
    })
}

/// The users of `--allow-user`.
pub(super) fn users(args: &Serve) -> Result<Vec<u32>, Failure> {
    args.allow_users.iter().map(|name| user(name)).collect()
}

/// A user's number, by name or as it is.
fn user(name: &str) -> Result<u32, Failure> {
    let found = User::from_name(name).ok().flatten();
    let found = found
        .map(|user| user.uid.as_raw())
        .or_else(|| name.parse().ok());
    found.ok_or_else(|| Failure::new(Exit::Config, format!("--allow-user: no user {name}")))
}

/// A group's number, by name or as it is.
fn group(name: &str) -> Result<u32, Failure> {
    let found = Group::from_name(name).ok().flatten();
    let found = found
        .map(|group| group.gid.as_raw())
        .or_else(|| name.parse().ok());
    found.ok_or_else(|| Failure::new(Exit::Config, format!("--socket-group: no group {name}")))
}

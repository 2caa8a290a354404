//! Both hosts are called complete, or none: the last step of the proof.
//!
//! First each slotd looks at its whole store and makes no file; only if both would say that theirs
//! is complete is each asked to say so, the replica first. Where one of them then does not, the
//! other takes its word back.
//!
//! A crash of the controller between the two leaves the file on the replica alone: no server that
//! takes deliveries can start by it, and the next proof begins by removing it.

use std::fmt::Write as _;
use std::sync::Arc;

use slotd::protocol::{Command, Complete, Completed, Fields, Reply, Revoked};

use crate::error::RunError;
use crate::hosts::{Connect, Link};
use crate::two_phase::Side;

/// Why not both hosts are called complete.
pub(super) struct Incomplete {
    /// In words, with which host has what.
    pub(super) why: String,
    /// By side, the file that could not be removed again, as far as it is known.
    pub(super) left: [Option<String>; 2],
}

/// Has both slotds make the file that says that the store is complete at version `to`; gives the
/// files. `mailboxes`: by side, how many were proven.
pub(super) async fn complete(
    connect: &Arc<dyn Connect>,
    to: u8,
    mailboxes: [u64; 2],
) -> Result<[Option<String>; 2], Incomplete> {
    let sides = Side::REPLICA_FIRST.into_iter();
    let sides = sides.filter(|side| connect.address(*side).is_some());
    // One connection a host: slotd makes the file where it looked before, and a command that is
    // delayed on a connection that is given up makes none.
    let mut links: Vec<Link> = sides.map(|side| Link::new(side, connect)).collect();
    let ask = async |link: &mut Link, dry_run: bool| -> Result<Option<String>, String> {
        let many = || "it has too many mailboxes".to_owned();
        let mailboxes = u32::try_from(mailboxes[link.side().index()]).map_err(|_| many())?;
        let command = Command::Complete(Complete {
            version: to.into(),
            mailboxes,
            dry_run,
        });
        let fields = call(link, &command).await?;
        let completed = Completed::from_fields(&fields);
        completed
            .map(|done| done.file)
            .map_err(|error| error.to_string())
    };
    for link in &mut links {
        if let Err(refused) = ask(link, true).await {
            let why = format!(
                "{}; no host is called complete",
                not_called(link.side(), &refused)
            );
            let left = [None, None];
            return Err(Incomplete { why, left });
        }
    }
    let mut files = [None, None];
    for link in &mut links {
        let side = link.side();
        let none = || "its answer names no file".to_owned();
        match ask(link, false)
            .await
            .and_then(|file| file.ok_or_else(none))
        {
            Ok(file) => files[side.index()] = Some(file),
            Err(refused) => return Err(take_back(connect, side, &refused, files).await),
        }
    }
    Ok(files)
}

async fn call(link: &mut Link, command: &Command) -> Result<Fields, String> {
    match link.call(command).await {
        Ok(Reply::Ok(fields)) => Ok(fields),
        Ok(Reply::No { code, text }) => Err(format!("[{code}] {text}")),
        Ok(Reply::Bad(text)) => Err(format!("BAD {text}")),
        Err(error) => Err(error.to_string()),
    }
}

fn not_called(side: Side, refused: &str) -> String {
    format!("the {side}'s slotd does not call its store complete: {refused}")
}

/// Has what was made removed again, and on the host that refused, or did not answer, what it may
/// have made.
async fn take_back(
    connect: &Arc<dyn Connect>,
    refusing: Side,
    refused: &str,
    mut files: [Option<String>; 2],
) -> Incomplete {
    let mut why = not_called(refusing, refused);
    for side in Side::REPLICA_FIRST {
        let made = files[side.index()].take();
        if made.is_none() && side != refusing {
            continue;
        }
        let said = match (revoke(connect, side).await, made) {
            (Ok(Revoked { removed, file }), _) if removed => {
                format!("{file}, made on the {side}, was removed again")
            }
            (Ok(Revoked { file, .. }), _) => format!("{file} is not there on the {side}"),
            (Err(error), Some(file)) => {
                let said = format!(
                    "{file} was made on the {side} and could not be removed again ({error}): \
                     remove it before any server is started there"
                );
                files[side.index()] = Some(file);
                said
            }
            (Err(error), None) => format!(
                "cutover-complete may be in the configdirectory of the {side} ({error}): remove it \
                 before any server is started there"
            ),
        };
        // Writing to a String cannot fail.
        let _ = write!(why, "; {said}");
    }
    Incomplete { why, left: files }
}

async fn revoke(connect: &Arc<dyn Connect>, side: Side) -> Result<Revoked, String> {
    let fields = call(&mut Link::new(side, connect), &Command::Revoke).await?;
    Revoked::from_fields(&fields).map_err(|error| error.to_string())
}

/// No host is called complete afterwards.
///
/// # Errors
/// A host does not do that.
pub(super) async fn revoke_all(connect: &Arc<dyn Connect>) -> Result<(), RunError> {
    for side in Side::REPLICA_FIRST {
        if connect.address(side).is_none() {
            continue;
        }
        if let Err(text) = revoke(connect, side).await {
            let side = side.as_str();
            let text = format!("REVOKE: {text}");
            return Err(RunError::Unavailable { side, text });
        }
    }
    Ok(())
}

//! `mount`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use indexfile::IoContext;
use indexfile::exit::Exit;

use super::Failure;
use super::args::{Mount, MountVerb, StateArg};
use super::open::{leave_root, state_is_there};
use crate::mounts::{MountState, Table, TableError, mount_point_of};

pub(super) fn mount(args: &Mount) -> Result<Exit, Failure> {
    leave_root(&args.at)?;
    state_is_there(&args.at.state)?;
    let file = args.at.state.join("mounts.json");
    let change = |f: &dyn Fn(&mut Table) -> Result<(), TableError>| -> Result<Exit, Failure> {
        let mut result = Ok(());
        Table::change(&file, |table| result = f(table))
            .and(result)
            .map_err(|e| mounts_failure(&e))?;
        Ok(Exit::Ok)
    };
    match &args.verb {
        MountVerb::List => {
            let (table, _) = Table::load(&file).map_err(|e| mounts_failure(&e))?;
            list_mounts(&table, Shown::All)
        }
        MountVerb::Add { path } => {
            let point = path
                .canonicalize()
                .io_context("find", path)
                .and_then(|real| mount_point_of(&real))
                .map_err(|e| Failure::new(Exit::of_io(&e.source), e.to_string()))?;
            change(&|table| {
                table.note(path, point.clone());
                Ok(())
            })
        }
        MountVerb::Remove { path } => change(&|table| table.remove(path)),
        MountVerb::State { path: None, .. } => {
            let (table, _) = Table::load(&file).map_err(|e| mounts_failure(&e))?;
            list_mounts(&table, Shown::Heeded)
        }
        MountVerb::State {
            path: Some(path),
            state: None,
        } => {
            let (table, _) = Table::load(&file).map_err(|e| mounts_failure(&e))?;
            let point = match table.roots.get(path) {
                Some(Some(point)) => point,
                _ => path,
            };
            let known = table.mounts.get(point).map(|mount| mount.state);
            let plain = table.roots.contains_key(path).then_some(MountState::Online);
            let state = known.or(plain).ok_or_else(|| {
                let path = path.clone();
                mounts_failure(&TableError::Unknown { path })
            })?;
            print(&format!("{}\n", word(state)))
        }
        MountVerb::State {
            path: Some(path),
            state: Some(state),
        } => {
            let state = match state {
                StateArg::Online => MountState::Online,
                StateArg::Offline => MountState::Offline,
                StateArg::Failover => MountState::Failover,
                StateArg::Ignore => MountState::Ignore,
            };
            change(&|table| table.set_state(path, state))
        }
    }
}

/// Which mounts are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// And the roots on them.
    All,
    /// But those that are ignored.
    Heeded,
}

fn word(state: MountState) -> String {
    format!("{state:?}").to_lowercase()
}

fn list_mounts(table: &Table, shown: Shown) -> Result<Exit, Failure> {
    let mut out = String::new();
    {
        for (point, mount) in &table.mounts {
            let ignored = mount.state == MountState::Ignore || table.is_wildly_ignored(point);
            if ignored && shown == Shown::Heeded {
                continue;
            }
            let now = mount_point_of(point).ok().flatten();
            let mounted = if now.as_deref() == Some(point.as_path()) {
                "mounted"
            } else if table.roots.get(point) == Some(&None) {
                "no mount point"
            } else {
                "NOT MOUNTED"
            };
            let state = if ignored {
                MountState::Ignore
            } else {
                mount.state
            };
            let state = word(state);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}\t{state}\t{mounted}", point.display());
        }
    }
    if shown == Shown::All {
        for wildcard in &table.ignored {
            let _ = writeln!(out, "{wildcard}\tignore\twildcard");
        }
        for (root, point) in &table.roots {
            let on = point.as_deref().unwrap_or(Path::new("/"));
            let _ = writeln!(out, "{}\ton {}", root.display(), on.display());
        }
    }
    print(&out)
}

fn print(text: &str) -> Result<Exit, Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("stdout: {e}")))
        }
        _ => Ok(Exit::Ok),
    }
}

fn mounts_failure(error: &TableError) -> Failure {
    let exit = match error {
        TableError::Io(io) => Exit::of_io(&io.source),
        TableError::Damaged { .. } => Exit::Data,
        TableError::Unknown { .. } | TableError::Wildcard { .. } => Exit::Usage,
    };
    Failure::new(exit, error.to_string())
}

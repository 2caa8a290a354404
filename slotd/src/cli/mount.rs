//! `mount`.

use std::io::Write;
use std::path::Path;

use indexfile::IoContext;
use indexfile::exit::Exit;

use super::Failure;
use super::args::{Mount, MountVerb, StateArg};
use super::open::leave_root;
use crate::mounts::{MountState, Table, TableError, mount_point_of};

pub(super) fn mount(args: &Mount) -> Result<Exit, Failure> {
    leave_root(&args.at)?;
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
            list_mounts(&table)
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
        MountVerb::State { path, state } => {
            let state = match state {
                StateArg::Online => MountState::Online,
                StateArg::Offline => MountState::Offline,
                StateArg::Ignore => MountState::Ignore,
            };
            change(&|table| table.set_state(path, state))
        }
    }
}

fn list_mounts(table: &Table) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    let mut print = || -> std::io::Result<()> {
        for (point, mount) in &table.mounts {
            let now = mount_point_of(point).ok().flatten();
            let mounted = if now.as_deref() == Some(point.as_path()) {
                "mounted"
            } else if table.roots.get(point) == Some(&None) {
                "no mount point"
            } else {
                "NOT MOUNTED"
            };
            let state = format!("{:?}", mount.state).to_lowercase();
            writeln!(out, "{}\t{state}\t{mounted}", point.display())?;
        }
        for (root, point) in &table.roots {
            let on = point.as_deref().unwrap_or(Path::new("/"));
            writeln!(out, "{}\ton {}", root.display(), on.display())?;
        }
        Ok(())
    };
    match print() {
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
        TableError::Unknown { .. } => Exit::Usage,
    };
    Failure::new(exit, error.to_string())
}

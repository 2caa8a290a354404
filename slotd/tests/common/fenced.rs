//! A store whose server is stopped and fenced, and what is asked of its slotd.

use std::sync::Arc;

use slotd::host::{Host, Options};
use slotd::protocol::{Code, Command, Commit, Fields, Reply, Upgrade, Upgraded};
use slotd::session::Session;

use super::{Store, lock};

pub const MAILBOX: &str = "user.alice.expunged";

pub fn upgrade(version: u32) -> Upgrade {
    Upgrade {
        version,
        ..Upgrade::default()
    }
}

pub fn commit(hold: bool) -> Command {
    let drop_old = false;
    Command::Commit(Commit { hold, drop_old })
}

/// A session on a store whose server is stopped and fenced, at version 10.
pub fn fenced() -> (Store, Arc<Host>, Session) {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    let mut session = Session::new(Arc::clone(&host));
    change(&mut session, 10).unwrap();
    raise_fence(&store);
    (store, host, session)
}

pub fn raise_fence(store: &Store) {
    let msg = store.conf.config_directory().unwrap().join("msg");
    std::fs::create_dir_all(&msg).unwrap();
    std::fs::write(msg.join("shutdown"), "change-over\n").unwrap();
}

/// All of them; the first that is not answered with OK ends it, and what is open is rolled back.
pub fn run(session: &mut Session, commands: Vec<Command>) -> Result<Vec<Reply>, (Code, String)> {
    let mut replies = Vec::new();
    for command in commands {
        match session.handle(command) {
            Reply::No { code, text } => {
                let _ = session.handle(Command::Rollback);
                return Err((code, text));
            }
            reply => replies.push(reply),
        }
    }
    Ok(replies)
}

pub fn fields(reply: &Reply) -> &Fields {
    match reply {
        Reply::Ok(fields) => fields,
        reply => panic!("{reply:?}"),
    }
}

pub fn change(session: &mut Session, to: u32) -> Result<Upgraded, (Code, String)> {
    let commands = vec![
        Command::Lock(lock(MAILBOX)),
        Command::Upgrade(upgrade(to)),
        commit(false),
    ];
    let replies = run(session, commands)?;
    Ok(Upgraded::from_fields(fields(&replies[1])).unwrap())
}

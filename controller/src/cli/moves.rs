//! Mailboxes of a Murder that moved to another backend during a run: the mupdate server is asked
//! once where each is, and the pair that has it now does it in the same run. One that moved again
//! is named, and not followed.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;

use super::of_murder::{Lines, OfMurder};
use super::session::Session;
use super::{Fail, text};
use crate::error::RunError;
use crate::fleet::{Gone, Now, whereabouts};
use crate::journal::{Candidate, Filter, RunId, State, for_each_row};
use crate::observer::Observer;
use crate::run::{self, Summary};
use crate::stop::Stop;
use crate::two_phase::Reason;

/// Names that the mupdate server is asked about after a run, at most.
const ASKED: usize = 10_000;

/// What came of each pair, by its place.
pub(super) type Done = Vec<(usize, Result<Summary, RunError>)>;

/// What came of those that moved.
#[derive(Default)]
pub(super) struct Moves {
    /// A sentence each.
    pub(super) lines: Vec<String>,
    /// Some of them are not done.
    pub(super) left: bool,
}

/// One that another pair has now.
struct Came {
    came: Candidate,
    from: usize,
}

impl Moves {
    /// Says what came of them, and the code that fits.
    pub(super) fn tell(&self) -> Exit {
        for line in &self.lines {
            text::note(line);
        }
        if self.left {
            Exit::RolledBack
        } else {
            Exit::Ok
        }
    }

    fn left(&mut self, name: &MailboxName, why: &str) {
        self.left = true;
        self.lines
            .push(format!("{name} {why}: give the same command again"));
    }
}

/// Follows the mailboxes that were gone when their turn came, once. What the pairs to which they
/// moved amount to then is in `done`.
///
/// # Errors
/// The journal cannot be read.
pub(super) async fn follow(
    murder: &OfMurder,
    session: &Arc<Session>,
    done: &mut Done,
) -> Result<Moves, Fail> {
    let mut moves = Moves::default();
    if session
        .pairs
        .iter()
        .any(|at| at.parts().stop.level() != Stop::No)
    {
        return Ok(moves);
    }
    let (gone, more) = gone(session, done)?;
    if more > 0 {
        let text = format!("{more} more mailboxes were gone, which were not looked for");
        moves.lines.push(text);
        moves.left = true;
    }
    let servers = session.pairs.iter().map(|at| at.pair.servername.as_str());
    let servers: Vec<&str> = servers.collect();
    let quiet = session.common.output.quiet;
    let observer: Arc<dyn Observer> = Arc::new(Lines { quiet });
    let mut to: BTreeMap<usize, Vec<Came>> = BTreeMap::new();
    for (one, now) in whereabouts(&murder.list, gone, &servers, &observer).await {
        match now {
            Now::OnPair(pair, partition) => {
                let Gone { name, from } = one;
                let came = Candidate {
                    partition,
                    ..Candidate::new(name, false)
                };
                to.entry(pair).or_default().push(Came { came, from });
            }
            Now::Elsewhere(server) => {
                moves.left(&one.name, &format!("is on {server} now, which is no pair"));
            }
            Now::Reserved => moves.left(&one.name, "is being moved"),
            Now::Stale => {
                let server = servers[one.from];
                let text = format!("{}: stale: {server} has it no longer", one.name);
                moves.lines.push(text);
            }
        }
    }
    let taken = take_in(session, done, &mut moves, to).await?;
    for (pair, newcomers) in taken {
        tell(session, pair, newcomers, &mut moves)?;
    }
    Ok(moves)
}

/// Those that were gone, and how many more.
fn gone(session: &Session, done: &Done) -> Result<(Vec<Gone>, usize), Fail> {
    let (mut gone, mut more) = (Vec::new(), 0);
    for (from, result) in done {
        let Ok(summary) = result else { continue };
        let journal = session.pairs[*from].parts().journal;
        let run = RunId(summary.run);
        for_each_row(journal.as_ref(), run, Filter::In(State::Gone), |row| {
            if gone.len() == ASKED {
                more += 1;
            } else {
                let (name, from) = (row.name.clone(), *from);
                gone.push(Gone { name, from });
            }
        })?;
    }
    Ok((gone, more))
}

/// Has each pair do those that came to it and that it does not have yet. Those of which something
/// came, by pair.
async fn take_in(
    session: &Arc<Session>,
    done: &mut Done,
    moves: &mut Moves,
    to: BTreeMap<usize, Vec<Came>>,
) -> Result<BTreeMap<usize, Vec<Came>>, Fail> {
    let (mut work, mut known) = (BTreeMap::new(), BTreeMap::new());
    for (pair, came) in to {
        let at_work = &session.pairs[pair];
        let journal = at_work.parts().journal;
        let of_pair = done.iter().find(|(at, _)| *at == pair);
        let run = of_pair.and_then(|(_, result)| Some(RunId(result.as_ref().ok()?.run)));
        let info = run.map(|run| journal.run(run)).transpose()?.flatten();
        let finished = info.filter(|info| info.finished_ms.is_some());
        let Some(info) = finished.filter(|info| !info.spec.verb.crosses()) else {
            let why = format!("moved to {}, which is not done", at_work.pair.name);
            for one in &came {
                moves.left(&one.came.name, &why);
            }
            continue;
        };
        let mut newcomers = Vec::new();
        for one in &came {
            if journal.find(info.id, &one.came.name)?.is_none() {
                newcomers.push(one.came.clone());
            }
        }
        if !newcomers.is_empty() {
            work.insert(pair, (info.id, newcomers));
        }
        known.insert(pair, came);
    }
    let pairs: Vec<usize> = work.keys().copied().collect();
    let work = Arc::new(work);
    let taken = session.each(pairs, |session, pair| {
        let work = Arc::clone(&work);
        async move {
            let (run, newcomers) = &work[&pair];
            let at_work = &session.pairs[pair];
            let text = format!("{} mailbox(es) moved here during the run", newcomers.len());
            at_work.parts().observer.say(&text);
            run::take_in(at_work.parts(), *run, newcomers, at_work.control()).await
        }
    });
    for (pair, result) in taken.await {
        match result {
            Ok(summary) => {
                let of_pair = done.iter_mut().find(|(at, _)| *at == pair);
                if let Some((_, of_pair)) = of_pair {
                    *of_pair = Ok(summary);
                }
            }
            Err(error) => {
                let why = format!("moved to {}: {error}", session.pairs[pair].pair.name);
                for one in known.remove(&pair).into_iter().flatten() {
                    moves.left(&one.came.name, &why);
                }
            }
        }
    }
    Ok(known)
}

/// What came of those that a pair took in.
fn tell(session: &Session, pair: usize, came: Vec<Came>, moves: &mut Moves) -> Result<(), Fail> {
    let at_work = &session.pairs[pair];
    let (journal, here) = (at_work.parts().journal, &at_work.pair.name);
    let Some(run) = journal.last_of(session.settings.verb)? else {
        return Ok(());
    };
    for Came { came, from } in came {
        let (name, there) = (&came.name, &session.pairs[from].pair.name);
        let row = journal.find(run.id, name)?;
        let (state, reason) = row.map_or((None, None), |row| (Some(row.state), row.reason));
        if matches!(
            state,
            Some(State::Upgraded | State::Unchanged | State::Rehearsed)
        ) {
            moves.lines.push(format!(
                "{name} moved from {there} to {here} during the run, and is done there"
            ));
        } else if reason == Some(Reason::NoMailbox) {
            let why = format!("moved from {there} to {here} and away again");
            moves.left(name, &why);
        } else {
            let why = format!("moved from {there} to {here}, and is not done there");
            moves.left(name, &why);
        }
    }
    Ok(())
}

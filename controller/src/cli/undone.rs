//! What is printed once rollbacks are over: of one pair, or of each pair of a fleet and all
//! together; as JSON it is one document.

use std::sync::Arc;
use std::time::Instant;

use indexfile::exit::Exit;
use serde_json::{Value, json};
use slotd::protocol::Command;

use super::session::{AtWork, Session};
use super::{Fail, text};
use crate::error::RunError;
use crate::fleet::{FleetSummary, worst};
use crate::run::{self, Summary, Undone};
use crate::stop::Stop;
use crate::survey::{Asking, Census, Source, survey};

/// What the rollbacks of a pair came to.
pub(super) struct OfPair {
    /// Those that another one followed.
    pub(super) before: Vec<Summary>,
    /// The last one that was begun.
    pub(super) last: Result<Undone, RunError>,
}

/// Pairs on which there was nothing to take back, each with why.
pub(super) type Nothing = Vec<(String, String)>;

/// Prints what the rollbacks of each pair came to, by its place.
pub(super) async fn report(
    session: &Session,
    done: Vec<(usize, OfPair)>,
    nothing: &Nothing,
    begun: Instant,
) -> Result<Exit, Fail> {
    let (mut fleet, mut exits) = (FleetSummary::default(), Vec::new());
    let mut documents = serde_json::Map::new();
    for (at, of_pair) in done {
        let at_work = &session.pairs[at];
        let name = &at_work.pair.name;
        let mut before = Vec::new();
        for summary in &of_pair.before {
            before.push(print(session, at_work, summary, None)?);
            fleet.count(summary);
        }
        match of_pair.last {
            Ok(undone) => {
                let mut document = print_last(session, at_work, &undone).await?;
                if !before.is_empty() {
                    document["before"] = before.into();
                }
                documents.insert(name.clone(), document);
                exits.push(undone.exit());
                fleet.add(name, undone.summary);
            }
            Err(error) => {
                let fail = session.common.fail(&error);
                if !session.is_fleet() {
                    return Err(fail);
                }
                text::complain(&at_work.pair.line(&fail.text));
                fleet.add_failed(name, fail.exit, fail.text);
            }
        }
    }
    exits.push(fleet.exit());
    if session.is_fleet() {
        fleet.seconds = begun.elapsed().as_secs_f64();
        print_fleet(session, &fleet, documents, nothing)?;
    } else if session.common.output.json
        && let Some((_, only)) = documents.into_iter().next()
    {
        text::json(&only)?;
    }
    Ok(worst(exits))
}

fn print_fleet(
    session: &Session,
    fleet: &FleetSummary,
    documents: serde_json::Map<String, Value>,
    nothing: &Nothing,
) -> Result<(), Fail> {
    if !session.common.output.json {
        let pairs = fleet.pairs.len() + fleet.not_begun.len();
        let all = fleet.totals.sentence(session.settings.verb);
        return text::say(&format!("all {pairs} pairs: {all}; {:.1} s", fleet.seconds));
    }
    let mut value = serde_json::to_value(fleet).map_err(std::io::Error::from)?;
    value["pairs"] = documents.into();
    let nothing = nothing.iter().cloned();
    value["nothing_to_undo"] = nothing
        .map(|(name, why)| (name, Value::from(why)))
        .collect();
    text::json(&value)
}

/// Prints what one rollback came to, and gives it as JSON.
fn print(
    session: &Session,
    at_work: &AtWork,
    summary: &Summary,
    census: Option<&Census>,
) -> Result<Value, Fail> {
    let (failures, lines) = session.followed(at_work, summary)?;
    let mut document = text::summary_json(summary, &failures)?;
    if let Some(census) = census {
        document["hosts"] = json!(census);
    }
    if !session.common.output.json {
        let mut said = text::summary(session.settings.verb, summary);
        if let Some(census) = census {
            said = format!("{said}\n{}", census.to_string().trim_end());
        }
        let pair = &at_work.pair;
        let indent = if pair.is_named() { "\n  " } else { "\n" };
        text::say(&pair.line(&said.replace('\n', indent)))?;
    }
    for line in &lines {
        text::note(&at_work.pair.line(line));
    }
    Ok(document)
}

/// Prints what the last rollback came to, and which mailboxes have which index version then.
async fn print_last(session: &Session, at_work: &AtWork, undone: &Undone) -> Result<Value, Fail> {
    let parts = at_work.parts();
    let asking = Asking {
        connect: &parts.connect,
        parallel: at_work.control().limits().parallel.without_locks(),
        stop: &parts.stop,
        question: Arc::new(Command::Status),
        then: None,
    };
    let mut census = Census::default();
    let walked = survey(&asking, vec![Source::Master], |a| census.answered(&a)).await;
    // A stop breaks the walk off, which is then not of all mailboxes.
    let why = match (&walked, parts.stop.level()) {
        (_, Stop::Finish | Stop::Now) => Some("the run was stopped".to_owned()),
        (Err(error), Stop::No) => Some(error.to_string()),
        (Ok(_), Stop::No) => None,
    };
    let say = |text: &str| text::note(&at_work.pair.line(text));
    if let Some(why) = &why {
        let text = format!("what is at which version was not counted: {why}");
        text::complain(&at_work.pair.line(&text));
    }
    let census = why.is_none().then_some(&census);
    let document = print(session, at_work, &undone.summary, census)?;
    let Some(run) = undone.undo.run else {
        return Ok(document);
    };
    let earlier = run::standing_before(parts.journal.as_ref(), run)?;
    if earlier > 0 {
        say(&format!(
            "{earlier} earlier run(s) stand: controller rollback --all {} brings back what was \
             before all of them",
            session.common.spelled()
        ));
    }
    if let Some(next) = undone.next.as_ref().and_then(|undo| undo.run) {
        let why = match undone.summary.exit() {
            Exit::Ok => format!("it was stopped after run {} was taken back", run.0),
            _ => format!("run {} was not taken back whole", run.0),
        };
        say(&format!(
            "{why}, so run {} and what came before it was not begun: give the same command again",
            next.0
        ));
    }
    Ok(document)
}

//! How much a large run has to do: a few of its mailboxes are looked at beforehand, spread evenly,
//! for an ETA by messages and by bytes. `STATUS` takes no lock; the run does not wait for it.

use std::sync::Arc;
use std::time::Duration;

use slotd::protocol::{Command, Named, Reply};

use crate::control::{Control, Sampled};
use crate::hosts::{Connect, Link};
use crate::journal::{Filter, Job, Journal, MailboxId, RunId, State, Totals};
use crate::two_phase::Side;

/// A run with fewer mailboxes is over before an estimate is worth its work.
const WORTH: u64 = 5000;
/// How many are looked at.
const COUNT: u64 = 200;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks at some of the pending mailboxes and tells the controls; nothing if they are few.
pub(crate) async fn sample(
    connect: Arc<dyn Connect>,
    journal: Arc<dyn Journal>,
    control: Arc<Control>,
    run: RunId,
    totals: Totals,
) {
    if totals.pending < WORTH {
        return;
    }
    let mut master = Link::new(Side::Master, &connect);
    let mut sampled = Vec::new();
    for job in spread(journal.as_ref(), run, totals.mailboxes) {
        if let Some(one) = look(&mut master, &job).await {
            sampled.push(one);
        }
        tokio::time::sleep(PAUSE).await;
    }
    control.expects(totals.pending, sampled);
}

/// Pending mailboxes at even distances. Ids of one run follow each other, so nothing is counted for
/// this.
fn spread(journal: &dyn Journal, run: RunId, mailboxes: u64) -> Vec<Job> {
    let page = |after| {
        let page = journal.page(run, Filter::In(State::Pending), after, 1);
        // Without an estimate the run goes on as well; it will meet the same error by itself.
        page.ok().and_then(|mut rows| rows.pop())
    };
    let Some(first) = page(MailboxId(0)) else {
        return Vec::new();
    };
    let mut jobs: Vec<Job> = (0..COUNT)
        .filter_map(|n| {
            let offset = i64::try_from(mailboxes.saturating_mul(n) / COUNT).ok()?;
            page(MailboxId(first.id.0.checked_add(offset)?.checked_sub(1)?)).map(Job::from)
        })
        .collect();
    jobs.dedup_by_key(|job| job.id);
    jobs
}

async fn look(master: &mut Link, job: &Job) -> Option<Sampled> {
    let of = Named {
        mailbox: job.name.clone(),
        partition: job.partition.clone(),
    };
    let Ok(Reply::Ok(fields)) = master.call(&Command::Status(of)).await else {
        return None;
    };
    Some(Sampled {
        name: job.name.to_string(),
        messages: fields.get::<u64>("exists").ok()?,
        bytes: fields.get("bytes").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use indexfile::mailbox::{ImapdConf, MailboxName};
    use slotd::client::{Addr, Timeouts};
    use slotd::host::{Host, Options};
    use slotd::server::{self, Listener};

    use super::*;
    use crate::run::Slotds;
    use stores::{Layout, StoreSpec, Variety};

    #[tokio::test]
    async fn a_real_slotd_tells_what_the_estimate_needs() {
        let dir = tempfile::tempdir().unwrap();
        let store = stores::Host::lay_out(dir.path(), Layout::HASHED).unwrap();
        let conf = ImapdConf::load(&store.conf).unwrap();
        let spec = StoreSpec::new(3, 7).variety(Variety::Plain);
        spec.build(&[&store]).unwrap();
        let name = spec.names().next().unwrap();
        let files = store.place(&name).data;
        let name = MailboxName::parse(&name).unwrap();
        let messages = std::fs::read_dir(files).unwrap().map(Result::unwrap);
        let bytes = messages
            .filter(|entry| entry.file_name().to_string_lossy().ends_with('.'))
            .map(|entry| entry.metadata().unwrap().len())
            .sum::<u64>();

        let host = Host::open(conf, &dir.path().join("state"), Options::default()).unwrap();
        let addr = Addr::Unix(dir.path().join("s"));
        let listener = Listener::bind(&addr, false).await.unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let served = tokio::spawn(server::serve(Arc::new(host), listener, stopped));
        let connect = Slotds {
            credentials: None,
            master: addr,
            replica: None,
            timeouts: Timeouts::default(),
        };
        let connect: Arc<dyn Connect> = Arc::new(connect);
        let mut master = Link::new(Side::Master, &connect);
        let mut job = Job {
            id: MailboxId(1),
            name,
            partition: Some("default".to_owned()),
            named: false,
            back: [None; 2],
            uniqueids: [None, None],
        };
        let one = look(&mut master, &job).await.unwrap();
        assert_eq!((one.messages, one.bytes), (7, bytes));
        assert_eq!(one.name, job.name.to_string());
        job.name = MailboxName::parse("user.nobody").unwrap();
        assert!(look(&mut master, &job).await.is_none());
        drop(master);
        stop.send(true).unwrap();
        served.await.unwrap();
    }
}

//! One simulated migration from one seed: the real controller, two hosts, a bad day, a calm end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::control::Limits;
use controller::control::Places;
use controller::journal::memory::MemoryJournal;
use controller::journal::{Journal, State};
use controller::run::{
    Alerts, BoxFuture, Connect, Parts, Settings, Silent, Source, run, stop_pair,
};
use controller::two_phase::Side;
use slotd::client::{Addr, Client, ClientError, Timeouts};
use tokio::time::sleep;
use turmoil::net::TcpStream;

use super::disk::{Name, Role, Which};
use super::host::{PORT, Shared, World, locked, name_of, slotd};
use super::image::Image;
use super::mail::Mail;
use super::site::{LIVE, Site};
use super::storm::{CONTROLLER, END, HOSTS, Storm, set};

const TICK: Duration = Duration::from_millis(5);

/// What one seed came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first promise broken, if any.
    pub broken: Option<String>,
    /// What happened.
    pub story: Vec<String>,
    /// A fingerprint of the story: the same seed has the same one.
    pub fingerprint: u64,
    /// How the mailboxes ended.
    pub ends: Vec<State>,
    /// Commands that the hosts served.
    pub served: u64,
    /// How often a host said before any lock that its peer says otherwise of a message.
    pub differ_seen: u64,
    /// Processes killed and power cuts.
    pub crashes: u32,
}

struct Net;

fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_millis(200),
        call: Duration::from_millis(400),
        work: Duration::from_millis(500),
    }
}

impl Connect for Net {
    fn connect(&self, side: Side) -> BoxFuture<'_, Result<Client, ClientError>> {
        let host = HOSTS[side.index()];
        let addr = Addr::Tcp {
            host: host.to_owned(),
            port: PORT,
        };
        Box::pin(async move {
            let connected =
                tokio::time::timeout(timeouts().connect, TcpStream::connect((host, PORT)));
            let stream = match connected.await {
                Ok(Ok(stream)) => stream,
                Ok(Err(source)) => return Err(ClientError::Connect { addr, source }),
                Err(_) => {
                    let source = std::io::Error::from(std::io::ErrorKind::TimedOut);
                    return Err(ClientError::Connect { addr, source });
                }
            };
            Ok(Client::from_stream(Box::new(stream), addr, timeouts()))
        })
    }

    fn address(&self, side: Side) -> Option<String> {
        Some(format!("{}:{PORT}", HOSTS[side.index()]))
    }
}

/// The controller: runs, and recovers and runs again, until nothing is open.
async fn controller(world: World, done: Arc<Mutex<bool>>, settings: Settings) -> turmoil::Result {
    let names = (0..locked(&world).sites.len()).map(name_of).collect();
    let sources = [Source::Names(names)];
    loop {
        let journal = Arc::clone(&locked(&world).journal);
        let parts = Parts {
            settings: settings.clone(),
            connect: Arc::new(Net),
            journal: journal.clone(),
            observer: Arc::new(Silent),
            alerts: Alerts::default(),
            stop: stop_pair().1,
            places: Places::default(),
        };
        let result = run(parts, &sources).await;
        let over = matches!(&result, Ok(s) if s.in_doubt == 0 && s.pending == 0);
        locked(&world).tell(|| match &result {
            Ok(s) => format!(
                "controller: {} upgraded, {} unchanged, {} rolled back, {} in doubt",
                s.upgraded, s.unchanged, s.rolled_back, s.in_doubt
            ),
            Err(error) => format!("controller: {error}"),
        });
        if over {
            set(&done, true);
            std::future::pending::<()>().await;
        }
        if result.is_err() {
            // The process ends; the next one reads what is durable.
            locked(&world).journal = Arc::new(journal.after_crash());
        }
        sleep(Duration::from_millis(150)).await;
    }
}

/// Runs one seed.
#[must_use]
pub fn simulate(seed: u64) -> Report {
    let mut dice = fastrand::Rng::with_seed(seed);
    // The controller's jitter comes from here.
    fastrand::seed(seed);
    let mailboxes = dice.usize(1..=3);
    let mut sites: Vec<[Site<Mail>; 2]> = Vec::new();
    for _ in 0..mailboxes {
        sites.push(mailbox(&mut dice));
    }
    let first: Vec<[u8; 2]> = sites.iter().map(versions).collect();
    let settings = Settings {
        limits: Limits {
            parallel: dice.usize(1..=2),
            lock_wait: Duration::from_millis(250),
            // Not from the dice, so that a seed keeps its story where it is zero.
            host_wait: Duration::from_millis(seed % 4 * 500),
            ..Limits::default()
        },
        passes: dice.u32(1..=4),
        pass_pause: Duration::from_millis(60),
        settle_attempts: 6,
        settle_pause: Duration::from_millis(40),
        prepare: if dice.bool() {
            slotd::protocol::Write::Always
        } else {
            slotd::protocol::Write::Never
        },
        drop_old: dice.bool(),
        ..Settings::upgrade()
    };
    let fault_rate = [0, 2, 10, 30][dice.usize(0..4)];
    let rough = [0, 5, 15, 40][dice.usize(0..4)];
    let world: World = Arc::new(Mutex::new(Shared {
        sites,
        journal: Arc::new(MemoryJournal::new()),
        dice,
        fault_rate,
        broken: None,
        story: Vec::new(),
        served: 0,
        // As above. Only what was prepared is compared.
        peer_hashes: !seed.is_multiple_of(3),
        differ_seen: 0,
    }));
    let done = Arc::new(Mutex::new(false));
    let mut sim = turmoil::Builder::new()
        .simulation_duration(END * 2)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .tcp_capacity(1024)
        .rng_seed(seed)
        .build();
    for (side, host) in HOSTS.into_iter().enumerate() {
        let world = Arc::clone(&world);
        sim.host(host, move || slotd(Arc::clone(&world), side));
    }
    {
        let (world, done) = (Arc::clone(&world), Arc::clone(&done));
        sim.host(CONTROLLER, move || {
            controller(Arc::clone(&world), Arc::clone(&done), settings.clone())
        });
    }
    let mut storm = Storm {
        world: Arc::clone(&world),
        done,
        troubles: Vec::new(),
        crashes: 0,
    };
    let ran = storm.weather(&mut sim, rough);
    drop(sim);
    let mut all = locked(&world);
    if let Err(what) = ran {
        all.violate(&what);
    }
    let ends = judge(&mut all, &first);
    let mut hasher = DefaultHasher::new();
    all.story.hash(&mut hasher);
    Report {
        seed,
        broken: all.broken.clone(),
        story: std::mem::take(&mut all.story),
        fingerprint: hasher.finish(),
        ends,
        served: all.served,
        differ_seen: all.differ_seen,
        crashes: storm.crashes,
    }
}

fn mailbox(dice: &mut fastrand::Rng) -> [Site<Mail>; 2] {
    let split = dice.u8(0..3) == 0;
    let count = dice.u32(1..6);
    let lag = dice.u32(0..2);
    let expunge = dice.bool();
    let ahead = dice.u8(0..10) == 0;
    let damaged = dice.u8(0..25) == 0;
    [0, 1].map(|side| {
        let version = if side == 1 && ahead { 10 } else { 9 };
        let mut index = Mail::new(version, 10..10 + count + if side == 0 { lag } else { 0 });
        let mut gone = Mail::new(version, 1..4);
        for record in index.records.values_mut().chain(gone.records.values_mut()) {
            record.sha1 = version >= 10;
        }
        if side == 1 && damaged {
            // The replica's copy of a message is another one.
            index.records.values_mut().take(1).for_each(|r| r.body ^= 1);
        }
        let mut site = Site::new(index, expunge.then_some(gone), split);
        site.disk.keep_births();
        site
    })
}

fn versions(sites: &[Site<Mail>; 2]) -> [u8; 2] {
    [&sites[0], &sites[1]].map(|site| site.disk.read(LIVE[0]).map_or(0, |i| i.version))
}

/// What must be so when everything is over; gives how the mailboxes ended.
fn judge(all: &mut Shared, first: &[[u8; 2]]) -> Vec<State> {
    let mut ends = Vec::new();
    if all.broken.is_some() {
        return ends;
    }
    let journal = Arc::clone(&all.journal);
    let run = journal.last_run().ok().flatten();
    for (m, first) in first.iter().enumerate() {
        let row = run
            .as_ref()
            .and_then(|run| journal.find(run.id, &name_of(m)).ok().flatten());
        let Some(row) = row else {
            all.violate("the journal has forgotten a mailbox");
            return ends;
        };
        ends.push(row.state);
        let now = versions(&all.sites[m]);
        let legal = match row.state {
            State::Upgraded | State::Unchanged => now == [10, 10] && same_guids(&all.sites[m]),
            State::RolledBack => now == *first || now == [10, 10],
            _ => false,
        };
        if !legal {
            let what = format!("mailbox {m} ended {:?} with versions {now:?}", row.state);
            all.violate(&what);
        }
        for side in 0..2 {
            if let Err(what) = at_rest(&all.sites[m][side]) {
                all.violate(&format!("mailbox {m} on host {side}: {what}"));
            }
        }
    }
    ends
}

fn same_guids(sites: &[Site<Mail>; 2]) -> bool {
    let [master, replica] = [&sites[0], &sites[1]].map(|s| s.disk.read(LIVE[0]));
    let (Some(master), Some(replica)) = (master, replica) else {
        return false;
    };
    let shared = master
        .records
        .iter()
        .filter_map(|(uid, r)| Some((r, replica.records.get(uid)?)));
    shared
        .into_iter()
        .all(|(a, b)| a.guid() == b.guid() && a.sha1)
}

fn at_rest(site: &Site<Mail>) -> Result<(), String> {
    // A connection whose end the network swallowed may linger, as long as it holds nothing.
    let busy = site
        .sessions
        .iter()
        .find(|s| s.tx.is_open() || !s.ops.is_empty());
    if site.lock.is_some() || busy.is_some() {
        return Err(format!("locked by {:?}, session {busy:?}", site.lock));
    }
    if site.log.open().is_some() {
        return Err("an open intent".to_owned());
    }
    for name in Which::ALL
        .into_iter()
        .flat_map(|f| [Role::New, Role::Prev].map(|r| Name::new(f, r)))
    {
        if site.disk.has(name) {
            return Err(format!("a stray {name:?}"));
        }
    }
    let [index, expunge] = LIVE.map(|name| site.disk.read(name).map(Mail::version));
    if expunge.is_some() && index != expunge {
        return Err(format!(
            "index {index:?} and expunge {expunge:?} are out of step"
        ));
    }
    Ok(())
}

//! Up, mail, down, up again: what nobody touched has its first bytes back each time, and every
//! change that Cyrus made in between is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use stores::cyrus23::agent::spec_line;
use stores::cyrus23::log::Content;
use stores::judge::image::{Image, sha1_of, unhex};
use stores::judge::true_guids;
use stores::{Dirs, Host};
use tests::fleet::{Fleet, program};
use tests::process::Guard;

/// Records by UID, of index and expunge file; each with the file it is in.
type Records = BTreeMap<u32, (&'static str, Vec<u8>)>;

fn records(dirs: &Dirs) -> Records {
    let mut all = Records::new();
    for file in ["cyrus.index", "cyrus.expunge"] {
        let Ok(bytes) = fs::read(dirs.meta.join(file)) else {
            continue;
        };
        for record in Image::parse(bytes).unwrap().records() {
            all.insert(Image::uid(record), (file, record.to_vec()));
        }
    }
    all
}

struct Mailbox {
    name: String,
    dirs: Dirs,
    log: PathBuf,
    /// As a 2.3.9 left it.
    first: Records,
    /// After the first upgrade.
    upgraded: Records,
    content: Option<Content>,
}

impl Mailbox {
    fn of(side: &str, host: &Host, dir: &Path) -> Vec<Self> {
        let boxes = host.mailboxes().unwrap().into_iter();
        let mailbox = |(name, dirs): (String, Dirs)| {
            let log = dir.join(format!("{side}.{name}.log"));
            fs::write(&log, "").unwrap();
            Self {
                first: records(&dirs),
                name,
                dirs,
                log,
                upgraded: Records::new(),
                content: None,
            }
        };
        boxes.map(mailbox).collect()
    }

    fn upgraded(&mut self) {
        self.upgraded = records(&self.dirs);
        self.content = Some(Content::read(&self.dirs).unwrap());
    }

    /// UIDs that the log speaks of, and the number of lines of each kind (A, S, X).
    fn touched(&self, kinds: &mut BTreeMap<char, usize>) -> BTreeSet<u32> {
        let log = fs::read_to_string(&self.log).unwrap();
        let mut uids = BTreeSet::new();
        for line in log.lines() {
            let kind = line.chars().next().unwrap();
            if matches!(kind, 'A' | 'S' | 'X') {
                *kinds.entry(kind).or_default() += 1;
                uids.insert(Image::uid(&unhex(line[2..].split(' ').next().unwrap())));
            }
        }
        uids
    }
}

fn live(all: [&[Mailbox]; 2], dir: &Path) {
    let [own, fed] = all;
    let (mut own_spec, mut fed_spec) = (String::new(), String::new());
    for (m, r) in own.iter().zip(fed) {
        own_spec += &spec_line(&m.dirs, &m.log, None);
        fed_spec += &spec_line(&r.dirs, &r.log, Some((&m.log, &m.dirs.data)));
    }
    let stops = [dir.join("stop"), dir.join("stop-sync")];
    let agent = |spec: &str, text: &str, seed: &str, stop: &Path| {
        let path = dir.join(spec);
        fs::write(&path, text).unwrap();
        let mut command = Command::new(program("cyrus23"));
        command.arg(path).arg(seed).arg(stop).args(["as-is", "500"]);
        Guard::spawn(&mut command)
    };
    let server = agent("own", &own_spec, "3", &stops[0]);
    let sync = agent("fed", &fed_spec, "4", &stops[1]);
    let until = Instant::now() + Duration::from_secs(60);
    let changes = || -> usize {
        let lines = |m: &Mailbox| fs::read_to_string(&m.log).unwrap().lines().count();
        own.iter().map(lines).sum()
    };
    while changes() < 400 {
        assert!(Instant::now() < until, "only {} lines", changes());
        std::thread::sleep(Duration::from_millis(20));
    }
    for (stop, agent) in stops.iter().zip([server, sync]) {
        fs::write(stop, "").unwrap();
        let _ = agent.finish().expect_code(0);
    }
}

#[test]
fn first_bytes_return_where_nothing_changed_and_every_change_is_still_there() {
    let mut fleet = Fleet::of_239();
    let dir = fleet.dir.path().to_owned();
    let mut sides = [("m", &fleet.master), ("r", &fleet.replica)]
        .map(|(side, host)| Mailbox::of(side, host, &dir));
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    sides.iter_mut().flatten().for_each(Mailbox::upgraded);
    live([&sides[0], &sides[1]], &dir);

    let _ = fleet.controller("downgrade", &["--to", "9"]).expect_code(0);
    let (mut same, mut kinds) = (0, BTreeMap::new());
    for mailbox in sides.iter().flatten() {
        let name = &mailbox.name;
        let touched = mailbox.touched(&mut kinds);
        let now = records(&mailbox.dirs);
        assert!(
            mailbox.first.keys().all(|uid| now.contains_key(uid)),
            "{name}"
        );
        for (uid, (file, bytes)) in &now {
            match mailbox.first.get(uid) {
                Some(first) if !touched.contains(uid) => {
                    assert_eq!(&(*file, bytes.clone()), first, "{name} UID {uid}");
                    same += 1;
                }
                // A flag or an expunge does not make it another message: its UUID is the first one.
                Some((_, first)) => {
                    assert_eq!(Image::guid(bytes), Image::guid(first), "{name} {uid}");
                }
                None => {
                    let message = fs::read(mailbox.dirs.data.join(format!("{uid}."))).unwrap();
                    assert_eq!(Image::guid(bytes), &sha1_of(&message)[..12], "{name} {uid}");
                }
            }
        }
    }
    assert!(same > 100, "{same} records were left alone");
    for kind in ['A', 'S', 'X'] {
        assert!(kinds.get(&kind).is_some_and(|n| *n > 5), "{kinds:?}");
    }

    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    for mailbox in sides.iter_mut().flatten() {
        let name = &mailbox.name;
        let touched = mailbox.touched(&mut kinds);
        let now = records(&mailbox.dirs);
        for (uid, was) in &mailbox.upgraded {
            if !touched.contains(uid) {
                assert_eq!(now.get(uid), Some(was), "{name} UID {uid}");
            }
        }
        let mut lines = Vec::new();
        for file in ["cyrus.index", "cyrus.expunge"] {
            if let Ok(bytes) = fs::read(mailbox.dirs.meta.join(file)) {
                let image = Image::parse(bytes).unwrap();
                assert_eq!(image.minor(), 10, "{name} {file}");
                true_guids(file, &image, &mailbox.dirs.data, &mut lines);
            }
        }
        let mut want = mailbox.content.take().unwrap();
        want.replay(&fs::read_to_string(&mailbox.log).unwrap())
            .unwrap();
        lines.extend(want.violations.clone());
        lines.extend(want.lost_in(&Content::read(&mailbox.dirs).unwrap()));
        assert!(lines.is_empty(), "{name}:\n{}", lines.join("\n"));
    }
}
